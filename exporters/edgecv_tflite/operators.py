"""Small questions to a model object: what an operator is, what it reads, who reads a tensor."""

from collections.abc import Iterable
from typing import Any

from edgecv.tflite_operators import operator_name

__all__ = ["WEIGHTED", "kernel_of", "kind", "names_of", "readers"]

# Operators with weights → the places of input, kernel and bias among their inputs.
WEIGHTED = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}


def kind(model: Any, operator: Any) -> str:
    """Return an operator's builtin name, such as ``"CONV_2D"``."""
    code = model.operatorCodes[operator.opcodeIndex]
    # Codes above 127 do not fit the older, one-byte field; older files have that field only.
    return operator_name(max(code.builtinCode, code.deprecatedBuiltinCode))


def names_of(model: Any, indices: Iterable[int]) -> list[str]:
    """Return the names of tensors of the main subgraph; -1 is an input that is absent."""
    tensors = model.subgraphs[0].tensors
    return [tensors[index].name.decode() for index in indices if index >= 0]


def readers(model: Any, index: int) -> list[Any]:
    """Return the operators of the main subgraph that read a tensor."""
    return [operator for operator in model.subgraphs[0].operators if index in list(operator.inputs)]


def kernel_of(model: Any, operator: Any) -> Any | None:
    """Return the constant float32 kernel of a layer; None of any other operator."""
    from tensorflow.lite.python import schema_py_generated as schema

    if kind(model, operator) not in WEIGHTED:
        return None
    tensor = model.subgraphs[0].tensors[operator.inputs[1]]
    constant = model.buffers[tensor.buffer].data is not None
    return tensor if constant and tensor.type == schema.TensorType.FLOAT32 else None
