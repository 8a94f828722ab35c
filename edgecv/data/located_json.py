"""JSON objects of which each list item's line is known, for messages about labels.

The items are parsed one by one with the standard library's C scanner, which takes no longer than parsing all at once.
Libraries that keep the line of every value need more memory than the values: for COCO's half gigabyte of labels, tens.
"""

import json
import re
from bisect import bisect_right
from functools import cached_property
from typing import Any

__all__ = ["LocatedObject"]

_SPACE = re.compile(r"[ \t\r\n]*")


class LocatedObject:
    """A JSON object.

    Attributes:
        values: What it holds.
    """

    def __init__(self, text: str) -> None:
        """Parse ``text``.

        Raises:
            json.JSONDecodeError: It is no JSON, or no object.
        """
        self._text = text
        self._decode = json.JSONDecoder().raw_decode
        self._places: dict[str, list[int]] = {}
        self.values: dict[str, Any] = {}
        try:
            self._scan()
        except RecursionError as error:
            raise json.JSONDecodeError("Nested too deeply", text, 0) from error

    def line(self, key: str, index: int | None = None) -> int:
        """Return the line, from 1, of a value, or of an item of it where it is a list."""
        place = self._places[key][0 if index is None else 1 + index]
        return 1 + bisect_right(self._line_starts, place)

    @cached_property
    def _line_starts(self) -> list[int]:
        return [match.end() for match in re.finditer("\n", self._text)]

    def _scan(self) -> None:
        place = self._over("{", self._skip(0))
        if not self._at("}", place):
            while True:
                place = self._pair(place)
                if not self._at(",", place):
                    break
                place = self._over(",", place)
        end = self._over("}", place)
        if end != len(self._text):
            raise json.JSONDecodeError("Extra data", self._text, end)

    def _pair(self, place: int) -> int:
        if not self._at('"', place):
            raise json.JSONDecodeError("Expecting property name enclosed in double quotes", self._text, place)
        key, place = self._decode(self._text, place)
        place = self._over(":", self._skip(place))
        if self._at("[", place):
            self.values[key], self._places[key], place = self._list(place)
        else:
            self._places[key] = [place]
            self.values[key], place = self._decode(self._text, place)
        return self._skip(place)

    def _list(self, place: int) -> tuple[list[Any], list[int], int]:
        items: list[Any] = []
        places = [place]
        place = self._over("[", place)
        if not self._at("]", place):
            while True:
                places.append(place)
                item, place = self._decode(self._text, place)
                items.append(item)
                place = self._skip(place)
                if not self._at(",", place):
                    break
                place = self._over(",", place)
        return items, places, self._over("]", place)

    def _at(self, character: str, place: int) -> bool:
        return self._text.startswith(character, place)

    def _over(self, character: str, place: int) -> int:
        """Go over a character and the white space behind it."""
        if not self._at(character, place):
            raise json.JSONDecodeError(f"Expecting {character!r}", self._text, place)
        return self._skip(place + 1)

    def _skip(self, place: int) -> int:
        match = _SPACE.match(self._text, place)
        assert match is not None  # it matches nothing, too
        return match.end()
