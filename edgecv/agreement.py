"""Whether two lists of boxes agree: each confident box has a counterpart among all boxes of the other side."""

from typing import Any

import numpy as np

from edgecv.greedy import iou
from edgecv.runtime import Arrays

__all__ = ["match_boxes_of", "match_confident"]

Array = np.ndarray[Any, np.dtype[Any]]
Boxes = tuple[Array, Array, Array]

# A box that scores so much more than the threshold cannot come and go by rounding.
_CONFIDENT = 0.1
_OVERLAP = 0.5


def match_confident(one: Arrays, other: Arrays, threshold: float) -> tuple[int, int]:
    """Count the confident boxes of both sides that have a counterpart, and all of them.

    A counterpart has the same class and overlaps by half or more; each serves one box.

    Args:
        one: Outputs ``boxes``, ``scores``, ``classes``, ``count`` of ``(pictures, …)``.
        other: The same.
        threshold: The score threshold of both.
    """
    counts = [
        match_boxes_of(_picture(one, index), _picture(other, index), threshold)
        for index in range(len(one["count"].reshape(-1)))
    ]
    return sum(matched for matched, _ in counts), sum(total for _, total in counts)


def match_boxes_of(one: Boxes, other: Boxes, threshold: float) -> tuple[int, int]:
    """Count the same on one picture; each side as boxes ``(count, 4)``, scores and classes ``(count,)``, best first."""
    found, total = 0, 0
    for (boxes, scores, classes), (others, _, their_classes) in ((one, other), (other, one)):
        free = np.ones(len(others), bool)
        for row in np.flatnonzero(scores >= threshold + _CONFIDENT).tolist():
            total += 1
            overlaps = np.where(free & (their_classes == classes[row]), iou(boxes[row], others), 0.0)
            best = int(np.argmax(overlaps)) if len(overlaps) else -1
            if best >= 0 and overlaps[best] >= _OVERLAP:
                free[best] = False
                found += 1
    return found, total


def _picture(side: Arrays, index: int) -> Boxes:
    count = int(side["count"].reshape(-1)[index])
    return side["boxes"][index, :count], side["scores"][index, :count], side["classes"][index, :count]
