"""Texts that come from outside, as a terminal or a picture may show them.

A label or a file's name may hold anything: escape sequences that a terminal obeys, line breaks that forge a message,
half a character, a megabyte.
"""

__all__ = ["on_one_line", "printable", "short"]

_LONGEST = 80
_KEPT = "\n\t"


def printable(text: str) -> str:
    """Return a text with what is no visible sign replaced; line breaks and tabs stay."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in _KEPT else "\N{REPLACEMENT CHARACTER}" for sign in text)


def on_one_line(text: str) -> str:
    """Return a name on one line: what is no visible sign replaced, line breaks and tabs, too."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def short(text: str) -> str:
    """Return a name on one line, cut where it is long."""
    return on_one_line(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")
