import pytest

from edgecv.flatbuffer import FlatbufferError, Table, root

# By hand, from the description of the format: the root's offset and identifier; a list of fields at 8 of
# 8 bytes for a table of 8 with its one field at +4; the table at 16; a string of 2 bytes at 24.
_BUFFER = (
    b"\x10\0\0\0TEST"  # 0: the root is at 16
    b"\x08\0\x08\0\x04\0\0\0"  # 8: sizes of list and table; field 0 at +4; field 1 absent
    b"\x08\0\0\0\x04\0\0\0"  # 16: the list is 8 back; field 0 is an offset of 4 from here, to 24
    b"\x02\0\0\0hi\0\0"  # 24: the string
)


def test_a_table_is_read() -> None:
    table = root(_BUFFER, b"TEST")
    assert table.position == 16
    assert table.text(0) == "hi"
    assert table.integer(0) == 4
    assert table.integer(1, default=7) == 7
    assert table.integer(9, default=7) == 7
    assert table.text(1) == ""
    assert list(table.tables(1)) == []


def test_another_identifier_is_refused() -> None:
    with pytest.raises(FlatbufferError, match=r"^the identifier TFL3 is missing$"):
        root(_BUFFER, b"TFL3")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, 0xFF, r"^an offset points past the end, to byte 255$"),
        (16, 0x40, r"^an offset points before the beginning, to -48$"),
        (24, 0xFF, r"^the string at byte 24 runs over the end$"),
        (28, 0xFF, r"^the string at byte 24 is not UTF-8$"),
    ],
)
def test_damaged_offsets_are_refused(place: int, value: int, message: str) -> None:
    data = bytearray(_BUFFER)
    data[place] = value
    with pytest.raises(FlatbufferError, match=message):
        root(bytes(data), b"TEST").text(0)


def test_a_vector_must_end_within_the_file() -> None:
    data = _BUFFER[:24] + b"\xff\xff\xff\x7f"
    with pytest.raises(FlatbufferError, match=r"^the vector at byte 24 runs over the end$"):
        list(Table(data, 16).tables(0))
