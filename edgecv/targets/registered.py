"""The targets by name."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgecv.errors import TargetError
from edgecv.targets.finding import Finder
from edgecv.targets.tables import load_table, provenance
from edgecv.targets.tflm import check_tflm

__all__ = ["Target", "find_target", "target_names"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A target.

    Attributes:
        title: What people call it, with the version of its table.
        forms: The formats that it reads, by their exporters' names.
        source: Where its table comes from, and of when.
        run: Looks for obstacles, and returns what else is to be known.
    """

    title: str
    forms: tuple[str, ...]
    source: str
    run: Callable[[Finder], Sequence[str] | None]


def target_names() -> list[str]:
    """Return the names of the targets; of those with versions, the form in which they are asked for."""
    return ["tflm"]


def find_target(name: str) -> Target:
    """Return a target by its name.

    Raises:
        TargetError: There is none, or its table knows no such version.
    """
    if name == "tflm":
        return _of_table("tflm", ("tflite",), check_tflm)
    close = difflib.get_close_matches(name, target_names(), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise TargetError(f"Unknown target {name!r}.{hint} Known: {', '.join(target_names())}.")


def _of_table(table: str, forms: tuple[str, ...], run: Callable[[Finder], Sequence[str] | None]) -> Target:
    document = load_table(table)
    title = f"{document['title']} {document['version']}"
    return Target(title=title, forms=forms, source=provenance(document), run=run)
