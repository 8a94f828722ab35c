"""How two outputs are compared: relative differences without softmax, top-1 with its margin, and a vacuity check."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "TOLERANCES",
    "VACUITY",
    "Array",
    "Comparison",
    "both_taken_off",
    "compare",
    "compare_top_k",
    "failed",
    "match_boxes",
    "take_off",
]

Array = np.ndarray[Any, np.dtype[Any]]

# Relative differences, from the contract: float32 rounding through 150 layers reaches 1e-5; a wrong
# epsilon, padding or channel moves outputs by 1e-3 and more. float16 has 11 bits.
TOLERANCES = {"float32": 1e-4, "float16": 5e-3}
# Outputs that vary by fewer tolerances between pictures would let any artifact pass.
VACUITY = 10
# Below this a float32 softmax has lost its digits.
_SMALLEST = 1e-30
# Two steps of float32 below 1: a sigmoid has no finer digits in every engine (ONNX Runtime's is off by 1.2e-7).
_STEP = 2.0**-22
# Where a sigmoid's p (1 − p) is smaller, the step leaves more than a hundredth of its logit open.
_SATURATED = 1e-5


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Differences of one output over all pictures.

    Attributes:
        max_abs_diff: Largest absolute difference.
        relative_diff: Largest difference over the largest value of the original, per picture.
        cosine: Smallest cosine similarity of a picture.
        worst: Index of the picture that differs most.
        top1: Fraction of pictures with the same best class; None where there are no classes.
        box_match: Detectors and localisers: fraction of the boxes that have a counterpart; None where there are none.
        pixels: Segmenters: fraction of the pixels with the same class; None where there are none.
        problem: Why it fails, or empty.
        note: What a reader should know, or empty.
        tolerance: Largest ``relative_diff`` that passes; None for that of the report.
    """

    max_abs_diff: float
    relative_diff: float
    cosine: float
    worst: int
    top1: float | None = None
    box_match: float | None = None
    pixels: float | None = None
    problem: str = ""
    note: str = ""
    tolerance: float | None = None


def take_off(values: Array, activation: str) -> Array:
    """Undo an activation, so that differences are measured on logits.

    A softmax is undone up to a constant per picture; what float32 does not resolve is at the nearest
    value that it does.

    Args:
        values: ``(pictures, classes)``.
        activation: ``softmax``, ``sigmoid`` or ``none``.
    """
    values = values.astype(np.float64)
    if activation == "softmax":
        return np.log(np.maximum(values, _SMALLEST))
    if activation == "sigmoid":
        clipped = np.clip(values, _STEP / 2, 1 - _STEP / 2)
        return np.asarray(np.log(clipped) - np.log1p(-clipped))
    return values


def compare(
    original: Array,
    artifact: Array,
    *,
    activation: str,
    tolerance: float,
    classes: bool,
    vacuity: bool = True,
    least_scale: float = 0.0,
) -> Comparison:
    """Compare an output of the original with an artifact's.

    Args:
        original: ``(pictures, …)``.
        artifact: The same shape.
        activation: What the output went through.
        tolerance: Largest relative difference.
        classes: The last axis is classes: the best one must agree unless its margin is below the tolerance.
        vacuity: Demand that the original's outputs vary between the pictures.
        least_scale: Differences on a picture whose largest value is smaller are taken relative to this: a single
            logit near 0 has no scale of its own.
    """
    if original.shape != artifact.shape:
        return failed(f"the shape is {artifact.shape[1:]} instead of {original.shape[1:]}")
    if broken := _not_finite(original, artifact):
        return failed(broken)
    if not np.issubdtype(original.dtype, np.floating):
        return _compare_exact(original, artifact)
    count = len(original)
    before, after = original.reshape(count, -1), artifact.reshape(count, -1)
    a, b, known = both_taken_off(before, after, activation)
    measured = _measure(a, b, np.maximum(np.max(np.abs(a), axis=1), least_scale))
    problem = _vacuous(a, known, tolerance, least_scale) if vacuity else ""
    if measured.relative_diff > tolerance:
        problem = f"relative difference {measured.relative_diff:.1e} is above {tolerance:.0e}"
    top1 = None
    if classes and a.shape[1] > 1:
        top1, flipped = _top1(before, after, activation, tolerance * np.max(np.abs(a), axis=1))
        problem = problem or flipped
    return Comparison(**{**vars(measured), "top1": top1, "problem": problem})


