"""Files of TFLite with one operator, made with TensorFlow's own schema: what tables of targets are held to."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Name of a tensor type in NumPy → in TFLite's schema.
TYPES = {
    "float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9, "uint32": 15,
}  # fmt: skip
_QUANTISED = ("int8", "uint8", "int16")


def write_operator(
    path: Path,
    name: str,
    inputs: Sequence[tuple[str, Sequence[int]] | np.ndarray[Any, Any]],
    outputs: Sequence[tuple[str, Sequence[int]]],
    options: Mapping[str, Any] | None = None,
    *,
    kind: str = "",
    scale: float = 0.05,
) -> Path:
    """Write a file with one operator.

    Args:
        path: The file.
        name: The operator, such as ``"CONV_2D"``.
        inputs: Type and shape of what is fed; or an array, which stands in the file.
        outputs: Type and shape of what it computes.
        options: Its options, as the schema's Python calls them.
        kind: Name of the table of these, such as ``"Conv2DOptions"``.
        scale: Of all tensors of 8 and 16 bits.
    """
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = 1
    model.operatorCodes = [code]
    graph = schema.SubGraphT()
    graph.tensors, graph.name = [], "main"
    operator = schema.OperatorT()
    operator.opcodeIndex = 0
    if kind:
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        operator.builtinOptions = getattr(schema, f"{kind}T")()
        for key, value in (options or {}).items():
            setattr(operator.builtinOptions, key, value)

    def add(label: str, dtype: str, shape: Sequence[int], content: np.ndarray[Any, Any] | None) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.type, tensor.shape = label, TYPES[dtype], list(shape)
        tensor.hasRank = True
        if dtype in _QUANTISED or (dtype == "int32" and content is not None and content.ndim == 1 and label == "bias"):
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = [scale if dtype in _QUANTISED else scale * scale]
            tensor.quantization.zeroPoint = [0]
        if content is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(content).tobytes(), np.uint8)
            model.buffers.append(buffer)
            tensor.buffer = len(model.buffers) - 1
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    operator.inputs, graph.inputs = [], []
    for place, each in enumerate(inputs):
        if isinstance(each, np.ndarray):
            label = "bias" if place == 2 and name.endswith(("CONV_2D", "CONNECTED")) else f"constant{place}"
            operator.inputs.append(add(label, each.dtype.name, each.shape, each))
        else:
            operator.inputs.append(add(f"input{place}", *each, None))
            graph.inputs.append(operator.inputs[-1])
    operator.outputs = [add(f"output{place}", *each, None) for place, each in enumerate(outputs)]
    graph.outputs = list(operator.outputs)
    graph.operators = [operator]
    model.subgraphs = [graph]
    flatbuffer_utils.write_model(model, str(path))
    return path
