"""Figures of a localiser: one class and one box a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecv.evaluation.average_precision import mean

__all__ = ["Localisation", "box_ious", "localisation"]

Array = np.ndarray[Any, np.dtype[Any]]

# Least intersection over union of a box that counts as right, as in Pascal VOC and in ImageNet's localisation task.
_RIGHT = 0.5
# From this objectness on the network says that there is an object.
_SURE = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Localisation:
    """What was answered for what.

    Attributes:
        classes: Names of the classes of the data.
        truth: int64 ``(pictures,)``: class numbers.
        answers: int64 ``(pictures,)``: the same; −1 for a class that the data do not have.
        ious: float64 ``(pictures,)``: intersection over union of the box with the true one, in [0, 1].
        objectness: For each picture, those without an object included, whether there is one and how sure the network
            is of it, in [0, 1]; empty where it does not say so.
    """

    classes: tuple[str, ...]
    truth: Array
    answers: Array
    ious: Array
    objectness: tuple[tuple[bool, float], ...] = ()

    @property
    def images(self) -> int:
        """Number of pictures, those without an object included."""
        return max(len(self.truth), len(self.objectness))

    def figures(self) -> dict[str, float | None]:
        """Return the figures, in [0, 1].

        Of the pictures with an object the mean IoU, the share of IoUs of at least 0.5, class accuracy, and the share
        of both right; of all pictures, where the network says so, how often it is right that there is an object.
        """
        figures = self._figures(np.ones(len(self.truth), bool))
        if self.objectness:
            right = [there == (sure >= _SURE) for there, sure in self.objectness]
            figures["objectness_accuracy"] = mean(right)
        return figures

    def rows(self) -> list[dict[str, Any]]:
        """Return the same of each class, with its number of pictures."""
        rows = []
        for number, name in enumerate(self.classes):
            there = self.truth == number
            rows.append({"class": name, **self._figures(there), "support": int(there.sum())})
        return rows

    def _figures(self, chosen: Array) -> dict[str, float | None]:
        boxes = self.ious[chosen] >= _RIGHT
        classes = self.answers[chosen] == self.truth[chosen]
        return {
            "mean_iou": mean(self.ious[chosen].tolist()),
            "iou50": mean(boxes.tolist()),
            "class_accuracy": mean(classes.tolist()),
            "both_right": mean((boxes & classes).tolist()),
        }


def localisation(
    truth: Sequence[int],
    answers: Sequence[int],
    true_boxes: Any,
    boxes: Any,
    classes: Sequence[str],
    *,
    objectness: Sequence[tuple[bool, float]] = (),
) -> Localisation:
    """Compare boxes and classes.

    Args:
        truth: The class number of each picture.
        answers: The answered one; −1 for a class that the data do not have.
        true_boxes: ``(pictures, 4)`` as x1, y1, x2, y2 in pixels.
        boxes: The answered ones, the same.
        classes: Names of the classes of the data.
        objectness: See `Localisation`.
    """
    return Localisation(
        classes=tuple(classes),
        truth=np.array(truth, np.int64),
        answers=np.array(answers, np.int64),
        ious=box_ious(np.asarray(true_boxes, np.float64), np.asarray(boxes, np.float64)),
        objectness=tuple(objectness),
    )


def box_ious(first: Array, second: Array) -> Array:
    """Return the intersection over union of box with box, pair by pair.

    Args:
        first: ``(pairs, 4)`` as x1, y1, x2, y2; a box whose sides are reversed has no area.
        second: The same.

    Returns:
        float64 ``(pairs,)`` in [0, 1]; 0 where there is nothing in common.
    """
    first, second = first.reshape(-1, 4), second.reshape(-1, 4)
    common = _area(
        np.concatenate([np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])], axis=1)
    )
    union = _area(first) + _area(second) - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=common > 0))


def _area(boxes: Array) -> Array:
    return np.asarray(np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1))
