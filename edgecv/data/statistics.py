"""What a data set holds, counted: pictures, classes, sizes, boxes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgecv.data.mask_files import IGNORED
from edgecv.data.sample_sizes import sample_size
from edgecv.data.samples import PARTS, Dataset, Sample
from edgecv.data.threads import in_threads

__all__ = ["Quantiles", "Statistics", "count", "count_parts"]

_QUANTILES = {"min": 0.0, "p05": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}


@dataclass(frozen=True)
class Quantiles:
    """How numbers are spread, from the least to the greatest; between two of them by linear interpolation."""

    min: float
    p05: float
    p25: float
    median: float
    p75: float
    p95: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray[Any, Any]) -> "Quantiles | None":
        """Return those of some numbers; None of none."""
        if not len(values):
            return None
        found = np.quantile(np.asarray(values, np.float64), list(_QUANTILES.values()))
        return cls(**{name: float(value) for name, value in zip(_QUANTILES, found, strict=True)})


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What is in a data set.

    Attributes:
        format: That it was read as.
        task: What it can teach.
        pictures: How many there are.
        skipped: How many labels were broken and left out.
        parts: Number of pictures by part; ``"none"`` for those that the data put into no part.
        classes: By name: the number of pictures with it, and of its boxes or, with masks, of its pixels.
        without: Number of pictures without any box, or with the background alone.
        sizes: Width and height of the pictures in pixels.
        distinct_sizes: Number of pictures by width and height, the most frequent first.
        boxes: Number of boxes; None where the labels are no boxes.
        crowds: How many of them stand for many objects.
        box_statistics: Boxes a picture; their width, height and square root of area in pixels; width, height and area
            as shares of the picture; aspect, width by height.
        ignored_pixels: Pixels of masks that are of no class.
    """

    format: str
    task: str
    pictures: int
    skipped: int
    parts: Mapping[str, int]
    classes: Mapping[str, Mapping[str, int]]
    without: int
    sizes: Mapping[str, Quantiles | None]
    distinct_sizes: Mapping[tuple[int, int], int]
    boxes: int | None
    crowds: int
    box_statistics: Mapping[str, Quantiles | None]
    ignored_pixels: int

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``data inspect --json``."""
        document = {key: getattr(self, key) for key in ("format", "task", "pictures", "skipped", "parts")}
        document["classes"] = [{"name": name, **counts} for name, counts in self.classes.items()]
        document["without_label"] = self.without
        document["sizes"] = {
            **{name: _json(spread) for name, spread in self.sizes.items()},
            "distinct": [
                {"width": width, "height": height, "pictures": number}
                for (width, height), number in self.distinct_sizes.items()
            ],
        }
        if self.boxes is not None:
            spreads = {name: _json(spread) for name, spread in self.box_statistics.items()}
            document["boxes"] = {"count": self.boxes, "crowds": self.crowds, **spreads}
        if self.task == "segmentation":
            document["ignored_pixels"] = self.ignored_pixels
        return document


def count(dataset: Dataset) -> Statistics:
    """Count; pictures whose size no label tells are looked at, and masks are decoded.

    Raises:
        PictureError: One of them cannot be read.
    """
    looks = list(in_threads(_look, dataset.samples))
    sizes = [look.size for look in looks]
    boxed = dataset.task in ("localisation", "detection")
    return Statistics(
        format=dataset.format,
        task=dataset.task,
        pictures=len(dataset.samples),
        skipped=dataset.skipped,
        parts=count_parts(dataset.samples),
        classes=_by_class(dataset, looks),
        without=sum(_is_without(sample, look) for sample, look in zip(dataset.samples, looks, strict=True)),
        sizes={
            "width": Quantiles.of([width for _, width in sizes]),
            "height": Quantiles.of([height for height, _ in sizes]),
        },
        distinct_sizes=dict(Counter((width, height) for height, width in sizes).most_common()),
        boxes=sum(len(sample.boxes) for sample in dataset.samples) if boxed else None,
        crowds=sum(box.crowd for sample in dataset.samples for box in sample.boxes),
        box_statistics=_box_statistics(dataset.samples, sizes) if boxed else {},
        ignored_pixels=sum(look.pixels.get(IGNORED, 0) for look in looks),
    )


def count_parts(samples: Sequence[Sample]) -> dict[str, int]:
    """Return the number of pictures by part, in the order in which parts are used; ``"none"`` for those in none."""
    numbers: Counter[str] = Counter(sample.part or "none" for sample in samples)
    return {part: numbers[part] for part in (*PARTS, "none") if numbers[part]}


@dataclass(frozen=True)
class _Look:
    """What was seen of a sample: ``(height, width)``, and the mask's pixels by class."""

    size: tuple[int, int]
    pixels: Mapping[int, int]


def _look(sample: Sample) -> _Look:
    size = sample_size(sample)
    if sample.mask is None:
        return _Look(size, {})
    counts = np.bincount(sample.mask.read().pixels[:, :, 0].ravel())
    return _Look(size, {int(number): int(counts[number]) for number in np.flatnonzero(counts)})


def _by_class(dataset: Dataset, looks: Sequence[_Look]) -> dict[str, Mapping[str, int]]:
    pictures: Counter[int] = Counter()
    amounts: Counter[int] = Counter()
    for sample, look in zip(dataset.samples, looks, strict=True):
        own: Counter[int] = Counter(box.category for box in sample.boxes)
        own.update(look.pixels)
        if sample.category is not None:
            own[sample.category] += 1
        pictures.update(own.keys())
        amounts.update(own)
    what = {"classification": None, "segmentation": "pixels"}.get(dataset.task, "boxes")
    return {
        name: {"pictures": pictures[number], **({what: amounts[number]} if what else {})}
        for number, name in enumerate(dataset.classes)
    }


def _is_without(sample: Sample, look: _Look) -> bool:
    if sample.mask is not None:
        return not set(look.pixels) - {0, IGNORED}
    return sample.category is None and not sample.boxes


def _box_statistics(samples: Sequence[Sample], sizes: Sequence[tuple[int, int]]) -> dict[str, Quantiles | None]:
    rows = [
        (box.x2 - box.x1, box.y2 - box.y1, width, height)
        for sample, (height, width) in zip(samples, sizes, strict=True)
        for box in sample.boxes
    ]
    width, height, picture_width, picture_height = np.array(rows, np.float64).reshape(-1, 4).T
    return {
        "per_picture": Quantiles.of([len(sample.boxes) for sample in samples]),
        "width": Quantiles.of(width),
        "height": Quantiles.of(height),
        "side": Quantiles.of(np.sqrt(width * height)),
        "area": Quantiles.of(width * height),
        "width_share": Quantiles.of(width / picture_width),
        "height_share": Quantiles.of(height / picture_height),
        "area_share": Quantiles.of(width * height / (picture_width * picture_height)),
        "aspect": Quantiles.of(width / height),
    }


def _json(spread: Quantiles | None) -> dict[str, float] | None:
    return None if spread is None else asdict(spread)
