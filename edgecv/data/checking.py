"""Checks of data: what every format holds its labels to, what training asks for, and whether pictures decode."""

import dataclasses
import difflib
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from edgecv.data.problems import Problem, Problems
from edgecv.data.samples import ArraySource, Dataset, Sample
from edgecv.data.threads import in_threads
from edgecv.errors import DataError, PictureError

__all__ = ["Checks", "box_problem", "check_pictures", "check_trainable", "classes_in_use", "without"]

# Formats round their numbers (COCO to 0.01 pixel, YOLO to 1e-6 of the picture): a box that ends at the border may
# seem to end beyond it.
SLACK = 0.02


class Checks:
    """The rules that labels of every format must keep; what breaks one is noted and left out.

    Each method takes the file and line (None where there are none) that the label stands in, and tells whether the
    label may be used.
    """

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._seen: dict[str, Problem] = {}

    def box(
        self,
        corners: Sequence[float],
        *,
        file: object,
        line: int | None,
        size: tuple[int, int] | None = None,
        slack: float = SLACK,
    ) -> bool:
        """Check a box; see `box_problem`."""
        problem = box_problem(corners, size=size, slack=slack)
        if problem:
            self._problems.add(file, line, problem)
        return problem is None

    def is_there(self, picture: Path, *, file: object, line: int | None) -> bool:
        """Check that a picture (or mask) that a label names exists."""
        there = os.path.isfile(picture)  # noqa: PTH113 (a third of the time of Path.is_file, for 100,000 labels)
        if not there:
            self._problems.add(file, line, f"picture {str(picture)!r} does not exist")
        return there

    def unique(self, what: str, *, file: object, line: int | None) -> bool:
        """Check that something is there once.

        Args:
            what: What it is, with its value: ``"image id 7"``, ``"picture 'a.jpg'"``.
            file: See the class.
            line: See the class.
        """
        first = self._seen.setdefault(what, here := Problem(str(file), line, ""))
        if first is here:
            return True
        self._problems.add(file, line, f"{what} is there already, at {first.place}")
        return False

    def category(self, name: str, numbers: Mapping[str, int], *, file: object, line: int | None) -> int | None:
        """Return the number of a class; None where there is no such class."""
        number = numbers.get(name)
        if number is None:
            close = difflib.get_close_matches(name, numbers, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            self._problems.add(file, line, f"unknown class {name!r}{hint}")
        return number

    def category_number(self, number: int, count: int, *, file: object, line: int | None) -> bool:
        """Check a class that is given as a number, counted from 0."""
        known = 0 <= number < count
        if not known:
            self._problems.add(file, line, f"unknown class {number}; there are {count}, counted from 0")
        return known

    def number(self, text: str, what: str, *, file: object, line: int | None) -> float | None:
        """Return a finite number; None where the text is none."""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            return value
        self._problems.add(file, line, f"{what} is {text!r}, which is no finite number")
        return None


def box_problem(corners: Sequence[float], *, size: tuple[int, int] | None = None, slack: float = SLACK) -> str | None:
    """Say what is wrong with a box; None where nothing is.

    Args:
        corners: x1, y1, x2, y2 in pixels.
        size: ``(height, width)`` of its picture, in pixels; None where it is unknown.
        slack: How many pixels a box may reach beyond its picture, for rounded numbers.
    """
    x1, y1, x2, y2 = corners
    if not all(map(math.isfinite, corners)):
        problem = "has a number that is not finite"
    elif x2 < x1 or y2 < y1:
        problem = "is reversed: x1, y1 must be its upper left corner"
    elif x1 == x2 or y1 == y2:
        problem = "has no area"
    elif size and (x1 < -slack or y1 < -slack or x2 > size[1] + slack or y2 > size[0] + slack):
        problem = f"reaches outside its picture, which is {size[1]} wide and {size[0]} high"
    else:
        return None
    return f"box ({', '.join(f'{value:g}' for value in corners)}) {problem}"


def classes_in_use(samples: Iterable[Sample]) -> set[int]:
    """Return the class numbers that samples of classification, localisation or detection have."""
    found: set[int] = set()
    for sample in samples:
        found.update([box.category for box in sample.boxes] if sample.category is None else [sample.category])
    return found


def check_trainable(dataset: Dataset) -> None:
    """Check that a network can learn from a data set at all.

    Raises:
        DataError: It holds no picture, pictures of one class only, or fewer pictures than classes. Localisers
            and detectors may learn one class: they say where it is. Masks have the background as a class.
    """
    path, count = dataset.path, len(dataset.samples)
    if not count:
        raise DataError(f"{path!r} holds no labelled picture. Name a folder with some.")
    if dataset.task == "segmentation" and len(dataset.classes) < 2:
        raise DataError(f"All masks of {path!r} are of one class: there is nothing to tell apart. Add other ones.")
    if dataset.task not in ("classification", "localisation"):
        return
    used = classes_in_use(dataset.samples)
    if dataset.task == "classification" and len(used) < 2:
        name = dataset.classes[used.pop()]
        raise DataError(
            f"All {count} pictures of {path!r} are of class {name!r}: there is nothing to tell apart. "
            "Add pictures of another class, or name the folder above."
        )
    if count < len(dataset.classes):
        raise DataError(
            f"{path!r} holds {count} pictures for {len(dataset.classes)} classes. Give each class pictures, or fewer "
            "classes."
        )


def check_pictures(dataset: Dataset, *, progress: Callable[[], None] | None = None) -> tuple[Problem, ...]:
    """Decode every picture and mask once, in threads, and tell which cannot be read or are not as large as labelled.

    Args:
        dataset: The data; pictures that lie in memory already are passed over.
        progress: Called after each sample.

    Returns:
        The problems in the order of the samples; their file is the name of the picture or mask.
    """
    problems: list[Problem] = []
    for found in in_threads(_sample_problems, dataset.samples):
        problems += found
        if progress:
            progress()
    return tuple(problems)


def without(dataset: Dataset, problems: Collection[Problem]) -> Dataset:
    """Return a data set without the samples whose pictures or masks have problems, counted as skipped."""
    broken = {problem.file for problem in problems}
    kept = tuple(
        sample
        for sample in dataset.samples
        if sample.name not in broken and (sample.mask is None or sample.mask.name not in broken)
    )
    left_out = len(dataset.samples) - len(kept)
    return dataclasses.replace(dataset, samples=kept, skipped=dataset.skipped + left_out)


def _sample_problems(sample: Sample) -> Sequence[Problem]:
    problems = []
    for source in (sample.picture, sample.mask):
        if source is None or isinstance(source, ArraySource):
            continue
        try:
            picture = source.read()
        except PictureError as error:
            # The place of a problem names the file already.
            text = str(error).removeprefix(f"Picture {source.name!r} ").removeprefix(f"Mask {source.name!r} ")
            problems.append(Problem(source.name, None, text))
            continue
        height, width = sample.size or (picture.height, picture.width)
        if (picture.height, picture.width) != (height, width):
            problems.append(
                Problem(
                    source.name,
                    None,
                    f"is {picture.width} wide and {picture.height} high, its label {sample.origin} says "
                    f"{width} and {height}",
                )
            )
    return problems
