"""The nouns of a benchmark: what competes, and what was measured of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecv.benchmarking.profile import Profile
from edgecv.timing import Timing

__all__ = ["Contender", "Measured", "Throughput"]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """An artifact on a device with a number of threads.

    Attributes:
        artifact: The file: what edgecv exported, or a Keras network.
        device: ``"cpu"`` or ``"cuda"``.
        threads: Threads of the engine.
    """

    artifact: Path
    device: str
    threads: int

    @property
    def name(self) -> str:
        """What messages call it."""
        many = "" if self.threads == 1 else "s"
        return f"{self.artifact} on {self.device} with {self.threads} thread{many}"


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """How many pictures a second go through.

    Attributes:
        batch: Pictures a run.
        pictures_per_second: By the median time of a run.
    """

    batch: int
    pictures_per_second: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of a contender.

    Attributes:
        contender: What it was measured of.
        runtime: Name of the runtime that ran it, or ``"keras"``.
        provider: What the engine says it ran on.
        precision: Of the weights, as the metadata say.
        bytes: Size of the file.
        batch: Pictures a run of those that were timed.
        timing: How long a run takes.
        load_ms: How long it takes to open, the engine being imported.
        first_ms: From nothing, engine's import included, to the first answer.
        peak_rss_mb: Most memory of a process that opened it and ran it a few times, in 10**6 bytes.
        throughput: By batch.
        multiply_adds: Of convolutions and matrix products for a picture; None where unknown.
        peak_gflops: What the processor reached in a matrix product; None on other devices.
        profile: Where the time goes; None where not asked for, or where the runtime cannot say.
    """

    contender: Contender
    runtime: str
    provider: str
    precision: str | None
    bytes: int
    batch: int
    timing: Timing
    load_ms: float
    first_ms: float
    peak_rss_mb: float
    throughput: tuple[Throughput, ...]
    multiply_adds: int | None
    peak_gflops: float | None
    profile: Profile | None

    @property
    def gflops(self) -> float | None:
        """What it reached: a multiply-add is two operations, and nothing else counts."""
        if not self.multiply_adds:
            return None
        return 2 * self.multiply_adds * self.batch / (self.timing.p50_ms * 1e6)

    @property
    def share_of_peak(self) -> float | None:
        """Its GFLOP/s over those of the matrix product."""
        return self.gflops / self.peak_gflops if self.gflops and self.peak_gflops else None

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``benchmark --json``."""
        timing = self.timing
        return {
            "artifact": str(self.contender.artifact),
            "runtime": self.runtime,
            "device": self.contender.device,
            "threads": self.contender.threads,
            "runs": timing.runs,
            "p50_ms": round(timing.p50_ms, 4),
            "p90_ms": round(timing.p90_ms, 4),
            "load_ms": round(self.load_ms, 3),
            "peak_rss_mb": round(self.peak_rss_mb, 3),
            "bytes": self.bytes,
            "first_ms": round(self.first_ms, 3),
            "interval_ms": [round(timing.low_ms, 4), round(timing.high_ms, 4)],
            "converged": timing.converged,
            "batch": self.batch,
            "throughput": [
                {"batch": each.batch, "pictures_per_second": round(each.pictures_per_second, 3)}
                for each in self.throughput
            ],
            "precision": self.precision,
            "provider": self.provider,
            "multiply_adds": self.multiply_adds,
            "gflops": _rounded(self.gflops),
            "peak_gflops": _rounded(self.peak_gflops),
            "share_of_peak": _rounded(self.share_of_peak),
            "profile": self.profile.to_json() if self.profile is not None else None,
        }


def _rounded(value: float | None) -> float | None:
    return round(value, 4) if value is not None else None
