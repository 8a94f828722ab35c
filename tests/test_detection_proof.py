"""How detectors are compared: what fails, and what rounding excuses. Boxes and overlaps are worked by hand."""

from typing import Any

import numpy as np
import pytest

from edgecv.comparison import Comparison
from edgecv.detection_proof import compare_detections
from edgecv.greedy import Detections, greedy
from edgecv.nms import Nms

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = dict[str, Array]

TOLERANCE = 1e-4
NMS = Nms(max_detections=10, iou_threshold=0.5)
ROWS = 10
# Two boxes far apart, and one that overlaps the first by IoU 0.3 / 0.5 = 0.6.
LEFT, RIGHT = [0.0, 0.0, 0.4, 0.4], [0.6, 0.6, 1.0, 1.0]
NEAR = [0.1, 0.0, 0.5, 0.4]


def answers(boxes: list[list[float]], *pictures: list[float], nms: Nms = NMS) -> Arrays:
    """An original's or artifact's answers: the same boxes of one class in each picture, with these scores."""
    anchors = np.broadcast_to(np.array(boxes, np.float32), (len(pictures), len(boxes), 4))
    scores = np.array(pictures, np.float32)[..., None]
    lists = [greedy(each, score, nms) for each, score in zip(anchors, scores, strict=True)]
    return {**listed(lists), "pre_nms/boxes": anchors, "pre_nms/scores": scores}


def listed(lists: list[Detections]) -> Arrays:
    outputs: Arrays = {
        "boxes": np.zeros((len(lists), ROWS, 4), np.float32),
        "scores": np.zeros((len(lists), ROWS), np.float32),
        "classes": np.zeros((len(lists), ROWS), np.int32),
        "count": np.array([len(each) for each in lists], np.int32),
    }
    for index, each in enumerate(lists):
        for name in ("boxes", "scores", "classes"):
            outputs[name][index, : len(each)] = getattr(each, name)
    return outputs


def compared(a: Arrays, b: Arrays, nms: Nms = NMS, **options: Any) -> dict[str, Comparison]:
    return compare_detections(a, b, nms, TOLERANCE, vacuity=False, **options)


def problems(result: dict[str, Comparison]) -> dict[str, str]:
    return {name: each.problem for name, each in result.items() if each.problem}


def test_equal_answers_pass() -> None:
    given = answers([LEFT, RIGHT, NEAR], [0.9, 0.8, 0.7], [0.3, 0.9, 0.5])
    result = compared(given, given)
    assert list(result) == ["pre_nms/boxes", "pre_nms/scores", "nms", "detections"]
    assert problems(result) == {}
    assert result["detections"].box_match == 1.0
    assert result["detections"].note == ""


def test_anchors_that_differ_fail_before_suppression() -> None:
    sound = answers([LEFT, RIGHT], [0.9, 0.8])
    moved = answers([[0.0, 0.0, 0.4, 0.401], RIGHT], [0.9, 0.8])
    assert problems(compared(sound, moved)) == {
        "pre_nms/boxes": "relative difference 1.0e-03 is above 1e-04",
        # The moved box and the other one are rivals of one score: excused, but too many.
        "detections": "2 of 4 boxes differ at a limit, more than 2%",
    }
    louder = answers([LEFT, RIGHT], [0.9, 0.802])
    assert "pre_nms/scores" in problems(compared(sound, louder))


def test_anchors_must_vary_between_pictures() -> None:
    given = answers([LEFT, RIGHT], [0.9, 0.8], [0.9, 0.8])
    result = compare_detections(given, given, NMS, TOLERANCE)
    assert result["pre_nms/boxes"].problem.startswith("nothing is proven: ")


def test_suppression_that_drops_a_box_fails() -> None:
    sound = answers([LEFT, RIGHT], [0.9, 0.8])
    broken = {**sound, **answers([LEFT], [0.9])} | {name: sound[name] for name in ("pre_nms/boxes", "pre_nms/scores")}
    assert problems(compared(sound, broken)) == {
        "nms": "suppression keeps 1 boxes where the reference keeps 2",
        "detections": "1 of 3 boxes have no counterpart",
    }


def test_suppression_must_give_the_reference_s_boxes() -> None:
    sound = answers([LEFT, RIGHT], [0.9, 0.8])
    broken = {name: values.copy() for name, values in sound.items()}
    broken["classes"][0, 1] = 1
    assert problems(compared(sound, broken))["nms"] == "suppression gives another box than the reference in row 1"


@pytest.mark.parametrize(
    ("name", "row", "value", "problem"),
    [
        ("scores", 5, 0.1, "rows past count (2) are not zeros"),
        ("boxes", 2, 0.1, "rows past count (2) are not zeros"),
        ("scores", 1, 0.95, "the scores are not sorted"),
    ],
)
def test_lists_of_another_form_fail(name: str, row: int, value: float, problem: str) -> None:
    sound = answers([LEFT, RIGHT], [0.9, 0.8])
    broken = {name: values.copy() for name, values in sound.items()}
    broken[name][0, row] = value
    assert problems(compared(sound, broken)) == {"detections": problem}


def test_a_count_above_the_rows_fails() -> None:
    sound = answers([LEFT, RIGHT], [0.9, 0.8])
    assert problems(compared(sound, {**sound, "count": np.array([11], np.int32)})) == {
        "detections": "count is 11, with 10 rows"
    }


def many(*last: tuple[list[float], float]) -> tuple[list[list[float]], list[list[float]]]:
    """Sixty pictures of two boxes each, and one more picture whose scores are given."""
    boxes = [LEFT, RIGHT, *(box for box, _ in last)]
    silent = [0.0] * len(last)
    return boxes, [[0.9 - 0.001 * index, 0.8, *silent] for index in range(60)] + [[0, 0, *(s for _, s in last)]]


