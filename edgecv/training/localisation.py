"""Learning to localise: one category and one box a picture, and whether there is an object at all."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgecv.data.samples import Dataset, DataTask, Sample, corners
from edgecv.decoders.base import framed_corners
from edgecv.errors import DataError
from edgecv.localisation import Localisation
from edgecv.training.classification import accuracies, cross_entropy, head_dropout

if TYPE_CHECKING:
    import keras

    from edgecv.architecture import Architecture
    from edgecv.deployable import ModelInfo
    from edgecv.pictures import Placement
    from edgecv.training.run_data import RunData
    from edgecv.training.settings import Settings

__all__ = ["LocalisationTask"]


class LocalisationTask:
    """Softmax over classes, four numbers by mean squared error, and an optional objectness.

    A picture without a box teaches the objectness alone; its class and box do not count. See
    `edgecv.training.tasks.TrainingTask`.
    """

    name: ClassVar[DataTask] = "localisation"
    monitor: ClassVar[str] = "val_mean_iou"
    higher_is_better: ClassVar[bool] = True
    measured: ClassVar[tuple[str, ...]] = ()

    def __init__(self, data: "RunData", settings: "Settings") -> None:
        _check(data.dataset, objectness=settings.objectness)
        self._classes = data.dataset.classes
        self._settings = settings
        self._outputs = ("predictions", *(("objectness",) if settings.objectness else ()), "box")

    def network(self, architecture: "Architecture", base: "keras.Model | None") -> "keras.Model":
        """Put the heads on a body, trained or not."""
        from edgecv.training.heads import localisation_head, without_top

        return localisation_head(
            without_top(base or architecture.build(input_size=self._settings.input_size)),
            classes=len(self._classes),
            objectness=self._settings.objectness,
            sqrt_sizes=self._settings.sqrt_sizes,
            dropout=head_dropout(self._settings),
        )

    def heads(self, architecture: "Architecture") -> tuple[str, ...]:  # noqa: ARG002
        """Return the layers that `network` puts on a body."""
        from edgecv.training.heads import HEADS

        return HEADS

    def notes(self, size: tuple[int, int]) -> tuple[str, ...]:  # noqa: ARG002
        """Say nothing."""
        return ()

    def draw(self, folder: Path, size: tuple[int, int]) -> None:
        """Draw nothing."""

    def info(self, info: "ModelInfo") -> "ModelInfo":
        """Name the classes, and say what the numbers mean."""
        localisation = Localisation(sqrt_sizes=self._settings.sqrt_sizes, outputs=self._outputs)
        return replace(info, task="localisation", labels=self._classes, decoder=None, localisation=localisation)

    def targets(self, sample: Sample, placement: "Placement") -> Mapping[str, Any]:
        """Return the box in pixels of the input."""
        return {
            "boxes": placement.boxes_in_input(corners(sample.boxes)).astype(np.float32),
            "box_categories": np.array([box.category for box in sample.boxes], np.int32),
        }

    def finish(self, targets: Mapping[str, Any], size: tuple[int, int]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return one-hot classes, centre and size in 0…1, objectness; each with its weights."""
        from keras import ops

        height, width = size
        category = targets["box_categories"][:, 0]
        present = ops.cast(category >= 0, "float32")
        boxes = targets["boxes"][:, 0] / ops.convert_to_tensor([width, height, width, height], "float32")
        begin, end = boxes[:, :2], boxes[:, 2:]
        sides = ops.sqrt(end - begin) if self._settings.sqrt_sizes else end - begin
        answers = {
            "predictions": ops.one_hot(ops.maximum(category, 0), len(self._classes)),
            "box": ops.concatenate([(begin + end) / 2, sides], axis=-1),
        }
        weights = {"predictions": present, "box": present}
        if self._settings.objectness:
            answers["objectness"] = present[:, None]
            weights["objectness"] = ops.ones_like(present)
        return answers, weights

    def losses(self) -> dict[str, Any]:
        """Return cross-entropy, mean squared error, and binary cross-entropy."""
        import keras

        found = {
            "predictions": (cross_entropy(self._settings, len(self._classes)), 1.0),
            "box": (keras.losses.MeanSquaredError(), self._settings.box_weight),
        }
        if self._settings.objectness:
            found["objectness"] = (keras.losses.BinaryCrossentropy(), 1.0)
        return found

    def metrics(self) -> dict[str, list[Any]]:
        """Return accuracy, mean IoU, and how often the objectness is right."""
        import keras

        found: dict[str, list[Any]] = {
            "predictions": accuracies(len(self._classes)),
            "box": [_mean_iou(sqrt_sizes=self._settings.sqrt_sizes)],
        }
        if self._settings.objectness:
            found["objectness"] = [keras.metrics.BinaryAccuracy(name="objectness_accuracy")]
        return found


def _check(dataset: Dataset, *, objectness: bool) -> None:
    """Refuse labels with several boxes in a picture, and pictures without a box where nothing learns from them."""
    if not any(sample.boxes for sample in dataset.samples):
        raise DataError(f"{dataset.path!r} ({dataset.format}) has no boxes: it cannot teach localisation.")
    for sample in dataset.samples:
        if len(sample.boxes) > 1:
            raise DataError(
                f"{sample.origin or sample.name} has {len(sample.boxes)} boxes: a localiser learns one box a picture."
            )
        if not sample.boxes and not objectness:
            raise DataError(f"{sample.origin or sample.name} has no box. Use --objectness, or leave such pictures out.")


def _mean_iou(*, sqrt_sizes: bool) -> Any:
    """Make the metric: mean of intersection over union of predicted and true box."""
    import keras
    from keras import ops

    def iou(truth: Any, answer: Any) -> Any:
        first, second = (framed_corners(box, ops, sqrt_sizes=sqrt_sizes) for box in (truth, answer))
        low, high = ops.maximum(first[:, :2], second[:, :2]), ops.minimum(first[:, 2:], second[:, 2:])
        common = ops.prod(ops.maximum(high - low, 0.0), axis=-1)
        areas = [ops.prod(each[:, 2:] - each[:, :2], axis=-1) for each in (first, second)]
        return common / ops.maximum(areas[0] + areas[1] - common, 1e-9)

    return keras.metrics.MeanMetricWrapper(iou, name="mean_iou")
