"""Who is told how training goes on. It imports no framework, so that a command can show itself at once."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["Listener"]


class Listener:
    """Is told how training goes on; this one says nothing."""

    def begin(self, *, epochs: int, done: int, steps: int) -> None:
        """Training begins: of so many epochs, so many are done, and an epoch has so many steps."""

    def step(self, epoch: int, step: int, loss: float) -> None:
        """A step is done; ``loss`` is the mean of the epoch so far."""

    def epoch(self, row: Mapping[str, Any], *, best: bool) -> None:
        """An epoch is done; ``row`` is its row of the history."""

    def end(self) -> None:
        """Training has ended, well or not."""

    def note(self, text: str) -> None:
        """Something that the user should know."""

    @contextlib.contextmanager
    def working(self, what: str, total: int) -> Iterator[Callable[[], None]]:  # noqa: ARG002
        """Something else goes on for a while, in so many steps; the yielded function tells of each."""
        yield lambda: None
