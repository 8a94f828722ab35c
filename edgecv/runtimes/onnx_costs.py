"""How many multiply-adds a ``.onnx`` file needs for a run: those of its convolutions and matrix products.

An ONNX file need not say what shapes its tensors have. They are asked of the engine: the outputs that matter are
exposed, the file is run once, and the shapes of what comes out are those of that run, whatever is dynamic in it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecv.errors import ArtifactError
from edgecv.runtimes.onnx_graph import OnnxNode, Shape, read_graph

__all__ = ["multiply_adds"]

# Runs the file with tensors exposed and returns all arrays.
Run = Callable[[Sequence[str]], Mapping[str, Any]]

# Operator → the place of its weights among its inputs.
_PLACE_OF_WEIGHTS = {
    "Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1,
    "Gemm": 1, "MatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3,
}  # fmt: skip
# What comes out of them has the shape of what goes in: weights are seen through them.
_SAME_SHAPE = ("DequantizeLinear", "Cast", "Identity")


def multiply_adds(path: Path, run: Run) -> int:
    """Count the multiply-adds of one run, subgraphs of loops and branches left out.

    Args:
        path: The file.
        run: Runs it with the given tensors exposed.

    Raises:
        ArtifactError: The file cannot be parsed.
    """
    nodes, shapes = read_graph(path)
    try:
        for node in nodes:
            if node.operator in _SAME_SHAPE and node.inputs[0] in shapes:
                shapes[node.outputs[0]] = shapes[node.inputs[0]]
        products = [node for node in nodes if node.operator in _PLACE_OF_WEIGHTS]
        wanted = {name for node in products for name in _needed(node)} - shapes.keys()
        if wanted:
            shapes |= {name: tuple(array.shape) for name, array in run(sorted(wanted)).items()}
        return sum(_count(node, shapes) for node in products)
    except (IndexError, KeyError) as error:
        raise ArtifactError(f"{str(path)!r} has a node that lacks a tensor. Export it again.") from error


def _needed(product: OnnxNode) -> tuple[str, str]:
    """Return the two tensors whose shapes say how much a node multiplies; the first are the weights."""
    weights = product.inputs[_PLACE_OF_WEIGHTS[product.operator]]
    return weights, product.inputs[0] if product.operator == "ConvTranspose" else product.outputs[0]


def _count(product: OnnxNode, shapes: Mapping[str, Shape]) -> int:
    weights, other = (shapes[name] for name in _needed(product))
    if "Conv" in product.operator:
        # Each value that comes out (of a transposed convolution: that goes in) takes one filter.
        return math.prod(other) * math.prod(weights[1:])
    if product.operator == "Gemm":  # either side of the weights may be the sum's
        return math.prod(other[:-1]) * math.prod(weights)
    return math.prod(other) * weights[-2 if len(weights) > 1 else 0]
