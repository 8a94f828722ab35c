"""Detections of any program, in files of COCO's form, against instances in files of COCO's form.

Results: a list of ``{"image_id", "category_id", "bbox", "score"}``, ``bbox`` being left, top, width, height in
pixels. Instances: ``images`` with ``id``; ``categories`` with ``id`` and ``name``; ``annotations`` with ``image_id``,
``category_id``, ``bbox`` and, where they are known, ``id``, ``area`` (else that of the box) and ``iscrowd`` (else 0).
Other keys, such as ``segmentation``, are left aside.

Reference:
    https://cocodataset.org/#format-data and https://cocodataset.org/#format-results.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgecv.errors import DataError
from edgecv.evaluation.detection import detection
from edgecv.evaluation.evaluate import Evaluation
from edgecv.evaluation.scenes import Found, Scene, Truth

__all__ = ["evaluate_files", "read_scenes"]

Id = int | str

_MOST_SHOWN = 60  # characters of a value in a message


def evaluate_files(predictions: Path, ground_truth: Path) -> Evaluation:
    """Measure detections.

    Args:
        predictions: Results in COCO's form; an empty list is what a blind detector gives.
        ground_truth: Instances in COCO's form.

    Raises:
        DataError: A file cannot be read, is no such file, or an entry of it is wrong.
        MissingExtraError: pycocotools is not installed.
    """
    scenes, classes, notes = read_scenes(predictions, ground_truth)
    return Evaluation(
        task="detection",
        measured=detection(scenes, classes),
        about={"predictions": str(predictions), "ground_truth": str(ground_truth)},
        notes=notes,
    )


def read_scenes(predictions: Path, ground_truth: Path) -> tuple[list[Scene], dict[int, str], tuple[str, ...]]:
    """Read and check both files.

    Returns:
        The pictures, the classes by their numbers, and what the user should know.

    Raises:
        DataError: As `evaluate_files`.
    """
    instances = _Instances(_Document(ground_truth))
    found = _results(_Document(predictions), instances)
    scenes = [
        Scene(image=image, truth=_truth(instances.annotations[image]), found=_found(found[image]))
        for image in instances.annotations
    ]
    return scenes, instances.classes, instances.notes


class _Document:
    """A JSON file, with the errors of its entries."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.content: Any = json.loads(path.read_bytes())
        except OSError as error:
            raise DataError(f"{str(path)!r} cannot be read: {error.strerror}. Name a JSON file.") from error
        except RecursionError as error:
            raise DataError(f"{str(path)!r} is no JSON of COCO: it is nested too deeply. Write it again.") from error
        except ValueError as error:
            problem = " ".join(str(error).split()).rstrip(".")
            raise DataError(f"{str(path)!r} is no JSON: {problem}. Write it again.") from error

    def wrong(self, where: str, problem: str) -> DataError:
        return DataError(f"{str(self.path)!r}, {where}: {problem}.")

    def entry(self, value: Any, where: str) -> "_Entry":
        if not isinstance(value, dict):
            raise self.wrong(where, f"it must be an object, got {_shown(value)}")
        return _Entry(self, where, value)

    def entries(self, values: Sequence[Any], what: str) -> "list[_Entry]":
        return [self.entry(value, f"{what} {place}") for place, value in enumerate(values)]


class _Entry:
    """An object of a file, whose keys are read one by one."""

    def __init__(self, document: _Document, where: str, values: Mapping[str, Any]) -> None:
        self._document, self._where, self._values = document, where, values

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def wrong(self, key: str, problem: str) -> DataError:
        return self._document.wrong(self._where, f"{key!r} {problem}")

    def value(self, key: str) -> Any:
        if key not in self._values:
            raise self.wrong(key, "is missing")
        return self._values[key]

    def identifier(self, key: str) -> Id:
        """Return the id of a picture: a whole number, or, as some programs write it, a text."""
        value = self.value(key)
        return value if isinstance(value, str) else self.whole(key)

    def whole(self, key: str) -> int:
        value = self.value(key)
        if not _is_number(value) or value != int(value):
            raise self.wrong(key, f"must be a whole number, got {_shown(value)}")
        return int(value)

    def number(self, key: str) -> float:
        value = self.value(key)
        if not _is_number(value):
            raise self.wrong(key, f"must be a finite number, got {_shown(value)}")
        return float(value)

    def box(self) -> list[float]:
        value = self.value("bbox")
        if not isinstance(value, list) or len(value) != 4 or not all(map(_is_number, value)):
            raise self.wrong("bbox", f"must be four finite numbers, left, top, width, height, got {_shown(value)}")
        if min(value[2:]) < 0:
            raise self.wrong("bbox", f"has a negative width or height: {_shown(value)}")
        return [float(side) for side in value]

    def crowd(self) -> bool:
        value = self._values.get("iscrowd", 0)
        if value not in (0, 1):
            raise self.wrong("iscrowd", f"must be 0 or 1, got {_shown(value)}")
        return bool(value)