def both_taken_off(before: Array, after: Array, activation: str) -> tuple[Array, Array, Array]:
    """Undo an activation on both sides.

    Args:
        before: The original's ``(pictures, elements)``.
        after: The artifact's.
        activation: What both went through.

    Returns:
        Both sides, float64, whose difference is what counts, and where the original has digits to tell its logits.
    """
    known = _resolved(before, activation)
    a = take_off(before, activation)
    b = _nearest(a, after, activation)
    if activation == "softmax":
        a, b = (values - np.mean(values, axis=1, keepdims=True, where=known) for values in (a, b))
        # A class without digits counts by how far the artifact lifts it to where it would have some.
        b = np.where(known, b, take_off(after, activation) - np.log(_SMALLEST))
        a = np.where(known, a, 0)
    return a, b, known


def compare_top_k(
    original: Array, scores: Array, classes: Array, *, activation: str, tolerance: float, vacuity: bool = True
) -> Comparison:
    """Compare the K best classes of an artifact with all classes of the original.

    Each score must be the original's score of that class, and each class the original's of that rank
    unless the two are closer than the tolerance.

    Args:
        original: ``(pictures, classes)``.
        scores: ``(pictures, K)``, best first.
        classes: int32 ``(pictures, K)``.
        activation: What the scores went through.
        tolerance: Largest relative difference.
        vacuity: Demand that the original's outputs vary between the pictures.
    """
    if scores.shape != classes.shape or len(scores) != len(original):
        return failed(f"scores have the shape {scores.shape[1:]} and classes {classes.shape[1:]}")
    outside = classes[(classes < 0) | (classes >= original.shape[1])]
    if outside.size:
        return failed(f"class {int(outside[0])} is outside 0…{original.shape[1] - 1}")
    if broken := _not_finite(original, scores):
        return failed(broken)
    known = _resolved(original, activation)
    full = take_off(original, activation)
    centre = np.mean(full, axis=1, keepdims=True, where=known) if activation == "softmax" else 0.0
    chosen = np.take_along_axis(original, classes.astype(np.int64), axis=1)
    a = take_off(chosen, activation)
    largest = np.max(np.abs(full - centre), axis=1, where=known, initial=0.0)
    measured = _measure(a - centre, _nearest(a, scores, activation) - centre, largest)
    problem = _vacuous(full - centre, known, tolerance) if vacuity else ""
    ranked = -np.sort(-full, axis=1)[:, : classes.shape[1]]
    if np.any(np.abs(ranked - _nearest(ranked, chosen, activation)) > tolerance * largest[:, None]):
        problem = "the K best classes are others than the original's"
    elif any(len(set(row)) != len(row) for row in classes.tolist()):
        problem = "a class is given twice"
    elif measured.relative_diff > tolerance:
        problem = f"relative difference {measured.relative_diff:.1e} is above {tolerance:.0e}"
    top1 = float(np.mean(classes[:, 0] == np.argmax(original, axis=1)))
    return Comparison(**{**vars(measured), "top1": top1, "problem": problem})


def match_boxes(original: Array, artifact: Array, tolerance: float) -> float:
    """Return the fraction of boxes ``(pictures, 4)`` in 0…1 whose sides lie within 2 × tolerance of the original's.

    Within that distance a detector's boxes are counterparts, too.
    """
    farthest = np.max(np.abs(original.astype(np.float64) - artifact.astype(np.float64)), axis=1)
    return float(np.mean(farthest <= 2 * tolerance))


