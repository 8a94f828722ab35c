"""What YOLO learns: one responsible box an object, objectness everywhere else, and regions that do not count.

YOLOv1: Redmon et al., "You Only Look Once", 2016, https://arxiv.org/abs/1506.02640. YOLO9000: Redmon & Farhadi,
2016, https://arxiv.org/abs/1612.08242. YOLOv3: Redmon & Farhadi, 2018, https://arxiv.org/abs/1804.02767. Darknet is
their own code, https://github.com/pjreddie/darknet, where ``yolo_layer.c`` says what the papers leave open.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import ops

from edgecv.decoders import YoloGrid, YoloV3
from edgecv.decoders.base import constant, corners
from edgecv.errors import ModelError, OptionError
from edgecv.network_outputs import decoder_order, flat_tensors, network_output_names
from edgecv.training.truths import CROWD, PADDING, areas, intersections

__all__ = ["YoloLoss", "start_objectness", "with_anchors", "yolo_grid_losses", "yolo_v3_losses"]

# YOLOv3, section 2.1: a box that overlaps an object by more, and is not its own, is ignored.
_IGNORED_IOU = 0.5
# A crowd takes the boxes that lie in it by this part of their own area or more.
_IGNORED_SHARE = 0.5
# YOLOv1, section 2.2 and equation 3: λ_noobj. YOLOv3 names none, Darknet's is 1.
_GRID_NO_OBJECT = 0.5
# In 0…1 of the input; keeps logarithms of padding finite.
_LEAST_SIDE = 1e-6


def yolo_v3_losses(
    decoder: YoloV3, strides: Sequence[int], classes: int, *, box_weight: float
) -> list[keras.losses.Loss]:
    """Make the losses of YOLOv3's outputs, in the decoder's order.

    An object belongs to the anchor, of those of all scales, whose size overlaps its own best, in the cell of its scale
    that holds the object's centre (section 2.1). Class scores are independent (section 2.2).

    Args:
        decoder: Of the network.
        strides: Pixels of the input by cell of each output. The input may have any size: its height and width are
            those of the grid times the stride.
        classes: Number of classes.
        box_weight: Weight of centre and size; 1 in Darknet.

    Raises:
        OptionError: There is not one stride an output.
    """
    if len(strides) != len(decoder.anchors):
        raise OptionError(f"{len(strides)} strides do not fit {len(decoder.anchors)} scales of anchors. Give one each.")
    anchors = [anchor for scale in decoder.anchors for anchor in scale]
    firsts = np.cumsum([0, *map(len, decoder.anchors)])
    return [
        YoloLoss(
            anchors,
            own=range(int(firsts[index]), int(firsts[index + 1])),
            cell=float(stride),
            classes=classes,
            shared=False,
            softmax=False,
            box_weight=box_weight,
            empty_weight=1.0,
            name=f"yolo_v3_{stride}",
        )
        for index, stride in enumerate(strides)
    ]


def yolo_grid_losses(decoder: YoloGrid, classes: int, *, box_weight: float) -> list[keras.losses.Loss]:
    """Make the loss of a grid whose cells have one set of class scores for all their boxes.

    As YOLOv3's, with YOLO's class scores that the cell of an object's centre alone learns (YOLOv1, section 2.2), by
    cross-entropy or independently as the decoder has them, and λ_noobj = 0.5 on the objectness of boxes without an
    object (equation 3 there). Anchors are in cells, so that the stride plays no part.

    Args:
        decoder: Of the network.
        classes: Number of classes.
        box_weight: Weight of centre and size; λ_coord = 5 in YOLOv1.

    Raises:
        OptionError: Class scores have no activation, so that nothing says what they are to become.
    """
    if decoder.activation == "none":
        raise OptionError("decoder 'yolo_grid': activation none cannot be trained. Set it to softmax or sigmoid.")
    loss = YoloLoss(
        decoder.anchors,
        own=range(len(decoder.anchors)),
        cell=1.0,
        classes=classes,
        shared=True,
        softmax=decoder.activation == "softmax",
        box_weight=box_weight,
        empty_weight=_GRID_NO_OBJECT,
        name="yolo_grid",
    )
    return [loss]


def with_anchors(decoder: YoloV3, sizes: Sequence[tuple[float, float]]) -> YoloV3:
    """Put other anchors onto the scales of a decoder: the scale that had the largest gets the largest.

    Args:
        decoder: Its scales keep their numbers of anchors.
        sizes: ``(width, height)`` in pixels, as many as the decoder has, in any order.

    Raises:
        OptionError: There are more or fewer.
    """
    numbers = [len(scale) for scale in decoder.anchors]
    if len(sizes) != sum(numbers):
        raise OptionError(f"{len(sizes)} anchors do not fit {len(numbers)} scales of {numbers}. Give {sum(numbers)}.")
    free = sorted((tuple(map(float, size)) for size in sizes), key=lambda size: (size[0] * size[1], size))
    scales: list[Any] = [()] * len(numbers)
    for index in sorted(range(len(numbers)), key=lambda index: np.mean(np.prod(decoder.anchors[index], axis=-1))):
        scales[index], free = tuple(free[: numbers[index]]), free[numbers[index] :]
    return replace(decoder, anchors=tuple(scales))


def start_objectness(network: keras.Model, decoder: YoloV3 | YoloGrid, *, probability: float = 0.01) -> None:
    """Let fresh outputs begin with boxes that are unlikely to hold an object; their other biases become 0.

    Most boxes hold none: without it their loss drowns that of the others in the first steps. Lin et al., "Focal Loss
    for Dense Object Detection", 2017, https://arxiv.org/abs/1708.02002, section 4.1: b = −log((1 − π)/π).

    Args:
        network: Whose outputs come from layers with a bias.
        decoder: Its decoder.
        probability: π, in (0, 1).

    Raises:
        ModelError: An output comes from no such layer.
    """
    outputs = flat_tensors(network.outputs)
    for place, index in enumerate(decoder_order(network, decoder.outputs)):
        layer = outputs[index]._keras_history.operation
        bias = getattr(layer, "bias", None)
        if bias is None:
            name = network_output_names(network)[index]
            raise ModelError(
                f"Output {name!r} of {network.name!r} comes from {layer.name!r}, which has no bias. "
                "Let it end in a convolution with one."
            )
        boxes = len(decoder.anchors) if isinstance(decoder, YoloGrid) else len(decoder.anchors[place])
        values = np.zeros(tuple(bias.shape), "float32")
        numbers = 5 if isinstance(decoder, YoloGrid) else len(values) // boxes
        values[4 : boxes * numbers : numbers] = np.log(probability / (1 - probability))
        bias.assign(values)


class YoloLoss(keras.losses.Loss):  # type: ignore[misc]
    """The loss of one output: of each picture the sum over its boxes and, as in YOLOv1's equation 3, over nothing else.

    Of the box that is responsible for an object, with the object's width w and height h in 0…1 of the picture:

        (2 − w·h) · box weight · [H(x, σ(tx)) + H(y, σ(ty)) + ½(tw − log(w/pw))² + ½(th − log(h/ph))²]
            + H(1, σ(objectness)) + class loss

    x and y is where the object's centre lies in its cell, in 0…1; pw and ph is the anchor; H is binary cross-entropy.
    These are the targets of YOLOv3, section 2.1; the gradients by tx … th are those of Darknet, σ(tx) − x and
    tw − log(w/pw), and so is the weight of small boxes. Of every other box it is H(0, σ(objectness)) times the weight
    of boxes without an object, unless it overlaps an object by an IoU above 0.5 or lies by half its area or more in a
    crowd: then it is nothing. Of two objects that want the same box, and of two whose cell shares its class scores,
    the later in the list has it, as in Darknet.
    """

    def __init__(
        self,
        anchors: Sequence[tuple[float, float]],
        *,
        own: range,
        cell: float,
        classes: int,
        shared: bool,
        softmax: bool,
        box_weight: float,
        empty_weight: float,
        name: str,
    ) -> None:
        """Make it.

        Args:
            anchors: ``(width, height)`` of the boxes of all scales.
            own: Which of them this output has.
            cell: Width and height of a cell in units of the anchors.
            classes: Number of classes.
            shared: A cell has one set of class scores, behind its boxes' numbers; else each box has its own.
            softmax: Class scores go through a softmax; else each through a sigmoid.
            box_weight: Weight of centre and size.
            empty_weight: Weight of the objectness of boxes without an object.
            name: Name of the loss.
        """
        super().__init__(name=name)
        self._anchors = np.array(anchors, "float32") / cell  # in cells
        self._own = own
        self._classes = classes
        self._shared = shared
        self._softmax = softmax
        self._box_weight = box_weight
        self._empty_weight = empty_weight

    def call(self, truth: Any, output: Any) -> Any:
        """Return float32 ``(batch,)`` of truths ``(batch, objects, 5)`` and an output as its decoder has it."""
        batch, rows, columns, _ = ops.shape(output)
        grid = ops.cast(ops.stack([columns, rows]), "float32")
        # There is always a row to look up, also where no picture has an object.
        truth = ops.pad(truth, [[0, 0], [0, 1], [0, 0]], constant_values=PADDING)
        cells, boxes, values = self._wanted(truth, grid)
        numbers, scores = self._split(output, batch)
        flat = ops.reshape(numbers, (batch, -1, 5))
        owned, target = _owners(boxes, values, ops.shape(flat)[1])
        counted = ops.where(self._ignored(truth, numbers, grid), 0.0, self._empty_weight)
        objectness = ops.where(owned, 1.0, counted) * _cross_entropy(ops.cast(owned, "float32"), flat[..., 4])
        loss = self._box_loss(target, flat) * ops.cast(owned, "float32")
        loss = ops.sum(self._box_weight * loss + objectness, axis=-1)
        if self._shared:
            owned, target = _owners(cells, values, ops.shape(scores)[1])
        return loss + ops.sum(self._class_loss(target[..., -1], scores) * ops.cast(owned, "float32"), axis=-1)

    def _split(self, output: Any, batch: Any) -> tuple[Any, Any]:
        """Return ``(batch, rows, columns, boxes, 5)`` and class scores ``(batch, boxes or cells, classes)``."""
        _, rows, columns, _ = ops.shape(output)
        count = len(self._own)
        if self._shared:
            numbers, scores = output[..., : 5 * count], output[..., 5 * count :]
            numbers = ops.reshape(numbers, (batch, rows, columns, count, 5))
        else:
            output = ops.reshape(output, (batch, rows, columns, count, 5 + self._classes))
            numbers, scores = output[..., :5], output[..., 5:]
        return numbers, ops.reshape(scores, (batch, -1, self._classes))

    def _wanted(self, truth: Any, grid: Any) -> tuple[Any, Any, Any]:
        """Return where objects belong, and what is wanted there.

        Args:
            truth: ``(batch, objects, 5)``.
            grid: Columns and rows.

        Returns:
            The number of each object's cell and of its box, float32 ``(batch, objects)``, −1 for what belongs to no
            box of this output; and its x, y in its cell, log w/pw and log h/ph, weight and category,
            ``(batch, objects, 6)``.
        """
        begin, end, category = truth[..., :2], truth[..., 2:4], truth[..., 4]
        sides = ops.maximum(end - begin, _LEAST_SIDE)
        centres = (begin + end) / 2 * grid
        corner = ops.clip(ops.floor(centres), 0.0, grid - 1)
        anchors = constant(self._anchors, ops)
        best = ops.argmax(_size_overlaps(sides * grid, anchors), axis=-1)
        exponents = ops.log(sides * grid / ops.take(anchors, best, axis=0))
        weight = 2 - sides[..., :1] * sides[..., 1:]
        values = ops.concatenate([centres - corner, exponents, weight, category[..., None]], axis=-1)
        # In float32, which counts to 2²⁴: comparing and reducing int32 would leave the GPU.
        box = ops.cast(best, "float32") - self._own.start
        belongs = (category >= 0) & (box >= 0) & (box < len(self._own))
        cell = corner[..., 1] * grid[0] + corner[..., 0]
        return ops.where(belongs, cell, -1.0), ops.where(belongs, cell * len(self._own) + box, -1.0), values

    def _ignored(self, truth: Any, numbers: Any, grid: Any) -> Any:
        """Say which of ``(batch, rows, columns, boxes, 5)`` overlap an object or lie in a crowd, ``(batch, boxes)``."""
        batch, rows, columns, *_ = ops.shape(numbers)
        x, y = ops.arange(columns, dtype="float32"), ops.arange(rows, dtype="float32")
        across, down = ops.meshgrid(x, y)
        origins = ops.stack([across, down], axis=-1)[:, :, None]
        anchors = constant(self._anchors[self._own.start : self._own.stop], ops)
        centres = (ops.sigmoid(numbers[..., :2]) + origins) / grid
        halves = ops.exp(numbers[..., 2:4]) * anchors / grid / 2
        found = ops.reshape(corners(centres, halves, ops), (batch, -1, 4))
        common = intersections(truth[..., :4], found)
        own = areas(found)[:, None]
        union = areas(truth[..., :4])[..., None] + own - common
        category = truth[..., 4:]
        overlapping = (category >= 0) & (common > _IGNORED_IOU * union)
        crowded = (category == CROWD) & (common >= _IGNORED_SHARE * own)
        return ops.any(overlapping | crowded, axis=1)

    def _box_loss(self, target: Any, numbers: Any) -> Any:
        offsets = _cross_entropy(target[..., :2], numbers[..., :2])
        sizes = (numbers[..., 2:4] - target[..., 2:4]) ** 2 / 2
        return target[..., 4] * ops.sum(offsets + sizes, axis=-1)

    def _class_loss(self, category: Any, scores: Any) -> Any:
        wanted = ops.one_hot(ops.cast(ops.maximum(category, 0.0), "int32"), self._classes)
        if self._softmax:
            return -ops.sum(wanted * ops.log_softmax(scores), axis=-1)
        return ops.sum(_cross_entropy(wanted, scores), axis=-1)


def _cross_entropy(wanted: Any, logits: Any) -> Any:
    """Return the binary cross-entropy of logits with what is wanted in 0…1, in a form that never overflows."""
    return ops.softplus(logits) - wanted * logits


def _size_overlaps(sizes: Any, anchors: Any) -> Any:
    """Return the IoU, ``(…, anchors)``, of sizes ``(…, 2)`` with anchors ``(anchors, 2)`` of the same centre."""
    least = ops.minimum(sizes[..., None, :], anchors)
    common = least[..., 0] * least[..., 1]
    return common / (sizes[..., :1] * sizes[..., 1:] + anchors[:, 0] * anchors[:, 1] - common)


def _owners(places: Any, values: Any, count: Any) -> tuple[Any, Any]:
    """Look up what is wanted of each of ``count`` places.

    Args:
        places: float32 ``(batch, objects)``, the place of each object, or −1.
        values: ``(batch, objects, numbers)``.
        count: How many places there are.

    Returns:
        Whether it is wanted by an object, bool ``(batch, count)``; and the values of the last that wants it,
        ``(batch, count, numbers)``, of any object where none does.
    """
    order = ops.arange(1, ops.shape(places)[1] + 1, dtype="float32")[:, None]
    wanting = places[..., None] == ops.arange(count, dtype="float32")
    last = ops.max(ops.where(wanting, order, 0.0), axis=1)
    owner = ops.cast(ops.maximum(last - 1, 0.0), "int32")
    return last > 0, ops.take_along_axis(values, owner[..., None], axis=1)
