"""Checks in a process of their own, for `edgecv check-exporter`: an exporter may end its process, or take no end.

``python -m edgecv.testing.apart NAME FOLDER CHECK …`` runs checks and prints a line of JSON for each outcome.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from edgecv.extras import require
from edgecv.testing.bench import Bench, environment_of
from edgecv.testing.check import Check, Outcome, Verdict
from edgecv.testing.running import known, run_all, select, verdict_on

__all__ = ["TIME_LIMIT", "check_apart"]

# Seconds that a check may take; the first ones build networks.
TIME_LIMIT = 900.0
# An exporter that has ended so many processes will end the next one, too.
_MOST_ENDS = 3
# Seconds.
_SOON = 10.0


def check_apart(
    name: str,
    *,
    only: Iterable[str] = (),
    tell: Callable[[Outcome], None] | None = None,
    time_limit: float = TIME_LIMIT,
) -> Verdict:
    """Check an installed exporter as `edgecv.testing.check_exporter` does, in another process.

    Where that process ends too early, or a check takes more than ``time_limit`` seconds, this check has failed, and
    those behind it run in a new one.

    Raises:
        UnknownNameError: No installed distribution offers it, or there is no such check.
        MissingExtraError: What the networks are built with that exporters are tried on is not installed.
    """
    known(name)
    checks = select(only)
    for package in ("tensorflow", "keras"):
        require(package, extra="export", purpose="Checking an exporter")
    return verdict_on(name, _outcomes(name, checks, time_limit), tell)


def _outcomes(name: str, checks: Sequence[Check], time_limit: float) -> Iterator[Outcome]:
    left, ends = list(checks), 0
    while left and ends < _MOST_ENDS:
        with _Process(name, left) as process:
            for check in tuple(left):
                left.pop(0)
                outcome = process.outcome(check, time_limit)
                yield outcome
                if process.ended:
                    ends += 1
                    break
    for check in left:
        yield Outcome(check=check, state="skipped", reason=f"the exporter has ended {ends} processes already")


class _Process:
    """A process that runs checks.

    Attributes:
        ended: It ended before its checks did.
    """

    def __init__(self, name: str, checks: Sequence[Check]) -> None:
        self._name = name
        self._checks = checks
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._stack = contextlib.ExitStack()
        self.ended = False

    def __enter__(self) -> "_Process":
        folder = self._stack.enter_context(
            tempfile.TemporaryDirectory(prefix="edgecv-conformance-", ignore_cleanup_errors=True)
        )
        self._said: IO[bytes] = self._stack.enter_context(tempfile.TemporaryFile())
        names = [check.name for check in self._checks]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edgecv.testing.apart", self._name, folder, *names],
            env=environment_of(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            errors="replace",
            start_new_session=True,  # what it starts ends with it
        )
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        self._stack.callback(self._process.stdout.close)  # type: ignore[union-attr]
        self._stack.callback(reader.join, _SOON)
        self._stack.callback(self._kill)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def outcome(self, check: Check, time_limit: float) -> Outcome:
        """Wait for what comes of the next check."""
        begin = time.perf_counter()
        try:
            line = self._lines.get(timeout=time_limit)
        except queue.Empty:
            self.ended, reason = True, f"takes more than {time_limit:g} s"
        else:
            if line:
                return Outcome(check=check, **json.loads(line))
            self.ended, reason = True, self._end()
        return Outcome(check=check, state="failed", reason=reason, seconds=time.perf_counter() - begin)

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines.put(line)
        self._lines.put("")

    def _end(self) -> str:
        try:
            code = self._process.wait(_SOON)
        except subprocess.TimeoutExpired:  # it has closed what it answers through
            return "closes files that are not its own"
        how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit {code}"
        self._said.seek(0)
        said = " ".join(self._said.read().decode(errors="replace").split())[-200:]
        return f"ends the process: {how}" + (f"; it said: {said}" if said else "")

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _main(name: str, folder: str, *checks: str) -> None:
    """The other side. What a plugin prints goes to stderr: stdout belongs to the outcomes."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)

        for outcome in run_all(Bench(name, Path(folder)), select(checks)):
            told = {"state": outcome.state, "reason": outcome.reason, "seconds": outcome.seconds}
            print(json.dumps(told), file=answers, flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
