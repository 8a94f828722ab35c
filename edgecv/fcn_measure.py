"""How far the cells of two grids are apart: one rule of a proof, over all pictures and outputs."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from edgecv.comparison import VACUITY
from edgecv.report import Check

__all__ = ["CellCheck", "Compared", "check"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True)
class CellCheck(Check):
    """One rule over all pictures.

    Attributes:
        cells: Cells compared; zero is a failure.
    """

    cells: int

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``verify --json``."""
        return {**super().to_json(), "cells": self.cells}


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One output on one picture: what has to be and what is, ``(cells, numbers)``."""

    picture: str
    output: str
    expected: Array
    given: Array


def check(rule: str, compared: Iterable[Compared], *, tolerance: float, problem: str = "") -> CellCheck:
    """Measure a rule; zero cells, a difference, NaN, and outputs that do not vary are failures.

    Args:
        rule: Its name.
        compared: What it compared.
        tolerance: Largest max|a − b| / max|a| of an output over a picture's cells that passes.
        problem: Why it fails whatever was measured, or empty.
    """
    parts = list(compared)
    measured = [_measure(part) for part in parts]
    outputs = {part.output for part in parts}
    cells = sum(len(part.expected) for part in parts) // max(len(outputs), 1)
    worst = max(range(len(parts)), key=lambda index: _rank(measured[index][1]), default=None)
    return CellCheck(
        runtime="keras",
        device="cpu",
        provider=keras.backend.backend(),
        images=len({part.picture for part in parts}),
        batch=1,
        output=rule,
        max_abs_diff=max((absolute for absolute, _, _ in measured), key=_rank, default=math.inf),
        relative_diff=math.inf if worst is None else measured[worst][1],
        cosine=min((cosine for _, _, cosine in measured), default=0.0),
        tolerance=tolerance,
        worst="no picture" if worst is None else f"{parts[worst].picture}, output {parts[worst].output!r}",
        problem=problem or _problem(parts, measured, cells, tolerance),
        cells=cells,
    )


def _rank(number: float) -> float:
    """Order differences with NaN, which no comparison orders, as the largest."""
    return math.inf if math.isnan(number) else number


def _measure(part: Compared) -> tuple[float, float, float]:
    """Return the absolute and the relative difference and the cosine."""
    a, b = part.expected, part.given
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.inf, math.inf, 0.0
    if not a.size:
        return 0.0, 0.0, 1.0
    difference, largest = float(np.abs(a - b).max()), float(np.abs(a).max())
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(np.sum(a * b)) / norms if norms else 1.0
    return difference, 0.0 if difference == 0 else difference / max(largest, 1e-300), cosine


def _problem(parts: Sequence[Compared], measured: Sequence[Any], cells: int, tolerance: float) -> str:
    if not cells:
        return "no cell was compared: a receptive field needs sub-pictures above the largest size"
    largest = max(relative for _, relative, _ in measured)
    if math.isinf(largest):
        return "the cells do not match one to one, or a value is NaN or infinite"
    if largest > tolerance:
        return f"relative difference {largest:.1e} is above {tolerance:.0e}"
    for output in sorted({part.output for part in parts}):
        values = np.concatenate([part.expected for part in parts if part.output == output])
        spread, top = float(np.std(values, axis=0).max()), float(np.abs(values).max())
        if spread < VACUITY * tolerance * top or top == 0:
            return (
                f"nothing is proven: output {output!r} varies by {spread:.1e} between the cells, "
                f"less than {VACUITY} x tolerance x {top:.1e}"
            )
    return ""
