"""The names that data sets go by: of their parts, and of the files that list their classes."""

from collections.abc import Collection
from pathlib import Path

from edgecv.data.samples import PARTS, Part
from edgecv.errors import DataError, OptionError
from edgecv.labels import read_labels

__all__ = ["class_names", "entries", "part_of", "rank"]

_WORDS: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "t10k": "test",  # MNIST's ten thousand
}
_CLASS_FILES = ("classes.txt", "labels.txt")


def part_of(word: str) -> Part | None:
    """Return the part that a folder, file or cell of this name stands for; None where it is another word."""
    return _WORDS.get(word.strip().lower())


def rank(part: Part | None) -> int:
    """Return the place of a part in their order; what is in none comes with the training part."""
    return PARTS.index(part or "train")


def class_names(folder: Path, *, but: Collection[Path] = ()) -> tuple[str, ...] | None:
    """Return the names of the classes in order, where ``classes.txt`` or ``labels.txt`` tells them.

    Args:
        folder: Where to look.
        but: Files that are something else, although they are called so.

    Raises:
        DataError: The file cannot be read, or names a class twice or not at all.
    """
    found = next((file for file in map(folder.joinpath, _CLASS_FILES) if file.is_file() and file not in but), None)
    if found is None:
        return None
    try:
        names = read_labels(found)
    except OptionError as error:
        raise DataError(str(error)) from error
    for index, name in enumerate(names):
        if not name or name in names[:index]:
            problem = f"names {name!r} again" if name else "is blank"
            raise DataError(f"{str(found)!r} {problem} in line {index + 1}. Name each class once, one a line.")
    return names


def entries(folder: Path) -> list[Path]:
    """Return what a folder holds, sorted by name; nothing for what is no folder."""
    return sorted(folder.iterdir()) if folder.is_dir() else []
