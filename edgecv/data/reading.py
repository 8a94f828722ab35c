"""Labelled data of any format: recognised, read, and refused with every broken label named.

    PATH ─ the one Format that recognises it, or --format ─ read ─┬─ no problem → Dataset
                                                                  └─ problems ──→ BrokenDataError

With ``--skip-broken`` problems are counted in the Dataset instead.
"""

import dataclasses
import functools
import importlib
from pathlib import Path
from typing import cast

from edgecv.data.formats.base import Format
from edgecv.data.problems import BrokenDataError, Problems
from edgecv.data.samples import Dataset
from edgecv.errors import DataError, UnknownNameError

__all__ = ["format_names", "open_data"]

# The order in which they are looked for. A table, so that what one of them lacks breaks only that one.
_FORMATS = {
    "folders": "edgecv.data.formats.folders:Folders",
    "idx": "edgecv.data.formats.idx:Idx",
    "csv": "edgecv.data.formats.csv_boxes:Csv",
    "coco": "edgecv.data.formats.coco:Coco",
    "voc": "edgecv.data.formats.voc:Voc",
    "yolo": "edgecv.data.formats.yolo:Yolo",
    "masks": "edgecv.data.formats.masks:Masks",
    "tfds": "edgecv.data.formats.tfds:Tfds",
}
# What a file that no format recognises is meant to be.
_BY_SUFFIX = {".csv": "csv", ".json": "coco", ".xml": "voc", ".yaml": "yolo", ".yml": "yolo"}
_TFDS = "tfds:"
_SHOWN = 5  # entries of a folder that a message names


def format_names() -> tuple[str, ...]:
    """Return the names that ``--format`` takes."""
    return tuple(_FORMATS)


def open_data(path: str, *, format: str | None = None, skip_broken: bool = False) -> Dataset:  # noqa: A002
    """Read the labels of a data set; pictures are decoded when they are wanted.

    Args:
        path: A folder, a file of labels, or ``tfds:NAME``.
        format: One of `format_names`; None recognises it.
        skip_broken: Go on without labels that are broken, and count them in `Dataset.skipped`.

    Raises:
        BrokenDataError: Labels are broken; it carries all of them.
        DataError: There is nothing at ``path``, nothing that a format fits, or several that do.
        UnknownNameError: There is no such format.
        MissingExtraError: The format needs a package that is not installed.
    """
    problems = Problems()
    try:
        if not path.startswith(_TFDS) and format != "tfds":
            _check_there(path)
        chosen = _load(format) if format else _recognise(path)
        dataset = chosen.read(Path(path), problems)
    except OSError as error:
        raise _unreadable(path, error) from error
    if problems and not skip_broken:
        raise BrokenDataError(path, problems.found)
    if not dataset.samples:
        why = f": all labels are broken, the first at {problems.found[0]}" if problems else ""
        raise DataError(f"{path!r} holds no labelled picture{why}. Name data that do.")
    return dataclasses.replace(dataset, path=path, skipped=len(problems))


def _check_there(path: str) -> None:
    where = Path(path)
    # An empty name, which a variable that is not set leaves behind, is no name of the current folder.
    if not path or not where.exists():
        raise DataError(f"There are no data at {path!r}. Name a folder, a file of labels, or tfds:NAME.")
    if not (where.is_file() or where.is_dir()):  # a pipe or a device: several looks at it would wait for ever
        raise DataError(f"{path!r} is neither a file nor a folder. Name a folder, a file of labels, or tfds:NAME.")


@functools.cache
def _load(name: str) -> Format:
    if name not in _FORMATS:
        raise UnknownNameError("data format", name, _FORMATS)
    module, _, kind = _FORMATS[name].partition(":")
    return cast("Format", getattr(importlib.import_module(module), kind)())


def _recognise(path: str) -> Format:
    fitting = [name for name in _FORMATS if _load(name).recognises(Path(path))]
    if len(fitting) == 1:
        return _load(fitting[0])
    if fitting:
        names = " and ".join([", ".join(fitting[:-1]), fitting[-1]])
        raise DataError(f"{path!r} can be read as {names}. Say which with --format {fitting[0]}, for example.")
    suffix = Path(path).suffix.lower()
    if Path(path).is_file() and suffix in _BY_SUFFIX:
        return _load(_BY_SUFFIX[suffix])  # which says what is wrong with it
    raise _fits_nothing(path)


def _fits_nothing(path: str) -> DataError:
    where = Path(path)
    known = ", ".join(f"{name} ({_load(name).summary})" for name in _FORMATS)
    if where.is_file():
        return DataError(
            f"File {path!r} is labels of none of the formats. Looked for: {known}. Name another one, or the folder."
        )
    names = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in sorted(where.iterdir())]
    if not names:
        return DataError(f"Folder {path!r} is empty. Name one with labelled pictures.")
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return DataError(
        f"Folder {path!r} holds data of none of the formats. Looked for: {known}. "
        f"Found: {', '.join(names[:_SHOWN])}{more}. Name another folder, or the file of labels."
    )


def _unreadable(path: str, error: OSError) -> DataError:
    file = error.filename if isinstance(error.filename, str) else path
    within = "" if file == path else f" of {path!r}"
    return DataError(f"Cannot read {file!r}{within}: {error.strerror or error}.")
