"""Give tensors the Keras layers' paths, inputs and outputs their contract names, and the model a signature."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgecv.lowering import LoweredGraph, unique_name

__all__ = ["Names", "add_signature", "rename"]


@dataclass(frozen=True, kw_only=True)
class Names:
    """What the names of a model's tensors stand for.

    Attributes:
        layers: Keras layer path → tensor that carries the layer's output.
        groups: Tensor that an operator of the network gives → paths of the layers that were folded into it.
        known: Paths of all layers, those without an operator included.
    """

    layers: Mapping[str, str]
    groups: Mapping[str, tuple[str, ...]]
    known: frozenset[str]


def rename(model: Any, lowered: LoweredGraph) -> Names:
    """Rename every tensor in place and return what the names stand for.

    A tensor is called by the paths of the layers whose operations were folded into it, joined by ``+``;
    a weight by the operator that reads it first.
    """
    graph = model.subgraphs[0]
    _order_outputs(graph, lowered)
    names_of_outputs = (*lowered.output_names, *lowered.checkpoints)
    borders = {graph.inputs[0]: "image", **dict(zip(graph.outputs, names_of_outputs, strict=True))}
    taken = set(borders.values())
    layers: dict[str, str] = {}
    groups: dict[str, tuple[str, ...]] = {}
    names: dict[int, str] = dict(borders)
    for operator in graph.operators:
        for index in operator.outputs:
            paths = lowered.paths([graph.tensors[index].name.decode()])
            names.setdefault(index, unique_name("+".join(paths) or "pipeline", taken))
            layers |= dict.fromkeys(paths, names[index])
            groups[names[index]] = tuple(paths or _layers_of_output(lowered, names[index]))
        for place, index in enumerate(operator.inputs):
            # -1 is an optional input that is absent.
            if index >= 0 and index not in names:
                names[index] = unique_name(f"{names[operator.outputs[0]]}/{_role(place)}", taken)
    # Checkpoints stay in the graph under their names, as ordinary tensors.
    graph.outputs = graph.outputs[: len(lowered.output_names)]
    _number_branches(model)
    known = set(layers)
    for name in lowered.output_names:
        layers |= dict.fromkeys(lowered.layers_behind(name, known), name)
    for index, tensor in enumerate(graph.tensors):
        tensor.name = names.get(index, unique_name("unused", taken)).encode()
    return Names(
        layers=layers,
        groups={name: paths for name, paths in groups.items() if paths},
        known=frozenset(lowered.layers.values()),
    )


def add_signature(model: Any, lowered: LoweredGraph) -> None:
    """Add the signature ``serving_default`` with the contract's names."""
    from tensorflow.lite.python import schema_py_generated as schema

    graph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey = b"serving_default"
    signature.subgraphIndex = 0
    signature.inputs = [_tensor_map(schema, "image", graph.inputs[0])]
    signature.outputs = [
        _tensor_map(schema, name, index) for name, index in zip(lowered.output_names, graph.outputs, strict=True)
    ]
    model.signatureDefs = [signature]


def _number_branches(model: Any) -> None:
    """Name the subgraphs of loops and branches by their place.

    TensorFlow 2.21 numbers the functions of branches over the life of a process, so that two exports would differ.
    """
    for place, graph in enumerate(model.subgraphs[1:], start=1):
        before, graph.name = graph.name, f"subgraph_{place}".encode()
        for tensor in graph.tensors:
            if tensor.name.startswith(before):
                tensor.name = graph.name + tensor.name.removeprefix(before)


def _tensor_map(schema: Any, name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name = name.encode()
    entry.tensorIndex = int(index)
    return entry


def _layers_of_output(lowered: LoweredGraph, name: str) -> list[str]:
    """Return the paths of the layers whose operation gives an output or checkpoint; none where the pipeline does.

    The converter names the last operator after the output: its origin is in the graph, past identities.
    """
    nodes = {node.name: node for node in lowered.graph_def.node}
    at = {**lowered.output_names, **lowered.checkpoints}.get(name, "").partition(":")[0]
    while at in nodes and nodes[at].op == "Identity":
        at = nodes[at].input[0].partition(":")[0]
    return lowered.paths([at])


def _order_outputs(graph: Any, lowered: LoweredGraph) -> None:
    """Put the outputs into the contract's order; the converter keeps the function's, which is by sorted name."""
    names = (*lowered.output_names, *lowered.checkpoints)
    by_name = dict(zip(sorted(names), graph.outputs, strict=True))
    graph.outputs = [by_name[name] for name in names]


def _role(place: int) -> str:
    return ("input", "kernel", "bias")[place] if place < 3 else f"constant_{place}"
