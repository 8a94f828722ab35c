"""Detection on the host: scaling, decoding and suppression in vectorised NumPy, around a network exported bare.

It is the peer of `detection_speed.py`, written as someone does who minds its time: scores are compared with the
threshold before any of them goes through a sigmoid, and only what is above it is decoded.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgecv.decoders.anchors import grid_anchors
from edgecv.decoders.ssd import Ssd
from edgecv.decoders.yolo_v3 import YoloV3
from edgecv.nms import Nms
from edgecv.preprocess import Preprocess

__all__ = ["HostDetector"]

Array = np.ndarray[Any, np.dtype[Any]]
Found = tuple[Array, Array, Array]


@dataclass(frozen=True, kw_only=True)
class HostDetector:
    """What comes before and after a bare detector.

    Attributes:
        decoder: How its outputs are to be read; an `Ssd` with sigmoid and background in the order yxhw, or a `YoloV3`.
        preprocess: One mean and one scale for all channels.
        nms: Hard suppression per class.
        input_size: ``(height, width)`` in pixels.
    """

    decoder: Ssd | YoloV3
    preprocess: Preprocess
    nms: Nms
    input_size: tuple[int, int]
    anchors: Array = field(init=False)

    def __post_init__(self) -> None:
        decoder, size = self.decoder, self.input_size
        anchors = _ssd_anchors(decoder, size) if isinstance(decoder, Ssd) else _yolo_anchors(decoder, size)
        object.__setattr__(self, "anchors", anchors)

    def before(self, picture: Array) -> Array:
        """Scale a uint8 picture ``(1, height, width, 3)``."""
        (mean,), (scale,) = self.preprocess.mean, self.preprocess.scale
        x = np.multiply(picture, np.float32(scale), dtype=np.float32)
        if mean:
            x -= np.float32(mean * scale)
        return x

    def after(self, outputs: Sequence[Array]) -> dict[str, Array]:
        """Turn a bare network's outputs, in any order, into what the graph gives for a picture."""
        read = self._ssd if isinstance(self.decoder, Ssd) else self._yolo
        boxes, scores, classes = _suppressed(*_best(*read(outputs), self.nms.pre_nms_top_k), self.nms)
        count = len(scores)
        result = {
            "boxes": np.zeros((1, self.nms.max_detections, 4), np.float32),
            "scores": np.zeros((1, self.nms.max_detections), np.float32),
            "classes": np.zeros((1, self.nms.max_detections), np.int32),
            "count": np.array([count], np.int32),
        }
        for name, values in zip(("boxes", "scores", "classes"), (boxes, scores, classes), strict=True):
            result[name][0, :count] = values
        return result

    def _ssd(self, outputs: Sequence[Array]) -> Found:
        """Return the boxes, scores and classes above the threshold, in the order of their anchors."""
        encodings, logits = sorted((output[0] for output in outputs), key=lambda output: output.shape[-1])
        rows, classes = np.nonzero(logits[:, 1:] > _logit(self.nms.score_threshold))
        anchors = self.anchors[rows]
        numbers = encodings[rows]
        scores = _sigmoid(logits[rows, classes + 1])
        variances = np.array(self.decoder.variances, np.float32)  # type: ignore[union-attr]  # only called for Ssd
        centres = anchors[:, :2] + numbers[:, 1::-1] * variances[:2] * anchors[:, 2:]
        halves = np.exp(numbers[:, :1:-1] * variances[2:]) * anchors[:, 2:] / 2
        return _clipped(centres, halves), scores, classes

    def _yolo(self, outputs: Sequence[Array]) -> Found:
        """Return the same; a box whose objectness is below the threshold cannot have a score above it."""
        count = len(self.decoder.anchors[0])
        grids = sorted(outputs, key=lambda output: output.shape[1])
        numbers = np.concatenate([grid.reshape(-1, grid.shape[-1] // count) for grid in grids])
        (rows,) = np.nonzero(numbers[:, 4] > _logit(self.nms.score_threshold))
        numbers, anchors = numbers[rows], self.anchors[rows]
        scores = _sigmoid(numbers[:, 4:5]) * _sigmoid(numbers[:, 5:])
        rows, classes = np.nonzero(scores > self.nms.score_threshold)
        numbers, anchors = numbers[rows], anchors[rows]
        centres = _sigmoid(numbers[:, :2]) * anchors[:, 4:] + anchors[:, :2]
        return _clipped(centres, np.exp(numbers[:, 2:4]) * anchors[:, 2:4] / 2), scores[rows, classes], classes


def _ssd_anchors(decoder: Ssd, input_size: tuple[int, int]) -> Array:
    """Return centre x, centre y, width and height of each anchor."""
    return np.asarray(grid_anchors(decoder.layers(input_size), input_size), np.float32)


def _yolo_anchors(decoder: YoloV3, input_size: tuple[int, int]) -> Array:
    """Return the cell's left and top, the anchor's width and height, and the cell's width and height, of each box."""
    height, width = input_size
    made = []
    for index, anchors in enumerate(decoder.anchors):
        rows, columns = (side // (32 >> index) for side in input_size)
        table = np.empty((rows, columns, len(anchors), 6), np.float32)
        table[..., 0] = (np.arange(columns) / columns)[None, :, None]
        table[..., 1] = (np.arange(rows) / rows)[:, None, None]
        table[..., 2:4] = np.array(anchors) / (width, height)
        table[..., 4:] = 1 / columns, 1 / rows
        made.append(table.reshape(-1, 6))
    return np.concatenate(made)


def _logit(probability: float) -> np.float32:
    return np.float32(math.log(probability / (1 - probability)))


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _clipped(centres: Array, halves: Array) -> Array:
    return np.asarray(np.clip(np.concatenate([centres - halves, centres + halves], axis=1), 0, 1))


def _best(boxes: Array, scores: Array, classes: Array, most: int) -> Found:
    """Return the best ones, best first."""
    order = np.argsort(-scores, kind="stable")[:most]
    return boxes[order], scores[order], classes[order]


def _suppressed(boxes: Array, scores: Array, classes: Array, nms: Nms) -> Found:
    """Suppress greedily: all overlaps at once, then one look at each box in the order of the scores."""
    left, top, right, bottom = boxes.T
    width = np.minimum(right[:, None], right) - np.maximum(left[:, None], left)
    height = np.minimum(bottom[:, None], bottom) - np.maximum(top[:, None], top)
    common = np.maximum(width, 0) * np.maximum(height, 0)
    area = (right - left) * (bottom - top)
    # Multiplied out, there is no division by the union of two boxes without area.
    rivals = common > np.float32(nms.iou_threshold) * (area[:, None] + area - common)
    rivals &= classes[:, None] == classes
    gone = np.zeros(len(scores), bool)
    kept = []
    for index in range(len(scores)):
        if gone[index]:
            continue
        kept.append(index)
        if len(kept) == nms.max_detections:
            break
        gone |= rivals[index]
    return boxes[kept], scores[kept], classes[kept]
