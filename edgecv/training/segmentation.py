"""Learning to segment: a class for every pixel, from masks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgecv.data.mask_files import IGNORED
from edgecv.data.samples import Dataset, DataTask, Sample
from edgecv.errors import DataError

if TYPE_CHECKING:
    import keras

    from edgecv.architecture import Architecture
    from edgecv.deployable import ModelInfo
    from edgecv.pictures import Placement
    from edgecv.training.run_data import RunData
    from edgecv.training.settings import Settings

__all__ = ["SegmentationTask"]


class SegmentationTask:
    """Softmax over classes at every pixel, by cross-entropy; see `edgecv.training.tasks.TrainingTask`."""

    name: ClassVar[DataTask] = "segmentation"
    monitor: ClassVar[str] = "val_miou"
    higher_is_better: ClassVar[bool] = True
    measured: ClassVar[tuple[str, ...]] = ("miou", "pixel_accuracy")

    def __init__(self, data: "RunData", settings: "Settings") -> None:
        _check(data.dataset)
        self._train = data.parts["train"]
        if all(map(_is_ignored, self._train)):
            raise DataError(
                f"The masks of the {len(self._train)} training pictures of {data.dataset.path!r} hold {IGNORED} alone, "
                "which is of no class. Give masks with class numbers."
            )
        self._classes = data.dataset.classes
        self._settings = settings
        self._output = ""

    def network(self, architecture: "Architecture", base: "keras.Model | None") -> "keras.Model":
        """Build the segmenter, with all of a trained one that fits."""
        from edgecv.training.takeover import built, input_size_of

        size = input_size_of(architecture, base, self._settings.input_size)
        network = built(architecture, base, input_size=size, classes=len(self._classes))
        (self._output,) = network.output_names
        return network

    def heads(self, architecture: "Architecture") -> tuple[str, ...]:
        """Return the layers that give the classes."""
        return architecture.heads

    def notes(self, size: tuple[int, int]) -> tuple[str, ...]:  # noqa: ARG002
        """Tell of pictures from which nothing is learnt."""
        count = sum(map(_is_ignored, self._train))
        if not count:
            return ()
        return (f"training masks of {IGNORED} alone, from which nothing is learnt: {count} of {len(self._train)}",)

    def draw(self, folder: Path, size: tuple[int, int]) -> None:
        """Draw nothing."""

    def info(self, info: "ModelInfo") -> "ModelInfo":
        """Name the classes."""
        return replace(info, task="segmentation", labels=self._classes, decoder=None, localisation=None)

    def targets(self, sample: Sample, placement: "Placement") -> Mapping[str, Any]:
        """Return the mask as it lies in the input; beside the picture it is of no class."""
        if sample.mask is None:
            raise DataError(f"{sample.origin or sample.name} has no mask.")  # `_check` has looked at all of them
        return {"mask": placement.mask_in_input(sample.mask.read().pixels[:, :, 0])}

    def finish(self, targets: Mapping[str, Any], size: tuple[int, int]) -> tuple[dict[str, Any], dict[str, Any]]:  # noqa: ARG002
        """Return the class numbers, int32 ``(batch, height, width)``."""
        from keras import ops

        return {self._output: ops.cast(targets["mask"], "int32")}, {}

    def losses(self) -> dict[str, Any]:
        """Return cross-entropy over the pixels that have a class."""
        from edgecv.training.pixels import PixelCrossEntropy

        return {self._output: (PixelCrossEntropy(), 1.0)}

    def metrics(self) -> dict[str, list[Any]]:
        """Return the share of right pixels."""
        from edgecv.training.pixels import PixelAccuracy

        return {self._output: [PixelAccuracy()]}


def _is_ignored(sample: Sample) -> bool:
    """Tell whether no pixel has a class, as the reader of masks has seen."""
    return bool(sample.extra.get("ignored"))


def _check(dataset: Dataset) -> None:
    lacking: Sequence[Sample] = [sample for sample in dataset.samples if sample.mask is None]
    if lacking:
        raise DataError(
            f"{dataset.path!r} ({dataset.format}) has no masks: it cannot teach segmentation."
            if len(lacking) == len(dataset.samples)
            else f"{lacking[0].origin or lacking[0].name} has no mask: a segmenter learns from one for each picture."
        )
    if len(dataset.classes) < 2:
        raise DataError(
            f"The masks of {dataset.path!r} have the class {dataset.classes[0]!r} alone. "
            "A segmenter tells at least two apart, such as background 0 and object 1."
        )
