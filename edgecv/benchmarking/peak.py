"""What this machine reaches in a matrix product: the yardstick of what networks reach.

A product of two square float32 matrices by NumPy's library, in a process of its own: the libraries read how many
threads they may have when they are loaded.
"""

import subprocess
import sys
import time
from collections.abc import Iterable

from edgecv.benchmarking.process import environment
from edgecv.errors import EdgecvError

__all__ = ["measure_peaks"]

_SIDE = 1024
_SECONDS = 0.5
_ROUNDS = 3
_FEWEST = 3
_LIBRARIES = ("OPENBLAS", "OMP", "MKL", "BLIS", "NUMEXPR")


def measure_peaks(threads: Iterable[int]) -> dict[int, float]:
    """Return the GFLOP/s of a matrix product by number of threads: the best, for what disturbs only slows it.

    Raises:
        EdgecvError: It cannot be measured.
    """
    counts = list(threads)
    rounds = [{count: _apart(count) for count in counts} for _ in range(_ROUNDS)]
    return {count: max(each[count] for each in rounds) for count in counts}


def _apart(threads: int) -> float:
    count = str(threads)
    settings = {f"{library}_NUM_THREADS": count for library in _LIBRARIES} | {"VECLIB_MAXIMUM_THREADS": count}
    command = [sys.executable, "-m", "edgecv.benchmarking.peak"]
    try:
        done = subprocess.run(command, env=environment(**settings), capture_output=True, text=True, check=True)
        return float(done.stdout)
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise EdgecvError(f"The matrix product cannot be measured: {error}. Check NumPy.") from error


def _measure() -> float:
    import numpy as np

    left, right = (np.random.default_rng(seed).random((_SIDE, _SIDE), np.float32) for seed in (0, 1))
    out = np.empty_like(left)
    np.matmul(left, right, out=out)
    best, runs = float("inf"), 0
    end = time.perf_counter() + _SECONDS
    while runs < _FEWEST or time.perf_counter() < end:
        begin = time.perf_counter()
        np.matmul(left, right, out=out)
        best, runs = min(best, time.perf_counter() - begin), runs + 1
    return 2 * _SIDE**3 / best / 1e9


if __name__ == "__main__":
    print(_measure())
