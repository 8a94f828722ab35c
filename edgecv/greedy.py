"""Greedy non-maximum suppression in plain NumPy: the independent reference that artifacts are held to.

It shares no code with `edgecv.nms`, which exporters lower, and is written for clarity. It also serves
artifacts without suppression on the host.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecv.nms import Nms

__all__ = ["Detections", "greedy", "iou"]

Array = np.ndarray[Any, np.dtype[Any]]

# Engines may round an intersection over union differently in its last digits.
_DOUBT = 1e-6


@dataclass(frozen=True, kw_only=True)
class Detections:
    """What suppression leaves of one picture, best first.

    Attributes:
        boxes: float32 ``(count, 4)`` as x1, y1, x2, y2.
        scores: float32 ``(count,)``.
        classes: int32 ``(count,)``.
        doubtful: Some decision hung on an IoU within 1e-6 of its threshold.
    """

    boxes: Array
    scores: Array
    classes: Array
    doubtful: bool = False

    def __len__(self) -> int:
        return len(self.scores)


def greedy(boxes: Array, scores: Array, nms: Nms) -> Detections:
    """Choose the detections of one picture.

    Args:
        boxes: float32 ``(anchors, 4)`` as x1, y1, x2, y2.
        scores: float32 ``(anchors, classes)``.
        nms: The settings.
    """
    threshold = np.float32(nms.score_threshold)
    overlap = np.float32(nms.iou_threshold)
    anchors, classes = _candidates(boxes, scores, threshold, nms)
    left = scores[anchors, classes].astype(np.float32)
    boxes = boxes[anchors].astype(np.float32)
    chosen: list[int] = []
    kept: list[np.float32] = []
    doubtful = False
    while len(chosen) < nms.max_detections and len(left) and left.max() > threshold:
        best = int(np.argmax(left))  # the first of equal ones
        chosen.append(best)
        kept.append(left[best])
        overlaps = iou(boxes[best], boxes)
        rivals = (left > 0) & (nms.class_agnostic | (classes == classes[best]))
        rivals[best] = False
        if nms.soft_sigma is None:
            doubtful |= bool(np.any(np.abs(overlaps[rivals].astype(np.float64) - float(overlap)) < _DOUBT))
            left[rivals & (overlaps > overlap)] = 0
        else:
            left[rivals] *= np.exp(-(overlaps[rivals] ** 2) / np.float32(nms.soft_sigma))
        left[best] = 0
    return Detections(
        boxes=boxes[chosen].reshape(-1, 4),
        scores=np.array(kept, np.float32),
        classes=classes[chosen].astype(np.int32),
        doubtful=doubtful,
    )


def iou(box: Array, boxes: Array) -> Array:
    """Return the intersection over union of a box ``(4,)`` with each of ``boxes (count, 4)``, float32.

    A box whose right side lies left of its left one, or bottom above top, has no area; no overlap is 0.
    """
    box, boxes = box.astype(np.float32), boxes.astype(np.float32)
    width = np.minimum(box[2], boxes[:, 2]) - np.maximum(box[0], boxes[:, 0])
    height = np.minimum(box[3], boxes[:, 3]) - np.maximum(box[1], boxes[:, 1])
    common = np.maximum(width, 0) * np.maximum(height, 0)
    union = _area(box[None]) + _area(boxes) - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=common > 0), np.float32)


def _candidates(boxes: Array, scores: Array, threshold: np.float32, nms: Nms) -> tuple[Array, Array]:
    """Return anchors and classes of the best pairs, best first, equal ones in the order of their place."""
    usable = np.isfinite(scores) & np.all(np.isfinite(boxes), axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        usable &= scores > threshold
    if not nms.multi_label:
        best = np.argmax(np.where(usable, scores, -1), axis=1)
        only = np.zeros_like(usable)
        only[np.arange(len(best)), best] = True
        usable &= only
    anchors, classes = np.nonzero(usable)
    order = np.argsort(-scores[anchors, classes], kind="stable")[: nms.pre_nms_top_k]
    return anchors[order], classes[order]


def _area(boxes: Array) -> Array:
    return np.asarray(np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0))
