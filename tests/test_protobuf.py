import pytest

from edgecv.protobuf import WireError, encode_field, fields, text


def test_fields_of_every_wire_type_are_walked() -> None:
    # 150 as a varint is the worked example of protobuf's own documentation.
    data = b"\x08\x96\x01" + b"\x15" + b"abcd" + b"\x19" + b"abcdefgh" + b"\x22\x07testing"
    found = list(fields(data, 0, len(data)))
    assert [(field.number, field.begin, field.end, field.is_message) for field in found] == [
        (1, 1, 3, False),
        (2, 4, 8, False),
        (3, 9, 17, False),
        (4, 19, 26, True),
    ]
    assert text(data, found[3]) == "testing"


def test_encoding_is_what_the_documentation_says() -> None:
    assert encode_field(2, b"testing") == b"\x12\x07testing"
    assert encode_field(14, b"x" * 300)[:3] == b"\x72\xac\x02"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x08", r"^a number at byte 1 has no end$"),
        (b"\x08" + b"\xff" * 11, r"^a number at byte 11 has no end$"),
        (b"\x12\x07test", r"^the field at byte 0 runs over the end$"),
        (b"\x15ab", r"^the field at byte 0 runs over the end$"),
        (b"\x13", r"^wire type 3 at byte 0$"),
        (b"\x00\x00", r"^field number 0 at byte 0$"),
    ],
)
def test_damaged_bytes_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        list(fields(data, 0, len(data)))


def test_a_string_must_be_utf8() -> None:
    data = encode_field(1, b"\xff")
    with pytest.raises(WireError, match=r"^the string at byte 2 is not UTF-8$"):
        text(data, next(fields(data, 0, len(data))))
