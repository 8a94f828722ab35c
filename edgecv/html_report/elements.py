"""The relative difference of every element of an output, in verification's own measure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecv.comparison import both_taken_off, take_off
from edgecv.detection import CHECKPOINTS
from edgecv.detection_proof import LEAST_SCORE
from edgecv.observed import Run
from edgecv.segmentation import CHECKPOINT
from edgecv.verification import LOCALISED, Head

__all__ = ["BINS_A_DECADE", "FIRST", "LAST", "ElementErrors", "element_errors"]

Array = np.ndarray[Any, np.dtype[Any]]

# The axis of a histogram: decimal logarithms of relative differences.
FIRST, LAST = -10, 1
BINS_A_DECADE = 4


@dataclass(frozen=True, kw_only=True)
class ElementErrors:
    """How the elements of an output differ.

    Attributes:
        output: Its name.
        counts: Elements a bin from ``10**FIRST`` to ``10**LAST``; what lies outside is in the outermost ones.
        equal: Elements that do not differ at all.
        largest: The largest relative difference of each picture.
    """

    output: str
    counts: Array
    equal: int
    largest: Array

    @property
    def total(self) -> int:
        """All elements."""
        return int(self.counts.sum()) + self.equal


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """An output on both sides, and how it is compared; as `verification.compare_outputs` does."""

    output: str
    original: Array
    artifact: Array
    activation: str
    least_scale: float = 0.0
    logarithms: bool = False
    classes: Array | None = None


def element_errors(head: Head, run: Run) -> list[ElementErrors]:
    """Return the errors of each output whose elements can be compared: whole numbers and broken ones cannot.

    Pictures are taken one at a time: in float64 a batch of a segmenter's scores would be gigabytes.
    """
    measured = []
    for pair in _pairs(head, run):
        rows = [_relative(pair, place) for place in range(len(pair.original))]
        known = [row for row in rows if row is not None and row.size]
        if known and len(known) == len(rows):
            measured.append(_counted(pair.output, known))
    return measured


def _pairs(head: Head, run: Run) -> Iterator[_Pair]:
    if head.top_k is not None:
        (every,) = run.answers.values()
        yield _Pair(
            output="scores",
            original=every,
            artifact=run.given["scores"],
            activation=head.activation,
            classes=run.given["classes"],
        )
        return
    for output, how in _measures(head, run).items():
        original, artifact = run.answers.get(output), run.given.get(output)
        if original is None or artifact is None or not np.issubdtype(original.dtype, np.floating):
            continue
        flat = artifact.reshape(len(artifact), -1)[:, :: run.steps.get(output, 1)]
        yield _Pair(output=output, original=original.reshape(len(original), -1), artifact=flat, **how)


def _measures(head: Head, run: Run) -> Mapping[str, Mapping[str, Any]]:
    """Return how each output is compared."""
    if head.segmentation is not None:
        activation = head.segmentation.activation
        return {CHECKPOINT: {"activation": activation, "logarithms": activation == "softmax"}}
    if head.nms is not None or head.task == "detection":
        boxes, scores = CHECKPOINTS if head.nms is not None else ("boxes", "scores")
        activation = head.score_activation
        least = LEAST_SCORE if activation == "none" else 0.0
        how = {"activation": activation, "logarithms": activation == "softmax", "least_scale": least}
        return {boxes: {"activation": "none"}, scores: how}
    if head.task == "localisation":
        return {output: LOCALISED.get(output, {"activation": head.activation}) for output in run.answers}
    return {output: {"activation": head.activation} for output in run.answers}


def _relative(pair: _Pair, row: int) -> Array | None:
    """Return the relative differences of one picture, flat; None where the two cannot be compared."""
    original, artifact = pair.original[[row]], pair.artifact[[row]]
    if not (np.all(np.isfinite(original)) and np.all(np.isfinite(artifact))):
        return None
    if pair.classes is not None:
        return _of_best(original, artifact, pair.classes[[row]], pair.activation)
    if original.shape != artifact.shape:
        return None
    activation = pair.activation
    if pair.logarithms:
        original, artifact, activation = take_off(original, activation), take_off(artifact, activation), "none"
    a, b, _ = both_taken_off(original, artifact, activation)
    return _over(np.abs(a - b), max(float(np.max(np.abs(a), initial=0)), pair.least_scale))


def _of_best(original: Array, scores: Array, classes: Array, activation: str) -> Array | None:
    """Compare the scores of the K best classes with the original's of the same classes."""
    if scores.shape != classes.shape or np.any((classes < 0) | (classes >= original.shape[1])):
        return None
    full = take_off(original, activation)
    centre = float(np.mean(full)) if activation == "softmax" else 0.0
    chosen = np.take_along_axis(original, classes.astype(np.int64), axis=1)
    if activation == "softmax":
        a, b = take_off(chosen, activation), take_off(scores, activation)
    else:
        a, b, _ = both_taken_off(chosen, scores, activation)
    return _over(np.abs(a - b), float(np.max(np.abs(full - centre))))


def _over(difference: Array, scale: float) -> Array:
    return np.where(difference == 0, 0.0, difference / max(scale, float(np.finfo(np.float64).tiny))).reshape(-1)


def _counted(output: str, rows: list[Array]) -> ElementErrors:
    bins = (LAST - FIRST) * BINS_A_DECADE
    counts: Array = np.zeros(bins, np.int64)
    equal = 0
    for row in rows:
        different = row[row > 0]
        equal += len(row) - len(different)
        places = np.floor((np.log10(different) - FIRST) * BINS_A_DECADE).astype(np.int64)
        counts += np.bincount(np.clip(places, 0, bins - 1), minlength=bins)
    return ElementErrors(
        output=output, counts=counts, equal=equal, largest=np.array([float(row.max(initial=0)) for row in rows])
    )
