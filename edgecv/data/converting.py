"""Data sets of boxes written in another format, with all that it has a place for, and a count of the rest.

Each picture becomes a `Page` with a free name and its size; a `Writer` writes the labels of all; the pictures are
copied or linked. The whole folder appears at once.
"""

import importlib
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from PIL import Image

from edgecv.data.sample_sizes import sample_size
from edgecv.data.samples import Dataset, FileSource, Sample
from edgecv.data.statistics import count_parts
from edgecv.data.writers.base import Page, Writer
from edgecv.errors import DataError, OptionError, OutputError, UnknownNameError
from edgecv.files import replace_whole

__all__ = ["Conversion", "Pictures", "convert", "writer_names"]

Pictures = Literal["copy", "link", "none"]

_WRITERS = {
    "coco": "edgecv.data.writers.coco:CocoWriter",
    "voc": "edgecv.data.writers.voc:VocWriter",
    "yolo": "edgecv.data.writers.yolo:YoloWriter",
}
# Names of things within a format, not statements about them: they are given anew.
_NAMES = frozenset(("id", "category_id", "file_name", "dataset"))
# All that conversions write; a folder that holds anything else is no earlier one, and is not replaced.
_OWN = frozenset(
    ("annotations", "images", "Annotations", "JPEGImages", "ImageSets", "labels", "labels.txt", "data.yaml")
)


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What was written.

    Attributes:
        path: The new data set's folder.
        format: Its format.
        parts: Number of pictures by part; ``"none"`` for those in no part.
        pictures: Number of pictures.
        boxes: Number of boxes.
        lost: What the format has no place for, by name: of how many boxes it was left out.
        lost_of_pictures: The same of pictures.
    """

    path: Path
    format: str
    parts: Mapping[str, int]
    pictures: int
    boxes: int
    lost: Mapping[str, int]
    lost_of_pictures: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``data convert --json``."""
        return {
            "path": str(self.path),
            "format": self.format,
            "pictures": self.pictures,
            "boxes": self.boxes,
            "parts": dict(self.parts),
            "lost": {"boxes": dict(self.lost), "pictures": dict(self.lost_of_pictures)},
        }


def writer_names() -> tuple[str, ...]:
    """Return the names of the formats that can be written."""
    return tuple(_WRITERS)


def convert(
    dataset: Dataset,
    output: Path,
    *,
    to: str,
    pictures: Pictures = "copy",
    force: bool = False,
    progress: Callable[[], None] | None = None,
) -> Conversion:
    """Write a data set of boxes in another format.

    Args:
        dataset: Its parts are kept.
        output: The folder; it appears whole or not at all.
        to: One of `writer_names`.
        pictures: ``copy`` them, byte for byte; ``link`` to where they are; or ``none``, for labels alone.
        force: Replace an earlier conversion at ``output``.
        progress: Called after each picture.

    Raises:
        DataError: The data have no boxes, or names that the format cannot write.
        OptionError: ``pictures`` is none of these.
        OutputError: ``output`` is there already, cannot be written, or holds what must not be lost.
        PictureError: A picture whose size no label tells cannot be read.
        UnknownNameError: There is no such format.
        MissingExtraError: The format needs a package that is not installed.
    """
    writer = _load(to)
    if pictures not in get_args(Pictures):
        raise OptionError(f"pictures is {pictures!r}. Give one of: {', '.join(get_args(Pictures))}.")
    if dataset.task not in ("localisation", "detection"):
        raise DataError(
            f"{dataset.path!r} has no boxes: its labels are for {dataset.task}. Only data for detection or "
            "localisation can be converted."
        )
    _check_free(output, dataset, force=force)
    pages = _pages(dataset.samples, writer)
    with replace_whole(output) as root:
        root.mkdir()
        writer.write(root, dataset.classes, pages)
        for page in pages:
            if pictures != "none":
                _place(page.sample, root / writer.folder(page.part) / page.name, link=pictures == "link")
            if progress:
                progress()
    return _told(output, writer, pages)


def _load(name: str) -> Writer:
    if name not in _WRITERS:
        raise UnknownNameError("format to write", name, _WRITERS)
    module, _, kind = _WRITERS[name].partition(":")
    return cast("Writer", getattr(importlib.import_module(module), kind)())


def _check_free(output: Path, dataset: Dataset, *, force: bool) -> None:
    if not os.path.lexists(output):
        return
    where = str(output)
    if not force:
        raise OutputError(f"{where!r} is there already. Name another folder with -o, or replace it with --force.")
    if not output.is_dir() or output.is_symlink():
        raise OutputError(f"{where!r} is no folder, so --force does not replace it. Name another one with -o.")
    real = output.resolve()
    pictures = [each.picture.path for each in dataset.samples if isinstance(each.picture, FileSource)]
    sources = [Path(dataset.path), *pictures]
    if any(source.resolve().is_relative_to(real) for source in sources):
        raise OutputError(f"{where!r} holds the data to be converted, which must not be lost. Name another folder.")
    strange = sorted(entry.name for entry in output.iterdir() if entry.name not in _OWN)
    if strange:
        raise OutputError(
            f"{where!r} holds {strange[0]!r}, which no conversion wrote, so --force does not replace it. Name another "
            "folder with -o."
        )


def _pages(samples: Sequence[Sample], writer: Writer) -> list[Page]:
    taken: set[tuple[str, str]] = set()
    return [Page(sample, _free_name(sample, writer, taken), sample_size(sample)) for sample in samples]


def _free_name(sample: Sample, writer: Writer, taken: set[tuple[str, str]]) -> str:
    """Return the picture's own name, or with a number where another's label file would be called the same."""
    folder = writer.folder(sample.part)
    if isinstance(sample.picture, FileSource):
        stem, suffix = sample.picture.path.stem, sample.picture.path.suffix
    else:
        stem, suffix = re.sub(r"[^\w-]+", "_", Path(sample.name).name).strip("_"), ".png"
    stem = re.sub(r"[\x00-\x1f\x7f]", "_", stem)
    name, number = stem, 1
    while (folder, name.casefold()) in taken:  # some file systems don't tell A from a
        number += 1
        name = f"{stem}-{number}"
    taken.add((folder, name.casefold()))
    return name + suffix


def _place(sample: Sample, path: Path, *, link: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(sample.picture, FileSource):
        Image.fromarray(sample.picture.read().pixels).save(path, format="PNG")
    elif link:
        path.symlink_to(sample.picture.path.resolve())
    else:
        shutil.copyfile(sample.picture.path, path)


def _told(output: Path, writer: Writer, pages: Sequence[Page]) -> Conversion:
    boxes: Counter[str] = Counter()
    pictures: Counter[str] = Counter()
    for page in pages:
        pictures.update(key for key, value in page.sample.extra.items() if value and key not in _NAMES)
        for box in page.boxes:
            boxes.update(key for key, value in box.extra.items() if value and key not in _NAMES)
            size = (box.x2 - box.x1) * (box.y2 - box.y1)
            boxes["crowd"] += box.crowd
            boxes["area"] += box.area is not None and abs(box.area - size) > 1e-6 * size
    return Conversion(
        path=output,
        format=writer.name,
        parts=count_parts([page.sample for page in pages]),
        pictures=len(pages),
        boxes=sum(len(page.boxes) for page in pages),
        lost={key: count for key, count in sorted(boxes.items()) if count and not writer.carries(key, pages)},
        lost_of_pictures={
            key: count for key, count in sorted(pictures.items()) if not writer.carries(f"picture.{key}", pages)
        },
    )
