"""Give nodes, tensors and weights the Keras layers' paths; a folded group names all its layers."""

from typing import Any

from edgecv.lowering import LoweredGraph, unique_name
from edgecv_onnx.graph import Graph, reads, rename_tensors

__all__ = ["rename"]


def rename(graph: Graph, lowered: LoweredGraph) -> dict[str, str]:
    """Rename everything in place and return Keras layer path → tensor that carries the layer's output.

    A node is called ``group/Op``, its output ``group/Op:0``, where the group is the paths of its layers
    joined by ``+``. What belongs to no layer (scaling, top-k) is called ``pipeline``.
    """
    borders = {info.name for info in (*graph.inputs, *graph.outputs)}
    taken: set[str] = set(borders)
    renamed: dict[str, str] = {}
    layers: dict[str, str] = {}
    for node in graph.nodes:
        paths = lowered.paths(graph.origin(node))
        name = unique_name(f"{'+'.join(paths) or 'pipeline'}/{node.op_type}", taken)
        node.name = name
        for index, tensor in enumerate(node.output):
            if tensor not in borders:
                renamed[tensor] = f"{name}:{index}"
        for path in paths:
            # The last node of a layer carries its output; nodes come in topological order.
            layers[path] = renamed.get(node.output[0], node.output[0])
    rename_tensors(graph.nodes, renamed)
    _rename_constants(graph, lowered, taken)
    return layers


def _rename_constants(graph: Graph, lowered: LoweredGraph, taken: set[str]) -> None:
    """Call a weight by its node and its place there; a kernel that is as in Keras by its variable's path."""
    borders = {output.name for output in graph.outputs}
    renamed: dict[str, str] = {}
    ordered: dict[str, Any] = {}
    for node in graph.nodes:
        for index, tensor in enumerate(reads(node)):
            if tensor not in graph.constants or tensor in renamed:
                continue
            if tensor in borders:  # an output that is the same for every picture
                ordered[tensor] = graph.constants[tensor]
                continue
            known = lowered.kernel_names.get(tensor)
            renamed[tensor] = unique_name(known or f"{node.name}:{_role(node, index)}", taken)
            ordered[renamed[tensor]] = graph.constants[tensor]
    for output in graph.outputs:
        if output.name in graph.constants:
            ordered[output.name] = graph.constants[output.name]
    graph.constants = ordered
    rename_tensors(graph.nodes, renamed)


def _role(node: Any, index: int) -> str:
    roles = {"Conv": ("input", "kernel", "bias"), "ConvTranspose": ("input", "kernel", "bias")}
    known = roles.get(node.op_type, ())
    return known[index] if index < len(known) else f"constant_{index}"
