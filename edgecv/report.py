"""The noun Report: what verification measured."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Check", "Report"]

# From here on a tolerance reads better without an exponent: those of int8 do.
_PLAIN = 0.01


@dataclass(frozen=True, kw_only=True)
class Check:
    """One output on one runtime and device, over all pictures.

    Attributes:
        runtime: Name of the runtime.
        device: The device that really ran it.
        provider: What the engine says it ran on.
        images: Number of pictures.
        batch: Pictures per run.
        output: Name of the output; the values of a softmax or sigmoid are compared without it.
        max_abs_diff: Largest absolute difference.
        relative_diff: Largest difference over the largest value of the original, per picture.
        cosine: Smallest cosine similarity of a picture.
        tolerance: Largest ``relative_diff`` that passes.
        worst: The picture that differs most.
        problem: Why it fails, or empty.
    """

    runtime: str
    device: str
    provider: str
    images: int
    batch: int
    output: str
    max_abs_diff: float
    relative_diff: float
    cosine: float
    tolerance: float
    worst: str
    problem: str = ""

    @property
    def passed(self) -> bool:
        """True where nothing stands against it."""
        return not self.problem

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``verify --json``."""
        return {
            "runtime": self.runtime,
            "device": self.device,
            "provider": self.provider,
            "images": self.images,
            "batch": self.batch,
            "output": self.output,
            "max_abs_diff": _rounded(self.max_abs_diff),
            "relative_diff": _rounded(self.relative_diff),
            "cosine": float(f"{self.cosine:.6f}"),
            "tolerance": self.tolerance,
            "worst": self.worst,
            "passed": self.passed,
            "problem": self.problem,
        }


@dataclass(frozen=True, kw_only=True)
class Report:
    """What verification measured, on every runtime, device and output.

    Attributes:
        checks: One a runtime, device, batch size and output.
        task: Task metric → value, such as ``top1_agreement``.
        notes: What a reader should know.
    """

    checks: tuple[Check, ...]
    task: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True where there are checks and all of them passed."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def worst(self) -> Check:
        """The failed check that differs most, beside its tolerance, or of the passed ones where none failed."""
        failed = [check for check in self.checks if not check.passed] or list(self.checks)
        return max(failed, key=lambda check: check.relative_diff / check.tolerance if check.tolerance else math.inf)

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``verify --json``."""
        return {
            "passed": self.passed,
            "checks": [check.to_json() for check in self.checks],
            "task": dict(self.task),
            "notes": list(self.notes),
        }

    def summary(self) -> str:
        """Say in one line how it ended."""
        check = self.worst
        if not check.images:  # nothing was run
            return check.problem
        where = f"{check.output!r} on {check.worst} ({check.runtime}, {check.device}, batch {check.batch})"
        if self.passed:
            most = f"{check.tolerance:.0e}" if check.tolerance < _PLAIN else f"{check.tolerance:g}"
            found = f"{check.relative_diff:.1e}" if check.tolerance < _PLAIN else f"{check.relative_diff:.2f}"
            return f"verified: largest relative difference {found} (at most {most})"
        return f"{check.problem}: {where}"


def _rounded(number: float) -> float | None:
    """Three digits: enough to read, and few enough that the same machine writes the same bytes. JSON knows no inf."""
    return float(f"{number:.2e}") if math.isfinite(number) else None
