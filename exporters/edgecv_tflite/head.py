"""The input's way into int8: ``image`` uint8, scale 1, zero point 0 → QUANTIZE → int8 kernels.

Without it every picture would be turned into floats first, only to be rounded to the same 256 levels again.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from edgecv.errors import ConversionError
from edgecv_tflite.operators import kind, names_of, readers

__all__ = ["fuse_input", "head_operators", "sharpen_constants"]

_ELEMENTWISE = ("SUB", "ADD", "MUL")


def head_operators(model: Any, chosen: Mapping[str, Any]) -> list[str]:
    """Return the scopes of the operators that scale the picture before the first layer, where they can be int8.

    Those are CAST and then SUB, ADD or MUL by constants, each with one reader, up to chosen operators.
    """
    graph = model.subgraphs[0]
    casts = [operator for operator in readers(model, graph.inputs[0]) if kind(model, operator) == "CAST"]
    if len(casts) != 1:
        return []
    scopes: list[str] = []
    index = casts[0].outputs[0]
    while True:
        following = readers(model, index)
        scope = [_scope(model, operator) for operator in following]
        if all(each in chosen for each in scope):
            return scopes
        if len(following) != 1 or kind(model, following[0]) not in _ELEMENTWISE:
            return []
        scopes += scope
        index = following[0].outputs[0]


def fuse_input(model: Any, name: str) -> None:
    """Let the QUANTIZE behind ``image`` read it without a CAST to float in between.

    Raises:
        ConversionError: The calibrated scale is not 1, so levels of the picture would be lost.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    graph = model.subgraphs[0]
    casts = [operator for operator in readers(model, graph.inputs[0]) if kind(model, operator) == "CAST"]
    following = readers(model, casts[0].outputs[0]) if len(casts) == 1 else []
    if not following or any(kind(model, operator) != "QUANTIZE" for operator in following):
        return
    for operator in following:
        given = graph.tensors[operator.outputs[0]].quantization
        if list(given.scale) != [1.0] or list(given.zeroPoint) != [-128]:
            scale, zero = float(given.scale[0]), int(given.zeroPoint[0])
            raise ConversionError(
                f"{name} cannot be quantised to int8: its input would have scale {scale:.6g} and zero point "
                f"{zero + 128}, not 1 and 0. Calibrate on an all-black and an all-white picture, too."
            )
        operator.inputs = [graph.inputs[0]]
        graph.tensors[operator.outputs[0]].name = graph.tensors[casts[0].outputs[0]].name
    quantization = schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = [1.0], [0]
    graph.tensors[graph.inputs[0]].quantization = quantization
    graph.tensors[casts[0].outputs[0]].name = b"unused"
    graph.operators = [operator for operator in graph.operators if operator is not casts[0]]


def sharpen_constants(model: Any, floats: Any, scopes: Iterable[str]) -> None:
    """Quantise the constants of the head's operators again, in place, by the scale that rounds them least.

    The means of the channels, of which there are three, would otherwise be off by up to a quarter of a level.

    Args:
        model: The quantised model.
        floats: The float model that it was made from.
        scopes: Of the head's operators.
    """
    import numpy as np

    wanted = set(scopes)
    values = {tensor.name: floats.buffers[tensor.buffer].data for tensor in floats.subgraphs[0].tensors}
    for operator in model.subgraphs[0].operators:
        if _scope(model, operator) not in wanted:
            continue
        for index in operator.inputs:
            tensor = model.subgraphs[0].tensors[index]
            buffer = model.buffers[tensor.buffer]
            if buffer.data is None or values.get(tensor.name) is None:
                continue
            exact = np.frombuffer(bytes(values[tensor.name]), "<f4").astype(np.float64)
            scales = [np.abs(exact).max() / steps for steps in range(127, 63, -1)]
            scale = min(scales, key=lambda scale: float(np.abs(np.rint(exact / scale) * scale - exact).max()))
            if scale > 0:
                tensor.quantization.scale, tensor.quantization.zeroPoint = [float(scale)], [0]
                buffer.data = np.rint(exact / scale).astype(np.int8).view(np.uint8)


def _scope(model: Any, operator: Any) -> str:
    return "".join(f"{name};" for name in names_of(model, operator.outputs))
