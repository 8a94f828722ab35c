"""What the benchmarks share: engines, interleaved rounds, paired ratios with interval and control, and CSV files.

A CSV file says where its figures come from.
"""

import csv
import datetime
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgecv.files import replace_whole
from edgecv.machine import processor
from edgecv.timing import rotated

__all__ = [
    "ENGINES",
    "Contender",
    "Ratio",
    "compare_rounds",
    "comparison",
    "machine",
    "onnx_session",
    "open_onnx",
    "open_tflite",
    "timed_rounds",
    "update_csv",
    "write_csv",
]

# What is timed: it gets the number of the turn, by which it may choose its picture.
Contender = Callable[[int], object]
Outputs = list[Any]

# Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom.
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True)
class Ratio:
    """A ratio of times over paired rounds.

    Attributes:
        value: Geometric mean.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """How far the interval reaches from 1, as a factor."""
        return max(self.high, 1 / self.low if self.low else math.inf)


def compare_rounds(times: Sequence[float], peer: Sequence[float]) -> Ratio:
    """Return the ratio of paired times, ``times`` over ``peer``, with Student's interval on its logarithm."""
    logs = [math.log(a / b) for a, b in zip(times, peer, strict=True)]
    mean = statistics.fmean(logs)
    count = len(logs)
    half = _T95[min(count - 2, len(_T95) - 1)] * statistics.stdev(logs) / math.sqrt(count) if count > 1 else math.inf
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def timed_rounds(
    contenders: Mapping[str, Contender], *, rounds: int, seconds: float, fewest: int = 5, most: int = 200
) -> dict[str, list[float]]:
    """Time contenders in turn and return the median milliseconds of each in each round.

    Args:
        contenders: What to time.
        rounds: How many medians to take of each.
        seconds: About how long to take in all; it sets the number of turns a round.
        fewest: Turns a round, at least.
        most: Turns a round, at most.
    """
    names = list(contenders)
    for name in names:  # the first call prepares what later ones reuse
        contenders[name](0)
    once = sum(_seconds(contenders[name], 0) for name in names)
    turns = max(fewest, min(most, math.ceil(seconds / rounds / once)))
    medians: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        times: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(turns):
            for name in rotated(names, turn + number):
                times[name].append(_seconds(contenders[name], turn))
        for name in names:
            medians[name].append(1e3 * statistics.median(times[name]))
    return medians


def comparison(ours: Sequence[float], peer: Sequence[float], again: Sequence[float]) -> dict[str, float]:
    """Return the columns of a comparison: the ratio with its interval, and the peer's ratio to itself.

    Args:
        ours: Milliseconds in each round.
        peer: Those of the peer.
        again: Those of the peer once more.
    """
    ratio, control = compare_rounds(ours, peer), compare_rounds(again, peer)
    return {
        "ratio": round(ratio.value, 4),
        "ratio_low": round(ratio.low, 4),
        "ratio_high": round(ratio.high, 4),
        "peer_to_itself": round(control.value, 3),
        "control_spread": round(control.spread, 3),
    }


def onnx_session(path: Path, threads: int, *, profile: Path | None = None) -> Any:
    """Open a file in ONNX Runtime on the CPU, without spinning threads.

    Args:
        path: The file.
        threads: Threads within an operator.
        profile: Prefix of the profile to write; by default none is.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def open_onnx(path: Path, threads: int) -> Callable[..., Outputs]:
    """Return what runs a file in ONNX Runtime on arrays in the order of its inputs."""
    session = onnx_session(path, threads)
    names = [each.name for each in session.get_inputs()]
    return lambda *arrays: list(session.run(None, dict(zip(names, arrays, strict=True))))


def open_tflite(path: Path, threads: int) -> Callable[..., Outputs]:
    """Return what runs a file in LiteRT on arrays in the order of its inputs."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=threads)
    interpreter.allocate_tensors()
    inputs = [each["index"] for each in interpreter.get_input_details()]
    outputs = [each["index"] for each in interpreter.get_output_details()]

    def run(*arrays: Any) -> Outputs:
        for index, array in zip(inputs, arrays, strict=True):
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return run


# Exporter → its engine's name, and what opens a file.
ENGINES: Mapping[str, tuple[str, Callable[[Path, int], Callable[..., Outputs]]]] = {
    "onnx": ("ONNX Runtime", open_onnx),
    "tflite": ("LiteRT", open_tflite),
}


def machine() -> dict[str, str]:
    """Return what a row must say of where it was measured."""
    packages = ("edgecv", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "ai-edge-litert", "numpy")
    installed = []
    for package in packages:
        try:
            installed.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return {
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "versions": f"Python {platform.python_version()}, {', '.join(installed)}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the machine, the versions and the date in the last columns."""
    where = machine()
    with replace_whole(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], *where])
        writer.writeheader()
        writer.writerows({**row, **where} for row in rows)


def update_csv(path: Path, rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> None:
    """Write rows as `write_csv` does, in place of those in the file with the same values of ``keys``.

    The other rows stay as they are: a benchmark can be run network by network, over several days.
    """
    where = machine()
    named = {tuple(str(row[key]) for key in keys): {**row, **where} for row in rows}
    if path.exists():
        with path.open(newline="") as file:
            there = {tuple(row[key] for key in keys): row for row in csv.DictReader(file)}
        named = {**there, **named}
    columns = dict.fromkeys(name for row in named.values() for name in row)
    with replace_whole(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*(name for name in columns if name not in where), *where])
        writer.writeheader()
        writer.writerows(named.values())


def _seconds(contender: Contender, turn: int) -> float:
    start = time.perf_counter()
    contender(turn)
    return time.perf_counter() - start
