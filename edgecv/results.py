"""From an artifact's outputs to answers: the results of one picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgecv.errors import ArtifactError
from edgecv.greedy import greedy
from edgecv.nms import Nms
from edgecv.pictures import Placement

__all__ = ["Prediction", "interpret"]

Array = np.ndarray[Any, np.dtype[Any]]
Results = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What an artifact answers for one picture.

    Attributes:
        results: The answers, best first, as in ``predict --json``.
        milliseconds: Time from the decoded picture to the results.
        mask: Segmentation: int32 ``(height, width)`` at the picture's size; −1 where it was not seen.
    """

    results: Results
    milliseconds: float = 0.0
    mask: Array | None = field(default=None, compare=False)


def interpret(
    outputs: Mapping[str, Array],
    *,
    task: str,
    labels: Sequence[str],
    top_k: int,
    placement: Placement,
    nms: Nms = Nms(),
    least_score: float = 0.0,
) -> Prediction:
    """Read the outputs of one picture.

    Args:
        outputs: The artifact's outputs without their batch dimension.
        task: What they mean.
        labels: One name a class, or empty.
        top_k: Classification: how many of the best classes to give.
        placement: How the picture lies in the input.
        nms: Detection: settings for an artifact that gives every anchor.
        least_score: Detection: drop boxes that score no more.

    Raises:
        ArtifactError: A score is not a number.
    """
    if task == "classification" and len(outputs) <= 2:
        return Prediction(results=_classification(outputs, labels, top_k))
    if task == "detection" and "count" not in outputs and {"boxes", "scores"} <= set(outputs):
        outputs = _suppressed(outputs, nms)
    if task == "detection" and "count" in outputs:
        found = _detection(outputs, labels, placement)
        return Prediction(results=[each for each in found if each["score"] > least_score])
    if task == "localisation" and "box" in outputs and {"probabilities", "logits"} & set(outputs):
        return Prediction(results=_localisation(outputs, labels, placement))
    if task == "segmentation" and "mask" in outputs:
        mask = placement.mask_in_picture(outputs["mask"])
        return Prediction(results=_segmentation(mask, labels), mask=mask)
    return Prediction(results=[_summary(name, array) for name, array in outputs.items()])


def _classification(outputs: Mapping[str, Array], labels: Sequence[str], top_k: int) -> Results:
    if "classes" in outputs:
        scores, classes = outputs["scores"], outputs["classes"]
    else:
        (scores,) = outputs.values()
        # Stable, so that equal scores come in the order of their classes.
        classes = np.argsort(-scores.astype(np.float64), kind="stable")
        scores = scores[classes]
    return [_answer(score, number, labels) for score, number in zip(scores[:top_k], classes[:top_k], strict=True)]


def _suppressed(outputs: Mapping[str, Array], nms: Nms) -> Mapping[str, Array]:
    found = greedy(outputs["boxes"], outputs["scores"], nms)
    count = np.array(len(found), np.int32)
    return {"boxes": found.boxes, "scores": found.scores, "classes": found.classes, "count": count}


def _detection(outputs: Mapping[str, Array], labels: Sequence[str], placement: Placement) -> Results:
    count = int(outputs["count"])
    boxes = placement.boxes_in_picture(outputs["boxes"][:count])
    rows = zip(boxes, outputs["scores"][:count], outputs["classes"][:count], strict=True)
    return [{"box": _box(box), **_answer(score, number, labels)} for box, score, number in rows]


def _localisation(outputs: Mapping[str, Array], labels: Sequence[str], placement: Placement) -> Results:
    scores = outputs["probabilities" if "probabilities" in outputs else "logits"]
    (best,) = _classification({"probabilities": scores}, labels, 1)
    (box,) = placement.boxes_in_picture(outputs["box"][None])
    found = {"box": _box(box), **best}
    if "objectness" in outputs:
        found["objectness"] = _number(outputs["objectness"].reshape(-1)[0])
    return [found]


def _segmentation(mask: Array, labels: Sequence[str]) -> Results:
    numbers, pixels = np.unique(mask[mask >= 0], return_counts=True)
    order = np.argsort(-pixels, kind="stable")
    return [
        {"class": int(numbers[i]), "label": _label(int(numbers[i]), labels), "pixels": int(pixels[i])} for i in order
    ]


def _summary(name: str, array: Array) -> dict[str, Any]:
    figures: dict[str, Any] = dict.fromkeys(("min", "max", "mean"))
    if array.size and np.isfinite(array).all():
        figures = {"min": float(array.min()), "max": float(array.max()), "mean": float(array.mean(dtype=np.float64))}
    return {"output": name, "shape": list(array.shape), **figures}


def _answer(score: Any, number: Any, labels: Sequence[str]) -> dict[str, Any]:
    return {"score": _number(score), "class": int(number), "label": _label(int(number), labels)}


def _box(box: Array) -> list[float]:
    return [_number(side) for side in box]


def _number(value: Any) -> float:
    if not np.isfinite(value):
        raise ArtifactError(f"The artifact answers with {float(value)} where a number is due. Export it again.")
    return float(value)


def _label(number: int, labels: Sequence[str]) -> str | None:
    return labels[number] if 0 <= number < len(labels) else None
