"""Random detection sets, the same on every machine."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgecv.evaluation.scenes import Found, Scene, Truth


@pytest.fixture(scope="session")
def make_scenes() -> Callable[..., list[Scene]]:
    """Make pictures with objects, and detections near and far from them."""
    return _make_scenes


def _make_scenes(
    seed: int, *, pictures: int = 12, classes: int = 3, most: int = 8, crowds: bool = False, strays: int = 6
) -> list[Scene]:
    dice = np.random.Generator(np.random.PCG64(seed))
    scenes: list[Scene] = []
    number = 1
    for image in range(pictures):
        # Some pictures are empty; sides reach from small to large in COCO's sense.
        objects = int(dice.integers(0, most + 1)) * int(dice.integers(0, 5) > 0)
        boxes = _random_boxes(dice, objects)
        categories = dice.integers(0, classes, objects)
        crowd = dice.random(objects) < (0.2 if crowds else 0)
        truth = Truth(
            boxes=boxes,
            categories=categories,
            crowd=crowd,
            difficult=np.zeros(objects, bool),
            areas=boxes[:, 2] * boxes[:, 3] * dice.uniform(0.4, 1, objects),
            ids=np.arange(number, number + objects),
        )
        number += objects
        # Each object is found up to three times, shifted, and sometimes as another class.
        again = np.repeat(np.arange(objects), dice.integers(0, 4, objects))
        near = boxes[again] + np.tile(boxes[again, 2:], 2) * dice.normal(0, 0.08, (len(again), 4))
        near[:, 2:] = np.maximum(near[:, 2:], 1)
        kinds = np.where(dice.random(len(again)) < 0.1, dice.integers(0, classes, len(again)), categories[again])
        far = int(dice.integers(0, strays + 1))
        found = Found(
            boxes=np.concatenate([near, _random_boxes(dice, far)]),
            categories=np.concatenate([kinds, dice.integers(0, classes, far)]),
            # Two digits: equal scores are common.
            scores=np.round(dice.random(len(again) + far), 2),
        )
        scenes.append(Scene(image=3 * image + 1, truth=truth, found=found))
    return scenes


def _random_boxes(dice: np.random.Generator, count: int) -> Any:
    sides = np.exp(dice.uniform(np.log(8), np.log(300), (count, 2)))
    return np.concatenate([dice.uniform(0, 400, (count, 2)), sides], axis=1)
