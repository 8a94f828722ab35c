"""A CSV of pictures: picture, class and, where they are known, boxes; one line a box.

    picture,class,x1,y1,x2,y2        with such a header in many spellings, or without
    a.jpg,cat,10,20,110,220          one box for each picture: localisation; else detection
    b.jpg,,,,,                       a picture that shows nothing
    c.jpg,dog                        without boxes: classification

A column ``split`` puts pictures into parts, as files called ``train.csv``, ``val.csv`` and ``test.csv`` do, or one CSV
in each of such folders. Pictures are looked for from the CSV's folder. Classes are numbered in the order of their
names, numbers by value, unless ``classes.txt`` or ``labels.txt`` beside the CSV gives an order.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from edgecv.data.checking import Checks
from edgecv.data.formats.csv_table import Row, Table, looks_like_labels, read_table
from edgecv.data.layout import class_names, entries, part_of, rank
from edgecv.data.picture_files import picture_size, visible
from edgecv.data.problems import Problems
from edgecv.data.samples import Box, Dataset, DataTask, FileSource, Part, Sample
from edgecv.errors import DataError, PictureError

__all__ = ["Csv"]

_SUFFIXES = (".csv", ".tsv")


class Csv:
    """Reads CSV files of pictures, classes and boxes."""

    name: ClassVar[str] = "csv"
    summary: ClassVar[str] = "a CSV of picture, class and box"

    def recognises(self, path: Path) -> bool:
        """Tell from the first lines of the CSV files that lie there."""
        return any(looks_like_labels(file) for file, _ in _files(path))

    def read(self, path: Path, problems: Problems) -> Dataset:
        """Read it; see `Format.read`."""
        files = _chosen(path)
        tables = [(read_table(file, problems), part) for file, part in files]
        boxed = tables[0][0].has_boxes
        if any(table.has_boxes != boxed for table, _ in tables):
            raise DataError(f"Some CSV files of {str(path)!r} have boxes, others none. Name one of them.")
        folder = path if path.is_dir() else path.parent
        classes = class_names(folder, but=[file for file, _ in files]) or _classes(tables)
        reader = _Reader(classes, problems)
        for table, part in tables:
            reader.add(table, part)
        samples = reader.samples()
        if boxed:
            _check_pixels(path, samples)
        task: DataTask = "classification"
        if boxed:
            task = "localisation" if all(len(sample.boxes) == 1 for sample in samples) else "detection"
        return Dataset(path=str(path), format=self.name, task=task, classes=classes, samples=samples)


@dataclass(slots=True)
class _Entry:
    """A picture, while its rows are gathered.

    Attributes:
        path: The picture.
        part: Its part, as its first row says.
        origin: File and line of that row.
        size: ``(height, width)``; None in tables without boxes, which do not need it.
        category: Its class, in tables without boxes.
        boxes: Its boxes with file and line, by their numbers.
        empty: Whether a row says that it shows nothing.
    """

    path: Path
    part: Part | None
    origin: str
    size: tuple[int, int] | None = None
    category: int | None = None
    boxes: dict[tuple[float, ...], tuple[Box, str]] = field(default_factory=dict)
    empty: bool = False


class _Reader:
    """Turns the rows of tables into samples."""

    def __init__(self, classes: Sequence[str], problems: Problems) -> None:
        self._numbers = {name: number for number, name in enumerate(classes)}
        self._problems = problems
        self._checks = Checks(problems)
        self._entries: dict[str, _Entry | None] = {}  # None for a picture that cannot be used

    def add(self, table: Table, part: Part | None) -> None:
        """Take a table's rows, without those that are broken."""
        for row in table.rows:
            entry = self._entry(table, row, row.part or part)
            if entry is None:
                continue
            if row.corners is None:
                self._add_class(entry, row, table.file)
            else:
                self._add_box(entry, row, row.corners, table.file)

    def samples(self) -> tuple[Sample, ...]:
        """Return the pictures with labels that can be used, in the order of their first rows."""
        return tuple(
            Sample(
                picture=FileSource(entry.path),
                category=entry.category,
                boxes=tuple(box for box, _ in entry.boxes.values()),
                size=entry.size,
                part=entry.part,
                origin=entry.origin,
            )
            for entry in self._entries.values()
            if entry and (entry.category is not None or entry.boxes or entry.empty)
        )

    def _entry(self, table: Table, row: Row, part: Part | None) -> _Entry | None:
        """Return the picture of a row; None where it cannot be used, which is noted at its first row."""
        if not row.picture:
            self._problems.add(table.file, row.line, "names no picture")
            return None
        # Not with pathlib, which takes a second for 100,000 rows.
        name = os.path.normpath(os.path.join(table.folder, row.picture.replace("\\", "/")))  # noqa: PTH118
        if name not in self._entries:
            self._entries[name] = self._new_entry(Path(name), table, row, part)
        entry = self._entries[name]
        if entry and entry.part != part:
            was = f"in {entry.part}" if entry.part else "in no part"
            text = f"puts picture {row.picture!r} into {part or 'no part'}; it is {was} already, at {entry.origin}"
            self._problems.add(table.file, row.line, text)
            return None
        return entry

    def _new_entry(self, path: Path, table: Table, row: Row, part: Part | None) -> _Entry | None:
        if not self._checks.is_there(path, file=table.file, line=row.line):
            return None
        entry = _Entry(path, part, f"{table.file}:{row.line}")
        if table.has_boxes:
            try:
                entry.size = _told_size(row) or picture_size(path)
            except PictureError as error:
                self._problems.add(table.file, row.line, str(error))
                return None
        return entry

    def _add_class(self, entry: _Entry, row: Row, file: Path) -> None:
        category = self._checks.category(row.label, self._numbers, file=file, line=row.line)
        if category is not None and self._checks.unique(f"picture {str(entry.path)!r}", file=file, line=row.line):
            entry.category = category

    def _add_box(self, entry: _Entry, row: Row, corners: Sequence[str], file: Path) -> None:
        if not row.label and not any(corners):
            entry.empty = True
            return
        category = self._checks.category(row.label, self._numbers, file=file, line=row.line)
        names = ("x1", "y1", "x2", "y2")
        found = [
            self._checks.number(text, name, file=file, line=row.line) for name, text in zip(names, corners, strict=True)
        ]
        numbers = [number for number in found if number is not None]
        if category is None or len(numbers) < len(names):
            return
        if self._checks.box(numbers, size=entry.size, file=file, line=row.line):
            x1, y1, x2, y2 = numbers
            self._add_new(entry, Box(x1, y1, x2, y2, category), file, row)

    def _add_new(self, entry: _Entry, box: Box, file: Path, row: Row) -> None:
        place = f"{file}:{row.line}"
        first = entry.boxes.setdefault((box.x1, box.y1, box.x2, box.y2, box.category), (box, place))[1]
        if first is not place:
            self._problems.add(file, row.line, f"this box of picture {row.picture!r} is there already, at {first}")


