"""What LiteRT takes on trust in a ``.tflite`` file, looked at before the engine opens it.

The engine verifies the FlatBuffer itself. What it does not look at, and falls over or reads foreign memory by: scales
that are no number, or so far from any real one that products of them are none (XNNPACK, found by damaging files); and,
in older versions, numbers of tensors, buffers, subgraphs and operators that are not there.
"""

import math
from pathlib import Path

from edgecv.flatbuffer import FlatbufferError, Table, root
from edgecv.runtimes.container import mapped, unreadable

__all__ = ["check_model"]

_IDENTIFIER = b"TFL3"
_MODEL_CODES, _MODEL_SUBGRAPHS, _MODEL_BUFFERS = 1, 2, 4
_TENSORS, _INPUTS, _OUTPUTS, _OPERATORS = 0, 1, 2, 3
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_BUFFER, _TENSOR_NAME, _TENSOR_QUANTIZATION = 0, 1, 2, 3, 4
_QUANTIZATION_SCALE, _QUANTIZATION_ZERO_POINT, _QUANTIZATION_DIMENSION = 2, 3, 6
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS = 0, 1, 2
# TensorType → bytes of an element; of others (strings, resources, 4 bits) the size is not compared.
_BYTES = {0: 4, 1: 2, 2: 4, 3: 1, 4: 8, 6: 1, 7: 2, 9: 1, 10: 8, 12: 8, 15: 4, 16: 2}
_LEAST_SCALE, _MOST_SCALE = 1e-30, 1e30
_LEFT_OUT = -1


def check_model(path: Path) -> None:
    """Refuse a file that would make the engine fall over or read what is not in it.

    Raises:
        ArtifactError: It is such a file.
    """
    with mapped(path) as data:
        try:
            model = root(data, _IDENTIFIER)
            codes = sum(1 for _ in model.tables(_MODEL_CODES))
            buffers = [buffer.length(0) for buffer in model.tables(_MODEL_BUFFERS)]
            for subgraph in model.tables(_MODEL_SUBGRAPHS):
                _check_subgraph(subgraph, codes, buffers)
        except FlatbufferError as error:
            raise unreadable(path, "TFLite", error) from error


def _check_subgraph(subgraph: Table, codes: int, buffers: list[int]) -> None:
    count = 0
    for tensor in subgraph.tables(_TENSORS):
        _check_tensor(tensor, buffers)
        count += 1
    _check_indices(subgraph.integers(_INPUTS), count, least=0)
    _check_indices(subgraph.integers(_OUTPUTS), count, least=0)
    for operator in subgraph.tables(_OPERATORS):
        _check_indices([operator.integer(_OPERATOR_CODE, "I")], codes, least=0)
        _check_indices(operator.integers(_OPERATOR_INPUTS), count, least=_LEFT_OUT)
        _check_indices(operator.integers(_OPERATOR_OUTPUTS), count, least=_LEFT_OUT)


def _check_tensor(tensor: Table, buffers: list[int]) -> None:
    name, shape = tensor.text(_TENSOR_NAME), tensor.integers(_TENSOR_SHAPE)
    buffer = tensor.integer(_TENSOR_BUFFER, "I")
    if min(shape, default=0) < 0:
        raise FlatbufferError(f"tensor {name!r} has the shape {shape}")
    if buffer >= len(buffers):
        raise FlatbufferError(f"tensor {name!r} is in buffer {buffer} of {len(buffers)}")
    size = _BYTES.get(tensor.integer(_TENSOR_TYPE, "b"))
    # A buffer without bytes is that of a tensor that is computed.
    if size is not None and buffers[buffer] and buffers[buffer] != math.prod(shape) * size:
        raise FlatbufferError(f"tensor {name!r} of shape {shape} has {buffers[buffer]} bytes")
    quantization = tensor.table(_TENSOR_QUANTIZATION)
    if quantization is not None:
        _check_scales(name, shape, quantization)


def _check_scales(name: str, shape: list[int], quantization: Table) -> None:
    scales = quantization.floats(_QUANTIZATION_SCALE)
    for scale in scales:
        # A channel of zeros has no scale; an activation always has.
        if not (_LEAST_SCALE <= scale <= _MOST_SCALE or (scale == 0 and len(scales) > 1)):
            raise FlatbufferError(f"tensor {name!r} has the scale {scale:g}")
    dimension = quantization.integer(_QUANTIZATION_DIMENSION)
    if len(scales) > 1 and not (0 <= dimension < len(shape) and shape[dimension] == len(scales)):
        raise FlatbufferError(f"tensor {name!r} of shape {shape} has {len(scales)} scales of its side {dimension}")
    points = quantization.length(_QUANTIZATION_ZERO_POINT)
    if points not in (0, 1, len(scales)):
        raise FlatbufferError(f"tensor {name!r} has {len(scales)} scales and {points} zero points")


def _check_indices(indices: list[int], count: int, *, least: int) -> None:
    for index in indices:
        if not least <= index < count:
            raise FlatbufferError(f"number {index} stands where there are {count}")
