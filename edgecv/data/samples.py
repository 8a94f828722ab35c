"""The nouns of data: Box, Sample and Dataset. Formats make them; splitting, training and evaluation read them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np

from edgecv.pictures import Picture, read_picture

__all__ = [
    "PARTS",
    "ArraySource",
    "Box",
    "DataTask",
    "Dataset",
    "FileSource",
    "Part",
    "PictureSource",
    "Sample",
    "corners",
]

DataTask = Literal["classification", "localisation", "detection", "segmentation"]
Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = get_args(Part)  # in the order in which they are used


class PictureSource(Protocol):
    """Where a picture's pixels are, until they are wanted.

    Attributes:
        name: Unique within a dataset, and what messages call the picture: a path, or ``"file[17]"``.
    """

    @property
    def name(self) -> str:
        """The picture's name."""

    def read(self) -> Picture:
        """Decode it.

        Raises:
            PictureError: It cannot be read.
        """


@dataclass(frozen=True)
class FileSource:
    """A picture file."""

    path: Path

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    def read(self) -> Picture:
        """Decode it, upright RGB; see `read_picture`."""
        return read_picture(self.path)


@dataclass(frozen=True, eq=False)
class ArraySource:
    """A picture of a file that holds many, such as IDX.

    Attributes:
        name: ``"file[index]"``.
        pixels: uint8 ``(height, width)`` or ``(height, width, 3)``; a view, not a copy.
    """

    name: str
    pixels: np.ndarray[Any, np.dtype[np.uint8]]

    def read(self) -> Picture:
        """Return it as RGB."""
        pixels = self.pixels if self.pixels.ndim == 3 else np.repeat(self.pixels[:, :, None], 3, axis=2)
        return Picture(np.ascontiguousarray(pixels), source=self.name)


@dataclass(frozen=True, slots=True)
class Box:
    """A labelled box in pixels of its upright picture; x grows to the right, y downwards, borders are between pixels.

    Attributes:
        x1: Left border.
        y1: Upper border.
        x2: Right border, not included.
        y2: Lower border, not included.
        category: Class number, from 0.
        crowd: COCO's ``iscrowd``: one box around many objects, neither demanded nor punished.
        area: COCO's area of the object in square pixels; None means that of the box.
        extra: What the format says beyond (VOC's difficult, truncated, pose; COCO's segmentation, id …).
    """

    x1: float
    y1: float
    x2: float
    y2: float
    category: int
    crowd: bool = False
    area: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def difficult(self) -> bool:
        """Whether Pascal VOC calls it difficult: not demanded, and no false alarm where it is found."""
        return str(self.extra.get("difficult")).lower() in ("1", "true")

    @property
    def counts(self) -> bool:
        """Whether it is an object to find: neither a crowd nor difficult."""
        return not (self.crowd or self.difficult)


def corners(boxes: Iterable[Box]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the corners of boxes, float64 ``(boxes, 4)``: x1, y1, x2, y2 in pixels of their picture."""
    return np.array([(box.x1, box.y1, box.x2, box.y2) for box in boxes], np.float64).reshape(-1, 4)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One picture with what is known of it.

    Attributes:
        picture: Where its pixels are.
        category: Classification: its class number, from 0; else None.
        boxes: Localisation (exactly one) and detection (any number).
        mask: Segmentation: its mask, class numbers as grey levels or palette indices.
        size: ``(height, width)`` where the labels say it or the picture was looked at.
        part: The split that the data set itself puts it into; None where it leaves that to us.
        origin: File and line of its label, as messages name it (``"labels.csv:12"``).
        extra: What the format says beyond, for conversions without loss (COCO's image id, file name …).
    """

    picture: PictureSource
    category: int | None = None
    boxes: tuple[Box, ...] = ()
    mask: PictureSource | None = None
    size: tuple[int, int] | None = None
    part: Part | None = None
    origin: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The picture's name, unique within the data set."""
        return self.picture.name


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Labelled pictures of one kind.

    Attributes:
        path: What the user named.
        format: Name of the format that it was read as.
        task: What its labels can teach.
        classes: Names by class number.
        samples: In the order of the files, sorted by name where files have none.
        skipped: How many labels were broken and left out (``--skip-broken``).
    """

    path: str
    format: str
    task: DataTask
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    skipped: int = 0

    def of_part(self, part: Part) -> Sequence[Sample]:
        """Return the samples that the data set itself puts into a part."""
        return [sample for sample in self.samples if sample.part == part]
