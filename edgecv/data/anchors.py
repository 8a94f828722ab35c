"""Anchors found in data: the sizes that overlap the sizes of its boxes best."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgecv.data.sample_sizes import sample_size
from edgecv.data.samples import Sample, corners
from edgecv.data.threads import in_threads
from edgecv.errors import DataError, OptionError, one_line
from edgecv.pictures import place
from edgecv.preprocess import Fit

__all__ = ["LEAST_SIDE", "Anchors", "anchors_of", "box_sizes", "find_anchors", "mean_overlap", "read_anchors"]

Sizes = np.ndarray[Any, np.dtype[np.float64]]

# Pixels of the input; what is smaller in one direction has next to nothing to be known by.
LEAST_SIDE = 1.0
_RESTARTS = 10
_MOST_ROUNDS = 100
# Of more boxes that many are clustered, drawn by the seed; the mean overlap is that of all.
_MOST_BOXES = 10_000
_PLACES = 4  # decimals of what is written and printed


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """Anchors, and what they were found in.

    Attributes:
        sizes: ``(width, height)`` in pixels of the input, the smallest area first.
        mean_iou: Mean over the boxes of the IoU with the anchor that overlaps them best, centre on centre.
        boxes: ``(width, height)`` of the boxes that they were found in, float64 ``(boxes, 2)`` in pixels of the input.
        small: Number of boxes left out because they are less than a pixel wide or high in the input.
        crowds: Number of crowds left out.
        input_size: ``(height, width)`` of the input in pixels.
        fit: How pictures become that size.
    """

    sizes: tuple[tuple[float, float], ...]
    mean_iou: float
    boxes: Sizes = field(repr=False, compare=False)
    small: int
    crowds: int
    input_size: tuple[int, int]
    fit: Fit

    def to_json(self) -> dict[str, Any]:
        """Return the document that `read_anchors` reads and ``data anchors --json`` prints."""
        return {
            "anchors": [[round(side, _PLACES) for side in size] for size in self.sizes],
            "input_size": list(self.input_size),
            "fit": self.fit.mode,
            "mean_iou": self.mean_iou,
            "boxes": len(self.boxes),
            "smaller_than_a_pixel": self.small,
            "crowds": self.crowds,
        }


def anchors_of(
    samples: Sequence[Sample], *, input_size: tuple[int, int], fit: Fit | None = None, count: int, seed: int = 0
) -> Anchors:
    """Find anchors in the boxes of samples as the network's input shows them; see `find_anchors`.

    Args:
        samples: With boxes; those of crowds are left out.
        input_size: ``(height, width)`` of the network's input in pixels.
        fit: How pictures become that size; the default stretches them.
        count: Number of anchors, at least 1.
        seed: Of what is drawn by chance.

    Raises:
        DataError: There are fewer boxes, or fewer that differ in size, than anchors.
        PictureError: A picture whose size no label tells cannot be read.
    """
    fit = fit or Fit()
    sizes = box_sizes(samples, input_size, fit)
    large = np.all(sizes >= LEAST_SIDE, axis=-1)
    boxes = sizes[large]
    anchors = find_anchors(boxes, count=count, seed=seed)
    return Anchors(
        sizes=tuple((float(width), float(height)) for width, height in anchors),
        mean_iou=mean_overlap(boxes, anchors),
        boxes=boxes,
        small=int(np.count_nonzero(~large)),
        crowds=sum(box.crowd for sample in samples for box in sample.boxes),
        input_size=input_size,
        fit=fit,
    )


def find_anchors(boxes: Sizes, *, count: int, seed: int = 0) -> Sizes:
    """Find anchors by k-means with the distance 1 − IoU of two sizes, centre on centre.

    An anchor is the median width and height of the boxes that it is nearest to: in this distance large boxes do not
    weigh more than small ones, and medians overlap them better than means do. The first anchors are drawn as in
    k-means++, by the square of their distance to those drawn before; of 10 such beginnings the anchors with the
    highest mean IoU are taken. The same seed gives the same anchors.

    Args:
        boxes: float64 ``(boxes, 2)``: width and height, positive.
        count: Number of anchors, at least 1.
        seed: At least 0.

    Returns:
        float64 ``(count, 2)``, the smallest area first.

    Raises:
        DataError: There are fewer boxes, or fewer that differ in size, than anchors.

    Reference:
        Redmon, Farhadi, "YOLO9000: Better, Faster, Stronger", 2016, https://arxiv.org/abs/1612.08242, section 2,
        "Dimension Clusters"; Arthur, Vassilvitskii, "k-means++: The Advantages of Careful Seeding", 2007.
    """
    distinct = len(np.unique(boxes.round(6), axis=0))
    if distinct < count:
        raise DataError(
            f"Too few boxes for {count} anchors: {len(boxes)}, of different sizes {distinct}. "
            "Ask for fewer anchors, or give more boxes."
        )
    rng = np.random.default_rng(seed)
    if len(boxes) > _MOST_BOXES:
        drawn = boxes[np.sort(rng.choice(len(boxes), _MOST_BOXES, replace=False))]
        # Rare sizes may be missing among them.
        boxes = drawn if len(np.unique(drawn.round(6), axis=0)) >= count else boxes
    found = [_clustered(boxes, _first(boxes, count, rng)) for _ in range(_RESTARTS)]
    best: Sizes = max(found, key=lambda anchors: mean_overlap(boxes, anchors))
    order = np.lexsort((best[:, 0], best[:, 0] * best[:, 1]))
    return best[order]


def mean_overlap(boxes: Sizes, anchors: Sizes) -> float:
    """Return the mean over sizes ``(boxes, 2)`` of the IoU with the best of anchors ``(anchors, 2)``."""
    return float(_overlaps(boxes, anchors).max(axis=1).mean())


def read_anchors(path: str) -> tuple[tuple[float, float], ...]:
    """Read ``(width, height)`` of anchors in pixels from a file that ``edgecv data anchors --output`` wrote.

    Only its key ``anchors`` is looked at.

    Raises:
        OptionError: It cannot be read, or holds no anchors.
    """
    try:
        document = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise OptionError(f"Anchor file {path!r} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise OptionError(f"Anchor file {path!r} is no JSON: {one_line(error)}.") from error
    anchors = document.get("anchors") if isinstance(document, dict) else None
    if not isinstance(anchors, list) or not anchors or not all(_is_size(anchor) for anchor in anchors):
        raise OptionError(
            f"Anchor file {path!r} has no key 'anchors' with a list of [width, height] in pixels. "
            "Write one with: edgecv data anchors PATH --output FILE.json"
        )
    return tuple((float(width), float(height)) for width, height in anchors)


def box_sizes(samples: Sequence[Sample], input_size: tuple[int, int], fit: Fit) -> Sizes:
    """Return width and height of all boxes but crowds in pixels of the input, ``(boxes, 2)``."""
    boxed = [sample for sample in samples if sample.boxes]
    found = [np.empty((0, 2))]
    for sample, size in zip(boxed, in_threads(sample_size, boxed), strict=True):
        counted = corners(box for box in sample.boxes if box.counts)
        boxes = place(fit, size, input_size).boxes_in_input(counted)
        found.append(boxes[:, 2:] - boxes[:, :2])
    return np.concatenate(found)


def _overlaps(boxes: Sizes, anchors: Sizes) -> Sizes:
    """Return the IoU ``(boxes, anchors)`` of sizes with the same centre."""
    # By columns: reducing an axis of two takes several times as long.
    common = np.minimum(boxes[:, None, 0], anchors[:, 0]) * np.minimum(boxes[:, None, 1], anchors[:, 1])
    overlaps: Sizes = common / (boxes[:, :1] * boxes[:, 1:] + anchors[:, 0] * anchors[:, 1] - common)
    return overlaps


def _first(boxes: Sizes, count: int, rng: np.random.Generator) -> Sizes:
    """Draw boxes that lie far apart."""
    chosen = [int(rng.integers(len(boxes)))]
    while len(chosen) < count:
        distances = 1 - _overlaps(boxes, boxes[chosen]).max(axis=1)
        # Rounding must not let a size be drawn twice.
        chances = np.where(distances > 1e-12, distances**2, 0.0)
        chosen.append(int(rng.choice(len(boxes), p=chances / chances.sum())))
    return boxes[chosen]


def _clustered(boxes: Sizes, anchors: Sizes) -> Sizes:
    """Move anchors to the medians of their boxes until no box changes its anchor."""
    before = None
    for _ in range(_MOST_ROUNDS):
        nearest = _overlaps(boxes, anchors).argmax(axis=1)
        if before is not None and np.array_equal(nearest, before):
            break
        before = nearest
        groups = [boxes[nearest == number] for number in range(len(anchors))]
        # One that has lost its boxes stays where it is.
        anchors = np.stack(
            [np.median(group, axis=0) if len(group) else anchor for group, anchor in zip(groups, anchors, strict=True)]
        )
    return anchors


def _is_size(value: Any) -> bool:
    """Tell whether a value of JSON is a width and a height."""
    if not isinstance(value, list) or len(value) != 2:
        return False
    return all(isinstance(side, int | float) and not isinstance(side, bool) and 0 < side < 1e6 for side in value)
