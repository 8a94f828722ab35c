"""A trial in a process of its own, for artifacts that are known to be damaged: an engine may fall over them.

Files are checked before an engine opens them, and engines check them, too; neither finds everything. What has the
right digest is as it was sealed. What has not, and is to be run all the same, runs once where it can do no harm.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from edgecv.errors import ArtifactError, EdgecvError

__all__ = ["attempt"]

_PATIENCE = 60.0
# Beside what the process has when its engine is there.
_MOST_GROWTH = 4 << 30
_FAILED = 3


def attempt(path: Path, device: str = "cpu") -> None:
    """Open and run an artifact once in another process.

    Raises:
        ArtifactError: It ends that process, takes no end, or does not run.
    """
    # Without -P, the current folder would come first.
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "edgecv.trial", str(path), device]
    try:
        done = subprocess.run(command, capture_output=True, env=environment, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise _failed(path, f"its engine takes more than {_PATIENCE:.0f} s") from None
    if done.returncode == _FAILED:
        raise ArtifactError(done.stdout.decode(errors="replace").strip())
    if done.returncode < 0:
        raise _failed(path, f"its engine falls over it ({_name(-done.returncode)})")
    if done.returncode:
        raise _failed(path, f"its engine ends with code {done.returncode}")


def _failed(path: Path, problem: str) -> ArtifactError:
    return ArtifactError(f"{str(path)!r} is damaged and cannot be run: {problem}. Export it again.")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _run(path: Path, device: str) -> None:
    """The other side."""
    import numpy as np

    from edgecv.session import Session, runtime_of

    name, runtime = runtime_of(path)
    document = runtime.read_metadata(path)
    runtime.devices()
    _bound_memory()
    session = Session(path, document, runtime.open(path, device=device, threads=1), runtime_name=name)
    height, width = (side or 32 for side in session.size)
    session.predict(np.zeros((height, width, 3), np.uint8))


def _bound_memory() -> None:
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + _MOST_GROWTH
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):  # not everywhere
        return


if __name__ == "__main__":
    try:
        _run(Path(sys.argv[1]), sys.argv[2])
    except EdgecvError as error:
        print(error)
        sys.exit(_FAILED)