class _Instances:
    """The truth: classes, and the annotations of each picture.

    Attributes:
        classes: Class number → name.
        annotations: Picture → its annotations as tuples of category, box, area, crowd, id.
        notes: What the user should know.
    """

    def __init__(self, document: _Document) -> None:
        self._document = document
        self._name = repr(str(document.path))
        content = document.content
        if not isinstance(content, dict):
            raise document.wrong("at its top", f"it must be an object of instances, got {_shown(content)}")
        parts = {key: self._part(content, key) for key in ("images", "categories", "annotations")}
        for key in ("images", "categories"):
            if not parts[key]:
                raise document.wrong(f"key {key!r}", "it is empty: there is nothing to measure")
        self.classes = self._classes(parts["categories"])
        self.annotations: dict[Id, list[tuple[int, list[float], float, bool, int]]] = {}
        for image in parts["images"]:
            self._unique(image, image.identifier("id"), self.annotations)
            self.annotations[image.identifier("id")] = []
        if len({type(image) for image in self.annotations}) > 1:
            raise document.wrong("key 'images'", "some ids are numbers and some are texts")
        self.notes: tuple[str, ...] = ()
        self._read(parts["annotations"])

    def picture(self, entry: _Entry) -> Id:
        """Return the picture that an entry names.

        Raises:
            DataError: There is none of that id.
        """
        image = entry.identifier("image_id")
        if image not in self.annotations:
            raise entry.wrong("image_id", f"{image!r} is none of the {len(self.annotations)} images of {self._name}")
        return image

    def category(self, entry: _Entry) -> int:
        """Return the class that an entry names.

        Raises:
            DataError: There is none of that id.
        """
        number = entry.whole("category_id")
        if number not in self.classes:
            raise entry.wrong("category_id", f"{number} is none of the {len(self.classes)} categories of {self._name}")
        return number

    def _part(self, content: Mapping[str, Any], key: str) -> list[_Entry]:
        if not isinstance(content.get(key), list):
            problem = f"it must be a list, got {_shown(content[key])}" if key in content else "it is missing"
            raise self._document.wrong(f"key {key!r}", problem)
        return self._document.entries(content[key], f"{key} entry")

    def _classes(self, categories: Sequence[_Entry]) -> dict[int, str]:
        classes: dict[int, str] = {}
        for category in categories:
            number = category.whole("id")
            self._unique(category, number, classes)
            classes[number] = str(category.value("name")) if "name" in category else f"class {number}"
        return classes

    def _unique(self, entry: _Entry, number: Id, known: Mapping[Any, Any]) -> None:
        if number in known:
            raise entry.wrong("id", f"{number!r} is there already; ids must differ")

    def _read(self, annotations: Sequence[_Entry]) -> None:
        # Where one has no id, all are numbered.
        given = all("id" in each for each in annotations)
        seen: dict[int, None] = {}
        for place, each in enumerate(annotations):
            number = each.whole("id") if given else place + 1
            self._unique(each, number, seen)
            seen[number] = None
            image = self.picture(each)
            box = each.box()
            area = each.number("area") if "area" in each else box[2] * box[3]
            self.annotations[image].append((self.category(each), box, area, each.crowd(), number))
        if 0 in seen:
            self.notes = (
                f"{self._name} has an annotation of id 0, which COCO's evaluator never counts as "
                "found. Number them from 1.",
            )


def _results(document: _Document, instances: _Instances) -> dict[Id, list[tuple[int, list[float], float]]]:
    """Read the detections of each picture as tuples of category, box, score."""
    if not isinstance(document.content, list):
        raise document.wrong("at its top", f"it must be a list of results, got {_shown(document.content)}")
    found: dict[Id, list[tuple[int, list[float], float]]] = {image: [] for image in instances.annotations}
    for entry in document.entries(document.content, "entry"):
        image = instances.picture(entry)
        found[image].append((instances.category(entry), entry.box(), entry.number("score")))
    return found


def _truth(annotations: Sequence[tuple[int, list[float], float, bool, int]]) -> Truth:
    return Truth(
        boxes=np.array([box for _, box, *_ in annotations], np.float64).reshape(-1, 4),
        categories=np.array([category for category, *_ in annotations], np.int64),
        crowd=np.array([crowd for *_, crowd, _ in annotations], bool),
        difficult=np.zeros(len(annotations), bool),
        areas=np.array([area for _, _, area, *_ in annotations], np.float64),
        ids=np.array([number for *_, number in annotations], np.int64),
    )


def _found(results: Sequence[tuple[int, list[float], float]]) -> Found:
    return Found(
        boxes=np.array([box for _, box, _ in results], np.float64).reshape(-1, 4),
        categories=np.array([category for category, *_ in results], np.int64),
        scores=np.array([score for *_, score in results], np.float64),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shown(value: Any) -> str:
    """Return a value of a file for a message: short."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= _MOST_SHOWN:
        return text
    kinds = {"list": "a list", "dict": "an object"}
    return kinds.get(type(value).__name__, f"{text[:_MOST_SHOWN]}…")
