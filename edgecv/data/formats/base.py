"""What a format of labelled data has to offer."""

from pathlib import Path
from typing import ClassVar, Protocol

from edgecv.data.problems import Problems
from edgecv.data.samples import Dataset

__all__ = ["Format"]


class Format(Protocol):
    """Reads one format of labelled data.

    Attributes:
        name: Its name for ``--format``.
        summary: What it looks like, in a few words, for the message where no format fits.
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    def recognises(self, path: Path) -> bool:
        """Tell from names and the first bytes, without reading the labels, whether ``path`` is of this format."""

    def read(self, path: Path, problems: Problems) -> Dataset:
        """Read all labels; broken ones go to ``problems`` and are left out of the result.

        Pictures are not decoded, but each is there: their headers are looked at where labels need the size.

        Raises:
            DataError: Nothing can be read at all: a file that is no such format, or none of its pictures is there.
        """
