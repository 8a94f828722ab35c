"""JSON is parsed as the standard library does, and each list item's line is known."""

import json
from typing import Any

import pytest

from edgecv.data.decimals import plus, plus_text
from edgecv.data.located_json import LocatedObject

VALUE: dict[str, Any] = {"a": [1, {"b": [2, "]},\n{["]}, [], None], "c": {}, "d": [], 'é "': "x\ny", "e": 1.5e-3}


@pytest.mark.parametrize("indent", [None, 0, 3])
@pytest.mark.parametrize("value", [VALUE, {}])
def test_values_are_those_of_the_standard_library(value: dict[str, Any], indent: int | None) -> None:
    assert LocatedObject(json.dumps(value, indent=indent)).values == value


def test_lines_are_those_where_items_begin() -> None:
    located = LocatedObject('{"a":\n[1,\n\n  {"b":\n 2}, 3\n],\r\n"c": "x",\n"d":[ ]}')
    assert [located.line("a")] + [located.line("a", index) for index in range(3)] == [2, 2, 4, 5]
    assert (located.line("c"), located.line("d")) == (7, 8)


@pytest.mark.parametrize(
    "text",
    ["", "1", "[1]", "{", "{}x", '{"a"}', '{"a" 1}', '{"a":1,}', '{"a":[1 2]}', '{"a":[1,]}', '{"a":[1', "{a:1}",
     '{"a":}', '{"a":' + "[" * 100_000],
)  # fmt: skip
def test_what_the_standard_library_refuses_is_refused(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        LocatedObject(text)


def test_numbers_add_as_they_are_written() -> None:
    assert plus(0.1, 0.2) == 0.3
    assert plus(3, 4) == 7
    assert plus("1.1", -1) == 0.1
    assert plus_text(0.1, 1) == "1.1"
    assert plus_text(9.0, 1) == "10"
    assert plus_text(1e-07, 1) == "1.0000001"
    assert plus_text(1e22, 0) == "10000000000000000000000"
    # All of float64's digits, and one more.
    assert plus(plus_text(0.12345678901234568, 1), -1) == 0.12345678901234568
