"""TensorFlow Lite Micro's interpreter, asked through a child process: it may die, and says why on stderr alone."""

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ALIGNMENT", "Micro", "MicroError", "measure_arena"]

ALIGNMENT = 16
# Enough for any microcontroller; memory that is not touched is not taken.
_LARGE = 1 << 28
# What the interpreter takes more than it says, where it does.
_MOST_STEPS = 64
_LACKING = re.compile(r"Didn't find op for builtin opcode '(\w+)'")
_NODE = re.compile(r"Node (\w+) \(number (\d+)f?\) failed to (\w+)")
_TOTAL = re.compile(r"Arena allocation total (\d+) bytes")


class MicroError(Exception):
    """The interpreter refuses a model, or died of it.

    Attributes:
        operator: The operator that it lacks or that fails, where it says so.
        node: Its place in the graph, where it says so.
        said: What it wrote.
    """

    def __init__(self, said: str, status: str) -> None:
        self.said = said
        lacking, node = _LACKING.search(said), _NODE.search(said)
        self.operator = lacking[1] if lacking else node[1] if node else None
        self.node = int(node[2]) if node and not lacking else None
        lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("[Recording")]
        super().__init__("; ".join(lines[:3]) or status)


class Micro:
    """A child process with interpreters in it, ended when this object is."""

    def __init__(self) -> None:
        self._said: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        worker = Path(__file__).with_name("worker.py")
        self._process = subprocess.Popen(
            # -P: modules beside the script must not come in the place of others.
            [sys.executable, "-P", str(worker)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )
        self._read = 0
        self.close = weakref.finalize(self, _end, self._process, self._said)

    def open(self, model: bytes, arena: int, outputs: int) -> int:
        """Open a model in an arena of so many bytes; return its number.

        Raises:
            MicroError: The interpreter refuses it.
        """
        answer, _ = self._ask({"arena": arena, "outputs": outputs}, model)
        return int(answer["model"])

    def run(self, model: int, values: "np.ndarray[Any, Any]") -> "list[np.ndarray[Any, Any]]":
        """Run an opened model on its input; return its outputs.

        Raises:
            MicroError: The interpreter fails.
        """
        import numpy as np

        answer, content = self._ask({"model": model}, np.ascontiguousarray(values).tobytes())
        arrays, at = [], 0
        for tensor in answer["outputs"]:
            kind = np.dtype(tensor["dtype"])
            count = int(np.prod(tensor["shape"], dtype=np.int64))
            arrays.append(np.frombuffer(content, kind, count, at).reshape(tensor["shape"]).copy())
            at += count * kind.itemsize
        return arrays

    def said(self) -> str:
        """Return what it wrote since the last time."""
        self._said.seek(self._read)
        text = self._said.read()
        self._read += len(text)
        return text.decode(errors="replace")

    def _ask(self, request: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
        source, sink = self._process.stdout, self._process.stdin
        assert source is not None
        assert sink is not None
        self.said()
        line = b""
        with contextlib.suppress(OSError):  # it is dead
            sink.write(json.dumps({**request, "bytes": len(content)}).encode() + b"\n" + content)
            sink.flush()
            line = source.readline()
        if not line:
            raise MicroError(self.said(), f"it died with status {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise MicroError(self.said(), str(answer["error"]))
        return answer, source.read(answer["bytes"])


def measure_arena(model: bytes, outputs: int) -> int:
    """Return the bytes of the arena that a model takes: what the interpreter says, and enough for it to start again.

    Raises:
        MicroError: The interpreter refuses the model in any arena.
    """
    micro = Micro()
    try:
        micro.open(model, _LARGE, outputs)
        total = int(_TOTAL.findall(micro.said())[-1])
        arena = -(-total // ALIGNMENT) * ALIGNMENT
        for _ in range(_MOST_STEPS):
            try:
                micro.open(model, arena, outputs)
            except MicroError:
                arena += ALIGNMENT
            else:
                break
        return arena
    finally:
        micro.close()


def _end(process: "subprocess.Popen[bytes]", said: BinaryIO) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    try:
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    said.close()
