"""What each task compares: answers of a session with what the labels say."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from edgecv.data.mask_files import IGNORED
from edgecv.data.samples import Box, Dataset, Sample
from edgecv.errors import DataError
from edgecv.evaluation.answers import Answers
from edgecv.evaluation.class_map import ClassMap, count_classes
from edgecv.evaluation.classification import RANKS, classification
from edgecv.evaluation.detection import detection
from edgecv.evaluation.localisation import localisation
from edgecv.evaluation.scenes import Found, Scene, Truth
from edgecv.evaluation.segmentation import AnsweredMask, PixelCounts, worst_masks
from edgecv.results import Prediction

__all__ = ["MEASURES", "Measured", "check_labels", "used_classes"]


class Measured(Protocol):
    """Figures of one task."""

    @property
    def images(self) -> int:
        """Number of pictures."""

    def figures(self) -> dict[str, float | None]:
        """Return the figures by their names in ``evaluate --json``."""

    def rows(self) -> list[dict[str, Any]]:
        """Return those of each class."""


def check_labels(task: str, dataset: Dataset, samples: Sequence[Sample]) -> None:
    """Refuse data whose labels say nothing of what the network answers.

    Raises:
        DataError: There are no samples, or one lacks what the task needs.
    """
    if not samples:
        raise DataError(f"{dataset.path!r} gives no pictures to evaluate on. Choose another --part, or other data.")
    if task == "detection" and dataset.task not in ("detection", "localisation"):
        raise _unsuited(dataset, "boxes", "a detector")
    for sample in samples:
        if task == "classification" and sample.category is None and len(sample.boxes) != 1:
            raise _unsuited(dataset, "one class a picture", "a classifier", sample)
        # Pictures without a box measure the objectness alone.
        if task == "localisation" and (len(sample.boxes) > 1 or sample.category is not None or sample.mask):
            raise _unsuited(dataset, "one box a picture", "a localiser", sample)
        if task == "segmentation" and sample.mask is None:
            raise _unsuited(dataset, "a mask for each picture", "a segmenter", sample)


def used_classes(task: str, samples: Sequence[Sample]) -> set[int] | None:
    """Return the classes that the labels have; None where only their pixels would tell."""
    if task == "segmentation":
        return None
    pictures = {sample.category for sample in samples if sample.category is not None}
    return pictures | {box.category for sample in samples for box in sample.boxes}


def _unsuited(dataset: Dataset, needed: str, network: str, sample: Sample | None = None) -> DataError:
    which = f": {sample.name!r} is without" if sample else ""
    return DataError(
        f"{dataset.path!r} holds labels for {dataset.task}, and {network} needs {needed}{which}. Give other data."
    )


def _classification(answers: Answers, dataset: Dataset) -> Measured:
    truth, ranked = [], []
    for sample, prediction in answers:
        truth.append(_category(sample))
        ranked.append([answers.classes.of(each["class"]) for each in prediction.results])
    given, known = len(ranked[0]), count_classes(answers.session.metadata)
    complete = given in (RANKS, known) or (known is None and len(dataset.classes) <= given)
    return classification(truth, ranked, dataset.classes, complete=complete)


def _localisation(answers: Answers, dataset: Dataset) -> Measured:
    truth, given, true_boxes, boxes = [], [], [], []
    objectness: list[tuple[bool, float]] = []
    for sample, prediction in answers:
        (found,) = prediction.results
        if "objectness" in found:
            objectness.append((bool(sample.boxes), found["objectness"]))
        if not sample.boxes:
            continue
        (box,) = sample.boxes
        truth.append(box.category)
        true_boxes.append((box.x1, box.y1, box.x2, box.y2))
        given.append(answers.classes.of(found["class"]))
        boxes.append(found["box"])
    return localisation(truth, given, true_boxes, boxes, dataset.classes, objectness=objectness)


def _detection(answers: Answers, dataset: Dataset) -> Measured:
    samples: list[Sample] = []
    scenes: list[Scene] = []
    objects = 0
    for sample, prediction in answers:
        # Numbered from 1: COCO's evaluator takes an object of id 0 for none.
        truth = _truth(sample.boxes, first_id=objects + 1)
        objects += len(sample.boxes)
        samples.append(sample)
        scenes.append(Scene(image=len(scenes), truth=truth, found=_found(prediction, answers.classes)))
    return detection(scenes, dict(enumerate(dataset.classes)), samples=samples)


def _segmentation(answers: Answers, dataset: Dataset) -> Measured:
    counts = PixelCounts(dataset.classes)
    worst: list[AnsweredMask] = []
    numbers = np.full(1 + max(answers.classes.numbers, default=0), -1, np.int64)
    numbers[list(answers.classes.numbers)] = list(answers.classes.numbers.values())
    for sample, prediction in answers:
        if sample.mask is None or prediction.mask is None:
            raise DataError(f"Picture {sample.name!r} has no mask to compare with. Give data with masks.")
        truth = sample.mask.read().pixels[..., 0]
        answer = prediction.mask
        if truth.shape != answer.shape:
            raise DataError(
                f"Mask {sample.mask.name!r} is {truth.shape[1]} wide and {truth.shape[0]} high, its picture "
                f"{answer.shape[1]} and {answer.shape[0]}. Give each picture a mask of its size."
            )
        highest = int(truth[truth != IGNORED].max(initial=0))
        if highest >= len(dataset.classes):
            raise DataError(
                f"Mask {sample.mask.name!r} has pixels of class {highest}, and the data have {len(dataset.classes)} "
                f"classes, counted from 0. Mend it; {IGNORED} stands for pixels of no class."
            )
        known = (answer >= 0) & (answer < len(numbers))
        answer = np.where(known, numbers[np.where(known, answer, 0)], -1).astype(np.int16)
        worst = worst_masks([*worst, AnsweredMask(sample=sample, answer=answer, miou=counts.add(truth, answer))])
    return counts.result(worst)


MEASURES: Mapping[str, Callable[[Answers, Dataset], Measured]] = {
    "classification": _classification,
    "localisation": _localisation,
    "detection": _detection,
    "segmentation": _segmentation,
}


def _category(sample: Sample) -> int:
    """Return the class of a picture; where only its one box has a class, that one."""
    return sample.boxes[0].category if sample.category is None else sample.category


def _truth(boxes: Sequence[Box], *, first_id: int) -> Truth:
    sides = [(box.x1, box.y1, box.x2 - box.x1, box.y2 - box.y1) for box in boxes]
    areas = [
        width * height if box.area is None else box.area for box, (*_, width, height) in zip(boxes, sides, strict=True)
    ]
    return Truth(
        boxes=np.array(sides, np.float64).reshape(-1, 4),
        categories=np.array([box.category for box in boxes], np.int64),
        crowd=np.array([box.crowd for box in boxes], bool),
        difficult=np.array([box.difficult for box in boxes], bool),
        areas=np.array(areas, np.float64),
        ids=np.arange(first_id, first_id + len(boxes)),
    )


def _found(prediction: Prediction, classes: ClassMap) -> Found:
    """Return what was found of the classes that the data have."""
    known = [(each, classes.of(each["class"])) for each in prediction.results]
    known = [(each, number) for each, number in known if number >= 0]
    corners = np.array([each["box"] for each, _ in known], np.float64).reshape(-1, 4)
    return Found(
        boxes=np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1),
        categories=np.array([number for _, number in known], np.int64),
        scores=np.array([each["score"] for each, _ in known], np.float64),
    )
