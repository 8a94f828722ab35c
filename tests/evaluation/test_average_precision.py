"""Average precision: by hand, against another implementation, and against VOC's rules written as a plain loop."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgecv.evaluation.average_precision import average_precision, mean
from edgecv.evaluation.scenes import Found, Scene, Truth, coverage, overlap

Box = tuple[float, float, float, float]

# Three objects far from each other, 10 × 10 pixels.
A: Box = (0, 0, 10, 10)
B: Box = (100, 0, 10, 10)
C: Box = (200, 0, 10, 10)
NOWHERE: Box = (500, 500, 10, 10)


def scene(
    truth: Sequence[Box],
    found: Sequence[tuple[Box, float]],
    *,
    image: int = 1,
    crowd: Sequence[int] = (),
    difficult: Sequence[int] = (),
) -> Scene:
    places = np.arange(len(truth))
    boxes = np.array(truth, np.float64).reshape(-1, 4)
    return Scene(
        image=image,
        truth=Truth(
            boxes=boxes,
            categories=np.zeros(len(truth), np.int64),
            crowd=np.isin(places, crowd),
            difficult=np.isin(places, difficult),
            areas=boxes[:, 2] * boxes[:, 3],
            ids=places + 1,
        ),
        found=Found(
            boxes=np.array([box for box, _ in found], np.float64).reshape(-1, 4),
            categories=np.zeros(len(found), np.int64),
            scores=np.array([score for _, score in found]),
        ),
    )


def measure(*scenes: Scene) -> Any:
    (found,) = average_precision(scenes, [0])
    return found


def test_a_curve_worked_by_hand() -> None:
    # Best first: hit, miss, hit, miss, miss, hit of 3: recall 1/3, 1/3, 2/3, 2/3, 2/3, 1 at precision
    # 1, 1/2, 2/3, 1/2, 2/5, 1/2. Largest precision at recall 0 … 0.3: 1; 0.4 … 0.6: 2/3; 0.7 … 1: 1/2.
    scores = [(A, 0.9), (NOWHERE, 0.8), (B, 0.7), (NOWHERE, 0.6), (NOWHERE, 0.5), (C, 0.4)]
    result = measure(scene([A, B, C], scores))
    np.testing.assert_allclose(result.precision, [1, 1 / 2, 2 / 3, 1 / 2, 2 / 5, 1 / 2])
    np.testing.assert_allclose(result.recall, [1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3, 1])
    assert result.at_11_points == pytest.approx((4 * 1 + 3 * 2 / 3 + 4 * 1 / 2) / 11)
    assert result.area == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)
    assert (result.objects, result.found, result.hits) == (3, 6, 3)


def test_what_is_never_reached_counts_as_zero() -> None:
    # One of two found: recall 0.5 is reached, 0.6 … 1 are not.
    result = measure(scene([A, B], [(A, 0.9)]))
    assert result.at_11_points == pytest.approx(6 / 11)
    assert result.area == pytest.approx(1 / 2)


def test_tenths_of_recall_are_reached_exactly() -> None:
    # 3 of 10 reach a recall of 0.3, though 3 × 0.1 = 0.30000000000000004.
    boxes: list[Box] = [(100 * place, 0, 10, 10) for place in range(10)]
    for hits in range(11):
        result = measure(scene(boxes, [(box, 0.5) for box in boxes[:hits]]))
        assert result.at_11_points == pytest.approx((hits + 1) / 11 if hits else 0)


def test_each_object_is_found_once_and_the_second_is_a_miss() -> None:
    result = measure(scene([A], [(A, 0.5), (A, 0.9), (A, 0.5)]))
    assert (result.hits, result.found) == (1, 3)
    assert result.at_11_points == 1  # the best one comes first
    # As VOC has it, a detection looks only at the object that it overlaps most, here the one that is taken.
    near: Box = (2, 0, 10, 10)
    result = measure(scene([A, near], [(A, 0.9), ((0.5, 0, 10, 10), 0.8)]))
    assert result.hits == 1


@pytest.mark.parametrize(("shift", "hits"), [(0.0, 1), (10 / 3 - 1e-9, 1), (10 / 3 + 1e-9, 0), (-2.5, 1), (11.0, 0)])
def test_half_of_the_union_is_enough(shift: float, hits: int) -> None:
    # Shifted by x the IoU is (10 − x) / (10 + x), which is 1/2 at 10/3.
    assert measure(scene([A], [((shift, 0, 10, 10), 0.9)])).hits == hits


def test_an_iou_of_exactly_half_is_a_hit() -> None:
    assert overlap(np.array([[0, 0, 10, 10.0]]), np.array([[0, 0, 10, 20.0]])).item() == 0.5
    assert measure(scene([A], [((0, 0, 10, 20), 0.9)])).hits == 1


def test_difficult_objects_are_neither_demanded_nor_punished() -> None:
    result = measure(scene([A, B], [(B, 0.95), (B, 0.9), (A, 0.8)], difficult=[1]))
    assert (result.objects, result.found, result.hits) == (1, 1, 1)
    assert result.at_11_points == 1
    # Not found either: nothing is missing.
    assert measure(scene([A, B], [(A, 0.8)], difficult=[1])).at_11_points == 1


def test_detections_in_a_crowd_are_neither_demanded_nor_punished() -> None:
    crowd: Box = (95, 0, 100, 100)
    # Two people inside the crowd, whose IoU with it is small; one half inside, one nearly outside.
    inside = [(B, 0.95), ((120, 40, 10, 10), 0.9), ((90, 0, 10, 10), 0.85)]
    result = measure(scene([A, crowd], [*inside, (A, 0.8)], crowd=[1]))
    assert (result.objects, result.found, result.hits) == (1, 1, 1)
    assert measure(scene([A, crowd], [((89, 0, 10, 10), 0.9)], crowd=[1])).found == 1
    # An object that a crowd covers is found all the same.
    assert measure(scene([B, crowd], [(B, 0.9), (B, 0.8)], crowd=[1])).hits == 1


def test_a_class_without_objects_has_no_figure() -> None:
    result = measure(scene([], [(A, 0.9)]), scene([B], [], image=2, difficult=[0]))
    assert (result.at_11_points, result.area, result.objects) == (None, None, 0)
    assert mean([None, 0.5, 1.0]) == 0.75
    assert mean([None]) is None


def test_no_detections_are_zero() -> None:
    result = measure(scene([A], []))
    assert (result.at_11_points, result.area) == (0, 0)


def test_pictures_and_classes_are_kept_apart() -> None:
    first = scene([A], [(B, 0.9)], image=1)
    second = scene([B], [(A, 0.8)], image=2)
    assert measure(first, second).hits == 0
    other = replace(second, found=replace(first.found, categories=np.array([1])))
    of_first, of_second, of_third = average_precision([first, other], [0, 1, 5])
    assert (of_first.hits, of_second.found, of_third.found) == (0, 1, 0)


# By object-detection-metrics 0.4.post1 (PyPI), get_pascal_voc_metrics, on 40 pictures of `make_scenes`.
PODM = {
    (0, 0): (0.302839718, 0.288487812),
    (0, 1): (0.48219697, 0.477600145),
    # Its 11 points of class 2 are left out: it takes 12 of 40 for less than a recall of 0.30000000000000004.
    (0, 2): (None, 0.456718968),
    (1, 0): (0.464174301, 0.463630258),
    (1, 1): (0.4783744, 0.496090845),
    (1, 2): (0.445839884, 0.440385051),
    (2, 0): (0.249181254, 0.244303543),
    (2, 1): (0.323917074, 0.310793165),
    (2, 2): (0.366062095, 0.346107372),
}


@pytest.mark.parametrize(("seed", "category"), PODM)
def test_figures_are_those_of_another_implementation(
    seed: int, category: int, make_scenes: Callable[..., list[Scene]]
) -> None:
    result = average_precision(make_scenes(seed, pictures=40), [0, 1, 2])[category]
    at_11_points, area = PODM[seed, category]
    assert result.area == pytest.approx(area, abs=1e-9)
    if at_11_points is not None:
        assert result.at_11_points == pytest.approx(at_11_points, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_vocs_rules_as_a_plain_loop_agree(seed: int, make_scenes: Callable[..., list[Scene]]) -> None:
    dice = np.random.default_rng(seed)
    scenes = [
        replace(each, truth=replace(each.truth, difficult=dice.random(len(each.truth.boxes)) < 0.25))
        for each in make_scenes(seed + 10, pictures=20, crowds=True)
    ]
    for result in average_precision(scenes, [0, 1, 2]):
        curve, objects = plain_loop(scenes, result.category)
        assert (result.objects, result.hits, result.found) == (objects, sum(curve), len(curve))
        precision = [sum(curve[: place + 1]) / (place + 1) for place in range(len(curve))]
        points = [
            max((p for place, p in enumerate(precision) if 10 * sum(curve[: place + 1]) >= tenths * objects), default=0)
            for tenths in range(11)
        ]
        assert result.at_11_points == pytest.approx(sum(points) / 11, abs=1e-12)


def plain_loop(scenes: list[Scene], category: int) -> tuple[list[bool], int]:
    """Return for each detection that counts, best first, whether it is a hit, and the number of objects."""
    detections = [
        (float(score), scene.image, box)
        for scene in scenes
        for box, score, kind in zip(scene.found.boxes, scene.found.scores, scene.found.categories, strict=True)
        if kind == category
    ]
    detections.sort(key=lambda each: -each[0])
    taken: set[int] = set()
    curve = []
    for _, image, box in detections:
        truth = next(each.truth for each in scenes if each.image == image)
        best, nearest, in_crowd = 0.0, -1, False
        for place, other in enumerate(truth.boxes):
            if truth.categories[place] != category:
                continue
            width = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
            height = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
            common = max(width, 0) * max(height, 0)
            if truth.crowd[place]:
                in_crowd |= common >= 0.5 * box[2] * box[3]
            elif common / (box[2] * box[3] + other[2] * other[3] - common) > best:
                best, nearest = common / (box[2] * box[3] + other[2] * other[3] - common), place
        number = int(truth.ids[nearest]) if best >= 0.5 else -1
        if number >= 0 and truth.difficult[nearest]:
            continue
        if number >= 0 and number not in taken:
            taken.add(number)
            curve.append(True)
        elif not in_crowd:
            curve.append(False)
    wanted = [(each.truth.categories == category) & ~each.truth.crowd & ~each.truth.difficult for each in scenes]
    return curve, int(sum(each.sum() for each in wanted))


def test_overlaps_of_boxes_without_area_are_zero() -> None:
    point = np.array([[5, 5, 0, 0.0]])
    assert overlap(point, np.array([A])).item() == 0
    assert overlap(point, point).item() == 0
    assert coverage(point, np.array([A])).item() == 0
    assert overlap(np.zeros((0, 4)), np.array([A])).shape == (0, 1)