def _files(path: Path) -> list[tuple[Path, Part | None]]:
    """Return the CSV files of a data set with the parts that their names say."""
    if not path.is_dir():
        return [(path, None)] if path.suffix.lower() in (*_SUFFIXES, ".txt") else []
    here = _csv_files(path)
    if here:
        parts = [_part_of_stem(file) for file in here]
        return list(zip(here, parts, strict=True))
    return [
        (file, part_of(folder.name)) for folder in entries(path) if part_of(folder.name) for file in _csv_files(folder)
    ]


def _csv_files(folder: Path) -> list[Path]:
    return [file for file in entries(folder) if file.suffix.lower() in _SUFFIXES and visible(file.name)]


def _part_of_stem(file: Path) -> Part | None:
    return next((part for word in re.split(r"[\W_]+", file.stem) if (part := part_of(word))), None)


def _chosen(path: Path) -> list[tuple[Path, Part | None]]:
    """Return the files to read, the training part first.

    Raises:
        DataError: There is none, or it is unclear which.
    """
    if not path.is_dir():
        return [(path, None)]
    files = [(file, part) for file, part in _files(path) if looks_like_labels(file)]
    if not files:
        raise DataError(f"{str(path)!r} holds no CSV of pictures and classes. Name the file.")
    parts = [part for _, part in files]
    if len(files) > 1 and (None in parts or len(set(parts)) < len(parts)):
        names = ", ".join(str(file.relative_to(path)) for file, _ in files)
        raise DataError(f"{str(path)!r} holds several CSV files: {names}. Name one of them.")
    return sorted(files, key=lambda pair: rank(pair[1]))


def _told_size(row: Row) -> tuple[int, int] | None:
    """Return the size that the table tells; whether it is true shows when the picture is decoded."""
    if row.size and all(text.isdecimal() and int(text) for text in row.size):
        return int(row.size[0]), int(row.size[1])
    return None


def _classes(tables: Sequence[tuple[Table, Part | None]]) -> tuple[str, ...]:
    """Return the classes of the training part, or of all rows where there is none."""
    rows = [(row.label, row.part or part) for table, part in tables for row in table.rows if row.label]
    names = {label for label, part in rows if part == "train"} or {label for label, _ in rows}
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _check_pixels(path: Path, samples: Iterable[Sample]) -> None:
    ends = [max(box.x2, box.y2) for sample in samples for box in sample.boxes]
    if ends and max(ends) <= 1:
        raise DataError(f"All boxes of {str(path)!r} lie within 0…1. Write them in pixels of their pictures.")
