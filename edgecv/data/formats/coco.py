"""COCO's instances: JSON files of images, annotations and categories.

    FILE.json                                             one file; its pictures beside it or where a folder has them
    PATH/annotations/instances_train2017.json, …          as COCO itself; pictures in PATH/train2017, PATH/images/…
    PATH/train/_annotations.coco.json, PATH/valid/…       as annotation services write it, pictures beside
    PATH/*.json

In a folder the files' names say which part they are. A box is x, y, width, height in pixels, and its borders lie
between pixels, as `Box` has them. Categories are numbered from 0 in the order of their ids; their records and all else
that the files say stand in `Sample.extra` and `Box.extra`, for the way back.

Reference:
    https://cocodataset.org/#format-data
"""

import json
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from edgecv.data.checking import Checks, box_problem
from edgecv.data.decimals import plus
from edgecv.data.formats.boxes import task_of
from edgecv.data.layout import entries, part_of
from edgecv.data.located_json import LocatedObject
from edgecv.data.picture_files import picture_size, visible
from edgecv.data.picture_finder import PictureFinder
from edgecv.data.problems import Problems
from edgecv.data.samples import Box, Dataset, FileSource, Part, Sample
from edgecv.errors import DataError, PictureError

__all__ = ["Coco"]

_LISTS = ("images", "annotations", "categories")
# What becomes an attribute of Sample or Box, or can be told from one.
_IMAGE_KEYS = frozenset(("width", "height"))
_BOX_KEYS = frozenset(("image_id", "bbox", "iscrowd", "area"))
_BEYOND_ASCII_SPACE = b" \t\r\n\xef\xbb\xbf"  # a byte order mark, too
_BEGINNING = 65_536


class Coco:
    """Reads COCO's instances."""

    name: ClassVar[str] = "coco"
    summary: ClassVar[str] = "JSON of COCO's instances, a file or a folder with annotations/*.json"

    def recognises(self, path: Path) -> bool:
        """Tell whether there is JSON with one of COCO's lists in sight."""
        return any(map(_seems_coco, _label_files(path)))

    def read(self, path: Path, problems: Problems) -> Dataset:
        """Read it; see `Format.read`."""
        files = _label_files(path)
        if not files:
            raise DataError(f"{str(path)!r} holds no labels of COCO. Name a JSON file, or a folder with some.")
        opened = [_File(file, _part(path, file), _open(file)) for file in files]
        categories = _Categories(problems)
        for file in opened:
            categories.add(file)
        reader = _Reader(problems, categories)
        samples = tuple(sample for file in opened for sample in reader.samples(file))
        if not samples and reader.images == reader.missing > 0:
            raise DataError(
                f"None of the {reader.missing} pictures that {str(files[0])!r} names is there, neither beside it nor "
                "in an images folder. Put them there."
            )
        return Dataset(
            path=str(path), format=self.name, task=task_of(samples), classes=categories.names, samples=samples
        )


@dataclass(frozen=True)
class _File:
    """A file of labels.

    Attributes:
        path: Where it is.
        part: What it is for.
        content: Its parsed text.
    """

    path: Path
    part: Part | None
    content: LocatedObject

    def items(self, key: str) -> Iterator[tuple[int, Any]]:
        """Yield the items of a list, each with its line."""
        for index, item in enumerate(self.content.values[key]):
            yield self.content.line(key, index), item


