"""What a task has to say for a network to learn it; the loop, checkpoints and logs know no task."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from edgecv.architecture import Architecture
from edgecv.data.samples import Dataset, DataTask, Part, Sample
from edgecv.errors import OptionError, TrainingError
from edgecv.registry import load_architecture

if TYPE_CHECKING:
    import keras

    from edgecv.deployable import ModelInfo
    from edgecv.pictures import Placement
    from edgecv.training.settings import Settings

__all__ = ["TrainingTask", "find_task", "monitored", "trainable"]


class TrainingTask(Protocol):
    """One way of learning from labelled pictures; made for a data set and the settings of a run.

    Attributes:
        name: The task.
        monitor: The validation metric by which the best epoch is chosen.
        higher_is_better: Whether more of it is better.
    """

    name: ClassVar[DataTask]
    monitor: ClassVar[str]
    higher_is_better: ClassVar[bool]

    def __init__(self, dataset: Dataset, settings: "Settings") -> None:
        """Check that the labels can teach the task.

        Raises:
            DataError: They cannot.
        """

    def head(self, base: "keras.Model") -> "keras.Model":
        """Put the task's outputs on a classifier without its top."""

    def info(self, info: "ModelInfo") -> "ModelInfo":
        """Complete what `edgecv.deploy` has to know of the network."""

    def targets(self, sample: Sample, placement: "Placement") -> Mapping[str, Any]:
        """Return a sample's arrays; ``boxes`` and ``mask`` follow the picture through augmentation."""

    def finish(self, targets: Mapping[str, Any], size: tuple[int, int]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Turn a batch's arrays into what the losses take: answers and weights by output; runs inside tf.data.

        Args:
            targets: Tensors of a batch by the names of `targets`, after augmentation.
            size: ``(height, width)`` of the input in pixels.
        """

    def losses(self) -> dict[str, tuple[Any, float]]:
        """Return loss and its weight by output."""

    def metrics(self) -> dict[str, list[Any]]:
        """Return fresh metrics by output; their names are unique within the task."""


# Task → "module:class", imported when it is wanted.
_TASKS: dict[str, str] = {
    "classification": "edgecv.training.classification:Classification",
    "localisation": "edgecv.training.localisation:LocalisationTask",
}


def find_task(name: str) -> type[TrainingTask]:
    """Return a task's class.

    Raises:
        TrainingError: edgecv cannot train it.
    """
    import importlib

    if name not in _TASKS:
        raise TrainingError(f"edgecv cannot train {name} yet, only {' and '.join(_TASKS)}. Choose one with --task.")
    module, _, attribute = _TASKS[name].partition(":")
    found: type[TrainingTask] = getattr(importlib.import_module(module), attribute)
    return found


def trainable(name: str) -> Architecture:
    """Return an architecture that can be trained.

    Raises:
        UnknownNameError: There is none of this name.
        OptionError: It is no classifier: heads of tasks are put on those.
    """
    architecture = load_architecture(name)
    if architecture.task != "classification":
        raise OptionError(
            f"{name} is a {architecture.task} network, which edgecv cannot train. "
            "Choose a classifier of 'edgecv list architectures'."
        )
    return architecture


def monitored(task: TrainingTask, parts: Mapping[Part, object]) -> str:
    """Return the metric by which the best epoch is chosen: without a validation part the training part's."""
    return task.monitor if parts.get("val") else task.monitor.removeprefix("val_")
