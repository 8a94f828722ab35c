"""How many multiply-adds a Keras network needs for a picture: those of its convolutions and matrix products."""

import math
from collections.abc import Sequence
from typing import Any

from edgecv.deployable import Deployable

__all__ = ["multiply_adds"]


def multiply_adds(deployable: Deployable) -> int | None:
    """Count the multiply-adds of one picture, bodies of loops and branches left out.

    The graph is traced, so that layers of any kind and operations between them count; None where Keras runs on
    another backend than TensorFlow.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    info = deployable.input
    # A picture that the graph resizes may have any size.
    shape = [1, *(side or deployable.input_size[place] for place, side in enumerate(info.shape[1:3])), info.shape[3]]
    traced = tf.function(lambda images: deployable.graph(images)[0], autograph=False)
    graph = traced.get_concrete_function(tf.TensorSpec(shape, info.dtype)).graph
    return _of_graph(graph)


def _of_graph(graph: Any) -> int:
    total = 0
    for operation in graph.get_operations():
        if operation.type in ("PartitionedCall", "StatefulPartitionedCall"):
            # Keras 3.15 calls grouped convolutions so. TensorFlow 2.21 has no public way to the function's body.
            total += _of_graph(graph._get_function(operation.get_attr("f").name).graph)
        else:
            total += _count(operation)
    return total


def _count(operation: Any) -> int:
    """Count those of an operation whose shapes are known; weights are (height, width, in, out)."""
    shapes = [each.shape.as_list() if each.shape.rank is not None else [None] for each in operation.inputs]
    output = operation.outputs[0].shape if operation.outputs else None
    out = output.as_list() if output is not None and output.rank is not None else [None]
    match operation.type:
        case "Conv2D":
            factors = [*out, *shapes[1][:3]]
        case "DepthwiseConv2dNative":
            factors = [*out, *shapes[1][:2]]
        case "Conv2DBackpropInput":  # a transposed convolution: sizes, weights (height, width, out, in), data
            factors = [*shapes[2], *shapes[1][:3]]
        case "Conv3D":
            factors = [*out, *shapes[1][:4]]
        case "Einsum":
            return _count_einsum(operation.get_attr("equation").decode(), shapes)
        case "MatMul":
            factors = [*out, shapes[0][0 if operation.get_attr("transpose_a") else 1]]
        case "BatchMatMulV2":
            factors = [*out, shapes[0][-2 if operation.get_attr("adj_x") else -1]]
        case _:
            return 0
    return 0 if None in factors else math.prod(factors)


def _count_einsum(equation: str, shapes: Sequence[Sequence[int | None]]) -> int:
    """Count those of a product of two tensors, such as ``"abc,cd->abd"``: one for each combination of all indices."""
    terms = equation.partition("->")[0].split(",")
    if len(terms) != 2 or any(None in shape for shape in shapes):
        return 0
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        before, _, after = term.partition("...")
        # Sides that the dots stand for are told from the right, as they broadcast.
        between = [f"dots {place}" for place in range(len(shape) - len(before) - len(after), 0, -1)]
        for index, side in zip([*before, *between, *after], shape, strict=True):
            sizes[index] = max(sizes.get(index, 1), side or 0)
    return math.prod(sizes.values())
