"""Average precision at one IoU, as Pascal VOC defines it: at 11 points of recall, and over the whole curve.

Detections of a class, over all pictures, are taken best score first. Each looks at the object of its class on its
picture that it overlaps most. With an IoU of at least the threshold it is a hit if it is the first one there, and
otherwise a miss, as is one without such an object. Boxes are continuous: no side is a pixel longer than it is, as
the inclusive pixel numbers of VOC's own script make it.

A detection of a difficult object (VOC), or one that is no hit and lies at least half in a crowd (COCO), counts as
neither; such objects are not demanded either.

Reference:
    Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", 2010, sections 4.2.1 and 4.2.2,
    https://doi.org/10.1007/s11263-009-0275-4. The area under the curve: the development kit of VOC2010, section 3.4.1.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecv.evaluation.scenes import Scene, Truth, coverage, overlap

__all__ = [
    "HIT",
    "MISS",
    "ClassPrecision",
    "area_under_curve",
    "average_precision",
    "best_first",
    "eleven_points",
    "judge_class",
    "mean",
]

Array = np.ndarray[Any, np.dtype[Any]]

# Verdicts on detections.
HIT, MISS, _NEITHER = 1, 0, -1


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassPrecision:
    """How well one class was found.

    Attributes:
        category: Its number.
        objects: Objects that are demanded.
        found: Detections that count, as hits or as misses.
        hits: How many are hits.
        recall: float64 ``(found,)``: after each detection, best score first; empty without objects.
        precision: float64 ``(found,)``: the same.
        at_11_points: Mean of the largest precision at a recall of at least 0, 0.1, …, 1; None without objects.
        area: Area under the largest precision at each recall or more; None without objects.
    """

    category: int
    objects: int
    found: int
    hits: int
    recall: Array
    precision: Array
    at_11_points: float | None
    area: float | None


def average_precision(
    scenes: Sequence[Scene], categories: Sequence[int], *, iou: float = 0.5
) -> tuple[ClassPrecision, ...]:
    """Measure each class.

    Args:
        scenes: The pictures; of equal scores, the earlier detection comes first.
        categories: The classes, in the order of the answer; others are left aside.
        iou: Least intersection over union of a hit, in (0, 1].
    """
    verdicts: dict[int, list[Array]] = {category: [] for category in categories}
    scores: dict[int, list[Array]] = {category: [] for category in categories}
    objects = dict.fromkeys(categories, 0)
    for scene in scenes:
        for category in np.union1d(scene.truth.categories, scene.found.categories).tolist():
            if category not in objects:
                continue
            there, places = scene.truth.categories == category, best_first(scene, category)
            objects[category] += int(np.count_nonzero(there & ~scene.truth.crowd & ~scene.truth.difficult))
            verdicts[category].append(judge_class(scene.truth, there, scene.found.boxes[places], iou))
            scores[category].append(scene.found.scores[places])
    return tuple(
        _class_precision(category, objects[category], _joined(verdicts[category]), _joined(scores[category]))
        for category in categories
    )


def eleven_points(hits: Array, found: Array, objects: int) -> float:
    """Return the mean of the largest precision at a recall of at least 0, 0.1, …, 1; 0 where recall never gets there.

    Args:
        hits: Whole numbers ``(n,)``: hits among the first 1, 2, … detections.
        found: Whole numbers ``(n,)``: how many detections those are.
        objects: Objects to find, at least 1.
    """
    precision = hits / found
    # In whole numbers: 3 of 10 reach a recall of 0.3, which 3 × 0.1 exceeds in binary.
    reached = [precision[10 * hits >= tenths * objects] for tenths in range(11)]
    return float(sum(each.max() for each in reached if each.size) / 11)


def area_under_curve(recall: Array, precision: Array) -> float:
    """Return the area under the largest precision at each recall or more.

    Args:
        recall: float64 ``(n,)``, rising.
        precision: float64 ``(n,)``.
    """
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * best))


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that there are; None where there are none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def best_first(scene: Scene, category: int) -> Array:
    """Return the places of a picture's detections of one class, best score first."""
    places = np.flatnonzero(scene.found.categories == category)
    return np.asarray(places[np.argsort(-scene.found.scores[places], kind="stable")])


def judge_class(truth: Truth, there: Array, boxes: Array, iou: float) -> Array:
    """Judge the detections of one class on one picture.

    Args:
        truth: The picture's objects.
        there: bool ``(objects,)``: which are of the class.
        boxes: ``(found, 4)``, best score first.
        iou: Least intersection over union of a hit.

    Returns:
        int8 ``(found,)``: `HIT`, `MISS`, or below them what counts as neither.
    """
    verdicts = np.full(len(boxes), MISS, np.int8)
    single, crowd = there & ~truth.crowd, there & truth.crowd
    if single.any():
        overlaps = overlap(boxes, truth.boxes[single])
        nearest = overlaps.argmax(axis=1)
        meets = overlaps[np.arange(len(boxes)), nearest] >= iou
        difficult = truth.difficult[single][nearest]
        verdicts[meets & difficult] = _NEITHER
        candidates = np.flatnonzero(meets & ~difficult)
        _, first = np.unique(nearest[candidates], return_index=True)
        verdicts[candidates[first]] = HIT
    in_crowd = (coverage(boxes, truth.boxes[crowd]) >= iou).any(axis=1)
    verdicts[in_crowd & (verdicts == MISS)] = _NEITHER
    return verdicts


def _class_precision(category: int, objects: int, verdicts: Array, scores: Array) -> ClassPrecision:
    order = np.argsort(-scores, kind="stable")
    counted = verdicts[order]
    counted = counted[counted != _NEITHER]
    hits = np.cumsum(counted == HIT)
    found = np.arange(1, len(hits) + 1)
    recall = hits / objects if objects else np.zeros(0)
    precision = hits / found if objects else np.zeros(0)
    return ClassPrecision(
        category=category,
        objects=objects,
        found=len(found),
        hits=int(hits[-1]) if len(hits) else 0,
        recall=recall,
        precision=precision,
        at_11_points=eleven_points(hits, found, objects) if objects else None,
        area=area_under_curve(recall, precision) if objects else None,
    )


def _joined(arrays: list[Array]) -> Array:
    return np.concatenate(arrays) if arrays else np.zeros(0)
