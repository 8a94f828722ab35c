"""Broken labels: gathered while a data set is read, so that all of them are reported at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgecv.errors import DataError

__all__ = ["BrokenDataError", "Problem", "Problems"]


@dataclass(frozen=True)
class Problem:
    """One broken label.

    Attributes:
        file: The file that holds it.
        line: Its line, from 1; None where the file has no lines (a picture).
        text: What is wrong, with the value.
    """

    file: str
    line: int | None
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"

    @property
    def place(self) -> str:
        """File and line, as compilers and editors write it."""
        return self.file if self.line is None else f"{self.file}:{self.line}"


class BrokenDataError(DataError):
    """Labels of a data set are broken.

    Attributes:
        problems: All of them, in the order of the files.
        remedy: What the message ends in; commands without that option say another one.
    """

    remedy = "Mend them, or go on without them with --skip-broken."

    def __init__(self, path: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        labels = "label is" if count == 1 else "labels are"
        super().__init__(
            f"{count} {labels} broken in {path!r}, the first at {str(self.problems[0]).rstrip('.')}. {self.remedy}"
        )


class Problems:
    """Gathers the broken labels of a data set; a format adds each and goes on reading without it."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def add(self, file: object, line: int | None, text: str) -> None:
        """Note a broken label; see `Problem`."""
        self._found.append(Problem(str(file), line, text))

    def __len__(self) -> int:
        return len(self._found)

    @property
    def found(self) -> tuple[Problem, ...]:
        """All that was noted."""
        return tuple(self._found)
