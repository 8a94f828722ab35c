"""Names on plots: short, and as they are, whatever is in them.

matplotlib takes what stands between dollars for mathematics, and leaves out of a legend what begins with an underscore.
"""

from collections.abc import Sequence
from typing import Any

__all__ = ["name_legend", "short"]

_LONGEST = 24  # letters


def short(name: str, *, longest: int = _LONGEST) -> str:
    """Return a name, cut where it is longer than so many letters."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def name_legend(legend: Any, names: Sequence[str]) -> None:
    """Give the entries of a legend their names; until then any others stand there."""
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(name)
