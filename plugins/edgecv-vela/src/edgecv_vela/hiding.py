"""Hiding an operator from Vela: it refuses a whole file for an ARG_MAX of floats, where others just stay on the CPU.

The last operator of a segmenter is one. Under the code of ARG_MIN, which has the same options and which Vela leaves to
the CPU unseen, it passes; in what Vela wrote the code is changed back.
"""

from edgecv.flatbuffer import Table, root

__all__ = ["hide", "reveal"]

_IDENTIFIER = b"TFL3"
_MODEL_CODES = 1
# Field of an operator code → its kind and bytes: the older one, and that of codes above 127.
_FIELDS = {0: ("b", 1), 3: ("i", 4)}
_ARG_MAX, _ARG_MIN = 56, 79


def hide(content: bytes) -> bytes:
    """Return a file whose ARG_MAX have the code of ARG_MIN; unchanged where it has any of these already."""
    if _ARG_MIN in _codes(content):
        return content
    return _recoded(content, _ARG_MAX, _ARG_MIN)


def reveal(content: bytes) -> bytes:
    """Undo `hide`."""
    return _recoded(content, _ARG_MIN, _ARG_MAX)


def _tables(content: bytes) -> list[Table]:
    return list(root(content, _IDENTIFIER).tables(_MODEL_CODES))


def _codes(content: bytes) -> set[int]:
    return {max(table.integer(field, kind) for field, (kind, _) in _FIELDS.items()) for table in _tables(content)}


def _recoded(content: bytes, old: int, new: int) -> bytes:
    changed = bytearray(content)
    for table in _tables(content):
        for field, (kind, size) in _FIELDS.items():
            place = table.place(field)
            if place is not None and table.integer(field, kind) == old:
                changed[place : place + size] = new.to_bytes(size, "little")
    return bytes(changed)
