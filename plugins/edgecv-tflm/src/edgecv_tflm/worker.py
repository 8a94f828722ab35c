"""The interpreter of TensorFlow Lite Micro in a process of its own, which may die of a file without harm.

Run as a script; it imports nothing of edgecv. A request on standard input is a line of JSON, followed by so many bytes
as its ``bytes`` says: a model to open, with its arena, or an input to run. The answer on standard output has the same
form. What the interpreter says goes to standard error, as it is.
"""

import json
import sys
from typing import Any, BinaryIO

__all__ = ["main"]


def main(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer requests until there are no more."""
    opened: list[tuple[Any, int]] = []
    while line := source.readline():
        request = json.loads(line)
        content = source.read(request["bytes"])
        try:
            if "arena" in request:
                opened.append((_open(content, request["arena"]), request["outputs"]))
                _answer(sink, {"model": len(opened) - 1})
            else:
                interpreter, count = opened[request["model"]]
                _run(sink, interpreter, count, content)
        except (RuntimeError, ValueError) as error:
            _answer(sink, {"error": str(error)})


def _open(content: bytes, arena: int) -> Any:
    from tflite_micro import runtime  # type: ignore[import-untyped]

    interpreter = runtime.Interpreter.from_bytes(content, arena_size=arena)
    interpreter.print_allocations()
    return interpreter


def _run(sink: BinaryIO, interpreter: Any, count: int, content: bytes) -> None:
    import numpy as np

    given = interpreter.get_input_details(0)
    interpreter.set_input(np.frombuffer(content, given["dtype"]).reshape(given["shape"]), 0)
    interpreter.invoke()
    outputs = [np.ascontiguousarray(interpreter.get_output(place)) for place in range(count)]
    tensors = [{"shape": list(values.shape), "dtype": values.dtype.name} for values in outputs]
    _answer(sink, {"outputs": tensors}, b"".join(values.tobytes() for values in outputs))


def _answer(sink: BinaryIO, document: dict[str, Any], content: bytes = b"") -> None:
    sink.write(json.dumps({**document, "bytes": len(content)}).encode() + b"\n" + content)
    sink.flush()


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
