"""The noun Scene: what truly is on one picture, and what a detector found there."""

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Found", "Scene", "Truth", "corners", "coverage", "overlap"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """The labelled objects of a picture.

    Boxes are kept as COCO's files have them, so that no sum rounds what its evaluator compares.

    Attributes:
        boxes: float64 ``(objects, 4)`` as left, top, width, height in pixels.
        categories: int64 ``(objects,)``.
        crowd: bool ``(objects,)``: COCO's ``iscrowd``, one box around many objects.
        difficult: bool ``(objects,)``: VOC's flag; such an object is neither demanded nor punished.
        areas: float64 ``(objects,)`` in square pixels: of the object, which may be less than its box.
        ids: int64 ``(objects,)``, unique over all pictures. COCO's evaluator never counts an object of id 0 as found.
    """

    boxes: Array
    categories: Array
    crowd: Array
    difficult: Array
    areas: Array
    ids: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What a detector found on a picture, in its order.

    Attributes:
        boxes: float64 ``(found, 4)`` as left, top, width, height in pixels.
        categories: int64 ``(found,)``.
        scores: float64 ``(found,)``.
    """

    boxes: Array
    categories: Array
    scores: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """One picture of a detection set.

    Attributes:
        image: Its id; COCO's evaluator takes pictures in the order of their ids.
        truth: What is there.
        found: What was found.
    """

    image: int | str
    truth: Truth
    found: Found


def overlap(first: Array, second: Array) -> Array:
    """Return the intersection over union of each of ``first (m, 4)`` with each of ``second (n, 4)``.

    Args:
        first: Boxes as left, top, width, height.
        second: The same.

    Returns:
        float64 ``(m, n)`` in [0, 1]; 0 where there is nothing in common.
    """
    common = _common(first, second)
    union = _areas(first)[:, None] + _areas(second)[None] - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=common > 0))


def coverage(first: Array, second: Array) -> Array:
    """Return which share of each of ``first (m, 4)`` lies in each of ``second (n, 4)``: COCO's measure for crowds."""
    common = _common(first, second)
    areas = np.broadcast_to(_areas(first)[:, None], common.shape)
    return np.asarray(np.divide(common, areas, out=np.zeros_like(common), where=common > 0))


def corners(boxes: Array) -> Array:
    """Return boxes ``(count, 4)`` of left, top, width, height as x1, y1, x2, y2."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _common(first: Array, second: Array) -> Array:
    """Return the areas of the intersections ``(m, n)``."""
    one, other = corners(first)[:, None], corners(second)[None]
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    return np.asarray(np.prod(np.maximum(sides, 0), axis=-1))


def _areas(boxes: Array) -> Array:
    return np.asarray(boxes[:, 2] * boxes[:, 3])
