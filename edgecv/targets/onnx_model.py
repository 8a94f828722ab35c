"""All that targets ask of a ``.onnx`` file, read without onnx or protobuf.

Field numbers are those of the messages in onnx.proto. Types of tensors inside, which files rarely state, follow from
those of inputs and weights, operator by operator.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgecv.protobuf import Field, WireError, fields, integers, text
from edgecv.runtimes.container import Buffer, mapped, unreadable
from edgecv.targets.graph import Graph, Operator, Tensor

__all__ = ["DTYPES", "read_onnx"]

_MODEL_IR, _MODEL_GRAPH, _MODEL_OPSET, _MODEL_FUNCTION = 1, 7, 8, 25
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE = 1, 5, 11, 12, 13
_NODE_INPUT, _NODE_OUTPUT, _NODE_TYPE, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 4, 5, 7
_ATTRIBUTE_NAME, _ATTRIBUTE_FLOAT, _ATTRIBUTE_INTEGER, _ATTRIBUTE_TENSOR = 1, 2, 3, 5
_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 6, 11
_TENSOR_DIMENSION, _TENSOR_TYPE, _TENSOR_NAME = 1, 2, 8
_VALUE_NAME, _VALUE_TYPE, _TYPE_TENSOR, _TYPE_ELEMENT, _TYPE_SHAPE = 1, 2, 1, 1, 2
_SHAPE_DIMENSION, _DIMENSION_VALUE = 1, 1
_DEFAULT_DOMAINS = ("", "ai.onnx")
_DEEPEST = 16
# TensorProto.DataType → NumPy's name.
DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "str", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16",
    17: "float8e4m3fn", 18: "float8e4m3fnuz", 19: "float8e5m2", 20: "float8e5m2fnuz", 21: "uint4", 22: "int4",
}  # fmt: skip
_UNKNOWN = "unknown"
# Operators whose outputs are of another type than their first input; by output.
_OUTPUT_TYPES = {
    **dict.fromkeys(("Shape", "Size", "NonZero", "ArgMax", "ArgMin", "NonMaxSuppression"), ("int64",)),
    **dict.fromkeys(
        ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Not", "And", "Or", "Xor", "IsNaN", "IsInf"),
        ("bool",),
    ),
    **dict.fromkeys(("ConvInteger", "MatMulInteger"), ("int32",)),
    "DynamicQuantizeLinear": ("uint8", "float32", "uint8"),
}
# Operators whose outputs are of the type of another input than the first.
_OUTPUT_LIKE = {
    "Where": 1,
    "DequantizeLinear": 1,
    "QuantizeLinear": 2,
    "OneHot": 2,
    "QLinearConv": 7,
    "QLinearMatMul": 7,
}


@dataclass
class _Scope:
    """What is known of the tensors that a graph sees."""

    tensors: dict[str, Tensor] = field(default_factory=dict)

    def get(self, name: str) -> Tensor:
        return self.tensors.get(name) or Tensor(name=name, dtype=_UNKNOWN)


def read_onnx(path: Path) -> Graph:
    """Return all nodes of a file, those of bodies included.

    Raises:
        ArtifactError: The file cannot be parsed.
    """
    with mapped(path) as data:
        try:
            return _Reader(data).graph()
        except (WireError, struct.error) as error:
            raise unreadable(path, "ONNX", error) from error


class _Reader:
    """Walks a file."""

    def __init__(self, data: Buffer) -> None:
        self._data = data
        self._opsets: dict[str, int] = {}
        self._graphs: list[Field] = []
        self._ir = 0
        for part in fields(data, 0, len(data)):
            if part.number == _MODEL_IR:
                self._ir = integers(data, part)[0]
            elif part.number == _MODEL_GRAPH and part.is_message:
                self._graphs.append(part)
            elif part.number == _MODEL_OPSET and part.is_message:
                domain, version = self._opset(part)
                self._opsets[domain] = version
            elif part.number == _MODEL_FUNCTION:
                raise WireError("it has functions of its own, which are not looked into")
        if not self._graphs:
            raise WireError("it has no graph")

    def graph(self) -> Graph:
        scope = _Scope()
        inputs = [self._value(each) for each in self._parts(self._graphs, _GRAPH_INPUT)]
        outputs = [self._value(each) for each in self._parts(self._graphs, _GRAPH_OUTPUT)]
        operators = tuple(self._operators(self._graphs, scope, (), 0))
        fed = tuple(tensor for tensor in inputs if not scope.get(tensor.name).constant)
        return Graph(
            operators=operators, inputs=fed, outputs=tuple(outputs), opsets=dict(self._opsets), ir_version=self._ir
        )

    def _operators(self, graphs: list[Field], scope: _Scope, inside: tuple[str, ...], depth: int) -> Iterator[Operator]:
        if depth > _DEEPEST:
            raise WireError(f"its bodies are nested deeper than {_DEEPEST}")
        for number in (_GRAPH_VALUE, _GRAPH_OUTPUT, _GRAPH_INPUT):
            for each in self._parts(graphs, number):
                tensor = self._value(each)
                scope.tensors[tensor.name] = tensor
        for each in self._parts(graphs, _GRAPH_INITIALIZER):
            tensor = self._initializer(each)
            scope.tensors[tensor.name] = tensor
        for each in self._parts(graphs, _GRAPH_NODE):
            operator, bodies = self._node(each, scope, inside)
            yield operator
            own = inside or tuple(tensor.name for tensor in operator.outputs)
            for body in bodies:
                yield from self._operators([body], _Scope(dict(scope.tensors)), own, depth + 1)

    def _node(self, node: Field, scope: _Scope, inside: tuple[str, ...]) -> tuple[Operator, list[Field]]:
        data = self._data
        read: list[str] = []
        made: list[str] = []
        kind = domain = ""
        options: dict[str, Any] = {}
        bodies: list[Field] = []
        for part in fields(data, node.begin, node.end):
            if part.number == _NODE_INPUT:
                read.append(text(data, part))
            elif part.number == _NODE_OUTPUT:
                made.append(text(data, part))
            elif part.number == _NODE_TYPE:
                kind = text(data, part)
            elif part.number == _NODE_DOMAIN:
                domain = text(data, part)
            elif part.number == _NODE_ATTRIBUTE and part.is_message:
                name, value, graphs = self._attribute(part)
                options[name] = value
                bodies += graphs
        inputs = tuple(scope.get(name) if name else None for name in read)
        types = _output_types(kind, inputs, options, len(made))
        for name, dtype in zip(made, types, strict=True):
            if scope.get(name).dtype == _UNKNOWN:
                scope.tensors[name] = Tensor(name=name, dtype=dtype)
        custom = domain not in _DEFAULT_DOMAINS
        operator = Operator(
            name=f"{domain}.{kind}" if custom else kind,
            inputs=inputs,
            outputs=tuple(scope.get(name) for name in made if name),
            version=self._opsets.get("" if not custom else domain, 1),
            options=options,
            custom=custom,
            inside=inside,
        )
        return operator, bodies

    def _attribute(self, attribute: Field) -> tuple[str, Any, list[Field]]:
        data, name = self._data, ""
        value: Any = None
        graphs = []
        for part in fields(data, attribute.begin, attribute.end):
            if part.number == _ATTRIBUTE_NAME:
                name = text(data, part)
            elif part.number == _ATTRIBUTE_INTEGER:
                value = integers(data, part)[0]
            elif part.number == _ATTRIBUTE_FLOAT:
                (value,) = struct.unpack_from("<f", data, part.begin)
            elif part.number == _ATTRIBUTE_TENSOR and part.is_message:
                value = self._initializer(part)
            elif part.number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS) and part.is_message:
                graphs.append(part)
        return name, value, graphs

    def _opset(self, opset: Field) -> tuple[str, int]:
        domain, version = "", 1
        for part in fields(self._data, opset.begin, opset.end):
            if part.number == _OPSET_DOMAIN:
                domain = text(self._data, part)
            elif part.number == _OPSET_VERSION:
                version = integers(self._data, part)[0]
        return "" if domain in _DEFAULT_DOMAINS else domain, version

    def _initializer(self, tensor: Field) -> Tensor:
        name, dtype = "", _UNKNOWN
        shape: list[int] = []
        for part in fields(self._data, tensor.begin, tensor.end):
            if part.number == _TENSOR_NAME:
                name = text(self._data, part)
            elif part.number == _TENSOR_TYPE:
                dtype = _dtype(integers(self._data, part)[0])
            elif part.number == _TENSOR_DIMENSION:
                shape += integers(self._data, part)
        return Tensor(name=name, dtype=dtype, shape=tuple(shape), constant=True)

    def _value(self, value: Field) -> Tensor:
        name, dtype, shape = "", _UNKNOWN, None
        for part in fields(self._data, value.begin, value.end):
            if part.number == _VALUE_NAME:
                name = text(self._data, part)
            elif part.number == _VALUE_TYPE and part.is_message:
                for tensor in self._parts([part], _TYPE_TENSOR):
                    for inner in fields(self._data, tensor.begin, tensor.end):
                        if inner.number == _TYPE_ELEMENT:
                            dtype = _dtype(integers(self._data, inner)[0])
                        elif inner.number == _TYPE_SHAPE and inner.is_message:
                            shape = tuple(self._sides(inner))
        return Tensor(name=name, dtype=dtype, shape=shape)

    def _sides(self, shape: Field) -> Iterator[int | None]:
        for dimension in self._parts([shape], _SHAPE_DIMENSION):
            values = [
                integers(self._data, part)[0]
                for part in fields(self._data, dimension.begin, dimension.end)
                if part.number == _DIMENSION_VALUE
            ]
            yield values[0] if values else None

    def _parts(self, owners: list[Field], number: int) -> Iterator[Field]:
        for owner in owners:
            for part in fields(self._data, owner.begin, owner.end):
                if part.number == number and part.is_message:
                    yield part


def _dtype(code: int) -> str:
    return DTYPES.get(code, f"type {code}")


def _output_types(kind: str, inputs: tuple[Tensor | None, ...], options: dict[str, Any], count: int) -> list[str]:
    """Return the types of what a node computes."""
    first = inputs[0].dtype if inputs and inputs[0] is not None else _UNKNOWN
    if kind == "Cast":
        return [_dtype(options.get("to") or 0)] * count
    if kind in ("Constant", "ConstantOfShape"):
        value = options.get("value")
        return [value.dtype if isinstance(value, Tensor) else "float32"] * count
    if kind == "TopK":
        return [first, "int64"][:count] + [_UNKNOWN] * max(count - 2, 0)
    if kind == "QuantizeLinear" and (len(inputs) < 3 or inputs[2] is None):
        return ["uint8"] * count
    if kind in ("If", "Loop", "Scan"):
        return [_UNKNOWN] * count
    if kind in _OUTPUT_TYPES:
        types = list(_OUTPUT_TYPES[kind])
        return (types * count)[:count]
    place = _OUTPUT_LIKE.get(kind, 0)
    like = inputs[place] if place < len(inputs) else None
    return [like.dtype if like is not None else first] * count
