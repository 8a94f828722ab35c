"""Operators that LiteRT computes in int8 but the quantizer leaves in float, and what is left over of tensors."""

from typing import Any

from edgecv_tflite.operators import kind, readers

__all__ = ["drop_unused", "fuse_elementwise"]

# Operators of one input whose int8 kernels take any scale on either side → the version that does.
_INT8 = {"LEAKY_RELU": 2}


def fuse_elementwise(model: Any) -> None:
    """Turn DEQUANTIZE → operator → QUANTIZE into the operator on int8, in place.

    The result has the operator's name, as that of any other int8 operator.
    """
    graph = model.subgraphs[0]
    makers = {operator.outputs[0]: operator for operator in graph.operators}
    gone: list[Any] = []
    for operator in graph.operators:
        following = readers(model, operator.outputs[0])
        before = makers.get(operator.inputs[0]) if kind(model, operator) in _INT8 else None
        if before is None or kind(model, before) != "DEQUANTIZE" or operator.outputs[0] in list(graph.outputs):
            continue
        if [kind(model, each) for each in following] != ["QUANTIZE"]:
            continue
        code = model.operatorCodes[operator.opcodeIndex]
        code.version = max(code.version, _INT8[kind(model, operator)])
        number, whole = operator.outputs[0], following[0].outputs[0]
        graph.tensors[number].name, graph.tensors[whole].name = graph.tensors[whole].name, graph.tensors[number].name
        operator.inputs, operator.outputs = [before.inputs[0]], [whole]
        gone.append(following[0])
    graph.operators = [operator for operator in graph.operators if not any(operator is each for each in gone)]
    idle = [
        operator
        for operator in graph.operators
        if kind(model, operator) == "DEQUANTIZE"
        and not readers(model, operator.outputs[0])
        and operator.outputs[0] not in list(graph.outputs)
    ]
    graph.operators = [operator for operator in graph.operators if not any(operator is each for each in idle)]


def drop_unused(model: Any) -> None:
    """Remove the main subgraph's tensors that no operator, input or output has, in place."""
    graph = model.subgraphs[0]
    used = {*graph.inputs, *graph.outputs}
    for operator in graph.operators:
        used |= {*operator.inputs, *operator.outputs}
    kept = [index for index in range(len(graph.tensors)) if index in used]
    moved = {-1: -1, **{index: place for place, index in enumerate(kept)}}
    graph.tensors = [graph.tensors[index] for index in kept]
    graph.inputs = [moved[index] for index in graph.inputs]
    graph.outputs = [moved[index] for index in graph.outputs]
    for operator in graph.operators:
        operator.inputs = [moved[index] for index in operator.inputs]
        operator.outputs = [moved[index] for index in operator.outputs]
    for signature in model.signatureDefs:
        for entry in (*signature.inputs, *signature.outputs):
            entry.tensorIndex = moved[entry.tensorIndex]
