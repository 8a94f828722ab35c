"""A small reader of protobuf's wire format, enough to walk an ONNX file without a protobuf library.

Nothing is copied but the strings that are asked for, so that a file of hundreds of megabytes of weights
is walked in milliseconds. Every length is checked: damaged bytes raise `WireError` and nothing else.

Reference:
    Google, "Protocol Buffers: Encoding", https://protobuf.dev/programming-guides/encoding.
"""

import mmap
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Field", "WireError", "encode_field", "encode_header", "fields", "integers", "text"]

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


class WireError(ValueError):
    """The bytes are no protobuf message."""


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        number: Its number in the message's definition.
        start: Where the field begins, its tag included, in bytes from the beginning of the file.
        begin: Where its value begins.
        end: Where its value ends.
        is_message: Whether it has a length: a string, bytes or a message.
    """

    number: int
    start: int
    begin: int
    end: int
    is_message: bool


def fields(data: bytes | mmap.mmap, begin: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message in ``data[begin:end]``, in their order.

    Raises:
        WireError: A field runs over the end, or its type does not exist.
    """
    position = begin
    while position < end:
        start = position
        tag, position = _varint(data, position, end)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise WireError(f"field number 0 at byte {start}")
        value = position
        if kind == _LENGTH:
            length, value = _varint(data, position, end)
            position = value + length
        elif kind == _VARINT:
            _, position = _varint(data, position, end)
        elif kind == _FIXED32:
            position += 4
        elif kind == _FIXED64:
            position += 8
        else:
            raise WireError(f"wire type {kind} at byte {start}")
        if position > end:
            raise WireError(f"the field at byte {start} runs over the end")
        yield Field(number, start, value, position, kind == _LENGTH)


def text(data: bytes | mmap.mmap, field: Field) -> str:
    """Return the value of a string field.

    Raises:
        WireError: It is no UTF-8 string.
    """
    if not field.is_message:
        raise WireError(f"the field at byte {field.start} is no string")
    try:
        return data[field.begin : field.end].decode()
    except UnicodeDecodeError as error:
        raise WireError(f"the string at byte {field.begin} is not UTF-8") from error


def integers(data: bytes | mmap.mmap, field: Field) -> list[int]:
    """Return the value of an integer field, or the values of a packed one.

    Raises:
        WireError: They are no integers.
    """
    values, position = [], field.begin
    while position < field.end:
        value, position = _varint(data, position, field.end)
        values.append(value)
    return values


def encode_field(number: int, value: bytes) -> bytes:
    """Return the record of a length-delimited field."""
    return encode_header(number, len(value)) + value


def encode_header(number: int, length: int) -> bytes:
    """Return what stands in front of a length-delimited field's bytes: its tag and their number."""
    return _encode_varint(number << 3 | _LENGTH) + _encode_varint(length)


def _varint(data: bytes | mmap.mmap, position: int, end: int) -> tuple[int, int]:
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if position >= end:
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position
    raise WireError(f"a number at byte {position} has no end")


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
