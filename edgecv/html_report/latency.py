"""How long artifacts take for one run on this machine, timed in turn."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgecv.errors import EdgecvError
from edgecv.observed import Run
from edgecv.quiet import quiet_frameworks
from edgecv.runtime import Runner
from edgecv.session import runtime_of
from edgecv.timing import Timing, time_in_turn

__all__ = ["time_artifacts"]

_SECONDS = 4.0  # for each artifact
_PRECISION = 0.03


def time_artifacts(artifacts: Mapping[str, tuple[Path, Run]]) -> dict[str, Timing]:
    """Time the artifacts that are written, each on the device that it was verified on.

    Args:
        artifacts: Name → file, and what it was asked in verification.

    Returns:
        Name → times of a run; those that cannot be opened alone are left out.
    """
    calls: dict[str, Callable[[], object]] = {}
    with quiet_frameworks():
        for name, (path, run) in artifacts.items():
            try:
                runner = runtime_of(path)[1].open(path, device=run.device)
            except EdgecvError:
                continue
            calls[name] = _call(runner, run)
        return time_in_turn(calls, seconds=_SECONDS * len(calls), precision=_PRECISION) if calls else {}


def _call(runner: Runner, run: Run) -> Callable[[], object]:
    info = runner.inputs[0]
    batch = info.shape[0] or 1
    feed: np.ndarray[Any, Any] = np.resize(run.pictures, (batch, *run.pictures.shape[1:])).astype(info.dtype)
    return lambda: runner.run({info.name: feed})
