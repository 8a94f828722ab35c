"""Reader of weights that torch saved in its old format (before 1.6, no zip archive), without torch.

Such a file is five pickles (magic number, protocol version, the machine's number sizes, the state
dictionary, the keys of the storages), then each storage as an 8-byte count and its values. A pickle is a
program, and a stranger's may do anything; here every opcode is checked against a list before the first
runs, and only four global names have a meaning, all of them this module's own.
"""

import collections
import io
import math
import pickle
import pickletools
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecv.errors import WeightsError

__all__ = ["read_torch_weights"]

Array = np.ndarray[Any, np.dtype[Any]]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# Without stack tricks, extensions, out-of-band buffers, or any way to call but REDUCE.
_OPCODES = frozenset(
    (
        *("PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1"),
        *("BINUNICODE", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("APPEND", "APPENDS", "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
        *("BINPERSID", "GLOBAL", "REDUCE", "BUILD"),
    )
)
_DTYPES = {"torch FloatStorage": np.dtype("<f4"), "torch LongStorage": np.dtype("<i8")}
_TENSOR = "torch._utils _rebuild_tensor_v2"
_ORDERED = "collections OrderedDict"
_GLOBALS = frozenset((*_DTYPES, _TENSOR, _ORDERED))


class _DamagedError(Exception):
    """What is wrong with the file, as the end of a sentence."""


class _Dictionary(collections.OrderedDict[str, Any]):
    """A state dictionary; torch attaches version numbers to it, which are dropped."""

    def __setstate__(self, state: object) -> None:
        pass


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A view into a storage; offset and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch_weights(path: Path) -> dict[str, Array]:
    """Read a state dictionary.

    Args:
        path: A file that ``torch.save(module.state_dict(), path)`` of torch before 1.6 wrote on a
            little-endian machine; float32 and int64 tensors.

    Returns:
        Arrays by name, in the file's order.

    Raises:
        WeightsError: The file cannot be read, is of another kind, is damaged, or its pickle asks for
            anything beyond tensors.
    """
    try:
        return _read(path.read_bytes())
    except OSError as error:
        raise WeightsError(f"Weights {str(path)!r} cannot be read: {error.strerror or error}.") from error
    except _DamagedError as error:
        raise WeightsError(
            f"Weights {str(path)!r} are no usable torch file: {error}. Install the package that brings them again."
        ) from error


def _read(data: bytes) -> dict[str, Array]:
    file = io.BytesIO(data)
    storages: dict[str, _Storage] = {}
    if _unpickle(file, storages) != _MAGIC:
        raise _DamagedError("wrong magic number")
    version = _unpickle(file, storages)
    if version != _PROTOCOL:
        raise _DamagedError(f"protocol version {version!r} in place of {_PROTOCOL}")
    machine = _unpickle(file, storages)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise _DamagedError("written by a big-endian machine")
    state, keys = _unpickle(file, storages), _unpickle(file, storages)
    if not isinstance(state, dict) or not isinstance(keys, list):
        raise _DamagedError("no state dictionary")
    values = {key: _read_storage(file, data, storages, key) for key in keys}
    if file.tell() != len(data):
        raise _DamagedError(f"{len(data) - file.tell()} bytes too many")
    return {name: _view(name, tensor, values) for name, tensor in state.items()}


def _unpickle(file: io.BytesIO, storages: dict[str, _Storage]) -> Any:
    start = file.tell()
    _check_program(file)
    file.seek(start)
    try:
        return _Unpickler(file, storages).load()
    except _DamagedError:
        raise
    except Exception as error:  # a program of known opcodes can still be nonsense, and fail in any way
        raise _DamagedError(f"malformed pickle ({type(error).__name__})") from error


def _check_program(file: io.BytesIO) -> None:
    """Walk one pickle without running it, and leave the file behind its end."""
    memory = 0
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name not in _OPCODES:
                raise _DamagedError(f"its pickle uses the opcode {opcode.name}, which weights do not need")
            if opcode.name == "GLOBAL" and argument not in _GLOBALS:
                raise _DamagedError(
                    f"its pickle asks for {str(argument).replace(' ', '.')!r}, which weights do not need"
                )
            if opcode.name in ("BINPUT", "LONG_BINPUT"):
                # Torch numbers its memory cells one by one; a leap would make the unpickler allocate it all.
                if not isinstance(argument, int) or argument > memory:
                    raise _DamagedError("malformed pickle (memory)")
                memory = max(memory, argument + 1)
    except (ValueError, struct.error, UnicodeDecodeError) as error:
        raise _DamagedError("truncated or malformed pickle") from error


class _Unpickler(pickle.Unpickler):
    """Runs a checked pickle; its globals are stand-ins that only record."""

    def __init__(self, file: io.BytesIO, storages: dict[str, _Storage]) -> None:
        super().__init__(file, encoding="utf-8")
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        # Defence in depth: _check_program refused every other name already.
        known: dict[str, Any] = {**_DTYPES, _TENSOR: _tensor, _ORDERED: _Dictionary}
        try:
            return known[f"{module} {name}"]
        except KeyError:
            raise _DamagedError(f"its pickle asks for {module}.{name}, which weights do not need") from None

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", np.dtype() as dtype, str() as key, str(), int() as count, None) if count >= 0:
                storage = _Storage(key, dtype, count)
                if self._storages.setdefault(key, storage) != storage:
                    raise _DamagedError(f"storage {key!r} is described twice")
                return storage
        raise _DamagedError("malformed storage")


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    """Stand in for ``torch._utils._rebuild_tensor_v2``; the rest is about gradients."""
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or len(shape) != len(strides):
        raise _DamagedError("malformed tensor")
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise _DamagedError("malformed tensor")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _read_storage(file: io.BytesIO, data: bytes, storages: dict[str, _Storage], key: object) -> Array:
    storage = storages.get(key) if isinstance(key, str) else None
    header = file.read(8)
    if storage is None or len(header) < 8:
        raise _DamagedError(f"storage {key!r} is unknown or missing")
    (count,) = struct.unpack("<q", header)
    if count != storage.count:
        raise _DamagedError(f"storage {key!r} has {count} values in place of {storage.count}")
    start, size = file.tell(), count * storage.dtype.itemsize
    if start + size > len(data):
        raise _DamagedError("truncated")
    file.seek(start + size)
    return np.frombuffer(data, storage.dtype, count, start)


def _view(name: object, tensor: object, values: dict[str, Array]) -> Array:
    if not isinstance(name, str) or not isinstance(tensor, _Tensor) or tensor.storage.key not in values:
        raise _DamagedError(f"entry {name!r} is no tensor")
    storage = values[tensor.storage.key]
    sides = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((side - 1) * stride for side, stride in sides)
    # An expanded tensor repeats values by a stride of 0: harmless to read, but it could be made huge.
    if 0 in tensor.shape or last >= storage.size or math.prod(tensor.shape) > storage.size:
        raise _DamagedError(f"tensor {name!r} reaches beyond its storage")
    bytes_ = [stride * storage.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, bytes_, writeable=False)
    return np.ascontiguousarray(view).reshape(tensor.shape)