class _Categories:
    """The classes of all files."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._records: dict[int, Mapping[str, Any]] = {}

    def add(self, file: _File) -> None:
        """Add those of a file; parts of a data set may repeat them.

        Raises:
            DataError: Another file gives an id another name.
        """
        checks = Checks(self._problems)
        for line, record in file.items("categories"):
            if not isinstance(record, dict) or not _is_integer(record.get("id")) or not _is_text(record.get("name")):
                self._problems.add(file.path, line, "is no category: it needs an id, a whole number, and a name")
                continue
            number, name = record["id"], record["name"]
            if not checks.unique(f"category id {number}", file=file.path, line=line):
                continue
            if not checks.unique(f"category {name!r}", file=file.path, line=line):
                continue
            known = self._records.setdefault(number, record)
            if known["name"] != name:
                raise DataError(
                    f"{file.path}:{line}: category id {number} is {name!r} here and {known['name']!r} in another file "
                    "of the data set. Name one file, or mend the ids."
                )

    @property
    def records(self) -> list[Mapping[str, Any]]:
        """What the files say of each class."""
        return [self._records[number] for number in sorted(self._records)]

    @property
    def names(self) -> tuple[str, ...]:
        """Names by class number."""
        return tuple(record["name"] for record in self.records)

    @property
    def numbers(self) -> dict[int, int]:
        """Class number by id."""
        return {number: index for index, number in enumerate(sorted(self._records))}


@dataclass
class _Image:
    """A picture with what is known of it so far."""

    path: Path
    size: tuple[int, int]
    line: int
    record: Mapping[str, Any]
    boxes: list[Box] = field(default_factory=list)


class _Reader:
    """Makes samples of files.

    Attributes:
        images: How many pictures the files name.
        missing: How many of them are not there.
    """

    def __init__(self, problems: Problems, categories: _Categories) -> None:
        self._problems = problems
        self._numbers = categories.numbers
        self._records = categories.records
        self._pictures = Checks(problems)
        self.images = 0
        self.missing = 0

    def samples(self, file: _File) -> Iterator[Sample]:
        """Yield the pictures of a file in its order, with their boxes."""
        images = self._images(file)
        self._add_boxes(file, images)
        beyond = {key: value for key, value in file.content.values.items() if key not in _LISTS}
        shared = {**beyond, "categories": self._records}
        for image in images.values():
            if image is None:
                continue
            extra = {key: value for key, value in image.record.items() if key not in _IMAGE_KEYS}
            yield Sample(
                picture=FileSource(image.path),
                boxes=tuple(image.boxes),
                size=image.size,
                part=file.part,
                origin=f"{file.path}:{image.line}",
                extra={**extra, "dataset": shared},
            )

    def _images(self, file: _File) -> dict[Hashable, _Image | None]:
        """Return the pictures by id; None for those that are broken, whose boxes have no place."""
        finder = PictureFinder(_picture_folders(file.path))
        checks = Checks(self._problems)
        images: dict[Hashable, _Image | None] = {}
        missing: list[tuple[int, str]] = []
        for line, record in file.items("images"):
            number = record.get("id") if isinstance(record, dict) else None
            if not _is_id(number) or not _is_text(record.get("file_name")):
                self._problems.add(file.path, line, "is no image: it needs an id and a file_name")
                continue
            if not checks.unique(f"image id {number!r}", file=file.path, line=line):
                continue
            path = finder.find(record["file_name"])
            if path is None:
                missing.append((line, record["file_name"]))
            images[number] = self._image(file, line, record, path) if path else None
        self._note_missing(file, missing, len(images))
        return images

    def _image(self, file: _File, line: int, record: Mapping[str, Any], path: Path) -> _Image | None:
        if not self._pictures.unique(f"picture {str(path)!r}", file=file.path, line=line):
            return None
        width, height = record.get("width"), record.get("height")
        if width is None and height is None:
            try:
                return _Image(path, picture_size(path), line, record)
            except PictureError as error:
                self._problems.add(file.path, line, str(error).rstrip("."))
                return None
        if not (_is_integer(width) and _is_integer(height) and record["width"] > 0 and record["height"] > 0):
            problem = f"image {record['id']!r}: width {width!r} and height {height!r} are no size"
            self._problems.add(file.path, line, problem)
            return None
        return _Image(path, (record["height"], record["width"]), line, record)

    def _note_missing(self, file: _File, missing: list[tuple[int, str]], images: int) -> None:
        self.images += images
        self.missing += len(missing)
        if len(missing) == images > 1:  # a part that was not fetched is one problem, not a hundred thousand
            self._problems.add(file.path, None, f"none of its {images:,} pictures is there, such as {missing[0][1]!r}")
            return
        for line, name in missing:
            self._problems.add(file.path, line, f"picture {name!r} does not exist")

    def _add_boxes(self, file: _File, images: Mapping[Hashable, _Image | None]) -> None:
        checks = Checks(self._problems)
        for line, record in file.items("annotations"):
            if not isinstance(record, dict):
                self._problems.add(file.path, line, "is no annotation")
                continue
            number = record.get("id")
            name = "annotation" if number is None else f"annotation {number}"
            if number is not None and not checks.unique(f"annotation id {number}", file=file.path, line=line):
                continue
            if not _is_id(record.get("image_id")) or record["image_id"] not in images:
                self._problems.add(file.path, line, f"{name}: unknown image id {record.get('image_id')!r}")
                continue
            image = images[record["image_id"]]
            if image is None:
                continue
            box = self._box(record, image.size)
            if isinstance(box, str):
                self._problems.add(file.path, line, f"{name}: {box}")
            else:
                image.boxes.append(box)

    def _box(self, record: Mapping[str, Any], size: tuple[int, int]) -> Box | str:
        """Return a box, or what is wrong with it."""
        numbers, crowd, area = record.get("bbox"), record.get("iscrowd", 0), record.get("area")
        category = self._numbers.get(record["category_id"]) if _is_id(record.get("category_id")) else None
        if category is None:
            return f"unknown category id {record.get('category_id')!r}"
        if not isinstance(numbers, list) or len(numbers) != 4 or not all(map(_is_number, numbers)):
            return f"bbox {numbers!r} is not four finite numbers"
        if crowd not in (0, 1):
            return f"iscrowd {crowd!r} is neither 0 nor 1"
        if area is not None and not (_is_number(area) and area >= 0):
            return f"area {area!r} is no area"
        x, y, width, height = numbers
        corners = (float(x), float(y), float(plus(x, width)), float(plus(y, height)))
        problem = box_problem(corners, size=size)
        if problem:
            return problem
        extra = {key: value for key, value in record.items() if key not in _BOX_KEYS}
        return Box(*corners, category, crowd=bool(crowd), area=area, extra=extra)


def _label_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix.lower() == ".json" else []
    found = _json_in(path / "annotations")
    instances = [file for file in found if file.name.startswith("instances")]
    # Beside its instances COCO has captions and keypoints of the same pictures.
    return instances or found or _services_files(path) or _json_in(path)


def _services_files(path: Path) -> list[Path]:
    return [file for folder in entries(path) if (file := folder / "_annotations.coco.json").is_file()]


def _json_in(folder: Path) -> list[Path]:
    return [file for file in entries(folder) if _is_json(file)]


def _is_json(file: Path) -> bool:
    return file.suffix.lower() == ".json" and visible(file.name) and file.is_file()


def _seems_coco(file: Path) -> bool:
    with file.open("rb") as opened:
        beginning = opened.read(_BEGINNING).lstrip(_BEYOND_ASCII_SPACE)
    return beginning.startswith(b"{") and re.search(rb'"(images|annotations|categories)"\s*:', beginning) is not None


def _part(path: Path, file: Path) -> Part | None:
    """Return the part that a file's name says, or its folder's; who names one file means all of it."""
    if path == file:
        return None
    words = re.findall("[a-z]+", file.stem.lower())
    if file.parent != path and file.name.startswith("_"):
        words.append(file.parent.name)
    return next(filter(None, map(part_of, words)), None)


def _picture_folders(file: Path) -> Sequence[Path]:
    """Return where the pictures of a file may be: COCO itself has ``train2017`` beside ``annotations``."""
    root = file.parent.parent if file.parent.name == "annotations" else file.parent
    named = [word for word in file.stem.split("_") if part_of(re.sub(r"\d+$", "", word))]
    return [
        file.parent,
        root,
        root / "images",
        *(root / word for word in named),
        *(root / "images" / word for word in named),
    ]


def _open(file: Path) -> LocatedObject:
    try:
        content = LocatedObject(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{str(file)!r} is not UTF-8 text, so no labels of COCO. Name another file.") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{file}:{error.lineno}: is no JSON of COCO: {error.msg}, column {error.colno}. Mend it."
        ) from error
    for key in _LISTS:
        if not isinstance(content.values.get(key), list):
            raise DataError(f"{str(file)!r} has no list {key!r}: it is no file of COCO's instances. Name another one.")
    return content


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    # JSON's numbers have no end; beyond float64's they are infinite.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_id(value: Any) -> bool:
    return _is_integer(value) or isinstance(value, str)
