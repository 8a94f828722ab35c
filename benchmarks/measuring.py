"""What the benchmarks share: paired ratios with interval and control, and CSV files that say where they come from."""

import csv
import datetime
import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgecv.files import replace_whole

__all__ = ["Ratio", "compare_rounds", "machine", "write_csv"]

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


def compare_rounds(times: Sequence[float], peer: Sequence[float]) -> Ratio:
    """Return the ratio of paired times, ``times`` over ``peer``, with Student's interval on its logarithm."""
    logs = [math.log(a / b) for a, b in zip(times, peer, strict=True)]
    mean = statistics.fmean(logs)
    count = len(logs)
    half = _T95[min(count - 2, len(_T95) - 1)] * statistics.stdev(logs) / math.sqrt(count) if count > 1 else math.inf
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


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
        "machine": f"{_processor()}, {os.cpu_count()} cores",
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


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
