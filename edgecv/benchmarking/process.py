"""The benchmark's side of a contender's process."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import IO, Any

from edgecv.benchmarking.contender import Contender
from edgecv.errors import EdgecvError

__all__ = ["Process", "environment"]

_PATIENCE = 5.0  # seconds that a process may take to end


class Process:
    """A contender in a process of its own; a context that ends it."""

    def __init__(self, contender: Contender) -> None:
        self._contender = contender
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed on exit)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edgecv.benchmarking.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("EDGECV_DEBUG") == "1" else self._said,
            text=True,
            env=environment(),
            # A terminal's ctrl-C is for the benchmark, which ends its processes.
            start_new_session=True,
        )

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._said.close()

    def ask(self, command: str, **arguments: Any) -> Mapping[str, Any]:
        """Let it do something, and return what it says.

        Raises:
            EdgecvError: It cannot, or the process ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            raise EdgecvError(self._end())
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise EdgecvError(str(reply["error"]))
        return reply

    def _end(self) -> str:
        """Say how the process ended."""
        code = self._process.wait()
        how = f"with code {code}" if code >= 0 else f"by {_signal_name(-code)}"
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").split("\n")
        last = next((" ".join(line.split())[:200] for line in reversed(lines) if line.strip()), "")
        reason = f": {last.rstrip('.')}" if last else ""
        return f"The process of {self._contender.name} ended {how}{reason}. Leave it out, or free some memory."


def environment(**settings: str) -> dict[str, str]:
    """Return the environment of a process that finds the modules that this one finds."""
    # Without -P, the current folder would come first.
    return {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **settings}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
