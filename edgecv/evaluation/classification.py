"""Figures of a classifier: top-1, top-5, the confusion matrix and what follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecv.evaluation.average_precision import mean

__all__ = ["RANKS", "Classification", "classification"]

Array = np.ndarray[Any, np.dtype[Any]]

# How many of the best classes count for top-5.
RANKS = 5
# A matrix of more classes has tens of thousands of numbers.
_MOST_WRITTEN = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class Classification:
    """What was answered for what.

    Attributes:
        classes: Names of the classes of the data.
        matrix: int64 ``(classes, classes + 1)``: rows are the truth, columns the answer; the last one stands for
            classes that the network knows and the data do not have.
        right_among_5: How many pictures have their class among the five best; None where the network gives fewer
            than five of more classes.
    """

    classes: tuple[str, ...]
    matrix: Array
    right_among_5: int | None

    @property
    def images(self) -> int:
        """Number of pictures."""
        return int(self.matrix.sum())

    @property
    def others(self) -> bool:
        """Whether anything was taken for a class that the data do not have."""
        return bool(self.matrix[:, -1].any())

    def figures(self) -> dict[str, float | None]:
        """Return top-1 and top-5, in [0, 1], and the means over the classes.

        Top-5 is the share of pictures whose class is among the five best. With five classes or fewer that is
        true of every picture, and the figure is 1.
        """
        rows = self.rows()
        images = self.images
        right = int(np.trace(self.matrix))
        return {
            "top1": right / images if images else None,
            "top5": self.right_among_5 / images if images and self.right_among_5 is not None else None,
            **{f"macro_{key}": mean(row[key] for row in rows) for key in ("precision", "recall", "f1")},
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return precision, recall, F1 and number of pictures of each class; None where nothing can be divided by."""
        square = self.matrix[:, :-1]
        right, answered, support = np.diag(square), square.sum(axis=0), self.matrix.sum(axis=1)
        return [
            {
                "class": name,
                "precision": _share(right[place], answered[place]),
                "recall": _share(right[place], support[place]),
                "f1": _share(2 * right[place], answered[place] + support[place]),
                "support": int(support[place]),
            }
            for place, name in enumerate(self.classes)
        ]

    def confusion(self) -> dict[str, Any]:
        """Return the matrix for ``evaluate --json``: None in its place where there are more than 100 classes."""
        if len(self.classes) > _MOST_WRITTEN:
            return {"confusion_matrix": None}
        document: dict[str, Any] = {"confusion_matrix": self.matrix[:, :-1].tolist()}
        if self.others:
            document["other_classes"] = self.matrix[:, -1].tolist()
        return document


def classification(
    truth: Sequence[int], ranked: Sequence[Sequence[int]], classes: Sequence[str], *, complete: bool = True
) -> Classification:
    """Count answers.

    Args:
        truth: The class number of each picture.
        ranked: The best classes of each picture, best first, at least one and at most five of interest; −1 for a
            class that the data do not have.
        classes: Names of the classes of the data.
        complete: Whether ``ranked`` holds five classes, or all that the network has.
    """
    matrix = np.zeros((len(classes), len(classes) + 1), np.int64)
    among = 0
    for right, best in zip(truth, ranked, strict=True):
        matrix[right, best[0]] += 1  # −1 is the last column
        among += right in best[:RANKS]
    return Classification(classes=tuple(classes), matrix=matrix, right_among_5=among if complete else None)


def _share(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None
