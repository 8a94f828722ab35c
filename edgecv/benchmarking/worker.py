"""The process of one contender: opens it, runs it when it is told to, and takes the times itself.

Engines do not disturb each other so, TensorFlow can be given its threads, and the most memory that the process ever
had is the contender's. One JSON object a line goes in and one comes out; the way there and back is not timed. When
its input ends, because the benchmark is over or was killed, the process ends.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, cast

from edgecv.errors import EdgecvError, one_line

if TYPE_CHECKING:
    import numpy as np

    from edgecv.keras_session import KerasRunner
    from edgecv.session import Session

__all__ = ["main"]

_PHOTO = "cat"
_MOST_LOADS, _LOAD_SECONDS = 3, 2.0
_RUNS_BEFORE_MEMORY = 3

Reply = dict[str, Any]


class _Worker:
    """What a process can be asked for; each method is a command."""

    def __init__(self) -> None:
        self._open: Callable[[], Session] = _nothing
        self._session: Session | None = None
        self._batches: dict[int, np.ndarray[Any, Any]] = {}
        self._picture: np.ndarray[Any, Any] | None = None
        self._asked: Mapping[str, Any] = {}

    def open(self, asked: Mapping[str, Any]) -> Reply:
        """Open the contender, answer for the first picture, and look at the memory."""
        from edgecv.photos import shipped_photos
        from edgecv.pictures import picture_of_array, read_picture

        self._asked = asked
        self._open = _opener(asked)
        image = asked["image"]
        picture = read_picture(image) if image is not None else picture_of_array(shipped_photos()[_PHOTO])
        begin = time.perf_counter()
        session = self._session = self._open()
        self._picture = session.feed([picture])
        batch = self._feed(session.batch_size)
        session.run(batch)
        first = time.perf_counter() - begin
        for _ in range(_RUNS_BEFORE_MEMORY):
            session.run(batch)
        return {
            "runtime": session.runtime,
            "device": session.device,
            "provider": session.provider,
            "batch": session.batch_size,
            "dynamic": session.runner.inputs[0].shape[0] is None,
            "precision": session.metadata.get("precision"),
            "first_ms": 1e3 * first,
            "peak_rss_mb": _peak_bytes() / 1e6,
        }

    def turn(self, asked: Mapping[str, Any]) -> Reply:
        """Run for one turn."""
        from edgecv.timing import burst

        session, batch = self._opened(), self._feed(asked["batch"])
        return {"seconds": burst(lambda: session.run(batch), asked["runs"])}

    def load(self, asked: Mapping[str, Any]) -> Reply:  # noqa: ARG002
        """Open it again, now that the engine is imported."""
        taken: list[float] = []
        while len(taken) < _MOST_LOADS and sum(taken) < _LOAD_SECONDS:
            begin = time.perf_counter()
            session = self._open()
            taken.append(time.perf_counter() - begin)
            del session
        return {"load_ms": 1e3 * median(taken)}

    def count(self, asked: Mapping[str, Any]) -> Reply:  # noqa: ARG002
        """Count the multiply-adds of a picture."""
        session = self._opened()
        if session.runtime == "keras":
            from edgecv.keras_costs import multiply_adds

            runner = cast("KerasRunner", session.runner)
            return {"multiply_adds": multiply_adds(runner.deployable)}
        method = self._method("multiply_adds")
        counted = method(session.path, self._feeds()) if method is not None else None
        return {"multiply_adds": None if counted is None else counted // session.batch_size}

    def profile(self, asked: Mapping[str, Any]) -> Reply:
        """Time the nodes, where the runtime can."""
        session, method = self._opened(), self._method("profile")
        if method is None:
            return {"nodes": None}
        settings = {"device": self._asked["device"], "threads": self._asked["threads"], "seconds": asked["seconds"]}
        times = method(session.path, self._feeds(), **settings)
        return {"nodes": None if times is None else [asdict(each) for each in times]}

    def _method(self, name: str) -> Callable[..., Any] | None:
        """Return a method that a runtime may have."""
        from edgecv.session import runtime_of

        session = self._opened()
        if session.runtime == "keras":
            return None
        return getattr(runtime_of(session.path)[1], name, None)

    def _opened(self) -> "Session":
        if self._session is None:
            raise EdgecvError("Nothing is open yet.")
        return self._session

    def _feeds(self) -> dict[str, Any]:
        session = self._opened()
        return {session.runner.inputs[0].name: self._feed(session.batch_size)}

    def _feed(self, batch: int) -> "np.ndarray[Any, Any]":
        """Return the picture so many times."""
        import numpy as np

        if batch not in self._batches:
            assert self._picture is not None
            self._batches[batch] = np.repeat(self._picture, batch, axis=0)
        return self._batches[batch]


def _nothing() -> "Session":
    raise EdgecvError("Nothing is open yet.")


def _opener(asked: Mapping[str, Any]) -> "Callable[[], Session]":
    """Return what opens the contender; imports that are not the engine's are done by then."""
    from edgecv.session import load

    path, device, threads = Path(asked["artifact"]), asked["device"], asked["threads"]
    if asked["keras"]:
        return _keras_opener(path, device, threads, asked["imports"])
    return lambda: load(path, device=device, threads=threads, check=False)


def _keras_opener(path: Path, device: str, threads: int, imports: list[str]) -> "Callable[[], Session]":
    ready = False

    def opened() -> "Session":
        nonlocal ready
        from edgecv.deploying import deploy
        from edgecv.keras_session import keras_session
        from edgecv.models import import_module, open_model

        if not ready:
            _limit_keras(threads)
            for name in imports:
                import_module(name)
            ready = True
        return keras_session(deploy(open_model(str(path)), batch=None), device=device, compiled=True)

    return opened


def _limit_keras(threads: int) -> None:
    """Give Keras so many threads in all, as the engines have them."""
    from edgecv.keras_session import use_threads

    use_threads(threads)
    import tensorflow as tf

    # Otherwise several operations run at once, each with its threads.
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _peak_bytes() -> int:
    """Return the most memory that this process ever had, in bytes."""
    try:
        # What getrusage says includes, on Linux, what the process that started this one had.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _answer(worker: _Worker, line: str) -> Reply:
    asked = json.loads(line)
    try:
        reply: Reply = getattr(worker, asked["do"])(asked)
        return reply
    except EdgecvError as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": "The memory is full. Name fewer artifacts or threads at once."}
    except Exception as error:  # engines raise types of their own
        return {"error": f"{type(error).__name__}: {one_line(error)}."}


def main() -> None:
    """Answer until the input ends."""
    # Interrupted, the benchmark ends this process by closing its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What engines print must not come between the replies.
    with os.fdopen(os.dup(1), "w") as replies:
        os.dup2(2, 1)
        worker = _Worker()
        for line in sys.stdin:
            replies.write(json.dumps(_answer(worker, line)) + "\n")
            replies.flush()


if __name__ == "__main__":
    main()
