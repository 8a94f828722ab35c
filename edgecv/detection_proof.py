"""How a detector's artifact is compared with its original, in two stages and from end to end.

Boxes of nearly equal scores may come in another order after a rounding error of 1e-6, so final lists alone prove
little. Therefore

1. what goes into suppression is compared at every anchor;
2. the artifact's suppression is compared with the greedy reference on the artifact's own anchors, box for box;
3. the final lists are matched. A difference is excused only where rounding decides: a score within tolerance of
   the threshold, of the last place or of an overlapping rival's score, or an overlap within 1e-5 of its threshold.
   The excused ones are counted, and more than 2 % of them fail.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from edgecv.comparison import Array, Comparison, compare, failed, take_off
from edgecv.detection import CHECKPOINTS
from edgecv.greedy import Detections, greedy, iou
from edgecv.nms import Nms
from edgecv.runtime import Arrays

__all__ = ["AT_A_LIMIT", "LEAST_SCORE", "compare_anchors", "compare_detections"]

# In the problem of lists that differ only where rounding decides, but too often.
AT_A_LIMIT = "boxes differ at a limit"
_MOST_EXCUSED = 0.02
_NEAR = 1e-5
# Boxes a picture that the comparison at a lowered threshold looks at.
_LOWERED_BOXES = 20
# A class score times an objectness has no logit. Of a sigmoid ONNX Runtime is off by 1.2e-7, whatever its value: on
# a picture whose best score is smaller than this, that would be more than the tolerance.
LEAST_SCORE = 0.01
# Engines compute exp to within a few float32 steps; soft suppression multiplies dozens of them.
_SOFT = 1e-5


def compare_detections(
    answers: Arrays,
    given: Arrays,
    nms: Nms,
    tolerance: float,
    *,
    activation: str = "none",
    fixed_boxes: bool = False,
    vacuity: bool = True,
    steps: Mapping[str, int] | None = None,
) -> dict[str, Comparison]:
    """Compare a detector's answers.

    Args:
        answers: The original's: outputs ``(pictures, …)`` and checkpoints; the latter possibly sampled.
        given: The artifact's, whole. Without checkpoints nothing is proven of its suppression.
        nms: The settings of suppression.
        tolerance: Largest relative difference.
        activation: What the scores went through last; they are compared without it.
        fixed_boxes: The anchors have the same boxes on every picture.
        vacuity: Demand that the anchors' scores, and boxes where not fixed, vary between the pictures.
        steps: Checkpoint → the step at which the original's flattened values were sampled.

    Returns:
        What was compared → how it differs: the two checkpoints, ``nms`` and ``detections``.
    """
    if not all(name in given for name in CHECKPOINTS):
        return {"detections": failed("the artifact does not show what goes into its suppression")}
    compared: dict[str, Comparison] = {}
    for name in CHECKPOINTS:
        step = (steps or {}).get(name, 1)
        before, after = (values.reshape(len(values), -1) for values in (answers[name], given[name]))
        compared[name] = compare_anchors(
            before,
            after[:, ::step],
            activation=activation if name == CHECKPOINTS[1] else "none",
            scores=name == CHECKPOINTS[1],
            tolerance=tolerance,
            vacuity=vacuity and not (fixed_boxes and name == CHECKPOINTS[0]),
        )
    found = _rows(given)
    if isinstance(found, str):
        return {**compared, "detections": failed(found)}
    expected = _rows(answers)
    assert not isinstance(expected, str)
    own = [greedy(boxes, scores, nms) for boxes, scores in _anchors(given)]
    compared["nms"] = _compare_suppression(own, found, nms)
    note = ""
    if not any(map(len, expected)) and not any(map(len, found)):
        if answers[CHECKPOINTS[0]].shape == given[CHECKPOINTS[0]].shape:
            nms = _lowered(answers[CHECKPOINTS[1]], nms)
            expected, found = ([greedy(*each, nms) for each in _anchors(side)] for side in (answers, given))
            note = f"no box on any picture: the final lists were compared at score threshold {nms.score_threshold:.2g}"
        else:
            note = "no box on any recorded picture: suppression was run, and found nothing"
    matched = _match_all(expected, found, nms, tolerance, _score_tolerance(answers, expected, activation, tolerance))
    said = "; ".join(each for each in (note, matched.note) if each)
    return {**compared, "detections": dataclasses.replace(matched, note=said)}


def compare_anchors(
    original: Array, artifact: Array, *, activation: str, scores: bool, tolerance: float, vacuity: bool
) -> Comparison:
    """Compare boxes or scores at every anchor, ``(pictures, …)``, scores without their activation.

    A softmax's logarithm is its logit less one number of the anchor, which no sampled value tells: the
    difference of two logarithms is at most twice that of the logits. Scores that keep their activation differ
    relative to the picture's best, or to 0.01 where that is less.
    """
    least_scale = LEAST_SCORE if scores and activation == "none" else 0.0
    if activation == "softmax" and original.shape == artifact.shape and np.all(np.isfinite(artifact)):
        original, artifact, activation = take_off(original, activation), take_off(artifact, activation), "none"
    return compare(
        original,
        artifact,
        activation=activation,
        tolerance=tolerance,
        classes=False,
        vacuity=vacuity,
        least_scale=least_scale,
    )


def _score_tolerance(answers: Arrays, expected: Sequence[Detections], activation: str, tolerance: float) -> float:
    """Return how far a score may move: by the tolerance of the largest score, or what that of its logits allows."""
    largest = max((float(np.max(each.scores)) for each in expected if len(each)), default=1.0)
    if activation == "none" or CHECKPOINTS[1] not in answers:
        return tolerance * largest
    logits = float(np.max(np.abs(take_off(answers[CHECKPOINTS[1]], activation)), initial=0))
    # The slope of a sigmoid, and of a softmax in one logit, is at most 1/4; all other logits together move it as far.
    return max(tolerance * largest, tolerance * logits / (4 if activation == "sigmoid" else 2))


def _anchors(side: Arrays) -> list[tuple[Array, Array]]:
    return list(zip(*(side[name] for name in CHECKPOINTS), strict=True))


def _lowered(scores: Array, nms: Nms) -> Nms:
    """Return the settings with a threshold that some twenty pairs of each picture would pass."""
    flat = np.sort(scores.reshape(len(scores), -1), axis=1)[:, ::-1]
    place = min(_LOWERED_BOXES, flat.shape[1] - 1)
    threshold = float(np.clip(np.median(flat[:, place]), 0.0, nms.score_threshold))
    return dataclasses.replace(nms, score_threshold=threshold)


def _rows(side: Arrays) -> list[Detections] | str:
    """Return the final lists of each picture, or what is wrong with their form."""
    boxes, scores, classes, count = (side[name] for name in ("boxes", "scores", "classes", "count"))
    lists = []
    for index, number in enumerate(count.reshape(-1).tolist()):
        if not 0 <= number <= scores.shape[1]:
            return f"count is {number}, with {scores.shape[1]} rows"
        rest = (boxes[index, number:], scores[index, number:], classes[index, number:])
        if any(np.any(each != 0) for each in rest):
            return f"rows past count ({number}) are not zeros"
        if np.any(np.diff(scores[index, :number]) > 0):
            return "the scores are not sorted"
        lists.append(
            Detections(boxes=boxes[index, :number], scores=scores[index, :number], classes=classes[index, :number])
        )
    return lists


def _compare_suppression(own: Sequence[Detections], found: Sequence[Detections], nms: Nms) -> Comparison:
    """Hold the artifact's suppression to the reference on its own anchors, box for box."""
    worst, problem, doubtful, most = 0, "", 0, 0.0
    for index, (expected, given) in enumerate(zip(own, found, strict=True)):
        difference = _box_for_box(expected, given, nms)
        if difference is None:
            most = max(most, float(np.max(np.abs(expected.scores - given.scores), initial=0)))
        elif expected.doubtful:
            doubtful += 1
        else:
            worst, problem = index, problem or difference
    if doubtful > max(1, _MOST_EXCUSED * len(own)) and not problem:
        problem = f"suppression differs on {doubtful} of {len(own)} pictures, each with an overlap at its threshold"
    note = f"{doubtful} pictures have an overlap within 1e-6 of its threshold and differ there" if doubtful else ""
    return Comparison(max_abs_diff=most, relative_diff=most, cosine=1.0, worst=worst, problem=problem, note=note)


