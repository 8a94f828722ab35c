"""The C sources that are filled in: `c/*.h`, `c/*.c` and `c/*.cc`, with ``$name`` where something goes in."""

import functools
import string
from pathlib import Path

__all__ = ["fill"]

_FOLDER = Path(__file__).with_name("c")


def fill(name: str, prefix: str, **values: object) -> str:
    """Return a template with its values; ``${p}`` is what names begin with, ``${P}`` what macros do."""
    return _template(name).substitute(p=prefix, P=prefix.upper(), **values)


@functools.cache
def _template(name: str) -> string.Template:
    return string.Template((_FOLDER / name).read_text(encoding="utf-8"))