def failed(problem: str) -> Comparison:
    """Return a comparison that fails before anything could be measured."""
    return Comparison(max_abs_diff=float("inf"), relative_diff=float("inf"), cosine=0.0, worst=0, problem=problem)


def _not_finite(original: Array, artifact: Array) -> str:
    """Say which of the two gives NaN or infinity: no comparison would be false with it."""
    for who, values in (("original", original), ("artifact", artifact)):
        if not np.all(np.isfinite(values.astype(np.float64))):
            return f"the {who} gives NaN or infinity"
    return ""


def _resolved(values: Array, activation: str) -> Array:
    """Return where float32 probabilities have the digits to tell their logits."""
    if activation == "softmax":
        return np.asarray(values > _SMALLEST)
    if activation == "sigmoid":
        exact = values.astype(np.float64)
        return np.asarray(exact * (1 - exact) > _SATURATED)
    return np.ones(values.shape, bool)


def _nearest(logits: Array, values: Array, activation: str) -> Array:
    """Return the logits of ``values``; of what a sigmoid's float32 steps leave open, those nearest to ``logits``."""
    if activation != "sigmoid":
        return take_off(values, activation)
    exact = values.astype(np.float64)
    return np.clip(logits, take_off(exact - _STEP, activation), take_off(exact + _STEP, activation))


def _compare_exact(original: Array, artifact: Array) -> Comparison:
    different = np.mean((original != artifact).reshape(len(original), -1), axis=1)
    worst = int(np.argmax(different))
    problem = f"{different[worst]:.2%} of the values differ" if different[worst] else ""
    most = float(np.max(np.abs(original.astype(np.float64) - artifact.astype(np.float64))))
    return Comparison(
        max_abs_diff=most, relative_diff=float(different[worst]), cosine=1.0, worst=worst, problem=problem
    )


def _measure(a: Array, b: Array, scale: Array) -> Comparison:
    difference = np.max(np.abs(a - b), axis=1)
    relative = np.where(difference == 0, 0.0, difference / np.maximum(scale, np.finfo(np.float64).tiny))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = np.where(norms > 0, np.sum(a * b, axis=1) / np.maximum(norms, 1e-300), 1.0)
    return Comparison(
        max_abs_diff=float(difference.max()),
        relative_diff=float(relative.max()),
        cosine=float(cosine.min()),
        worst=int(np.argmax(relative)),
    )


def _vacuous(a: Array, known: Array, tolerance: float, least_scale: float = 0.0) -> str:
    """Say that the original's outputs vary too little between the pictures to prove anything."""
    largest = float(np.max(np.abs(a), where=known, initial=least_scale))
    # Only pictures on which an element has digits tell how much it varies.
    several = np.sum(known, axis=0) > 1
    deviations = np.std(a[:, several], axis=0, where=known[:, several])
    spread = float(np.max(deviations, initial=0.0))
    if spread >= VACUITY * tolerance * largest and largest > 0:
        return ""
    return (
        f"nothing is proven: the original's output varies by {spread:.1e} between the pictures, "
        f"less than {VACUITY} x tolerance x {largest:.1e}; give other pictures with --images"
    )


def _top1(original: Array, artifact: Array, activation: str, allowed: Array) -> tuple[float, str]:
    """Return the agreement of the best class, and a problem where it differs with a margin above ``allowed``."""
    best, other = (np.argmax(values, axis=1)[:, None] for values in (original, artifact))
    highest = take_off(np.take_along_axis(original, best, axis=1), activation)
    margin = highest - _nearest(highest, np.take_along_axis(original, other, axis=1), activation)
    flipped: Sequence[int] = np.flatnonzero(margin[:, 0] > allowed).tolist()
    problem = f"the best class is {other[flipped[0], 0]} instead of {best[flipped[0], 0]}" if flipped else ""
    return float(np.mean(best == other)), problem