def _box_for_box(expected: Detections, given: Detections, nms: Nms) -> str | None:
    """Say how two lists differ; None where they are equal."""
    if len(expected) != len(given):
        return f"suppression keeps {len(given)} boxes where the reference keeps {len(expected)}"
    close = _SOFT if nms.soft_sigma is not None else 0.0
    for row in range(len(expected)):
        same = np.allclose(expected.scores[row], given.scores[row], rtol=close, atol=0)
        if not same or expected.classes[row] != given.classes[row] or np.any(expected.boxes[row] != given.boxes[row]):
            return f"suppression gives another box than the reference in row {row}"
    return None


def _match_all(
    expected: Sequence[Detections], found: Sequence[Detections], nms: Nms, tolerance: float, score_tolerance: float
) -> Comparison:
    results = [_match(a, b, nms, tolerance, score_tolerance) for a, b in zip(expected, found, strict=True)]
    total = sum(len(each) for each in expected) + sum(len(each) for each in found)
    matched = 2 * sum(len(result.pairs) for result in results)
    excused = sum(result.excused for result in results)
    missing = [result.missing for result in results]
    worst = int(np.argmax(missing))
    problem = f"{sum(missing)} of {total} boxes have no counterpart" if any(missing) else ""
    if not problem and excused > _MOST_EXCUSED * total:
        problem = f"{excused} of {total} {AT_A_LIMIT}, more than {_MOST_EXCUSED:.0%}"
    note = f"{excused} of {total} boxes differ where rounding decides" if excused else ""
    return Comparison(
        max_abs_diff=max((result.box_diff for result in results), default=0.0),
        # In the same measure as its tolerance.
        relative_diff=max(result.score_diff for result in results) * tolerance / score_tolerance,
        cosine=1.0,
        worst=worst,
        box_match=matched / total if total else 1.0,
        problem=problem,
        note=note,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Match:
    pairs: list[tuple[int, int]]
    excused: int
    missing: int
    box_diff: float
    score_diff: float


def _match(a: Detections, b: Detections, nms: Nms, box_tolerance: float, score_tolerance: float) -> _Match:
    """Pair the boxes of two lists of one picture, and judge those that are left."""
    free = set(range(len(b)))
    pairs: list[tuple[int, int]] = []
    for row in range(len(a)):
        near = (
            (b.classes == a.classes[row])
            & (np.abs(b.scores - a.scores[row]) <= score_tolerance)
            & (np.max(np.abs(b.boxes - a.boxes[row]), axis=1, initial=0) <= 2 * box_tolerance)
        )
        candidates = [index for index in np.flatnonzero(near).tolist() if index in free]
        if candidates:
            best = min(candidates, key=lambda index: abs(index - row))
            free.discard(best)
            pairs.append((row, best))
    paired = {row for row, _ in pairs}
    alone = ([row for row in range(len(a)) if row not in paired], sorted(free))
    excused = _excused(a, b, alone, nms, score_tolerance)
    left, right = [row for row, _ in pairs], [row for _, row in pairs]
    return _Match(
        pairs=pairs,
        excused=excused,
        missing=len(alone[0]) + len(alone[1]) - excused,
        box_diff=float(np.max(np.abs(a.boxes[left] - b.boxes[right]), initial=0)),
        score_diff=float(np.max(np.abs(a.scores[left] - b.scores[right]), initial=0)),
    )


def _excused(a: Detections, b: Detections, alone: tuple[list[int], list[int]], nms: Nms, score_tolerance: float) -> int:
    """Count the boxes without a counterpart whose fate rounding decides, and those that such a box decides."""
    sides = ((a, alone[0], b), (b, alone[1], a))
    excused: set[tuple[int, int]] = set()
    for side, (own, rows, other) in enumerate(sides):
        excused |= {(side, row) for row in rows if _at_a_limit(own, row, other, nms, score_tolerance)}
    while True:
        more = {
            (side, row)
            for side, (own, rows, other) in enumerate(sides)
            for row in rows
            if (side, row) not in excused
            and any(
                _overlap(own, row, other, rival, nms) > nms.iou_threshold - _NEAR
                for other_side, rival in excused
                if other_side != side
            )
        }
        if not more:
            return len(excused)
        excused |= more


def _at_a_limit(own: Detections, row: int, other: Detections, nms: Nms, score_tolerance: float) -> bool:
    score = float(own.scores[row])
    if score - nms.score_threshold <= score_tolerance:
        return True
    # The lists were cut: another box of nearly this score took the last place.
    if len(other) == nms.max_detections and score - float(other.scores[-1]) <= 2 * score_tolerance:
        return True
    for rival in range(len(other)):
        overlap = _overlap(own, row, other, rival, nms)
        if abs(overlap - nms.iou_threshold) <= _NEAR:
            return True
        if overlap > nms.iou_threshold and abs(float(other.scores[rival]) - score) <= 2 * score_tolerance:
            return True
    return False


def _overlap(own: Detections, row: int, other: Detections, rival: int, nms: Nms) -> float:
    """Return the overlap of two boxes that can suppress each other; 0 where they cannot."""
    if not nms.class_agnostic and own.classes[row] != other.classes[rival]:
        return 0.0
    return float(iou(own.boxes[row], other.boxes[rival : rival + 1])[0])
