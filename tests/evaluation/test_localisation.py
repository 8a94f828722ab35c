"""Figures of a localiser, by hand."""

import numpy as np
import pytest

from edgecv.evaluation.localisation import box_ious, localisation


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1),
        ((0, 0, 10, 10), (5, 0, 15, 10), 1 / 3),  # 50 in common of 150
        ((0, 0, 10, 10), (2, 2, 4, 4), 0.04),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0),  # they touch
        ((0, 0, 10, 10), (30, 30, 40, 40), 0),
        ((0, 0, 10, 10), (8, 8, 2, 2), 0),  # reversed
        ((5, 5, 5, 5), (5, 5, 5, 5), 0),
    ],
)
def test_ious_by_hand(first: object, second: object, expected: float) -> None:
    given = box_ious(np.array([first], float), np.array([second], float))
    np.testing.assert_allclose(given, [expected])


def test_figures_by_hand() -> None:
    box = (0, 0, 10, 10)
    measured = localisation(
        [0, 0, 1, 1],
        [0, 1, 1, -1],
        [box] * 4,
        # IoU 1, 1/2 exactly, 0.4, 1.
        [box, (0, 0, 10, 5), (0, 0, 10, 4), box],
        ("cat", "dog", "cow"),
    )
    figures = measured.figures()
    assert figures == {
        "mean_iou": pytest.approx((1 + 0.5 + 0.4 + 1) / 4),
        "iou50": 0.75,
        "class_accuracy": 0.5,
        "both_right": 0.25,
    }
    assert measured.images == 4
    cat, dog, cow = measured.rows()
    assert cat == {"class": "cat", "mean_iou": 0.75, "iou50": 1, "class_accuracy": 0.5, "both_right": 0.5, "support": 2}
    assert dog["mean_iou"] == pytest.approx(0.7)
    assert cow == {
        "class": "cow",
        "mean_iou": None,
        "iou50": None,
        "class_accuracy": None,
        "both_right": None,
        "support": 0,
    }


def test_no_pictures_have_no_figures() -> None:
    assert set(localisation([], [], [], [], ("cat",)).figures().values()) == {None}
