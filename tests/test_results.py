from typing import Any

import numpy as np
import pytest

from edgecv.errors import ArtifactError
from edgecv.pictures import place
from edgecv.preprocess import Fit
from edgecv.results import Prediction, interpret

LABELS = ("cat", "dog", "cow")


def answer(outputs: dict[str, Any], task: str, labels: tuple[str, ...] = LABELS, top_k: int = 5) -> Prediction:
    # A picture of 40 × 20 pixels (height × width) in a letterbox of 20 × 20: 10 wide, from x = 5 to 15.
    placement = place(Fit(mode="letterbox"), (40, 20), (20, 20))
    arrays = {name: np.asarray(value) for name, value in outputs.items()}
    return interpret(arrays, task=task, labels=labels, top_k=top_k, placement=placement)


def test_classification_is_sorted_and_ties_keep_their_order() -> None:
    assert answer({"probabilities": [0.25, 0.5, 0.25]}, "classification").results == [
        {"score": 0.5, "class": 1, "label": "dog"},
        {"score": 0.25, "class": 0, "label": "cat"},
        {"score": 0.25, "class": 2, "label": "cow"},
    ]
    assert len(answer({"logits": [1.0, 3.0, 2.0]}, "classification", top_k=2).results) == 2


def test_classification_by_top_k_in_the_graph() -> None:
    outputs = {"scores": np.array([0.5, 0.25]), "classes": np.array([2, 0], np.int32)}
    assert answer(outputs, "classification", labels=()).results == [
        {"score": 0.5, "class": 2, "label": None},
        {"score": 0.25, "class": 0, "label": None},
    ]


def test_detections_are_in_pixels_of_the_picture() -> None:
    outputs = {
        "boxes": [[0.25, 0.0, 0.75, 1.0], [0.5, 0.25, 1.0, 0.5], [0, 0, 0, 0]],
        "scores": [0.75, 0.5, 0.0],
        "classes": [1, 0, 0],
        "count": 2,
    }
    assert answer(outputs, "detection").results == [
        {"box": [0, 0, 20, 40], "score": 0.75, "class": 1, "label": "dog"},
        # The right side lies in the grey border: cut at the picture's.
        {"box": [10, 10, 20, 20], "score": 0.5, "class": 0, "label": "cat"},
    ]


def test_no_detection_is_an_empty_list() -> None:
    outputs = {"boxes": np.zeros((3, 4)), "scores": np.zeros(3), "classes": np.zeros(3, np.int32), "count": 0}
    assert answer(outputs, "detection").results == []


def test_localisation_has_one_box() -> None:
    outputs = {"probabilities": [0.25, 0.75], "box": [0.25, 0.0, 0.75, 1.0], "objectness": [0.5]}
    assert answer(outputs, "localisation").results == [
        {"box": [0, 0, 20, 40], "score": 0.75, "class": 1, "label": "dog", "objectness": 0.5}
    ]


def test_segmentation_counts_pixels_of_the_picture() -> None:
    mask = np.zeros((20, 20), np.int32)
    mask[10:, 5:15] = 2
    mask[:, :5] = 1  # in the grey border: no pixel of the picture
    found = answer({"mask": mask}, "segmentation")
    assert found.results == [
        {"class": 0, "label": "cat", "pixels": 400},
        {"class": 2, "label": "cow", "pixels": 400},
    ]
    assert found.mask is not None
    assert found.mask.shape == (40, 20)


def test_any_other_task_is_summed_up() -> None:
    assert answer({"a": [[1.0, 3.0]], "b": [float("nan")]}, "other").results == [
        {"output": "a", "shape": [1, 2], "min": 1.0, "max": 3.0, "mean": 2.0},
        {"output": "b", "shape": [1], "min": None, "max": None, "mean": None},
    ]


def test_a_score_that_is_no_number_is_an_error() -> None:
    message = r"^The artifact answers with nan where a number is due\. Export it again\.$"
    with pytest.raises(ArtifactError, match=message):
        answer({"probabilities": [float("nan")] * 3}, "classification")
