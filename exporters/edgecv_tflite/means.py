"""The mean inputs of a network's layers over real pictures, from the same runs that give the ranges."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgecv_tflite.operators import WEIGHTED, kernel_of, kind
from edgecv_tflite.tensors import add_constant, add_tensor

__all__ = ["Means", "add_means"]

_Array = np.ndarray[Any, np.dtype[Any]]

# Of the outputs that are added; no network's output is called so.
_PREFIX = "mean of "


class Means:
    """The mean of each channel of some tensors, over the pictures that were added."""

    def __init__(self) -> None:
        self._sums: dict[str, _Array] = {}
        self._count = 0

    def add(self, outputs: Mapping[str, _Array]) -> None:
        """Take in what a model with `add_means` gave on a picture."""
        self._count += 1
        for name, values in outputs.items():
            if name.startswith(_PREFIX):
                mean = values.reshape(-1, values.shape[-1]).mean(axis=0, dtype=np.float64)
                self._sums[name] = self._sums.get(name, 0.0) + mean

    def of(self, tensor: str) -> _Array | None:
        """Return a tensor's mean, one value a channel; None where nothing is known."""
        total = self._sums.get(_PREFIX + tensor)
        return None if total is None else total / self._count


def add_means(model: Any) -> None:
    """Let a float model give the mean inputs of its layers as further outputs, in place."""
    from tensorflow.lite.python import schema_py_generated as schema

    graph = model.subgraphs[0]
    axes = add_constant(model, "axes", np.array([1, 2], "<i4"), schema.TensorType.INT32)
    layers = [operator for operator in graph.operators if kernel_of(model, operator) is not None]
    for index in dict.fromkeys(operator.inputs[WEIGHTED[kind(model, operator)][0]] for operator in layers):
        tensor = graph.tensors[index]
        if len(tensor.shape) in (2, 4):
            given = index if len(tensor.shape) == 2 else _add_mean(model, index, axes)
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = _PREFIX.encode() + tensor.name, given
            model.signatureDefs[0].outputs.append(entry)
            graph.outputs = [*graph.outputs, given]


def _add_mean(model: Any, index: int, axes: int) -> int:
    """Add an operator that gives a map's mean over height and width; return its tensor's place."""
    from tensorflow.lite.python import schema_py_generated as schema

    graph = model.subgraphs[0]
    tensor = graph.tensors[index]
    sides = [1, 1, tensor.shape[3]]
    place = add_tensor(model, f"{_PREFIX}{tensor.name.decode()}", [tensor.shape[0], *sides], tensor.type)
    operator = schema.OperatorT()
    operator.opcodeIndex = _mean_code(model)
    operator.inputs, operator.outputs = [index, axes], [place]
    operator.builtinOptionsType = schema.BuiltinOptions.ReducerOptions
    operator.builtinOptions = schema.ReducerOptionsT()
    operator.builtinOptions.keepDims = True
    graph.operators.append(operator)
    return place


def _mean_code(model: Any) -> int:
    from tensorflow.lite.python import schema_py_generated as schema

    for place, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == schema.BuiltinOperator.MEAN:
            return place
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.MEAN
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