def test_a_score_at_the_threshold_is_excused_and_counted() -> None:
    boxes, above = many((NEAR, 0.25001))
    _, below = many((NEAR, 0.24999))
    result = compared(answers(boxes, *above), answers(boxes, *below))
    assert problems(result) == {}
    assert result["detections"].note == "1 of 241 boxes differ where rounding decides"
    assert result["detections"].box_match == pytest.approx(240 / 241)


def test_a_score_well_above_the_threshold_is_not_excused() -> None:
    boxes, above = many((NEAR, 0.26))
    _, below = many((NEAR, 0.24))
    result = compared(answers(boxes, *above), answers(boxes, *below))
    assert problems(result)["detections"] == "1 of 241 boxes have no counterpart"


def test_rivals_of_nearly_equal_scores_are_excused() -> None:
    boxes, first = many((LEFT, 0.50001), (NEAR, 0.5))
    _, second = many((LEFT, 0.49999), (NEAR, 0.5))
    result = compared(answers(boxes, *first), answers(boxes, *second))
    assert problems(result) == {}
    assert result["detections"].note == "2 of 242 boxes differ where rounding decides"


def test_rivals_of_clearly_different_scores_are_not_excused() -> None:
    boxes, first = many((LEFT, 0.51), (NEAR, 0.5))
    _, second = many((LEFT, 0.49), (NEAR, 0.5))
    result = compared(answers(boxes, *first), answers(boxes, *second))
    assert problems(result)["detections"] == "2 of 242 boxes have no counterpart"


def test_what_an_excused_box_decides_is_excused() -> None:
    # NEAR overlaps LEFT and FAR by 0.6; whether it is kept decides about FAR.
    far = [0.2, 0.0, 0.6, 0.4]
    boxes, first = many((LEFT, 0.50001), (NEAR, 0.5), (far, 0.4))
    _, second = many((LEFT, 0.49999), (NEAR, 0.5), (far, 0.4))
    result = compared(answers(boxes, *first), answers(boxes, *second))
    # LEFT and FAR on one side, NEAR on the other.
    assert problems(result) == {}
    assert result["detections"].note == "3 of 243 boxes differ where rounding decides"


def test_an_overlap_at_its_threshold_is_excused() -> None:
    # LEFT and this one: 0.4 × (0.4 − d) over 0.4 × (0.4 + d) = 1/2 at d = 0.4 / 3.
    shift = 0.4 / 3
    boxes, scores = many((LEFT, 0.6), ([shift - 1e-6, 0.0, 0.4 + shift - 1e-6, 0.4], 0.5))
    moved, _ = many((LEFT, 0.6), ([shift + 1e-6, 0.0, 0.4 + shift + 1e-6, 0.4], 0.5))
    result = compared(answers(boxes, *scores), answers(moved, *scores))
    assert problems(result) == {}
    assert result["detections"].note == "1 of 243 boxes differ where rounding decides"


def test_more_than_two_percent_of_excuses_fail() -> None:
    sound = answers([LEFT, RIGHT], [0.9, 0.25001])
    given = answers([LEFT, RIGHT], [0.9, 0.24999])
    assert problems(compared(sound, given)) == {"detections": "1 of 3 boxes differ at a limit, more than 2%"}


def test_without_any_box_the_threshold_is_lowered() -> None:
    sound = answers([LEFT, RIGHT, NEAR], [0.2, 0.1, 0.05], [0.1, 0.2, 0.06])
    result = compared(sound, sound)
    assert problems(result) == {}
    assert result["detections"].box_match == 1.0
    assert result["detections"].note.startswith("no box on any picture: the final lists were compared at score ")
    # Anchors that differ show there.
    other = answers([LEFT, RIGHT, NEAR], [0.2, 0.1, 0.05], [0.1, 0.19, 0.06])
    assert "detections" in problems(compared(sound, other))


def test_excuses_hide_no_other_note() -> None:
    boxes = [LEFT, RIGHT, [0.45, 0.0, 0.55, 0.1]]
    low = [[0.2 - 0.0001 * index, 0.1, 0.05] for index in range(60)]
    # The lowered threshold is the median of the third scores, 0.05.
    sound, other = (answers(boxes, *low, [0.2, 0.1, third]) for third in (0.050005, 0.049995))
    result = compared(sound, other)
    assert problems(result) == {}
    assert result["detections"].note == (
        "no box on any picture: the final lists were compared at score threshold 0.05; "
        "1 of 245 boxes differ where rounding decides"
    )


def test_sampled_anchors_are_compared_where_they_were_sampled() -> None:
    sound = answers([LEFT, RIGHT, NEAR], [0.9, 0.8, 0.7])
    recorded = {**sound, "pre_nms/boxes": sound["pre_nms/boxes"].reshape(1, -1)[:, ::5]}
    steps = {"pre_nms/boxes": 5}
    assert problems(compared(recorded, sound, steps=steps)) == {}
    moved = {**sound, "pre_nms/boxes": sound["pre_nms/boxes"] + np.float32(0.01)}
    assert "pre_nms/boxes" in problems(compared(recorded, moved, steps=steps))


def test_an_artifact_that_shows_no_anchors_is_not_proven() -> None:
    sound = answers([LEFT, RIGHT], [0.9, 0.8])
    lists = {name: values for name, values in sound.items() if not name.startswith("pre_nms/")}
    assert problems(compared(sound, lists)) == {
        "detections": "the artifact does not show what goes into its suppression"
    }
