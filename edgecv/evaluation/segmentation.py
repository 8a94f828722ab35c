"""Figures of a segmenter: pixel accuracy and mean intersection over union, from one matrix of counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecv.data.mask_files import IGNORED
from edgecv.data.samples import Sample
from edgecv.evaluation.average_precision import mean

__all__ = ["AnsweredMask", "PixelCounts", "Segmentation", "worst_masks"]

Array = np.ndarray[Any, np.dtype[Any]]


_KEPT = 8  # masks take memory


@dataclass(frozen=True, kw_only=True, eq=False)
class AnsweredMask:
    """What was answered for one picture.

    Attributes:
        sample: The picture and its true mask.
        answer: Class numbers of the data ``(height, width)``; −1 for classes that these do not have, and for pixels
            that the network does not see.
        miou: Mean IoU over the classes that this picture has in truth or answer; None where nothing is judged.
    """

    sample: Sample
    answer: Array
    miou: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Segmentation:
    """What was answered for what, in pixels.

    Attributes:
        classes: Names of the classes of the data.
        matrix: int64 ``(classes, classes + 1)``: rows are the truth, columns the answer; the last one stands for
            classes that the data do not have and for pixels that the network does not see.
        images: Number of pictures.
        worst: The pictures of the least IoU, the worst one first.
    """

    classes: tuple[str, ...]
    matrix: Array
    images: int
    worst: tuple[AnsweredMask, ...] = ()

    def figures(self) -> dict[str, float | None]:
        """Return, in [0, 1], the mean IoU over the classes that are present, and the share of right pixels.

        A class is present that is somewhere in the truth or in the answers.
        """
        pixels = int(self.matrix.sum())
        return {
            "miou": mean(row["iou"] for row in self.rows()),
            "pixel_accuracy": float(np.trace(self.matrix) / pixels) if pixels else None,
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return of each class its IoU, the share of its pixels that are right, and their number."""
        square = self.matrix[:, :-1]
        right, answered, there = np.diag(square), square.sum(axis=0), self.matrix.sum(axis=1)
        union = answered + there - right
        return [
            {
                "class": name,
                "iou": float(right[place] / union[place]) if union[place] else None,
                "accuracy": float(right[place] / there[place]) if there[place] else None,
                "pixels": int(there[place]),
            }
            for place, name in enumerate(self.classes)
        ]


class PixelCounts:
    """Counts pixels, picture by picture.

    Args:
        classes: Names of the classes of the data.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        self._matrix = np.zeros((len(classes), len(classes) + 1), np.int64)
        self._images = 0

    def add(self, truth: Array, answer: Array) -> float | None:
        """Count a picture; return its own mean IoU, None where none of its pixels is judged.

        Args:
            truth: Class numbers ``(height, width)``; 255 is not judged.
            answer: The same; what is no class number counts as wrong.
        """
        count = len(self._classes)
        judged = truth != IGNORED
        right, given = truth[judged].astype(np.int64), answer[judged].astype(np.int64)
        given[(given < 0) | (given >= count)] = count
        cells = np.bincount(right * (count + 1) + given, minlength=self._matrix.size)
        matrix = cells.reshape(self._matrix.shape)
        self._matrix += matrix
        self._images += 1
        return Segmentation(classes=self._classes, matrix=matrix, images=1).figures()["miou"]

    def result(self, worst: Sequence[AnsweredMask] = ()) -> Segmentation:
        """Return what was counted so far, with the pictures to show."""
        return Segmentation(classes=self._classes, matrix=self._matrix.copy(), images=self._images, worst=tuple(worst))


def worst_masks(masks: Sequence[AnsweredMask]) -> list[AnsweredMask]:
    """Return the few of the least IoU, worst first and of equal ones the earlier; those without one are left out."""
    judged = [(each.miou, each) for each in masks if each.miou is not None]
    return [each for _, each in sorted(judged, key=lambda pair: pair[0])[:_KEPT]]
