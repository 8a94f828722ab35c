"""Names and texts as C and C++ take them, whatever a model or a label is called."""

import re
from collections.abc import Iterable

__all__ = ["IDENTIFIER", "c_float", "c_identifier", "c_string", "distinct"]

# A part of a longer name: keywords and names that the language keeps to itself cannot come out.
IDENTIFIER = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_LONGEST = 40


def c_identifier(name: str, default: str = "model") -> str:
    """Return a name that begins those of C: lower-case letters, digits, single underscores."""
    words = re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_")[:_LONGEST].rstrip("_")
    if not words:
        return default
    return words if words[0].isalpha() else f"{default}_{words}"


def distinct(names: Iterable[str], default: str = "output") -> list[str]:
    """Return an identifier for each of several names, all different."""
    found: list[str] = []
    for name in names:
        plain = c_identifier(name, default)
        number = 2
        chosen = plain
        while chosen in found:
            chosen, number = f"{plain}_{number}", number + 1
        found.append(chosen)
    return found


def c_string(text: str) -> str:
    """Return a literal of C with the bytes of a text in UTF-8."""
    return '"' + "".join(map(_character, text.encode(errors="replace"))) + '"'


def c_float(value: float) -> str:
    """Return a literal of C that is read back as the same float32."""
    import numpy as np

    text = f"{float(np.float32(value)):.9g}"
    return f"{text}f" if set(text) & set(".en") else f"{text}.0f"


def _character(byte: int) -> str:
    # Three octal digits end an escape, where hexadecimal ones would go on; ? could begin a trigraph.
    plain = 32 <= byte < 127 and chr(byte) not in '"\\?'
    return chr(byte) if plain else f"\\{byte:03o}"
