"""A folder of pictures per class, as Keras' ``image_dataset_from_directory`` reads it.

    PATH/cat/1.jpg   PATH/dog/a/2.jpg                 folders below a class belong to it
    PATH/train/cat/1.jpg   PATH/val/cat/2.jpg   …     the data's own parts

Classes are numbered in the order of their names as text, unless ``classes.txt`` or ``labels.txt`` gives an order.
"""

import errno
import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgecv.data.checking import Checks
from edgecv.data.layout import class_names, entries, part_of, rank
from edgecv.data.picture_files import is_picture_name, visible
from edgecv.data.problems import Problems
from edgecv.data.samples import Dataset, FileSource, Part, Sample
from edgecv.errors import DataError

__all__ = ["Folders"]

# What the folders of other formats are called, lower case: pictures in them are of no class.
_NO_CLASSES = frozenset(
    "annotations images image img imgs imagesets jpegimages labels label mask masks pictures "  # noqa: SIM905
    "segmentationclass segmentationobject".split()
)


class Folders:
    """Reads a folder per class."""

    name: ClassVar[str] = "folders"
    summary: ClassVar[str] = "a folder of pictures per class"

    def recognises(self, path: Path) -> bool:
        """Tell whether there are folders that hold pictures and are not called as those of other formats are."""
        roots = _roots(path)
        folders = [folder for root in roots for folder in _folders(root.path)]
        if any(folder.name.lower() in _NO_CLASSES for folder in folders):
            return False
        # Parts that hold the pictures themselves: their labels lie in files.
        flat = roots[0].part is None and all(part_of(folder.name) for folder in folders)
        return not flat and any(next(_files(folder, None), None) for folder in folders)

    def read(self, path: Path, problems: Problems) -> Dataset:
        """Read it; see `Format.read`."""
        roots = _roots(path)
        _check_not_too_high(path, roots)
        named = class_names(path)
        classes = named or _classes(roots)
        numbers = {name: number for number, name in enumerate(classes)}
        samples = [sample for root in roots for sample in _samples(root, numbers, problems)]
        if not named:
            samples, classes = _without_empty(samples, classes)
        return Dataset(path=str(path), format=self.name, task="classification", classes=classes, samples=tuple(samples))


@dataclass(frozen=True)
class _Root:
    """A folder of class folders.

    Attributes:
        path: The folder.
        part: The part that it is.
    """

    path: Path
    part: Part | None = None


def _roots(path: Path) -> list[_Root]:
    folders = _folders(path)
    # A class may be called "train": parts are all parts, and hold no pictures themselves but class folders.
    parts = [_Root(folder, part_of(folder.name)) for folder in folders]
    if parts and all(root.part and _folders(root.path) for root in parts):
        return sorted(parts, key=lambda root: rank(root.part))
    return [_Root(path)]


def _folders(path: Path) -> list[Path]:
    return [entry for entry in entries(path) if visible(entry.name) and entry.is_dir()]


def _classes(roots: list[_Root]) -> tuple[str, ...]:
    """Return the names of the training part's folders, or of all where there is none."""
    training = [root for root in roots if root.part == "train"] or roots
    return tuple(sorted({folder.name for root in training for folder in _folders(root.path)}))


def _check_not_too_high(path: Path, roots: list[_Root]) -> None:
    folders = [folder for root in roots for folder in _folders(root.path)]
    if len(folders) == 1 and len(_folders(folders[0])) > 1 and not any(map(_is_picture, entries(folders[0]))):
        raise DataError(
            f"{str(path)!r} holds one folder, {folders[0].name!r}, and that holds {len(_folders(folders[0]))}. "
            f"Name the folder of the class folders: {str(folders[0])!r}?"
        )


def _samples(root: _Root, numbers: Mapping[str, int], problems: Problems) -> Iterator[Sample]:
    checks = Checks(problems)
    for entry in entries(root.path):
        if _is_picture(entry):
            problems.add(entry, None, "is a picture in no folder of a class")
    for folder in _folders(root.path):
        category = checks.category(folder.name, numbers, file=folder, line=None)
        if category is None:
            continue
        files = _files(folder, problems)
        first = next(files, None)
        if first is None:
            problems.add(folder, None, "holds no picture")
            continue
        for file in itertools.chain([first], files):
            yield Sample(picture=FileSource(Path(file)), category=category, part=root.part, origin=file)


def _is_picture(entry: Path) -> bool:
    return visible(entry.name) and is_picture_name(entry.name) and entry.is_file()


def _files(folder: Path, problems: Problems | None) -> Iterator[str]:
    """Yield the pictures below a folder, sorted; what else lies there is noted."""
    with os.scandir(folder) as found:
        below = sorted(found, key=lambda entry: entry.name)
    for entry in below:
        if not visible(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path), problems)
        elif is_picture_name(entry.name) and _is_file(entry):
            yield entry.path
        elif problems is not None:
            problems.add(entry.path, None, _why_not(entry))


def _is_file(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_file()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False  # a link to itself


def _why_not(entry: "os.DirEntry[str]") -> str:
    if entry.is_symlink():
        there = Path(entry.path).is_dir()  # the entry itself would raise for a link to itself
        return "is a link to a folder, which is not followed" if there else "is a link to nothing"
    return "is no picture that edgecv reads, by its suffix"


def _without_empty(samples: list[Sample], classes: tuple[str, ...]) -> tuple[list[Sample], tuple[str, ...]]:
    """Take out classes whose folders are empty; they were noted, and no network can learn them."""
    used = sorted({sample.category for sample in samples if sample.category is not None})
    if len(used) == len(classes):
        return samples, classes
    new = {old: number for number, old in enumerate(used)}
    renumbered = [
        Sample(
            picture=sample.picture,
            category=new[sample.category],
            part=sample.part,
            origin=sample.origin,
        )
        for sample in samples
        if sample.category is not None
    ]
    return renumbered, tuple(classes[old] for old in used)
