"""Learning to classify: one category a picture."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgecv.data.samples import DataTask, Sample
from edgecv.errors import DataError

if TYPE_CHECKING:
    import keras

    from edgecv.architecture import Architecture
    from edgecv.deployable import ModelInfo
    from edgecv.pictures import Placement
    from edgecv.training.run_data import RunData
    from edgecv.training.settings import Settings

__all__ = ["Classification"]

_TOP = 5
_HEAD_DROPOUT = 0.2


class Classification:
    """Softmax over classes, by cross-entropy; see `edgecv.training.tasks.TrainingTask`."""

    name: ClassVar[DataTask] = "classification"
    monitor: ClassVar[str] = "val_accuracy"
    higher_is_better: ClassVar[bool] = True
    measured: ClassVar[tuple[str, ...]] = ()

    def __init__(self, data: "RunData", settings: "Settings") -> None:
        dataset = data.dataset
        if any(sample.category is None for sample in dataset.samples):
            raise DataError(
                f"{dataset.path!r} ({dataset.format}) gives no class to each picture: it cannot teach classification."
            )
        self._classes = dataset.classes
        self._settings = settings

    def network(self, architecture: "Architecture", base: "keras.Model | None") -> "keras.Model":
        """Put a dense softmax on a trained body, or build it with auxiliary classifiers where it has some."""
        from edgecv.training.heads import classification_head, without_top

        classes = len(self._classes)
        if base is not None:
            return classification_head(without_top(base), classes=classes, dropout=head_dropout(self._settings))
        auxiliary = architecture.auxiliary_weight is not None
        return architecture.build(input_size=self._settings.input_size, classes=classes, auxiliary=auxiliary)

    def heads(self, architecture: "Architecture") -> tuple[str, ...]:  # noqa: ARG002
        """Return the layers that `network` puts on a trained body."""
        from edgecv.training.heads import HEADS

        return HEADS

    def notes(self, size: tuple[int, int]) -> tuple[str, ...]:  # noqa: ARG002
        """Say nothing."""
        return ()

    def draw(self, folder: Path, size: tuple[int, int]) -> None:
        """Draw nothing."""

    def info(self, info: "ModelInfo") -> "ModelInfo":
        """Name the classes."""
        return replace(info, task="classification", labels=self._classes, decoder=None)

    def targets(self, sample: Sample, placement: "Placement") -> Mapping[str, Any]:  # noqa: ARG002
        """Return the category."""
        return {"category": np.int32(sample.category or 0)}

    def finish(self, targets: Mapping[str, Any], size: tuple[int, int]) -> tuple[dict[str, Any], dict[str, Any]]:  # noqa: ARG002
        """Return the class as one-hot vector."""
        from keras import ops

        return {"predictions": ops.one_hot(targets["category"], len(self._classes))}, {}

    def losses(self) -> dict[str, Any]:
        """Return cross-entropy."""
        return {"predictions": (cross_entropy(self._settings, len(self._classes)), 1.0)}

    def metrics(self) -> dict[str, list[Any]]:
        """Return accuracy, and top-5 where there are more classes."""
        return {"predictions": accuracies(len(self._classes))}


def head_dropout(settings: "Settings") -> float:
    """Return the dropout before a new head."""
    return _HEAD_DROPOUT if settings.dropout is None else settings.dropout


def cross_entropy(settings: "Settings", classes: int) -> Any:
    """Make the loss of class scores that went through a softmax, or through a sigmoid for a single class."""
    import keras

    if classes == 1:  # among one class everything is that class: the other loss would be 0 from the beginning
        return keras.losses.BinaryCrossentropy(label_smoothing=settings.label_smoothing)
    return keras.losses.CategoricalCrossentropy(label_smoothing=settings.label_smoothing)


def accuracies(classes: int) -> list[Any]:
    """Make the metrics of class scores."""
    import keras

    found: list[Any] = [keras.metrics.CategoricalAccuracy(name="accuracy")]
    if classes > _TOP:
        found.append(keras.metrics.TopKCategoricalAccuracy(_TOP, name="top5"))
    return found
