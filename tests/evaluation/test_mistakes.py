"""Misses and false alarms of a detector, counted by hand and against average precision."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from edgecv.evaluation.average_precision import average_precision
from edgecv.evaluation.mistakes import WorkingScore, judge, working_score, worst_first
from edgecv.evaluation.scenes import Found, Scene, Truth

Box = Sequence[float]


def scene(
    truth: Sequence[tuple[Box, int]],
    found: Sequence[tuple[Box, int, float]],
    *,
    crowd: Sequence[bool] | None = None,
    difficult: Sequence[bool] | None = None,
) -> Scene:
    """Make a picture of boxes (left, top, width, height), classes and scores."""
    boxes = np.array([box for box, _ in truth], np.float64).reshape(-1, 4)
    return Scene(
        image=1,
        truth=Truth(
            boxes=boxes,
            categories=np.array([category for _, category in truth], np.int64),
            crowd=np.array(crowd or [False] * len(truth), bool),
            difficult=np.array(difficult or [False] * len(truth), bool),
            areas=boxes[:, 2] * boxes[:, 3],
            ids=np.arange(1, len(truth) + 1),
        ),
        found=Found(
            boxes=np.array([box for box, *_ in found], np.float64).reshape(-1, 4),
            categories=np.array([category for _, category, _ in found], np.int64),
            scores=np.array([score for *_, score in found], np.float64),
        ),
    )


LEFT, RIGHT, BELOW = (0, 0, 10, 10), (50, 0, 10, 10), (0, 50, 10, 10)


def test_an_object_is_hit_once_and_by_its_own_class() -> None:
    judged = judge(
        scene(
            [(LEFT, 0), (RIGHT, 1), (BELOW, 1)],
            [
                (LEFT, 0, 0.6),  # a second answer for the same object
                (LEFT, 0, 0.9),
                (RIGHT, 0, 0.8),  # an object of another class
                ((0, 53, 10, 10), 1, 0.3),  # IoU 7 / 13
                ((5, 50, 10, 10), 1, 0.7),  # IoU 5 / 15
            ],
        )
    )
    assert judged.hits(0.0).tolist() == [False, True, False, True, False]
    assert judged.false_alarms(0.0).tolist() == [True, False, True, False, True]
    assert judged.missed(0.0).tolist() == [False, True, False]
    assert judged.hit_scores.tolist() == [0.9, -np.inf, 0.3]


def test_what_scores_too_little_is_not_believed() -> None:
    judged = judge(scene([(LEFT, 0), (RIGHT, 0)], [(LEFT, 0, 0.5), (RIGHT, 0, 0.4), (BELOW, 0, 0.3)]))
    assert judged.hits(0.5).tolist() == [True, False, False]
    assert judged.missed(0.5).tolist() == [False, True]
    assert judged.false_alarms(0.5).tolist() == [False, False, False]


def test_crowds_and_difficult_objects_are_neither_missed_nor_false_alarms() -> None:
    truth = [((0, 0, 40, 40), 0), (RIGHT, 0), (BELOW, 0)]
    found = [((5, 5, 10, 10), 0, 0.9), ((20, 20, 10, 10), 0, 0.8), (RIGHT, 0, 0.7)]
    judged = judge(scene(truth, found, crowd=[True, False, False], difficult=[False, True, False]))
    assert judged.demanded.tolist() == [False, False, True]
    assert judged.missed(0.0).tolist() == [False, False, True]
    assert not judged.false_alarms(0.0).any()
    assert not judged.hits(0.0).any()


def test_nothing_there_and_nothing_found_is_no_mistake() -> None:
    judged = judge(scene([], []))
    assert judged.missed(0.0).shape == judged.false_alarms(0.0).shape == (0,)
    assert working_score([judged]) == WorkingScore(score=0.5, f1=None)


@pytest.mark.parametrize("seed", range(4))
def test_hits_and_false_alarms_are_those_of_average_precision(
    seed: int, make_scenes: Callable[..., list[Scene]]
) -> None:
    scenes = make_scenes(seed, crowds=True)
    judged = [judge(each) for each in scenes]
    measured = average_precision(scenes, [0, 1, 2])
    hits = sum(int(each.hits(0.0).sum()) for each in judged)
    false = sum(int(each.false_alarms(0.0).sum()) for each in judged)
    missed = sum(int(each.missed(0.0).sum()) for each in judged)
    assert hits == sum(each.hits for each in measured) > 0
    assert hits + false == sum(each.found for each in measured)
    assert hits + missed == sum(each.objects for each in measured)


def test_the_working_score_has_the_largest_f1() -> None:
    places = [(60 * number, 0, 10, 10) for number in range(4)]
    hit, wrong = [(box, 0) for box in places], (0, 200, 10, 10)
    found = [(places[0], 0, 0.9), (places[1], 0, 0.8), (wrong, 0, 0.7), (places[2], 0, 0.6)]
    # After each detection, with 4 objects: 2·1/(1+4), 2·2/(2+4), 2·2/(3+4), 2·3/(4+4).
    assert working_score([judge(scene(hit, found))]) == WorkingScore(score=0.6, f1=0.75)
    # Without the last one the second is best.
    assert working_score([judge(scene(hit, found[:3]))]) == WorkingScore(score=0.8, f1=2 / 3)


def test_equal_scores_are_believed_together() -> None:
    places = [(60 * number, 0, 10, 10) for number in range(2)]
    truth = [(box, 0) for box in places]
    found = [(places[0], 0, 0.9), (places[1], 0, 0.5), *[((300, 60 * i, 10, 10), 0, 0.5) for i in range(4)]]
    # The hit at 0.5 alone would give 2·2/(2+2) = 1, but four false alarms come with it: 2·2/(6+2) < 2·1/(1+2).
    assert working_score([judge(scene(truth, found))]) == WorkingScore(score=0.9, f1=2 / 3)


def test_the_worst_picture_has_most_mistakes_then_the_surest_ones() -> None:
    good = judge(scene([(LEFT, 0)], [(LEFT, 0, 0.9)]))
    missed = judge(scene([(LEFT, 0)], []))
    unsure = judge(scene([], [(LEFT, 0, 0.6)]))
    sure = judge(scene([], [(LEFT, 0, 0.95)]))
    both = judge(scene([(LEFT, 0)], [(RIGHT, 0, 0.7)]))
    assert worst_first([good, missed, unsure, sure, both, good], 0.5) == [4, 3, 2, 1, 0, 5]
    # With another score the answers of three pictures are not believed.
    assert worst_first([good, missed, unsure, sure, both, good], 0.8) == [3, 1, 4, 0, 2, 5]
