"""A model's bytes on the host: what its tensors are, further outputs, and a file for readers that take one."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgecv.errors import OptionError
from edgecv.flatbuffer import FlatbufferError, Table, root, with_integers

from edgecv_tflm.description import Description, Tensor

__all__ = ["as_file", "check_described", "with_outputs"]

_IDENTIFIER = b"TFL3"
_SUBGRAPHS = 2
_TENSORS, _INPUTS, _OUTPUTS = 0, 1, 2
_SHAPE, _TYPE, _QUANTIZATION = 0, 1, 4
_SCALE, _ZERO_POINT = 2, 3
_KINDS = {0: "float32", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 9: "int8"}


@contextlib.contextmanager
def as_file(model: bytes) -> Iterator[Path]:
    """Yield a temporary ``.tflite`` file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.tflite")
        file.write_bytes(model)
        yield file


def check_described(model: bytes, description: Description) -> None:
    """Demand that a model's input and outputs are those that are described: C reads so many numbers of them.

    Raises:
        FlatbufferError: They are others.
    """
    graph = _main(model)
    tensors = list(graph.tables(_TENSORS))
    inputs, outputs = graph.integers(_INPUTS), graph.integers(_OUTPUTS)
    found = [_tensor(tensors, index) for index in (*inputs, *outputs)]
    if len(inputs) != 1 or found != [description.input, *description.heads]:
        raise FlatbufferError("the model's input and outputs are not those of its description")
    if len(description.tensors) != len(tensors):
        raise FlatbufferError(f"it has {len(tensors)} tensors and {len(description.tensors)} names")


def with_outputs(model: bytes, description: Description, names: Sequence[str]) -> tuple[bytes, list[Tensor]]:
    """Return a model with further tensors as outputs, by the names that the description has for them.

    Raises:
        FlatbufferError: There is no such tensor.
    """
    lacking = [name for name in names if name not in description.tensors]
    if lacking:
        raise FlatbufferError(f"there is no tensor {lacking[0]!r} on the device")
    graph = _main(model)
    tensors = list(graph.tables(_TENSORS))
    added = [description.tensors.index(name) for name in names]
    whole = with_integers(graph, _OUTPUTS, [*graph.integers(_OUTPUTS), *added])
    return whole, [_tensor(tensors, index) for index in added]


def _main(model: bytes) -> Table:
    try:
        return next(root(model, _IDENTIFIER).tables(_SUBGRAPHS))
    except StopIteration as error:
        raise FlatbufferError("it has no graph") from error


def _tensor(tensors: Sequence[Table], index: int) -> Tensor:
    if not 0 <= index < len(tensors):
        raise FlatbufferError(f"tensor {index} stands where there are {len(tensors)}")
    table = tensors[index]
    given = table.table(_QUANTIZATION)
    scales = given.floats(_SCALE) if given is not None else []
    points = given.integers(_ZERO_POINT, "q") if given is not None else []
    single = len(scales) == 1 and len(points) == 1
    kind = table.integer(_TYPE, "b")
    try:
        return Tensor(
            shape=tuple(table.integers(_SHAPE)),
            dtype=_KINDS.get(kind, f"type {kind}"),
            scale=scales[0] if single else 0.0,
            zero_point=points[0] if single else 0,
        )
    except OptionError as error:
        raise FlatbufferError(str(error)) from error
