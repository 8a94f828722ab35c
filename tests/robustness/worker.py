"""A process that runs commands one after the other, and what starts it again when it dies or hangs."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

__all__ = ["GROWTH", "Outcome", "Worker"]

GROWTH = 2 << 30
_PATIENCE = 30.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: Its exit; None where the process died or was ended because it hung.
        out: What it printed.
        err: What it said.
        seconds: How long it took.
        growth: Bytes of memory that it took at most, beside what the process had.
        death: Name of the signal, or ``"hang"``.
    """

    code: int | None
    out: str = ""
    err: str = ""
    seconds: float = 0.0
    growth: int = 0
    death: str = ""

    @property
    def fault(self) -> str:
        """What no damaged file may do, in a word; empty where the command ended as it should."""
        if self.code is None:
            return self.death
        lines = self.err.splitlines()
        if self.growth > GROWTH or "MemoryError" in self.err or "bad_alloc" in self.err:
            return "memory"
        if self.code not in (0, 1, 2):
            return f"exit {self.code}"
        if "Unexpected " in self.err or "Traceback" in self.err:
            return "unexpected"
        errors = [line for line in lines if not line.startswith("Warning: ")]
        if self.code and (len(errors) != 1 or not errors[0].startswith("Error: ")):
            return "lines"
        return "" if self.code != 2 or not self.out else "stdout"


@dataclass
class Worker:
    """Runs commands of edgecv in a process of its own, which is started when it is needed, and again when it died."""

    _process: "subprocess.Popen[str] | None" = None
    _said: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    starts: int = 0

    def run(self, *arguments: object, patience: float = _PATIENCE) -> Outcome:
        process = self._alive()
        assert process.stdin is not None
        assert process.stdout is not None
        begin = time.perf_counter()
        process.stdin.write(json.dumps([os.fsdecode(str(argument)) for argument in arguments]) + "\n")
        process.stdin.flush()
        hung = False

        def end(*_: object) -> None:
            nonlocal hung
            hung = True
            process.kill()

        before = signal.signal(signal.SIGALRM, end)
        signal.setitimer(signal.ITIMER_REAL, patience)
        try:
            line = process.stdout.readline()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        seconds = time.perf_counter() - begin
        if line:
            return Outcome(**json.loads(line), seconds=seconds)
        self.close()
        code = process.wait()
        death = "hang" if hung else signal.Signals(-code).name if code < 0 else f"exit {code} of the process"
        return Outcome(code=None, seconds=seconds, death=death)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):
                    assert stream is not None
                    stream.close()
        self._process = None

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._said.close()

    def _alive(self) -> "subprocess.Popen[str]":
        if self._process is None:
            self.starts += 1
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                text=True,
            )
            assert self._process.stdout is not None
            assert self._process.stdout.readline() == "ready\n"
        return self._process


def _serve() -> None:
    """The other side: run each line's command, and say how it ended."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from edgecv.cli import cli

    for name in ("onnxruntime", "ai_edge_litert.interpreter", "openvino", "PIL.Image"):
        with contextlib.suppress(ImportError):
            __import__(name)
    # A process that asks for more has failed, and need not fill this machine for that.
    limit = _memory("VmSize") + GROWTH + (1 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        _reset_peak()
        before = _memory("VmRSS")
        with _captured() as captured:
            try:
                cli.main(json.loads(line), prog_name="edgecv")
                code: Any = 0
            except SystemExit as error:
                code = error.code or 0
        out, err = captured
        answer = {"code": code, "out": out, "err": err, "growth": _memory("VmHWM") - before}
        print(json.dumps(answer), file=answers, flush=True)


@contextlib.contextmanager
def _captured() -> Iterator[list[str]]:
    """Catch what is written to the standard streams, by C++ code, too."""
    texts: list[str] = []
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        saved = os.dup(1), os.dup(2)
        try:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            yield texts
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in enumerate(saved, 1):
                os.dup2(copy, number)
                os.close(copy)
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _memory(what: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) << 10
    return 0


if __name__ == "__main__":
    _serve()
