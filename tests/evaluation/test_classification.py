"""Figures of a classifier, by hand and against scikit-learn."""

import numpy as np
import pytest

from edgecv.evaluation.classification import classification

CLASSES = ("cat", "dog", "cow")


def test_counts_and_shares_by_hand() -> None:
    # Truth in rows: two cats, one taken for a dog; one dog; no cow, though one dog-like answer is a cow.
    measured = classification([0, 0, 1, 1], [[0, 1, 2], [1, 0, 2], [1, 2, 0], [2, 0, 1]], CLASSES)
    assert measured.matrix.tolist() == [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert not measured.others
    assert measured.rows() == [
        {"class": "cat", "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2},
        {"class": "dog", "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2},
        {"class": "cow", "precision": 0.0, "recall": None, "f1": 0.0, "support": 0},
    ]
    figures = measured.figures()
    assert figures["top1"] == 0.5
    assert figures["macro_recall"] == 0.5  # of the two classes that are there
    assert measured.images == 4


def test_top_5_is_all_where_there_are_no_more_than_five_classes() -> None:
    assert classification([0, 1], [[1, 2, 0], [0, 2, 1]], CLASSES).figures()["top5"] == 1


def test_top_5_looks_at_five_and_no_more() -> None:
    classes = [str(number) for number in range(7)]
    ranked = [[1, 2, 3, 4, 0], [1, 2, 3, 4, 5, 0]]
    measured = classification([0, 0], ranked, classes)
    assert (measured.figures()["top1"], measured.figures()["top5"]) == (0, 0.5)


def test_top_5_is_unknown_where_the_network_gives_fewer() -> None:
    assert classification([0], [[0, 1]], [str(number) for number in range(9)], complete=False).figures()["top5"] is None


def test_answers_that_the_data_do_not_have_are_wrong_and_kept_apart() -> None:
    measured = classification([0, 1], [[-1, 0], [1, -1]], CLASSES)
    assert measured.matrix.tolist() == [[0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert measured.others
    assert measured.figures()["top1"] == 0.5
    assert measured.figures()["top5"] == 1
    assert measured.rows()[0] == {"class": "cat", "precision": None, "recall": 0.0, "f1": 0.0, "support": 1}


def test_no_pictures_have_no_figures() -> None:
    assert set(classification([], [], CLASSES).figures().values()) == {None}


def test_figures_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, top_k_accuracy_score

    dice = np.random.default_rng(0)
    truth = dice.integers(0, 8, 300)
    scores = dice.random((300, 8)) + 0.4 * np.eye(8)[truth]
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    measured = classification(truth.tolist(), ranked.tolist(), [str(number) for number in range(8)])
    answers = ranked[:, 0]
    np.testing.assert_array_equal(measured.matrix[:, :-1], confusion_matrix(truth, answers))
    precision, recall, f1, support = precision_recall_fscore_support(truth, answers)
    rows = measured.rows()
    np.testing.assert_allclose([row["precision"] for row in rows], precision)
    np.testing.assert_allclose([row["recall"] for row in rows], recall)
    np.testing.assert_allclose([row["f1"] for row in rows], f1)
    assert [row["support"] for row in rows] == support.tolist()
    figures = measured.figures()
    assert figures["top5"] == pytest.approx(top_k_accuracy_score(truth, scores, k=5))
    assert figures["macro_f1"] == pytest.approx(f1.mean())
