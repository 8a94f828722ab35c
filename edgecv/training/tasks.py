"""What a task has to say for a network to learn it; the loop, checkpoints and logs know no task."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from edgecv.architecture import Architecture
from edgecv.data.samples import DataTask, Part, Sample
from edgecv.errors import OptionError
from edgecv.registry import load_architecture

if TYPE_CHECKING:
    import keras

    from edgecv.deployable import ModelInfo
    from edgecv.pictures import Placement
    from edgecv.training.run_data import RunData
    from edgecv.training.settings import Settings

__all__ = ["TrainingTask", "find_task", "learns", "monitored", "task_of", "trainable"]


class TrainingTask(Protocol):
    """One way of learning from labelled pictures; made for the data and the settings of a run.

    Attributes:
        name: The task.
        monitor: The validation metric by which the best epoch is chosen.
        higher_is_better: Whether more of it is better.
        measured: Figures of `edgecv.evaluation.evaluate.evaluate` that each epoch ends with: those of the network
            with the decoding and suppression that will ship. Without any, `metrics` are enough.
    """

    name: ClassVar[DataTask]
    monitor: ClassVar[str]
    higher_is_better: ClassVar[bool]
    measured: ClassVar[tuple[str, ...]]

    def __init__(self, data: "RunData", settings: "Settings") -> None:
        """Check that the labels can teach the task.

        Raises:
            DataError: They cannot.
        """

    def network(self, architecture: Architecture, base: "keras.Model | None") -> "keras.Model":
        """Build the network that learns; all other methods are called afterwards.

        Args:
            architecture: What to build.
            base: A trained network of it, to start from; None for fresh weights.

        Raises:
            TrainingError: ``base`` is another network.
            EdgecvError: As the architecture's builder.
        """

    def heads(self, architecture: Architecture) -> tuple[str, ...]:
        """Return patterns (`fnmatch`) of the names of layers that are new, and learn first."""

    def notes(self, size: tuple[int, int]) -> tuple[str, ...]:
        """Say what the user should know of the labels at an input of ``(height, width)`` pixels."""

    def info(self, info: "ModelInfo") -> "ModelInfo":
        """Complete what `edgecv.deploy` has to know of the network."""

    def draw(self, folder: Path, size: tuple[int, int]) -> None:
        """Draw what only the task knows of a run into its folder of plots, for an input of ``(height, width)``."""

    def targets(self, sample: Sample, placement: "Placement") -> Mapping[str, Any]:
        """Return a sample's arrays; ``boxes`` and ``mask`` follow the picture through augmentation."""

    def finish(self, targets: Mapping[str, Any], size: tuple[int, int]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Turn a batch's arrays into what the losses take: answers and weights by output; runs inside tf.data.

        Args:
            targets: Tensors of a batch by the names of `targets`, after augmentation.
            size: ``(height, width)`` of the input in pixels; tensors where it changes from batch to batch.
        """

    def losses(self) -> dict[str, tuple[Any, float]]:
        """Return loss and its weight by output: the network's name of it, or ``predictions`` for a classifier's."""

    def metrics(self) -> dict[str, list[Any]]:
        """Return fresh metrics by output; their names are unique within the task."""


# Task → "module:class", imported when it is wanted.
_TASKS: dict[str, str] = {
    "classification": "edgecv.training.classification:Classification",
    "localisation": "edgecv.training.localisation:LocalisationTask",
    "detection": "edgecv.training.detection:DetectionTask",
    "segmentation": "edgecv.training.segmentation:SegmentationTask",
}


def find_task(name: DataTask) -> type[TrainingTask]:
    """Return a task's class."""
    import importlib

    module, _, attribute = _TASKS[name].partition(":")
    found: type[TrainingTask] = getattr(importlib.import_module(module), attribute)
    return found


def task_of(architecture: Architecture, settings: "Settings", data_task: DataTask) -> DataTask:
    """Return what an architecture learns from data.

    Args:
        architecture: The network: detectors and segmenters learn their task alone, and classifiers become
            classifiers, localisers or detectors.
        settings: May name the task.
        data_task: What the labels teach by themselves.

    Raises:
        OptionError: The architecture cannot learn it.
    """
    own = architecture.task
    known = _LEARNS.get(own, ())
    wanted = settings.task or (data_task if own == "classification" else known[0])
    if wanted not in known:
        raise OptionError(
            f"{architecture.name} is a {own} network and cannot learn {wanted}"
            f"{f', only {_either(known)}' if known else ''}. Choose another one of 'edgecv list architectures'."
        )
    return wanted


# What architectures of a task can learn.
_LEARNS: Mapping[str, tuple[DataTask, ...]] = {
    "classification": ("classification", "localisation", "detection"),
    "detection": ("detection",),
    "segmentation": ("segmentation",),
}


def learns(architecture: Architecture, task: DataTask) -> bool:
    """Tell whether an architecture can learn a task."""
    return task in _LEARNS.get(architecture.task, ())


def _either(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 2 else names)


def trainable(name: str) -> Architecture:
    """Return an architecture that can be trained.

    Raises:
        UnknownNameError: There is none of this name.
        OptionError: Its task is none that is trained.
    """
    architecture = load_architecture(name)
    if architecture.task not in _LEARNS:
        raise OptionError(
            f"{name} is a network of the task {architecture.task!r}, which edgecv cannot train. "
            "Choose another one of 'edgecv list architectures'."
        )
    return architecture


def monitored(task: TrainingTask, parts: Mapping[Part, object]) -> str:
    """Return the metric by which the best epoch is chosen: without a validation part the training part's."""
    return task.monitor if parts.get("val") else task.monitor.removeprefix("val_")
