"""COCO's twelve figures, by pycocotools: its authors' own evaluator.

Reference:
    Lin et al., "Microsoft COCO: Common Objects in Context", 2014, https://arxiv.org/abs/1405.0312;
    the figures: https://cocodataset.org/#detection-eval.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecv.evaluation.scenes import Scene
from edgecv.extras import require

__all__ = ["FIGURES", "ClassFigures", "CocoFigures", "coco_figures"]

# In the order of pycocotools' ``stats``.
FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")

# Places in the evaluator's tables: IoU 0.5 of 0.5 … 0.95, objects of all sizes, 100 detections a picture and class.
_AT_50, _ALL_SIZES, _MOST_FOUND = 0, 0, 2


@dataclass(frozen=True, kw_only=True)
class ClassFigures:
    """COCO's figures of one class; None where it has no object.

    Attributes:
        ap: Mean AP over IoU 0.5, 0.55, …, 0.95.
        ap50: AP at IoU 0.5.
        ar100: Mean recall over the same IoUs, with at most 100 detections a picture.
    """

    ap: float | None
    ap50: float | None
    ar100: float | None


@dataclass(frozen=True, kw_only=True)
class CocoFigures:
    """What COCO's evaluator says.

    Attributes:
        overall: The twelve figures by the names of `FIGURES`; None where no object is of that size.
        classes: By class number.
    """

    overall: Mapping[str, float | None]
    classes: Mapping[int, ClassFigures]


def coco_figures(scenes: Sequence[Scene], categories: Sequence[int]) -> CocoFigures:
    """Let pycocotools measure detections.

    A difficult object (VOC) counts as a crowd: it is neither demanded nor punished.

    Args:
        scenes: The pictures, at least one; ids differ.
        categories: Numbers of the classes, at least one.

    Raises:
        MissingExtraError: pycocotools is not installed.
    """
    require("pycocotools", extra="eval", purpose="Measuring a detector")
    with _silent():
        from pycocotools.cocoeval import COCOeval

        evaluator = COCOeval(_truths(scenes, categories), _found(scenes, categories), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    precision, recall = evaluator.eval["precision"], evaluator.eval["recall"]
    classes = {
        category: _class_figures(precision[:, :, place], recall[:, place])
        # The evaluator has its classes in the order of their numbers.
        for place, category in enumerate(sorted(categories))
    }
    overall = dict(zip(FIGURES, map(_known, evaluator.stats), strict=True))
    return CocoFigures(overall=overall, classes=classes)


def _class_figures(precision: Any, recall: Any) -> ClassFigures:
    """Read one class.

    Args:
        precision: ``(IoUs, recalls, sizes, detections)``, −1 where there is none.
        recall: ``(IoUs, sizes, detections)``, the same.
    """
    points = precision[:, :, _ALL_SIZES, _MOST_FOUND]
    reached = recall[:, _ALL_SIZES, _MOST_FOUND]
    return ClassFigures(ap=_mean(points), ap50=_mean(points[_AT_50]), ar100=_mean(reached))


def _mean(values: Any) -> float | None:
    known = values[values > -1]
    return float(np.mean(known)) if known.size else None


def _known(figure: float) -> float | None:
    """Return a figure of the evaluator, for which −1 means that there is none."""
    return None if figure == -1 else float(figure)


def _truths(scenes: Sequence[Scene], categories: Sequence[int]) -> Any:
    entries: list[dict[str, Any]] = []
    for scene in scenes:
        truth = scene.truth
        crowd = truth.crowd | truth.difficult
        rows = zip(truth.boxes, truth.categories, crowd, truth.areas, truth.ids, strict=True)
        entries += (
            {**_entry(scene, box, category, number), "iscrowd": int(many), "area": float(area)}
            for box, category, many, area, number in rows
        )
    return _indexed(scenes, categories, entries)


def _found(scenes: Sequence[Scene], categories: Sequence[int]) -> Any:
    entries: list[dict[str, Any]] = []
    for scene in scenes:
        found = scene.found
        for box, category, score in zip(found.boxes, found.categories, found.scores, strict=True):
            entry = _entry(scene, box, category, len(entries) + 1)
            entries.append(entry | {"iscrowd": 0, "area": float(box[2] * box[3]), "score": float(score)})
    return _indexed(scenes, categories, entries)


def _entry(scene: Scene, box: Any, category: Any, number: int) -> dict[str, Any]:
    return {"id": int(number), "image_id": scene.image, "category_id": int(category), "bbox": box.tolist()}


def _indexed(scenes: Sequence[Scene], categories: Sequence[int], entries: list[dict[str, Any]]) -> Any:
    from pycocotools.coco import COCO

    coco: Any = COCO()
    coco.dataset = {
        "images": [{"id": scene.image} for scene in scenes],
        "categories": [{"id": category, "name": str(category)} for category in categories],
        "annotations": entries,
    }
    coco.createIndex()
    return coco


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep what pycocotools prints to itself."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
