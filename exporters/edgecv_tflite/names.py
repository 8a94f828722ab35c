"""Give tensors the Keras layers' paths, inputs and outputs their contract names, and the model a signature."""

from typing import Any

from edgecv.lowering import LoweredGraph, unique_name

__all__ = ["add_signature", "rename"]


def rename(model: Any, lowered: LoweredGraph) -> dict[str, str]:
    """Rename every tensor in place and return Keras layer path → tensor that carries the layer's output.

    A tensor is called by the paths of the layers whose operations were folded into it, joined by ``+``;
    a weight by the operator that reads it first.
    """
    graph = model.subgraphs[0]
    _order_outputs(graph, lowered)
    names_of_outputs = (*lowered.output_names, *lowered.checkpoints)
    borders = {graph.inputs[0]: "image", **dict(zip(graph.outputs, names_of_outputs, strict=True))}
    taken = set(borders.values())
    layers: dict[str, str] = {}
    names: dict[int, str] = dict(borders)
    for operator in graph.operators:
        for index in operator.outputs:
            paths = lowered.paths([graph.tensors[index].name.decode()])
            names.setdefault(index, unique_name("+".join(paths) or "pipeline", taken))
            layers |= dict.fromkeys(paths, names[index])
        for place, index in enumerate(operator.inputs):
            # -1 is an optional input that is absent.
            if index >= 0 and index not in names:
                names[index] = unique_name(f"{names[operator.outputs[0]]}/{_role(place)}", taken)
    # Checkpoints stay in the graph under their names, as ordinary tensors.
    graph.outputs = graph.outputs[: len(lowered.output_names)]
    known = set(layers)
    for name in lowered.output_names:
        layers |= dict.fromkeys(lowered.layers_behind(name, known), name)
    for index, tensor in enumerate(graph.tensors):
        tensor.name = names.get(index, unique_name("unused", taken)).encode()
    return layers


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


def _tensor_map(schema: Any, name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name = name.encode()
    entry.tensorIndex = int(index)
    return entry


def _order_outputs(graph: Any, lowered: LoweredGraph) -> None:
    """Put the outputs into the contract's order; the converter keeps the function's, which is by sorted name."""
    names = (*lowered.output_names, *lowered.checkpoints)
    by_name = dict(zip(sorted(names), graph.outputs, strict=True))
    graph.outputs = [by_name[name] for name in names]


def _role(place: int) -> str:
    return ("input", "kernel", "bias")[place] if place < 3 else f"constant_{place}"
