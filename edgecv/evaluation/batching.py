"""Several pictures a run where the network takes any number of them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgecv.runtime import Arrays, Opened, Runner
from edgecv.session import Session

__all__ = ["in_batches"]


def in_batches(session: Session, batch: int) -> Session:
    """Return a session that runs ``batch`` pictures at a time.

    The session itself where it has a batch of its own, or takes pictures of any size, which come one by one. The
    last run is filled up. Thresholds are those of the artifact.
    """
    sides = session.runner.inputs[0].shape
    if batch == 1 or sides[0] is not None or None in sides[1:3]:
        return session
    runner = _Batched(session.runner, batch)
    return Session(session.path, session.metadata, runner, runtime_name=session.runtime)


class _Batched(Opened):
    """A runner of a dynamic batch, seen as one of a fixed batch."""

    def __init__(self, runner: Runner, batch: int) -> None:
        self._runner = runner
        first, *rest = runner.inputs
        super().__init__(
            inputs=(replace(first, shape=(batch, *first.shape[1:])), *rest),
            optional_inputs=runner.optional_inputs,
            outputs=runner.outputs,
        )

    @property
    def device(self) -> str:
        """The device that really runs it."""
        return self._runner.device

    @property
    def provider(self) -> str:
        """What the engine says it runs on."""
        return self._runner.provider

    def run(self, feeds: Mapping[str, Any]) -> Arrays:
        """Run it; see `Runner`."""
        return self._runner.run(feeds)
