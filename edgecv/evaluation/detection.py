"""Figures of a detector: COCO's twelve, and average precision at an IoU of 0.5 as Pascal VOC has it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgecv.data.samples import Sample
from edgecv.evaluation.average_precision import ClassPrecision, average_precision, mean
from edgecv.evaluation.coco import CocoFigures, coco_figures
from edgecv.evaluation.scenes import Scene

__all__ = ["Detection", "detection"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Detection:
    """What was found of what is there.

    Attributes:
        classes: Class number → name.
        coco: What COCO's evaluator says.
        precisions: Average precision of each class.
        images: Number of pictures.
        pictures: Each picture with what is there and what was found, so that it can be drawn; empty where only files
            of boxes were compared.
    """

    classes: Mapping[int, str]
    coco: CocoFigures
    precisions: tuple[ClassPrecision, ...]
    images: int
    pictures: tuple[tuple[Sample, Scene], ...] = ()

    def figures(self) -> dict[str, float | None]:
        """Return COCO's twelve figures, and the mean AP at an IoU of 0.5 by 11 points and by the whole curve."""
        return {
            **self.coco.overall,
            "AP50_voc11": mean(each.at_11_points for each in self.precisions),
            "AP50_area": mean(each.area for each in self.precisions),
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return the figures of each class; None where it has no object."""
        rows = []
        for each in self.precisions:
            coco = self.coco.classes[each.category]
            rows.append(
                {
                    "class": self.classes[each.category],
                    "AP": coco.ap,
                    "AP50": coco.ap50,
                    "AP50_voc11": each.at_11_points,
                    "AR100": coco.ar100,
                    "objects": each.objects,
                    "found": each.found,
                    "hits": each.hits,
                }
            )
        return rows


def detection(
    scenes: Sequence[Scene], classes: Mapping[int, str], *, samples: Sequence[Sample] | None = None
) -> Detection:
    """Measure detections.

    Args:
        scenes: The pictures, at least one.
        classes: Class number → name, at least one; what is found of others is left aside, as COCO does it.
        samples: Where the pixels of the scenes are, in their order; None where there are no pictures.

    Raises:
        MissingExtraError: pycocotools is not installed.
    """
    categories = list(classes)
    return Detection(
        classes=dict(classes),
        coco=coco_figures(scenes, categories),
        precisions=average_precision(scenes, categories),
        images=len(scenes),
        pictures=() if samples is None else tuple(zip(samples, scenes, strict=True)),
    )
