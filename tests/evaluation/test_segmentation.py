"""Figures of a segmenter, by hand and against Keras' metric."""

import numpy as np
import pytest

from edgecv.evaluation.segmentation import PixelCounts


def count(truth: object, answer: object, classes: int = 3) -> PixelCounts:
    counts = PixelCounts([str(number) for number in range(classes)])
    counts.add(np.array(truth), np.array(answer))
    return counts


def test_figures_by_hand() -> None:
    # Class 0: 2 right, union 3; class 1: 1 right, union 2; class 2 is nowhere; one pixel is not judged.
    measured = count([[0, 0, 0], [1, 255, 255]], [[0, 0, 1], [1, 1, 2]]).result()
    assert measured.rows() == [
        {"class": "0", "iou": pytest.approx(2 / 3), "accuracy": pytest.approx(2 / 3), "pixels": 3},
        {"class": "1", "iou": 0.5, "accuracy": 1.0, "pixels": 1},
        {"class": "2", "iou": None, "accuracy": None, "pixels": 0},
    ]
    assert measured.figures() == {"miou": pytest.approx((2 / 3 + 1 / 2) / 2), "pixel_accuracy": 0.75}
    assert measured.images == 1


def test_a_class_that_is_only_answered_is_present_with_an_iou_of_zero() -> None:
    assert count([[0, 0]], [[0, 2]]).result().figures()["miou"] == pytest.approx((1 / 2 + 0) / 2)


def test_what_the_network_does_not_see_or_the_data_do_not_have_is_wrong() -> None:
    measured = count([[0, 0, 1, 1]], [[0, -1, 1, 7]]).result()
    assert measured.figures() == {"miou": 0.5, "pixel_accuracy": 0.5}
    assert measured.matrix.tolist() == [[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0]]


def test_nothing_to_judge_has_no_figures() -> None:
    assert count([[255]], [[0]]).result().figures() == {"miou": None, "pixel_accuracy": None}


def test_pictures_add_up_to_what_keras_counts() -> None:
    import keras

    dice = np.random.default_rng(0)
    metric = keras.metrics.MeanIoU(num_classes=5, ignore_class=255)
    counts = PixelCounts([str(number) for number in range(5)])
    right = judged = 0
    for size in ((7, 9), (20, 3), (1, 1)):
        truth = dice.integers(0, 5, size)
        answer = np.where(dice.random(size) < 0.6, truth, dice.integers(0, 5, size))
        truth[dice.random(size) < 0.1] = 255
        counts.add(truth, answer)
        metric.update_state(truth, answer)
        right += int((truth == answer).sum())
        judged += int((truth != 255).sum())
    figures = counts.result().figures()
    assert figures["miou"] == pytest.approx(float(metric.result()), abs=1e-6)
    assert figures["pixel_accuracy"] == pytest.approx(right / judged)
    assert counts.result().images == 3
