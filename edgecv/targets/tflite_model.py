"""All that targets ask of a ``.tflite`` file, read without a FlatBuffers library.

Field numbers and enumerations are those of TFLite's schema.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgecv.flatbuffer import FlatbufferError, Table, root
from edgecv.runtimes.container import mapped, unreadable
from edgecv.runtimes.tflite_check import check_model
from edgecv.targets.graph import Graph, Operator, Tensor
from edgecv.tflite_operators import operator_of

__all__ = ["read_tflite"]

_IDENTIFIER = b"TFL3"
_MODEL_CODES, _MODEL_SUBGRAPHS, _MODEL_BUFFERS = 1, 2, 4
_CODE_VERSION = 2
_TENSORS, _INPUTS, _OUTPUTS, _OPERATORS = 0, 1, 2, 3
_SHAPE, _TYPE, _BUFFER, _NAME, _QUANTIZATION, _SIGNATURE = 0, 1, 2, 3, 4, 7
_SCALE, _ZERO_POINT = 2, 3
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS, _OPTIONS = 0, 1, 2, 4
_TYPES = (
    "float32", "float16", "int32", "uint8", "int64", "str", "bool", "int16", "complex64", "int8", "float64",
    "complex128", "uint64", "resource", "variant", "uint32", "uint16", "int4", "bfloat16",
)  # fmt: skip
_INTEGERS = {"int32": "i", "int64": "q"}
_FEW = 64
_DEEPEST = 16
_WINDOW = {"padding": (0, "b", 0), "stride_w": (1, "i", 0), "stride_h": (2, "i", 0)}
# Operator → option → field, kind and default.
_FIELDS: dict[str, dict[str, tuple[int, str, int]]] = {
    "CONV_2D": {**_WINDOW, "dilation_w": (4, "i", 1), "dilation_h": (5, "i", 1)},
    "DEPTHWISE_CONV_2D": {**_WINDOW, "multiplier": (3, "i", 0), "dilation_w": (5, "i", 1), "dilation_h": (6, "i", 1)},
    "AVERAGE_POOL_2D": {**_WINDOW, "filter_w": (3, "i", 0), "filter_h": (4, "i", 0)},
    "MAX_POOL_2D": {**_WINDOW, "filter_w": (3, "i", 0), "filter_h": (4, "i", 0)},
    "TRANSPOSE_CONV": dict(_WINDOW),
    "FULLY_CONNECTED": {"weights_format": (1, "b", 0), "keep_num_dims": (2, "b", 0)},
    "RESIZE_BILINEAR": {"align_corners": (2, "b", 0), "half_pixel_centers": (3, "b", 0)},
    "RESIZE_NEAREST_NEIGHBOR": {"align_corners": (0, "b", 0), "half_pixel_centers": (1, "b", 0)},
    "STRIDED_SLICE": {"ellipsis_mask": (2, "i", 0), "new_axis_mask": (3, "i", 0), "shrink_axis_mask": (4, "i", 0)},
    "GATHER": {"axis": (0, "i", 0), "batch_dims": (1, "i", 0)},
    "MIRROR_PAD": {"mode": (0, "b", 0)},
    "DEPTH_TO_SPACE": {"block_size": (0, "i", 0)},
    "SPACE_TO_DEPTH": {"block_size": (0, "i", 0)},
    "ARG_MAX": {"output_type": (0, "b", 0)},
    "IF": {"then": (0, "i", 0), "else": (1, "i", 0)},
    "WHILE": {"condition": (0, "i", 0), "body": (1, "i", 0)},
}
_BODIES = ("then", "else", "condition", "body")


def read_tflite(path: Path) -> Graph:
    """Return all operators of a file, those of bodies included.

    Raises:
        ArtifactError: The file cannot be parsed.
    """
    check_model(path)
    with mapped(path) as data:
        try:
            model = _Model(root(data, _IDENTIFIER))
            return model.graph()
        except (FlatbufferError, IndexError) as error:
            raise unreadable(path, "TFLite", error) from error


class _Model:
    """The tables of a file, with the tensors of each subgraph."""

    def __init__(self, model: Table) -> None:
        self._codes = [_code(table) for table in model.tables(_MODEL_CODES)]
        buffers = list(model.tables(_MODEL_BUFFERS))
        self._subgraphs = list(model.tables(_MODEL_SUBGRAPHS))
        if not self._subgraphs:
            raise FlatbufferError("it has no graph")
        self._tensors = [[_tensor(each, buffers) for each in graph.tables(_TENSORS)] for graph in self._subgraphs]
        self._read: set[int] = set()

    def graph(self) -> Graph:
        main, tensors = self._subgraphs[0], self._tensors[0]
        return Graph(
            operators=tuple(self._operators(0, (), 0)),
            inputs=tuple(tensors[index] for index in main.integers(_INPUTS)),
            outputs=tuple(tensors[index] for index in main.integers(_OUTPUTS)),
        )

    def _operators(self, number: int, inside: tuple[str, ...], depth: int) -> Iterator[Operator]:
        if depth > _DEEPEST:
            raise FlatbufferError(f"its bodies are nested deeper than {_DEEPEST}")
        self._read.add(number)
        tensors = self._tensors[number]
        for table in self._subgraphs[number].tables(_OPERATORS):
            name, version, custom = self._codes[table.integer(_OPERATOR_CODE, "I")]
            options = _options(name, table)
            outputs = _chosen(tensors, table.integers(_OPERATOR_OUTPUTS))
            yield Operator(
                name=name,
                inputs=tuple(_chosen(tensors, table.integers(_OPERATOR_INPUTS))),
                outputs=tuple(tensor for tensor in outputs if tensor is not None),
                version=version,
                options=options,
                custom=custom,
                inside=inside,
            )
            body = inside or tuple(tensor.name for tensor in outputs if tensor is not None)
            for each in (options[key] for key in _BODIES if key in options):
                # A body that two operators share is looked at once.
                if not 0 <= each < len(self._subgraphs):
                    raise FlatbufferError(f"{name} has the body {each} of {len(self._subgraphs)}")
                if each not in self._read:
                    yield from self._operators(each, body, depth + 1)


def _code(table: Table) -> tuple[str, int, bool]:
    name, custom = operator_of(table)
    return name, table.integer(_CODE_VERSION, "i", 1), custom


def _tensor(table: Table, buffers: Sequence[Table]) -> Tensor:
    code = table.integer(_TYPE, "b")
    dtype = _TYPES[code] if 0 <= code < len(_TYPES) else f"type {code}"
    signature = table.integers(_SIGNATURE) or table.integers(_SHAPE)
    quantization = table.table(_QUANTIZATION)
    buffer = buffers[table.integer(_BUFFER, "I")]
    size = buffer.length(0)
    few = dtype in _INTEGERS and 0 < size <= 8 * _FEW
    return Tensor(
        name=table.text(_NAME),
        dtype=dtype,
        shape=tuple(None if side < 0 else side for side in signature),
        constant=size > 0,
        scales=tuple(quantization.floats(_SCALE)) if quantization else (),
        zero_points=tuple(quantization.integers(_ZERO_POINT, "q")) if quantization else (),
        values=tuple(_integers(buffer, _INTEGERS[dtype])) if few else None,
    )


def _integers(buffer: Table, kind: str) -> list[int]:
    octets = bytes(buffer.integers(0, "B"))
    size = {"i": 4, "q": 8}[kind]
    return [
        int.from_bytes(octets[begin : begin + size], "little", signed=True) for begin in range(0, len(octets), size)
    ]


def _options(name: str, table: Table) -> dict[str, Any]:
    wanted = _FIELDS.get(name)
    found = table.table(_OPTIONS) if wanted else None
    if wanted is None or found is None:
        return {}
    return {option: found.integer(place, kind, default) for option, (place, kind, default) in wanted.items()}


def _chosen(tensors: Sequence[Tensor], indices: Sequence[int]) -> list[Tensor | None]:
    return [tensors[index] if index >= 0 else None for index in indices]
