"""Give nodes, tensors and weights the Keras layers' paths; a folded group names all its layers."""

from typing import Any

from edgecv.lowering import LoweredGraph, unique_name
from edgecv_onnx.graph import Graph, bodies, reads, rename_tensors

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
        if node.op_type == "DequantizeLinear":  # engines merge it with what reads it
            continue
        for path in paths:
            # The last node of a layer carries its output; nodes come in topological order.
            layers[path] = renamed.get(node.output[0], node.output[0])
    rename_tensors(graph.nodes, renamed)
    for node in graph.nodes:
        for body in bodies(node):
            _rename_body(body, node.name)
    _rename_constants(graph, lowered, taken)
    return layers


def _rename_body(body: Any, name: str) -> None:
    """Name what is inside a subgraph, such as a loop's body, by its owner and its place; drop unread constants."""
    body.name = f"{name}/body"
    del body.value_info[:]
    renamed = {info.name: f"{body.name}/input_{index}" for index, info in enumerate(body.input)}
    used = list(dict.fromkeys(tensor for node in body.node for tensor in reads(node)))
    kept = sorted((tensor for tensor in body.initializer if tensor.name in used), key=lambda one: used.index(one.name))
    copies = [type(tensor).FromString(tensor.SerializeToString()) for tensor in kept]
    del body.initializer[:]
    for place, tensor in enumerate(copies):
        renamed[tensor.name] = tensor.name = f"{body.name}/constant_{place}"
    body.initializer.extend(copies)
    for place, node in enumerate(body.node):
        node.name = f"{body.name}/{node.op_type}_{place}"
        renamed.update({tensor: f"{node.name}:{index}" for index, tensor in enumerate(node.output) if tensor})
        for inner in bodies(node):
            _rename_body(inner, node.name)
    rename_tensors(body.node, renamed)
    for info in (*body.input, *body.output):
        info.name = renamed.get(info.name, info.name)
        for side in info.type.tensor_type.shape.dim:
            if side.HasField("dim_param"):  # a name that tf2onnx numbers in the order of its sets
                side.ClearField("dim_param")


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
    roles = {
        "Conv": ("input", "kernel", "bias"),
        "ConvTranspose": ("input", "kernel", "bias"),
        "DequantizeLinear": ("values", "scale", "zero_point"),
        "QuantizeLinear": ("input", "scale", "zero_point"),
    }
    known = roles.get(node.op_type, ())
    return known[index] if index < len(known) else f"constant_{index}"
