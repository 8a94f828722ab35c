"""Faults planted by rule in the weights of artifacts of both formats; the fixture `planting` gives this module."""

import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgecv import registry
from edgecv.deployable import Deployable

__all__ = ["QUANTIZED_RULES", "Export", "faults", "plant"]

Array = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True)
class Export:
    """A sound artifact and its original."""

    deployable: Deployable
    path: Path


def faults(sound: Export) -> Iterator[tuple[str, str]]:
    """Yield layers and rules that go together, the rules in turn."""
    rules: dict[type, list[str]] = {}
    for layer in sound.deployable.network.layers:
        kind = type(layer).__name__
        if kind == "BatchNormalization":
            yield layer.name, "epsilon"
        elif kind in ("Conv2D", "DepthwiseConv2D"):
            own = rules.setdefault(type(layer), [])
            own[:] = own or ["scaled", "flipped", "filters swapped", *(["bias shifted"] if layer.use_bias else [])]
            yield layer.name, own.pop()
        elif kind == "ReLU":
            yield layer.name, "activation dropped"


def plant(sound: Export, layer: str, rule: str, folder: Path) -> Path:
    """Copy a sound artifact with a fault in one layer."""
    path = folder / f"faulty{sound.path.suffix}"
    edit = OnnxFile(sound.path) if path.suffix == ".onnx" else TfliteFile(sound.path)
    if rule == "activation dropped":
        edit.drop_activation(layer)
    else:
        kernel, bias = edit.weights(layer)
        for name, value in RULES[rule](sound.deployable.network.get_layer(layer), kernel, bias).items():
            assert not np.array_equal(value, edit.value(name)), "the fault is none"
            edit.set(name, value)
    edit.write(path)
    return path


# A kernel or bias: its name in the file, and its value, filters first.
Weight = tuple[str, Array]


def _scaled(_: Any, kernel: Weight, __: Weight | None) -> dict[str, Array]:
    return {kernel[0]: kernel[1] * np.float32(1.05)}


def _flipped(_: Any, kernel: Weight, __: Weight | None) -> dict[str, Array]:
    return {kernel[0]: kernel[1][:, ::-1, ::-1, ::-1]}


def _filters_swapped(_: Any, kernel: Weight, __: Weight | None) -> dict[str, Array]:
    order = [1, 0, *range(2, len(kernel[1]))]
    return {kernel[0]: kernel[1][order]}


def _bias_shifted(_: Any, __: Weight, bias: Weight | None) -> dict[str, Array]:
    assert bias is not None
    # Not all by the same: a softmax behind would not care.
    return {bias[0]: bias[1] + np.where(np.arange(len(bias[1])) % 2, 0.1, 0).astype(np.float32)}


def _epsilon(layer: Any, kernel: Weight, bias: Weight | None) -> dict[str, Array]:
    """Fold the layer's BatchNorm with another epsilon."""
    assert bias is not None
    variance, beta = (np.asarray(each.numpy()) for each in (layer.moving_variance, layer.beta))
    factor = np.sqrt((variance + layer.epsilon) / (variance + (1e-5 if layer.epsilon > 5e-4 else 1e-2)))
    shape = (-1, *[1] * (kernel[1].ndim - 1))
    return {kernel[0]: kernel[1] * factor.reshape(shape), bias[0]: beta + (bias[1] - beta) * factor}


def _filters_reversed(_: Any, kernel: Weight, __: Weight | None) -> dict[str, Array]:
    return {kernel[0]: kernel[1][::-1]}


def _biases_reversed(_: Any, __: Weight, bias: Weight | None) -> dict[str, Array]:
    assert bias is not None
    return {bias[0]: bias[1][::-1]}


