"""Ultralytics' YOLO: ``data.yaml`` and a text file for each picture.

    PATH/data.yaml        path: PATH    train: images/train    val: images/val    names: [cat, dog]
    PATH/images/train/a.jpg, PATH/labels/train/a.txt          a label lies where its picture does, but below ``labels``

``train``, ``val`` and ``test`` are each a folder, a text file that lists pictures, or a list of such. A line of a label
is ``class cx cy width height`` as shares of the picture, or ``class x y x y …``, a polygon, whose bounds are the box. A
picture without a label has no box. Data with ``train`` alone leave the splitting to others. Corners are rounded to
1e-9 pixel, far below what such files say, so that what was converted into this format comes out as it went in.

Reference:
    https://docs.ultralytics.com/datasets/detect/
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from edgecv.data.checking import SLACK, Checks, box_problem
from edgecv.data.formats.boxes import task_of
from edgecv.data.formats.yolo_yaml import DataYaml, read_data_yaml
from edgecv.data.layout import entries
from edgecv.data.picture_files import is_picture_name, picture_size, visible
from edgecv.data.problems import Problems
from edgecv.data.samples import Box, Dataset, FileSource, Part, Sample
from edgecv.errors import DataError, PictureError
from edgecv.extras import require

__all__ = ["Yolo"]

_SUFFIXES = (".yaml", ".yml")
_DECIMALS = 9
# Six decimals are usual, and four are seen: half a unit of them, for the centre and for half of the width.
_RELATIVE_SLACK = 1e-4
_NO_LABELS = frozenset(("classes.txt", "labels.txt", "readme.txt"))


class Yolo:
    """Reads Ultralytics' YOLO."""

    name: ClassVar[str] = "yolo"
    summary: ClassVar[str] = "Ultralytics' data.yaml with text files for the pictures"

    def recognises(self, path: Path) -> bool:
        """Tell whether there is a YAML file with ``names`` or ``nc`` and a part."""
        file = _yaml_of(path)
        if file is None:
            return False
        with file.open("rb") as opened:
            keys = {line.partition(b":")[0].strip() for line in opened if b":" in line}
        return bool(keys & {b"names", b"nc"}) and bool(keys & {b"train", b"val", b"validation", b"test"})

    def read(self, path: Path, problems: Problems) -> Dataset:
        """Read it; see `Format.read`."""
        require("yaml", extra="eval", purpose="Reading YOLO's data.yaml")
        file = _yaml_of(path)
        if file is None:
            raise DataError(f"{str(path)!r} holds no data.yaml of YOLO. Name that file, or its folder.")
        description = read_data_yaml(file)
        reader = _Reader(problems, description)
        samples = tuple(sample for part in description.parts for sample in reader.samples(part))
        if samples and not reader.labels:
            first = str(_label_of(Path(samples[0].name)))
            raise DataError(
                f"None of the {len(samples)} pictures of {str(file)!r} has a label: {first!r}, for one, does not "
                "exist. Put the labels there."
            )
        return Dataset(
            path=str(path), format=self.name, task=task_of(samples), classes=description.names, samples=samples
        )


