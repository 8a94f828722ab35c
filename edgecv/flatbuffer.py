"""A small reader of FlatBuffers, enough to walk a TFLite file without a FlatBuffers library.

Every offset is checked: damaged bytes raise `FlatbufferError` and nothing else.

Reference:
    Google, "FlatBuffers: binary format", https://flatbuffers.dev/internals.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["FlatbufferError", "Table", "root", "with_integers"]

_IDENTIFIER = slice(4, 8)


class FlatbufferError(ValueError):
    """The bytes are no such FlatBuffer."""


@dataclass(frozen=True)
class Table:
    """A table of a FlatBuffer: numbered fields, any of which may be absent.

    Attributes:
        data: The whole file.
        position: Where the table begins, in bytes.
    """

    data: bytes | mmap.mmap
    position: int

    def integer(self, field: int, kind: str = "i", default: int = 0) -> int:
        """Return an integer field; ``kind`` is its `struct` character."""
        position = self.place(field)
        return default if position is None else _unpack(self.data, position, kind)

    def text(self, field: int) -> str:
        """Return a string field, empty where absent."""
        position = self._target(field)
        if position is None:
            return ""
        length = _unpack(self.data, position, "I")
        begin = position + 4
        if begin + length > len(self.data):
            raise FlatbufferError(f"the string at byte {position} runs over the end")
        try:
            return self.data[begin : begin + length].decode()
        except UnicodeDecodeError as error:
            raise FlatbufferError(f"the string at byte {position} is not UTF-8") from error

    def tables(self, field: int) -> "Iterator[Table]":
        """Yield the tables of a vector field, none where absent."""
        position = self._target(field)
        if position is None:
            return
        length = _unpack(self.data, position, "I")
        if position + 4 + 4 * length > len(self.data):
            raise FlatbufferError(f"the vector at byte {position} runs over the end")
        for element in range(position + 4, position + 4 + 4 * length, 4):
            yield Table(self.data, _follow(self.data, element))

    def integers(self, field: int, kind: str = "i") -> list[int]:
        """Return a vector of integers, empty where absent; ``kind`` is their `struct` character."""
        position = self._target(field)
        if position is None:
            return []
        length = _unpack(self.data, position, "I")
        if position + 4 + struct.calcsize(f"<{kind}") * length > len(self.data):
            raise FlatbufferError(f"the vector at byte {position} runs over the end")
        return list(struct.unpack_from(f"<{length}{kind}", self.data, position + 4))

    def floats(self, field: int) -> list[float]:
        """Return a vector of 32-bit floats, empty where absent."""
        length, position = self.length(field), self._target(field)
        if position is None:
            return []
        if position + 4 + 4 * length > len(self.data):
            raise FlatbufferError(f"the vector at byte {position} runs over the end")
        return list(struct.unpack_from(f"<{length}f", self.data, position + 4))

    def length(self, field: int) -> int:
        """Return how many elements a vector field has, 0 where absent."""
        position = self._target(field)
        return 0 if position is None else _unpack(self.data, position, "I")

    def table(self, field: int) -> "Table | None":
        """Return the table of a field, None where absent."""
        position = self._target(field)
        return None if position is None else Table(self.data, position)

    def place(self, field: int) -> int | None:
        """Return where a field's value stands in the file, None where absent."""
        # The table begins with the distance back to its list of fields.
        listing = self.position - _unpack(self.data, self.position, "i")
        size = _unpack(self.data, listing, "H")
        entry = 4 + 2 * field
        if entry + 2 > size:
            return None
        offset = _unpack(self.data, listing + entry, "H")
        return self.position + offset if offset else None

    def _target(self, field: int) -> int | None:
        position = self.place(field)
        return None if position is None else _follow(self.data, position)


def root(data: bytes | mmap.mmap, identifier: bytes) -> Table:
    """Return the root table of a FlatBuffer.

    Args:
        data: The whole file.
        identifier: The four bytes at offset 4 that say what the file is.

    Raises:
        FlatbufferError: The identifier is another one.
    """
    if data[_IDENTIFIER] != identifier:
        raise FlatbufferError(f"the identifier {identifier.decode()} is missing")
    return Table(data, _follow(data, 0))


def with_integers(table: Table, field: int, values: list[int]) -> bytes:
    """Return the file with other values in a vector of 32-bit integers: a new vector at the file's end.

    Raises:
        FlatbufferError: The table has no such field.
    """
    position = table.place(field)
    if position is None:
        raise FlatbufferError(f"the table at byte {table.position} has no field {field}")
    data = bytearray(table.data)
    data += bytes(-len(data) % 4)
    struct.pack_into("<I", data, position, len(data) - position)
    data += struct.pack(f"<I{len(values)}i", len(values), *values)
    return bytes(data)


def _follow(data: bytes | mmap.mmap, position: int) -> int:
    return position + _unpack(data, position, "I")


def _unpack(data: bytes | mmap.mmap, position: int, kind: str) -> int:
    if position < 0:
        raise FlatbufferError(f"an offset points before the beginning, to {position}")
    try:
        (value,) = struct.unpack_from("<" + kind, data, position)
    except struct.error as error:
        raise FlatbufferError(f"an offset points past the end, to byte {position}") from error
    return int(value)