def _halved(_: Any, kernel: Weight, __: Weight | None) -> dict[str, Array]:
    return {kernel[0]: kernel[1] // 2}


RULES: dict[str, Callable[[Any, Weight, Weight | None], dict[str, Array]]] = {
    "scaled": _scaled,
    "flipped": _flipped,
    "filters swapped": _filters_swapped,
    "bias shifted": _bias_shifted,
    "epsilon": _epsilon,
    "filters reversed": _filters_reversed,
    "biases reversed": _biases_reversed,
    "halved": _halved,
}
QUANTIZED_RULES = ("filters reversed", "biases reversed", "halved")


def holds(name: str, layer: str) -> bool:
    """Tell whether a node's or tensor's name is of a group with this layer."""
    return layer in re.split(r"[+/]", name)


class OnnxFile:
    """The weights of an ONNX file."""

    def __init__(self, path: Path) -> None:
        import onnx

        self._model = onnx.load(path)
        self._tensors = {tensor.name: tensor for tensor in self._model.graph.initializer}
        self._makers = {node.output[0]: node for node in self._model.graph.node}

    def weights(self, layer: str) -> tuple[Weight, Weight | None]:
        kinds = ("Conv", "Gemm", "MatMul")
        node = next(node for node in self._model.graph.node if node.op_type in kinds and holds(node.name, layer))
        # In int8 the integers are in front of a DequantizeLinear.
        names = [name if name in self._tensors else self._makers[name].input[0] for name in node.input[1:]]
        found = [(name, self.value(name)) for name in names]
        return found[0], found[1] if len(found) > 1 else None

    def value(self, name: str) -> Array:
        from onnx import numpy_helper

        return np.asarray(numpy_helper.to_array(self._tensors[name]))

    def set(self, name: str, value: Array) -> None:
        from onnx import numpy_helper

        same = np.ascontiguousarray(value, self.value(name).dtype)
        self._tensors[name].CopyFrom(numpy_helper.from_array(same, name))

    def drop_activation(self, layer: str) -> None:
        kinds = ("Relu", "Clip")
        node = next(node for node in self._model.graph.node if node.op_type in kinds and holds(node.name, layer))
        node.op_type = "Identity"
        del node.input[1:]

    def write(self, path: Path) -> None:
        import onnx

        onnx.save(self._model, path)


# TensorType of TFLite's schema.
_TYPES = {0: np.float32, 2: np.int32, 9: np.int8}


class TfliteFile:
    """The weights of a TFLite file."""

    def __init__(self, path: Path) -> None:
        from tensorflow.lite.tools import flatbuffer_utils

        found = registry.runtime_for(".tflite")
        assert found is not None
        self._runtime = found[1]
        self._document = self._runtime.read_metadata(path)
        self._model = flatbuffer_utils.convert_bytearray_to_object(bytearray(path.read_bytes()))
        self._graph = self._model.subgraphs[0]
        self._tensors = {tensor.name.decode(): tensor for tensor in self._graph.tensors}

    def _operator(self, layer: str) -> Any:
        """Return the operator with weights whose output is of the layer's group."""
        names = list(self._tensors)
        for operator in self._graph.operators:
            if holds(names[operator.outputs[0]], layer) and hasattr(operator.builtinOptions, "fusedActivationFunction"):
                return operator
        raise AssertionError(f"no operator of {layer}")

    def weights(self, layer: str) -> tuple[Weight, Weight | None]:
        names = list(self._tensors)
        kernel, *bias = (names[index] for index in self._operator(layer).inputs[1:] if index >= 0)
        return (kernel, self.value(kernel)), (bias[0], self.value(bias[0])) if bias else None

    def value(self, name: str) -> Array:
        tensor = self._tensors[name]
        content = bytes(self._model.buffers[tensor.buffer].data)
        values = np.frombuffer(content, _TYPES[tensor.type]).reshape(tensor.shape)
        # A depthwise kernel is (1, height, width, filters).
        return np.moveaxis(values, -1, 0) if self._is_depthwise(name) else values

    def set(self, name: str, value: Array) -> None:
        values = np.moveaxis(value, 0, -1) if self._is_depthwise(name) else value
        content = np.ascontiguousarray(values, _TYPES[self._tensors[name].type]).tobytes()
        self._model.buffers[self._tensors[name].buffer].data = np.frombuffer(content, np.uint8)

    def drop_activation(self, layer: str) -> None:
        self._operator(layer).builtinOptions.fusedActivationFunction = 0

    def write(self, path: Path) -> None:
        from tensorflow.lite.tools import flatbuffer_utils

        path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(self._model))
        self._runtime.write_metadata(path, self._document)

    def _is_depthwise(self, name: str) -> bool:
        index = list(self._tensors).index(name)
        readers = [operator for operator in self._graph.operators if index in list(operator.inputs)[1:2]]
        return any(type(operator.builtinOptions).__name__ == "DepthwiseConv2DOptionsT" for operator in readers)