def _yaml_of(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix.lower() in _SUFFIXES else None
    found = [file for file in entries(path) if file.suffix.lower() in _SUFFIXES and file.is_file()]
    named = [file for file in found if file.stem in ("data", "dataset")]
    return named[0] if named else (found[0] if len(found) == 1 else None)


@dataclass(frozen=True)
class _Listed:
    """A picture, and where it is named."""

    picture: Path
    file: Path
    line: int | None


class _Reader:
    """Makes samples of the parts.

    Attributes:
        labels: How many labels were there.
    """

    def __init__(self, problems: Problems, description: DataYaml) -> None:
        self._problems = problems
        self._description = description
        self._checks = Checks(problems)
        self._folders: dict[Path, str] = {}
        self.labels = 0

    def samples(self, part: Part) -> Iterator[Sample]:
        """Yield the pictures of a part, those of a folder by name."""
        alone = tuple(self._description.parts) == ("train",)
        for place in self._description.parts[part]:
            line = place.line
            if not place.path.exists():
                self._problems.add(self._description.file, line, f"{part} {str(place.path)!r} does not exist")
                continue
            first = self._folders.setdefault(place.path, part)
            if first != part:  # one problem, not one for each picture
                text = f"{part} is the same as {first}: what is learned from cannot be tested on"
                self._problems.add(self._description.file, line, text)
                continue
            for listed in self._listed(place.path, line):
                if self._checks.unique(f"picture {str(listed.picture)!r}", file=listed.file, line=listed.line):
                    sample = self._sample(listed, None if alone else part)
                    if sample is not None:
                        yield sample

    def _listed(self, place: Path, line: int | None) -> Iterator[_Listed]:
        if place.is_file():
            yield from self._in_list(place)
            return
        pictures = [path for path in _files_below(place) if is_picture_name(path.name)]
        if not pictures:
            self._problems.add(self._description.file, line, f"folder {str(place)!r} holds no picture")
        for picture in pictures:
            yield _Listed(picture, picture, None)
        self._note_lonely_labels(pictures)

    def _in_list(self, file: Path) -> Iterator[_Listed]:
        lines = _text(file)
        if lines is None:
            self._problems.add(file, None, "is not UTF-8 text, so no list of pictures")
            return
        for line, text in enumerate(lines.splitlines(), 1):
            if not text.strip():
                continue
            picture = file.parent / text.strip()
            if not picture.is_file() and not text.startswith("./"):
                picture = self._description.root / text.strip()
            if self._checks.is_there(picture, file=file, line=line):
                yield _Listed(picture, file, line)

    def _note_lonely_labels(self, pictures: Sequence[Path]) -> None:
        known = {_label_of(picture) for picture in pictures}
        for folder in sorted({label.parent for label in known}):
            for label in entries(folder):
                lonely = label.suffix == ".txt" and label not in known and label.name.lower() not in _NO_LABELS
                if lonely and visible(label.name):
                    self._problems.add(label, None, "has no picture")

    def _sample(self, listed: _Listed, part: Part | None) -> Sample | None:
        picture = listed.picture
        try:
            size = picture_size(picture)
        except PictureError as error:
            self._problems.add(picture, None, str(error).removeprefix(f"Picture {str(picture)!r} ").rstrip("."))
            return None
        label = _label_of(picture)
        boxes: tuple[Box, ...] = ()
        if label.is_file():
            self.labels += 1
            text = _text(label)
            if text is None:
                self._problems.add(label, None, "is not UTF-8 text")
                return None
            boxes = tuple(self._boxes(label, text, size))
        return Sample(
            picture=FileSource(picture),
            boxes=boxes,
            size=size,
            part=part,
            origin=f"{label}:1",
            extra={"file_name": picture.name},
        )

    def _boxes(self, label: Path, text: str, size: tuple[int, int]) -> Iterator[Box]:
        for line, row in enumerate(text.splitlines(), 1):
            if row.strip():
                box = self._box(row.split(), size)
                if isinstance(box, Box):
                    yield box
                else:
                    self._problems.add(label, line, box)

    def _box(self, words: Sequence[str], size: tuple[int, int]) -> Box | str:
        """Return a box, or what is wrong with it."""
        values = _numbers(words)
        if values is None:
            return f"{' '.join(words)[:80]!r} is not numbers alone"
        polygon = len(values) >= 7 and len(values) % 2 == 1
        if len(values) != 5 and not polygon:
            return f"has {len(values)} numbers, not 5 (class, centre, size) or a class and pairs for a polygon"
        number, shares = values[0], values[1:]
        names = self._description.names
        if number not in range(len(names)):
            return f"unknown class {words[0]}; there are {len(names)}, counted from 0"
        height, width = size
        points = [share * side for share, side in zip(shares, (width, height) * len(shares), strict=False)]
        corners = _bounds(points) if polygon else _corners(points)
        slack = max(SLACK, _RELATIVE_SLACK * max(size))
        problem = box_problem(corners, size=size, slack=slack)
        if problem:
            return problem
        extra: Mapping[str, Any] = {"segmentation": [[round(point, _DECIMALS) for point in points]]} if polygon else {}
        return Box(*corners, int(number), extra=extra)


def _corners(points: Sequence[float]) -> tuple[float, float, float, float]:
    x, y, width, height = points
    return (
        round(x - width / 2, _DECIMALS),
        round(y - height / 2, _DECIMALS),
        round(x + width / 2, _DECIMALS),
        round(y + height / 2, _DECIMALS),
    )


def _bounds(points: Sequence[float]) -> tuple[float, float, float, float]:
    x, y = points[0::2], points[1::2]
    bounds = (min(x), min(y), max(x), max(y))
    return tuple(round(side, _DECIMALS) for side in bounds)  # type: ignore[return-value]  # four again


def _numbers(words: Sequence[str]) -> list[float] | None:
    try:
        return [float(word) for word in words]
    except ValueError:
        return None


def _label_of(picture: Path) -> Path:
    """Return where the label of a picture is: the last folder called ``images`` is ``labels`` there.

    A label beside its picture counts where there is none: a folder far above may be called ``images``, too.
    """
    beside = picture.with_suffix(".txt")
    parts = list(beside.parts)
    folders = [index for index, name in enumerate(parts[:-1]) if name == "images"]
    if not folders:
        return beside
    parts[folders[-1]] = "labels"
    parallel = Path(*parts)
    return beside if beside.is_file() and not parallel.is_file() else parallel


def _files_below(folder: Path) -> Iterator[Path]:
    for entry in entries(folder):
        if not visible(entry.name):
            continue
        if entry.is_dir():
            yield from _files_below(entry)
        else:
            yield entry


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        return None
