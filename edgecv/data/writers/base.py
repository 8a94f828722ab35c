"""What a writer of labelled boxes has to offer, and what it is given."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from edgecv.data.samples import Box, Part, Sample

__all__ = ["Page", "Writer", "shortest"]


@dataclass(frozen=True)
class Page:
    """One picture to be written.

    Attributes:
        sample: What is known of it.
        name: Its file's name in the new data set.
        size: ``(height, width)`` of the upright picture, in pixels.
    """

    sample: Sample
    name: str
    size: tuple[int, int]

    @property
    def part(self) -> Part | None:
        """The part that it is in."""
        return self.sample.part

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Its boxes."""
        return self.sample.boxes


class Writer(Protocol):
    """Writes one format.

    Attributes:
        name: That of the format, as for reading.
    """

    name: ClassVar[str]

    def folder(self, part: Part | None) -> str:
        """Return the folder of a part's pictures, within the data set's own."""

    def write(self, root: Path, classes: Sequence[str], pages: Sequence[Page]) -> None:
        """Write all but the pictures into a folder, which is there and empty.

        Raises:
            DataError: A name cannot be written in this format.
        """

    def carries(self, key: str, pages: Sequence[Page]) -> bool:
        """Tell whether the format has a place for what a box says beyond its corners and class.

        Args:
            key: ``crowd``, ``area``, or a key of `Box.extra`; with ``picture.`` before it one of `Sample.extra`.
            pages: All pages; some formats have a place for something only if all boxes have it.
        """


def shortest(value: float) -> float:
    """Return a whole number as an integer, which is shorter in writing and equal; others as they are."""
    return int(value) if value == int(value) else value
