"""Learning to detect: any number of boxes a picture, with what the decoder of the network makes of its outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgecv.data.anchors import LEAST_SIDE, box_sizes, find_anchors, mean_overlap, read_anchors
from edgecv.data.samples import DataTask, Part, Sample, corners
from edgecv.decoders import Ssd, YoloGrid, YoloV3
from edgecv.errors import DataError, OptionError
from edgecv.preprocess import for_whole_pictures
from edgecv.training.takeover import built, input_size_of
from edgecv.training.truths import CROWD, truths

if TYPE_CHECKING:
    import keras

    from edgecv.architecture import Architecture
    from edgecv.decoders import Decoder
    from edgecv.deployable import ModelInfo
    from edgecv.pictures import Placement
    from edgecv.training.run_data import RunData
    from edgecv.training.settings import Settings

__all__ = ["DetectionTask"]

# Parts that need boxes: what they are called, and what for.
_PARTS: Mapping[Part, tuple[str, str]] = {
    "train": ("training", "learn from"),
    "val": ("validation", "choose the best epoch by"),
}
# Boxes a cell of a detector that is put on a classifier.
_GRID_ANCHORS = 5


class DetectionTask:
    """Boxes and classes at every anchor, as the network's decoder has them.

    Detectors learn with the decoder of their architecture, whose anchors may be found anew in the data; on a classifier
    a `edgecv.decoders.YoloGrid` is put. See `edgecv.training.tasks.TrainingTask`.
    """

    name: ClassVar[DataTask] = "detection"
    monitor: ClassVar[str] = "val_AP50"
    higher_is_better: ClassVar[bool] = True
    measured: ClassVar[tuple[str, ...]] = ("AP50", "AP")

    def __init__(self, data: "RunData", settings: "Settings") -> None:
        _check(data)
        self._data = data
        self._classes = data.dataset.classes
        self._settings = settings
        self._decoder: Decoder | None = None
        self._outputs: tuple[str, ...] = ()
        self._losses: Sequence[Any] = ()
        self._grid: tuple[int, ...] = (1, 1)
        # Width and height of the training part's boxes in pixels of the input: telling them opens every picture.
        self._sizes = np.empty((0, 2))

    def network(self, architecture: "Architecture", base: "keras.Model | None") -> "keras.Model":
        """Build the detector, and find the anchors that it is to use."""
        size = input_size_of(architecture, base, self._settings.input_size)
        scaling = base.edgecv_info.preprocess if base is not None else None
        fit = for_whole_pictures(scaling or architecture.preprocess).fit
        self._sizes = box_sizes(self._data.parts["train"], size, fit)
        self._check_sizes(size)
        if architecture.task == "classification":
            network = self._on_classifier(architecture, base, size)
        else:
            network = self._detector(architecture, base, size)
        self._outputs = tuple(network.output_names)
        self._grid = tuple(network.outputs[0].shape[1:3])
        return network

    def heads(self, architecture: "Architecture") -> tuple[str, ...]:
        """Return the layers that give the outputs."""
        if architecture.task == "classification":
            from edgecv.training.yolo_heads import HEADS

            return HEADS
        return architecture.heads

    def info(self, info: "ModelInfo") -> "ModelInfo":
        """Name the classes, and say how the outputs become boxes."""
        return replace(info, task="detection", labels=self._classes, decoder=self._decoder, localisation=None)

    def notes(self, size: tuple[int, int]) -> tuple[str, ...]:
        """Tell of classes without a box in the training part, and of boxes that are too small to be learnt."""
        said = []
        samples = self._data.parts["train"]
        used = {box.category for sample in samples for box in sample.boxes if box.counts}
        missing = [name for number, name in enumerate(self._classes) if number not in used]
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            names = ", ".join(repr(name) for name in missing[:3])
            said.append(f"classes without a box in the training part cannot be learnt: {names}{more}")
        small = len(self._sizes) - len(self._seen)
        if small:
            said.append(
                f"boxes of the training part that are less than a pixel wide or high at {size[0]}x{size[1]}, "
                f"and left out: {small}"
            )
        return tuple(said)

    def targets(self, sample: Sample, placement: "Placement") -> Mapping[str, Any]:
        """Return the boxes in pixels of the input; crowds and VOC's difficult ones as regions that do not count."""
        boxes = placement.boxes_in_input(corners(sample.boxes)).astype(np.float32)
        categories = np.array([box.category if box.counts else CROWD for box in sample.boxes], np.int32)
        return {"boxes": boxes, "box_categories": categories}

    def finish(self, targets: Mapping[str, Any], size: tuple[int, int]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the same truths for each output; see `edgecv.training.truths`."""
        wanted = truths(targets["boxes"], targets["box_categories"], size)
        return dict.fromkeys(self._outputs, wanted), {}

    def losses(self) -> dict[str, Any]:
        """Return the losses of the decoder's outputs."""
        weights = [1.0] * len(self._losses)
        if isinstance(self._decoder, Ssd):  # those of YOLO weigh their boxes themselves
            weights[0] = self._settings.box_weight
        return dict(zip(self._outputs, zip(self._losses, weights, strict=True), strict=True))

    def draw(self, folder: Path, size: tuple[int, int]) -> None:
        """Draw anchors.png: the anchors over the sizes of the boxes of the training part."""
        from edgecv.evaluation.anchor_plot import draw_anchors

        anchors = _anchor_sizes(self._decoder, size, self._grid)
        mean_iou = mean_overlap(self._seen, np.array(anchors))
        draw_anchors(folder / "anchors.png", self._seen, anchors, mean_iou=mean_iou)

    def metrics(self) -> dict[str, list[Any]]:
        """Return none: what counts is what the decoder makes of the outputs."""
        return {name: [] for name in self._outputs}

    @property
    def _seen(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Those of `_sizes` that are large enough to be learnt."""
        return self._sizes[np.all(self._sizes >= LEAST_SIDE, axis=1)]

    def _check_sizes(self, size: tuple[int, int]) -> None:
        """Refuse boxes that are all too small to be seen."""
        if not len(self._seen):
            raise DataError(
                f"All {len(self._sizes)} boxes of the training part of {self._data.dataset.path!r} are less than a "
                f"pixel wide or high at {size[0]}x{size[1]}. Choose a larger --input-size, or cut the pictures into "
                "tiles."
            )

    def _detector(
        self, architecture: "Architecture", base: "keras.Model | None", size: tuple[int, int]
    ) -> "keras.Model":
        """Build a detector with the decoder of the trained one, or of its architecture."""
        network = built(architecture, base, input_size=size, classes=len(self._classes))
        known = base.edgecv_info.decoder if base is not None else None
        decoder = known or architecture.decoder
        fresh = base is None or _channels(base) != _channels(network)
        if isinstance(decoder, Ssd):
            self._learn_ssd(network, decoder, size, fresh=fresh)
        elif isinstance(decoder, YoloV3):
            self._learn_yolo(network, decoder, architecture, size, fresh=fresh)
        else:
            raise OptionError(f"{architecture.name} has no decoder that edgecv can train. Choose another detector.")
        return network

    def _learn_ssd(self, network: "keras.Model", decoder: Ssd, size: tuple[int, int], *, fresh: bool) -> None:
        from edgecv.training.ssd import begin_as_background, ssd_losses

        for name, default in (("anchors", "auto"), ("multi_scale", None)):
            if getattr(self._settings, name) != default:
                raise OptionError(
                    f"--{name.replace('_', '-')} is for YOLO, and the anchors of {network.name} follow a rule. "
                    "Leave it out."
                )
        decoder.check([tuple(output.shape) for output in network.outputs], size)
        balance = self._settings.class_loss
        if balance == "auto":
            balance = "hard-negatives" if decoder.activation == "softmax" else "focal"
        if fresh and balance == "focal":
            begin_as_background(network, decoder)
        self._decoder = decoder
        self._losses = ssd_losses(decoder, size, len(self._classes), balance=balance)

    def _learn_yolo(
        self,
        network: "keras.Model",
        decoder: YoloV3,
        architecture: "Architecture",
        size: tuple[int, int],
        *,
        fresh: bool,
    ) -> None:
        from edgecv.training.yolo import start_objectness, with_anchors, yolo_v3_losses

        self._check_class_loss(network)
        if not fresh and self._settings.anchors != "auto":
            raise OptionError(
                f"--anchors {self._settings.anchors!r} is not for a trained {network.name} of as many classes, which "
                "goes on with its own. Leave it out."
            )
        if fresh and self._settings.anchors != "default":
            decoder = with_anchors(decoder, self._anchors(architecture, sum(map(len, decoder.anchors))))
        if fresh:
            start_objectness(network, decoder)
        strides = [size[0] // int(output.shape[1]) for output in network.outputs]
        self._decoder = decoder
        self._losses = yolo_v3_losses(decoder, strides, len(self._classes), box_weight=self._settings.box_weight)

    def _on_classifier(
        self, architecture: "Architecture", base: "keras.Model | None", size: tuple[int, int]
    ) -> "keras.Model":
        """Put one grid of boxes on the body of a classifier."""
        from edgecv.training.heads import without_top
        from edgecv.training.yolo import start_objectness, yolo_grid_losses
        from edgecv.training.yolo_heads import yolo_grid_head

        body = without_top(architecture.build(input_size=size) if base is None else base)
        network = yolo_grid_head(body, classes=len(self._classes), boxes=_GRID_ANCHORS)
        self._check_class_loss(network)
        _, rows, columns, _ = network.outputs[0].shape
        found = self._anchors(architecture, _GRID_ANCHORS)
        in_cells = tuple((width * columns / size[1], height * rows / size[0]) for width, height in found)
        decoder = YoloGrid(anchors=in_cells)
        start_objectness(network, decoder)
        self._decoder = decoder
        self._losses = yolo_grid_losses(decoder, len(self._classes), box_weight=self._settings.box_weight)
        return network

    def _anchors(self, architecture: "Architecture", count: int) -> Sequence[tuple[float, float]]:
        """Return sizes of anchors in pixels of the input: of a file, or of the boxes of the training part."""
        if self._settings.anchors == "auto":
            try:
                return [(w, h) for w, h in find_anchors(self._seen, count=count, seed=self._settings.seed).tolist()]
            except DataError as error:
                problem = str(error).partition(". ")[0]
                other = "a file of --anchors" if architecture.task == "classification" else "--anchors default"
                raise DataError(f"{problem}. Use {other}, or give more boxes.") from error
        given = read_anchors(self._settings.anchors)
        if len(given) != count:
            raise OptionError(
                f"{self._settings.anchors!r} has {len(given)} anchors, and {architecture.name} needs {count}. "
                f"Find them with edgecv data anchors --count {count}."
            )
        return given

    def _check_class_loss(self, network: "keras.Model") -> None:
        if self._settings.class_loss != "auto":
            raise OptionError(f"--class-loss is for SSD, and {network.name} learns as YOLO. Leave it out.")


def _check(data: "RunData") -> None:
    dataset = data.dataset
    if dataset.task not in ("detection", "localisation"):
        raise DataError(
            f"{dataset.path!r} ({dataset.format}) holds labels for {dataset.task}, and a detector needs boxes. "
            "Give other data."
        )
    if not any(sample.boxes for sample in dataset.samples):
        raise DataError(f"{dataset.path!r} ({dataset.format}) has no boxes: it cannot teach detection.")
    for part, (name, purpose) in _PARTS.items():
        samples = data.parts.get(part, ())
        if samples and not any(box.counts for sample in samples for box in sample.boxes):
            raise DataError(
                f"The {name} part of {dataset.path!r} has no boxes to {purpose}, beside crowds and difficult "
                "ones. Change --split, or give more labels."
            )


def _channels(network: "keras.Model") -> list[Any]:
    return [output.shape[-1] for output in network.outputs]


def _anchor_sizes(decoder: "Decoder | None", size: tuple[int, int], grid: tuple[int, ...]) -> list[tuple[float, float]]:
    """Return the different ``(width, height)`` of a decoder's anchors in pixels of an input ``(height, width)``.

    ``grid`` is ``(rows, columns)`` of the network's first output.
    """
    if isinstance(decoder, YoloV3):
        return [anchor for scale in decoder.anchors for anchor in scale]
    if isinstance(decoder, YoloGrid):
        return [(width * size[1] / grid[1], height * size[0] / grid[0]) for width, height in decoder.anchors]
    if isinstance(decoder, Ssd):
        sides = decoder.anchor_boxes(size)[:, 2:] * [size[1], size[0]]
        return [(width, height) for width, height in np.unique(sides.round(3), axis=0).tolist()]
    return []
