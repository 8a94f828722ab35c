"""Write a graph to a file without a second copy of its weights in memory.

The structure is serialised by the onnx package; each weight's bytes go from its array straight into the
file, as a `TensorProto` record inside the `GraphProto` record.
"""

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edgecv.errors import ConversionError
from edgecv.protobuf import encode_header
from edgecv_onnx.graph import Graph, with_nested

__all__ = ["lowest_opset", "write"]

# Field numbers of onnx.proto: ModelProto.graph, GraphProto.initializer, TensorProto.raw_data.
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9


def write(graph: Graph, path: Path, *, name: str) -> None:
    """Write an ONNX file.

    Raises:
        ConversionError: It would have more bytes than an ONNX file can.
    """
    from onnx import helper

    model = helper.make_model(
        helper.make_graph(graph.nodes, name, graph.inputs, graph.outputs),
        opset_imports=[helper.make_opsetid("", graph.opset)],
        producer_name="edgecv",
    )
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)
    weights = [(_header(name, value), value) for name, value in graph.constants.items()]
    structure = model.graph.SerializeToString(deterministic=True)
    model.ClearField("graph")
    prefix = model.SerializeToString(deterministic=True)
    length = len(structure) + sum(_record_length(header, value) for header, value in weights)
    if length >= 2**31 - len(prefix):
        raise ConversionError(f"{name} would have {length:,} bytes; an ONNX file holds at most 2 GiB.")
    with path.open("wb") as file:
        file.write(prefix + encode_header(_GRAPH, length) + structure)
        for header, value in weights:
            _write_record(file, header, value)


def lowest_opset(graph: Graph) -> int:
    """Return the lowest operator set, 7 or above, in which every operator means what it means now."""
    from onnx import defs

    newest = 7
    for node in with_nested(graph.nodes):
        newest = max(newest, defs.get_schema(node.op_type, graph.opset, "").since_version)
    return min(newest, graph.opset)


def _header(name: str, value: np.ndarray[Any, Any]) -> bytes:
    """Return the TensorProto without its data."""
    from onnx import TensorProto, helper

    tensor = TensorProto(name=name, dims=value.shape, data_type=helper.np_dtype_to_tensor_dtype(value.dtype))
    return bytes(tensor.SerializeToString(deterministic=True))


def _body_length(header: bytes, value: np.ndarray[Any, Any]) -> int:
    return len(header) + len(encode_header(_RAW_DATA, value.nbytes)) + value.nbytes


def _record_length(header: bytes, value: np.ndarray[Any, Any]) -> int:
    body = _body_length(header, value)
    return len(encode_header(_INITIALIZER, body)) + body


def _write_record(file: BinaryIO, header: bytes, value: np.ndarray[Any, Any]) -> None:
    file.write(encode_header(_INITIALIZER, _body_length(header, value)) + header)
    file.write(encode_header(_RAW_DATA, value.nbytes))
    # ONNX stores raw data little-endian; transposed kernels become contiguous here, one at a time.
    little = value.astype(value.dtype.newbyteorder("<"), copy=False)
    file.write(np.ascontiguousarray(little).data)
