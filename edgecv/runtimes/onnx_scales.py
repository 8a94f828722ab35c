"""Scale and zero point of the 8-bit tensors inside a ``.onnx`` file, without onnx or protobuf.

Field numbers are those of the messages in onnx.proto.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecv.protobuf import Field, WireError, fields, text
from edgecv.runtimes.container import Buffer, mapped, unreadable
from edgecv.runtimes.onnx_graph import OnnxNode, initializers, read_graph

__all__ = ["Scale", "as_real", "read_scales"]

_TENSOR_NAME, _TENSOR_RAW = 8, 9


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How an integer stands for a real number.

    Attributes:
        scale: The real number of one step.
        zero_point: The integer that stands for 0, one byte of the values' own type; empty where it is 0.
    """

    scale: float
    zero_point: bytes

    def real(self, values: Any) -> Any:
        """Return float32 numbers of an integer array."""
        import numpy as np

        zero = np.frombuffer(self.zero_point or b"\0", values.dtype).astype(np.float32)
        return (values.astype(np.float32) - zero[0]) * np.float32(self.scale)


def as_real(values: Any, scale: Scale | None) -> Any:
    """Return a tensor inside a file as what it stands for: int8 without its scale, float16 as float32."""
    if scale is not None:
        return scale.real(values)
    return values.astype("float32") if values.dtype == "float16" else values


def read_scales(path: Path, names: Collection[str]) -> dict[str, Scale]:
    """Return the scales of tensors that a QuantizeLinear gives or a DequantizeLinear reads, one for the whole tensor.

    Raises:
        ArtifactError: The file cannot be parsed.
    """
    import numpy as np

    nodes, _ = read_graph(path)
    owners = {name: node for node in nodes for name in _quantized(node) if name in names}
    constants = _read_constants(path, {name for node in owners.values() for name in node.inputs[1:3]})
    found: dict[str, Scale] = {}
    for name, node in owners.items():
        scale, zero = (constants.get(each, b"") for each in (*node.inputs[1:3], "")[:2])
        if len(scale) == 4 and len(zero) <= 1:
            found[name] = Scale(scale=float(np.frombuffer(scale, "<f4")[0]), zero_point=zero)
    return found


def _quantized(node: OnnxNode) -> tuple[str, ...]:
    if node.operator == "QuantizeLinear":
        return node.outputs[:1]
    return node.inputs[:1] if node.operator == "DequantizeLinear" else ()


def _read_constants(path: Path, names: Collection[str]) -> Mapping[str, bytes]:
    """Return the bytes of initializers; what is stored in another form than bytes is left out."""
    with mapped(path) as data:
        try:
            found = {
                name: data[raw.begin : raw.end]
                for tensor in initializers(data)
                for name, raw in _tensor(data, tensor)
                if name in names
            }
        except WireError as error:
            raise unreadable(path, "ONNX", error) from error
    return found


def _tensor(data: Buffer, tensor: Field) -> Iterator[tuple[str, Field]]:
    parts = {field.number: field for field in fields(data, tensor.begin, tensor.end)}
    if _TENSOR_NAME in parts and _TENSOR_RAW in parts:
        yield text(data, parts[_TENSOR_NAME]), parts[_TENSOR_RAW]
