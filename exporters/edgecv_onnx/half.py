"""Let the network's nodes compute in float16, and all others in float32.

A tensor that crosses the border is cast once. Which inputs and outputs of an operator may be float16, its definition
says: a resize takes its factors in float32 only.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from edgecv.deployable import Deployable
from edgecv.lowering import LoweredGraph
from edgecv.original import gather_pictures
from edgecv_onnx.bias import maps, weighted
from edgecv_onnx.dense import join_dense
from edgecv_onnx.elements import element_types
from edgecv_onnx.graph import Graph, bodies, reads
from edgecv_onnx.parts import float_nodes
from edgecv_onnx.ranges import observe
from edgecv_onnx.rounding import round_weights

__all__ = ["halve"]

_LARGEST = float(np.finfo(np.float16).max)
# An attribute of theirs says which type they give.
_TYPED = ("Cast", "ConstantOfShape", "EyeLike", "RandomNormal", "RandomUniform")

Places = tuple[list[int], list[int]]


def halve(graph: Graph, lowered: LoweredGraph, deployable: Deployable) -> None:
    """Put the network into float16, in place; inputs, outputs and checkpoints stay float32."""
    join_dense(graph)
    for place, node in enumerate(graph.nodes):
        origin = graph.origin(node)
        graph.origins.update(dict.fromkeys(node.output, origin))
        node.name = f"node_{place}"
    floating = float_nodes(graph, lowered)
    _round(graph, floating, deployable)
    _divide(graph, floating)
    halving = _Halving(graph, lowered)
    for node in graph.nodes:
        halving.add(node, None if node.name in floating else _half_places(node, graph, halving.kinds))
    for info in graph.outputs:
        halving.full(info.name)
    graph.nodes = halving.nodes
    graph.prune()


def _round(graph: Graph, floating: Collection[str], deployable: Deployable) -> None:
    """Round the weights with the means of the pictures that every export is verified on."""
    layers = [node for node in weighted(graph) if node.name not in floating]
    pictures = gather_pictures(deployable, None)
    feeds = (deployable.feed(picture[None]) for picture in pictures.values)
    key = hashlib.sha256(pictures.values.tobytes()).hexdigest()
    observed = observe(graph, [], maps(layers), feeds, batch=deployable.batch, key=key)
    round_weights(graph, layers, observed.means)


def _divide(graph: Graph, floating: Collection[str]) -> None:
    """Divide by constants that float16 holds, such as 6, instead of multiplying with one that it rounds, such as 1/6.

    A hard swish ends in that one: eleven of them, each off by the same 2.4e-4, made two thirds of the error of the
    person segmenter.
    """
    for node in graph.nodes:
        constants = [name for name in node.input if name in graph.constants]
        if node.op_type != "Mul" or node.name in floating or len(constants) != 1:
            continue
        factor = graph.constants[constants[0]]
        if factor.size != 1 or factor.item() == 0 or float(np.float16(factor.item())) == factor.item():
            continue
        with np.errstate(over="ignore"):
            divisor = np.float16(1 / factor.item())
        if np.isclose(1 / float(divisor), factor.item(), rtol=float(np.finfo(np.float32).eps), atol=0):
            name = f"{constants[0]}/divisor"
            graph.constants[name] = np.full_like(factor, divisor)
            other = next(each for each in node.input if each != constants[0])
            node.op_type = "Div"
            node.input[:] = [other, name]


class _Halving:
    """Collects the nodes of the new graph.

    A tensor keeps its name in float32 and is called ``name/half`` in float16, whichever of the two a node makes; the
    other is made by a Cast as soon as it is read.
    """

    def __init__(self, graph: Graph, lowered: LoweredGraph) -> None:
        self.nodes: list[Any] = []
        self.kinds = element_types(graph)
        self._graph = graph
        self._lowered = lowered
        self._halved: set[str] = set()
        self._only_half: set[str] = set()

    def add(self, node: Any, places: Places | None) -> None:
        """Add a node that computes in float16 at these places of its inputs and outputs, or in float32."""
        origin = self._graph.origin(node)
        inputs, outputs = places or ([], [])
        for place in inputs:
            node.input[place] = self._half(node.input[place], origin)
        for name in reads(node):
            self.full(name)
        for place in outputs:
            name = node.output[place]
            node.output[place] = f"{name}/half"
            self._halved.add(name)
            self._only_half.add(name)
        self._graph.origins[node.output[0]] = origin
        self.nodes.append(node)

    def full(self, name: str) -> None:
        """See to it that the tensor is there in float32."""
        from onnx import TensorProto

        if name in self._only_half:
            self._only_half.remove(name)
            self._cast(f"{name}/half", name, TensorProto.FLOAT, self._graph.origins[f"{name}/half"])

    def _half(self, name: str, reader: tuple[str, ...]) -> str:
        """Return the tensor's name in float16; what is cast for a layer belongs to that layer."""
        from onnx import TensorProto

        half = f"{name}/half"
        if name in self._halved:
            return half
        self._halved.add(name)
        if name in self._graph.constants:
            with np.errstate(over="ignore"):  # the limits of a Clip, which may be infinite
                self._graph.constants[half] = self._graph.constants[name].astype(np.float16)
            return half
        maker = next((node for node in self.nodes if name in node.output), None)
        small = (TensorProto.UINT8, TensorProto.INT8, TensorProto.BOOL)
        if maker is not None and maker.op_type == "Cast" and self.kinds.get(maker.input[0]) in small:
            name = maker.input[0]  # 0…255 are exact in float16, too
        self._cast(name, half, TensorProto.FLOAT16, reader)
        return half

    def _cast(self, before: str, after: str, kind: int, origin: tuple[str, ...]) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node("Cast", [before], [after], name=f"cast {after}", to=kind))
        self._graph.origins[after] = origin


def _half_places(node: Any, graph: Graph, kinds: Mapping[str, int]) -> Places | None:
    """Return the places of a node's inputs and outputs that become float16; None where it has to stay float32."""
    from onnx import defs

    if bodies(node) or node.op_type in _TYPED:
        return None
    schema = defs.get_schema(node.op_type, graph.opset, "")
    allowed = {
        constraint.type_param_str
        for constraint in schema.type_constraints
        if "tensor(float16)" in constraint.allowed_type_strs
    }
    inputs = _places(node.input, schema.inputs, allowed, kinds)
    outputs = _places(node.output, schema.outputs, allowed, kinds)
    values = [graph.constants[node.input[place]] for place in inputs if node.input[place] in graph.constants]
    if node.op_type != "Clip" and not all(map(_fits, values)):
        return None
    return inputs, outputs


def _places(names: Sequence[str], parameters: Any, allowed: set[str], kinds: Mapping[str, int]) -> list[int]:
    from onnx import TensorProto

    return [
        place
        for place, name in enumerate(names)
        # The last parameter stands for all further ones, too.
        if kinds.get(name) == TensorProto.FLOAT and parameters[min(place, len(parameters) - 1)].type_str in allowed
    ]


def _fits(value: np.ndarray[Any, Any]) -> bool:
    """Tell whether a constant is neither too large for float16 nor, alone, so small that it would be 0."""
    if np.max(np.abs(value), initial=0.0) > _LARGEST:
        return False
    return value.size != 1 or value.item() == 0 or np.float16(value.item()) != 0
