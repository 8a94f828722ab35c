"""What both sides answer for a picture, in words, and whether it means the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecv.errors import ArtifactError
from edgecv.greedy import iou
from edgecv.nms import Nms
from edgecv.observed import Run
from edgecv.pictures import place
from edgecv.preprocess import Fit
from edgecv.printable import short
from edgecv.results import Prediction, interpret
from edgecv.runtime import Arrays
from edgecv.verification import Head

__all__ = ["MOST_CLASSES", "BothAnswers", "answer_both", "named", "without_counterpart"]

Array = np.ndarray[Any, np.dtype[Any]]
Results = Sequence[dict[str, Any]]

MOST_CLASSES = 5
# Boxes that overlap more are the same object on both sides.
_SAME_OBJECT = 0.5


@dataclass(frozen=True, kw_only=True)
class BothAnswers:
    """The answers for one picture.

    Attributes:
        original: The original's; None where there are none.
        artifact: The artifact's.
        problems: Why there are none, of each side; else empty.
        agrees: The two mean the same; None where that is no question of yes and no.
        agreement: That in words.
        disagreement: 0 where they mean the same, 1 where nothing does.
    """

    original: Prediction | None
    artifact: Prediction | None
    problems: tuple[str, str] = ("", "")
    agrees: bool | None = None
    agreement: str = ""
    disagreement: float = 0.0


def answer_both(head: Head, run: Run, metadata: Mapping[str, Any], row: int) -> BothAnswers:
    """Return the answers of both sides for the picture of a row."""
    names = [str(output["name"]) for output in metadata["outputs"]]
    given = {name: run.given[name][row] for name in names if name in run.given}
    size = (int(run.pictures.shape[1]), int(run.pictures.shape[2]))
    original, first = _predicted(head, metadata, _of_original(head, run, names, row), size)
    artifact, second = _predicted(head, metadata, given, size)
    if original is not None and artifact is not None:
        agrees, agreement, disagreement = _judged(head.task, original, artifact)
        return BothAnswers(
            original=original, artifact=artifact, agrees=agrees, agreement=agreement, disagreement=disagreement
        )
    broken = artifact is None
    return BothAnswers(
        original=original,
        artifact=artifact,
        problems=(first, second),
        agrees=False if broken else None,
        agreement="the artifact gives no answer" if broken else "",
        disagreement=float(broken),
    )


def named(result: Mapping[str, Any]) -> str:
    """Return what an answer is called."""
    if "output" in result:
        return str(result["output"])
    return short(str(result["label"])) if result["label"] is not None else f"class {result['class']}"


def without_counterpart(own: Results, other: Results) -> list[bool]:
    """Tell of each answer whether the other side lacks it: a box of its class and place, or a class."""
    free = list(range(len(other)))
    alone = []
    for result in own:
        found = next((index for index in free if _same(result, other[index])), None)
        if found is not None:
            free.remove(found)
        alone.append(found is None)
    return alone


def _same(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    if one.get("class") != two.get("class"):
        return False
    return "box" not in one or _overlap(one["box"], two["box"]) >= _SAME_OBJECT


def _overlap(one: Sequence[float], two: Sequence[float]) -> float:
    return 1.0 if list(one) == list(two) else float(iou(np.array(one, np.float64), np.array([two], np.float64))[0])


def _of_original(head: Head, run: Run, names: Sequence[str], row: int) -> Arrays:
    """Return the original's outputs for a picture; none where they were recorded in part. Of top-k: all classes."""
    outputs = {}
    for name in run.answers if head.top_k is not None else names:
        if name not in run.answers or run.steps.get(name, 1) != 1:
            return {}
        values, like = run.answers[name][row], run.given.get(name)
        # Recorded answers are flat.
        fits = like is not None and like[row].size == values.size
        outputs[name] = values.reshape(like[row].shape) if like is not None and fits else values
    return outputs


def _predicted(
    head: Head, metadata: Mapping[str, Any], outputs: Arrays, size: tuple[int, int]
) -> tuple[Prediction | None, str]:
    """Return the answers, or why there are none."""
    if not outputs:
        return None, "The artifact carries a part of the original's answer only: give the original with --against."
    try:
        prediction = interpret(
            outputs,
            task=head.task,
            labels=[str(label) for label in metadata.get("labels") or ()],
            top_k=MOST_CLASSES,
            placement=place(Fit(), size, size),
            nms=head.nms or Nms(),
        )
    except ArtifactError:
        return None, "The answer is NaN or infinite."
    except (IndexError, KeyError, TypeError, ValueError):
        return None, "The outputs do not have the form of an answer."
    return prediction, ""


def _judged(task: str, original: Prediction, artifact: Prediction) -> tuple[bool | None, str, float]:
    a, b = original.results, artifact.results
    if original.mask is not None and artifact.mask is not None:
        return _judged_masks(original.mask, artifact.mask)
    if any("output" in result for result in (*a, *b)):
        return None, "", 0.0
    if task in ("classification", "localisation"):
        same = bool(a) and bool(b) and a[0]["class"] == b[0]["class"]
        agreement = "same best class" if same else f"best class {named(b[0])} instead of {named(a[0])}"
        if task == "classification":
            return same, agreement, float(not same)
        overlap = _overlap(a[0]["box"], b[0]["box"])
        return same and overlap > _SAME_OBJECT, f"{agreement}, boxes overlap by {overlap:.4f}", 2 - overlap - same
    alone = sum(without_counterpart(a, b)) + sum(without_counterpart(b, a))
    total = len(a) + len(b)
    if not total:
        return True, "no box on either side", 0.0
    if alone:
        return False, f"{alone} of {total} boxes are on one side only", alone / total
    return True, f"{len(a)} boxes, each with a counterpart" if len(a) > 1 else "one box, with a counterpart", 0.0


def _judged_masks(original: Array, artifact: Array) -> tuple[bool | None, str, float]:
    if original.shape != artifact.shape:
        return False, "masks of different sizes", 1.0
    different = int(np.sum(original != artifact))
    share = different / original.size
    if not different:
        return True, f"all {original.size:,} pixels have the same class", 0.0
    # Where rounding decides a pixel may differ; how many may, verification says.
    return None, f"{different:,} of {original.size:,} pixels have another class ({share:.2%})", share
