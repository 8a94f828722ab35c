"""Pictures with masks: ``images/a.jpg`` and ``masks/a.png``, whose pixels are class numbers; 255 belongs to no class.

    PATH/images, PATH/masks               also img, JPEGImages … and mask, SegmentationClass, annotations, labels …
    PATH/images/train, PATH/masks/train   the data's own parts
    PATH/train/images, PATH/train/masks   the same

Pascal VOC's lists in ``ImageSets/Segmentation`` say which pictures have masks, and their parts. Classes are called as
``classes.txt`` or ``labels.txt`` says; as VOC's 21 below ``SegmentationClass``; else by their numbers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from edgecv.data.checking import Checks
from edgecv.data.layout import class_names, entries, part_of, rank
from edgecv.data.mask_files import IGNORED, MASK_SUFFIXES, MaskSource, read_mask
from edgecv.data.picture_files import is_picture_name, picture_size, visible
from edgecv.data.problems import Problems
from edgecv.data.samples import PARTS, Dataset, FileSource, Part, Sample
from edgecv.data.threads import in_threads
from edgecv.errors import DataError, PictureError

__all__ = ["VOC", "Masks"]

# In the order of preference, lower case.
_PICTURES = ("images", "image", "imgs", "img", "jpegimages", "pictures", "photos")
_MASKS = ("masks", "mask", "segmentationclass", "segmentations", "segmentation", "annotations", "labels")
_OF_VOC = "segmentationclass"
# Everingham, Winn, "The PASCAL Visual Object Classes Challenge 2012 Development Kit", 2012, section 3.3 with the
# background as class 0.
VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


class Masks:
    """Reads pictures with masks."""

    name: ClassVar[str] = "masks"
    summary: ClassVar[str] = "images/ beside masks/ of the same names"

    def recognises(self, path: Path) -> bool:
        """Tell whether there are such folders, and a mask in the second."""
        return any(_masks(pair.masks) for pair in _pairs(path))

    def read(self, path: Path, problems: Problems) -> Dataset:
        """Read it; see `Format.read`. All masks are decoded: they are the labels."""
        pairs = _pairs(path)
        if not pairs:
            raise DataError(f"{str(path)!r} has no folders of pictures and masks. Call them images/ and masks/.")
        matches = [match for pair in pairs for match in _matches(path, pair, problems)]
        sound: list[tuple[_Match, _Look]] = []
        for match, look in zip(matches, in_threads(_look, matches), strict=True):
            if look.problem:
                problems.add(*look.problem)
            else:
                sound.append((match, look))
        classes = _classes(path, pairs, [look for _, look in sound])
        checks = Checks(problems)
        samples = tuple(
            _sample(match, look)
            for match, look in sound
            if checks.category_number(max(look.values, default=0), len(classes), file=match.mask, line=None)
        )
        return Dataset(path=str(path), format=self.name, task="segmentation", classes=classes, samples=samples)


@dataclass(frozen=True)
class _Pair:
    """Folders of pictures and of their masks.

    Attributes:
        pictures: The one.
        masks: The other.
        part: The part that they are.
    """

    pictures: Path
    masks: Path
    part: Part | None = None


@dataclass(frozen=True)
class _Match:
    """A picture and its mask."""

    picture: Path
    mask: Path
    part: Part | None


@dataclass(frozen=True)
class _Look:
    """What was seen in the files.

    Attributes:
        size: ``(height, width)`` of the picture.
        values: The class numbers in the mask; `IGNORED` is none.
        ignored: Whether some pixels are of no class.
        problem: File, line and what is wrong; None where nothing is.
    """

    size: tuple[int, int] = (0, 0)
    values: frozenset[int] = frozenset()
    ignored: bool = False
    problem: tuple[Path, None, str] | None = None


def _pairs(path: Path) -> list[_Pair]:
    """Return the folders of pictures with those of their masks, the training part first."""
    here = _pair(path)
    if here is None:
        parts = [(part, pair) for folder in entries(path) if (part := part_of(folder.name)) and (pair := _pair(folder))]
        found = [_Pair(pair.pictures, pair.masks, part) for part, pair in parts]
    else:
        parted = [(part, folder) for folder in entries(here.pictures) if (part := part_of(folder.name))]
        below = [_Pair(folder, here.masks / folder.name, part) for part, folder in parted if folder.is_dir()]
        found = below or [here]
    return sorted(found, key=lambda pair: rank(pair.part))


def _pair(folder: Path) -> _Pair | None:
    below = {entry.name.lower(): entry for entry in entries(folder) if entry.is_dir()}
    pictures = next((below[name] for name in _PICTURES if name in below), None)
    masks = next((below[name] for name in _MASKS if name in below), None)
    return _Pair(pictures, masks) if pictures and masks else None


def _masks(folder: Path) -> list[Path]:
    return [file for file in entries(folder) if file.suffix.lower() in MASK_SUFFIXES and visible(file.name)]


def _matches(path: Path, pair: _Pair, problems: Problems) -> Iterator[_Match]:
    pictures = _by_stem(pair.pictures, problems)
    masks = {file.stem: file for file in _masks(pair.masks)}
    listed = list(_listed(path)) if pair.masks.name.lower() == _OF_VOC else []
    checks = Checks(problems)
    if listed:
        for stem, part, file, line in listed:
            for kind, there, folder in (("picture", pictures, pair.pictures), ("mask", masks, pair.masks)):
                if stem not in there:
                    problems.add(file, line, f"there is no {kind} {stem!r} in {str(folder)!r}")
            once = checks.unique(f"picture {stem!r}", file=file, line=line)
            if once and stem in pictures and stem in masks:
                yield _Match(pictures[stem], masks[stem], part)
        return
    for stem, picture in pictures.items():
        if stem in masks:
            yield _Match(picture, masks[stem], pair.part)
        else:
            problems.add(picture, None, f"has no mask {stem + '.png'!r} in {str(pair.masks)!r}")
    for stem, mask in masks.items():
        if stem not in pictures:
            problems.add(mask, None, f"is the mask of no picture in {str(pair.pictures)!r}")


def _by_stem(folder: Path, problems: Problems) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in entries(folder):
        if not visible(file.name) or not is_picture_name(file.name):
            continue
        first = found.setdefault(file.stem, file)
        if first is not file:
            problems.add(file, None, f"has the name of another picture, {first.name!r}; one mask cannot be of both")
    return found


def _listed(path: Path) -> Iterator[tuple[str, Part, Path, int]]:
    """Yield what VOC's lists say: a picture's name, its part, file and line."""
    for part in PARTS:
        file = path / "ImageSets" / "Segmentation" / f"{part}.txt"
        if file.is_file():
            for line, text in enumerate(file.read_text(encoding="utf-8-sig", errors="replace").split("\n"), start=1):
                if text.strip():
                    yield text.split()[0], part, file, line


def _look(match: _Match) -> _Look:
    try:
        size = picture_size(match.picture)
    except PictureError as error:
        return _Look(problem=(match.picture, None, _without_name(error, "Picture", match.picture)))
    try:
        mask = read_mask(match.mask)
    except PictureError as error:
        return _Look(problem=(match.mask, None, _without_name(error, "Mask", match.mask)))
    if mask.shape != size:
        text = f"is {mask.shape[1]} wide and {mask.shape[0]} high, its picture {size[1]} and {size[0]}"
        return _Look(problem=(match.mask, None, text))
    values = frozenset(np.flatnonzero(np.bincount(mask.ravel(), minlength=IGNORED + 1)).tolist())
    return _Look(size=size, values=values - {IGNORED}, ignored=IGNORED in values)


def _without_name(error: PictureError, kind: str, path: Path) -> str:
    # The place of a problem names the file already.
    return str(error).removeprefix(f"{kind} {str(path)!r} ")


def _classes(path: Path, pairs: Sequence[_Pair], looks: Sequence[_Look]) -> tuple[str, ...]:
    values = {value for look in looks for value in look.values}
    if values == {0} and any(look.ignored for look in looks):
        raise DataError(
            f"The masks of {str(path)!r} hold 0 and 255 alone, and 255 is of no class. Save the object as 1."
        )
    highest = max(values, default=0)
    named = class_names(path)
    if named:
        return named
    if highest < len(VOC) and all(pair.masks.name.lower() == _OF_VOC for pair in pairs):
        return VOC
    return tuple(map(str, range(highest + 1)))


def _sample(match: _Match, look: _Look) -> Sample:
    return Sample(
        picture=FileSource(match.picture),
        mask=MaskSource(match.mask),
        size=look.size,
        part=match.part,
        origin=str(match.mask),
        extra={} if look.values else {"ignored": True},  # no pixel has a class
    )
