"""The decoder of YOLOv3: anchors on grids of several scales, each box with class scores of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from edgecv.decoders.base import (
    cell_indices,
    check_fields,
    constant,
    corners,
    flat,
    grid_of,
    joined,
    list_of,
    number,
    text,
)
from edgecv.errors import OptionError

__all__ = ["YoloV3"]


@dataclass(frozen=True, kw_only=True)
class YoloV3:
    """B boxes a cell on each of several grids, each box with its own objectness and class scores.

    The network's outputs, one a scale, are grids ``(batch, rows, columns, B·(5 + C))`` of numbers that have gone
    through no activation; box by box, they are tx, ty, tw, th, the objectness, and C class scores. With the cell's
    column cx and row cy, an anchor (pw, ph) in pixels of the input, and σ the logistic function, a box and its
    score for a class are

        centre x = (cx + σ(tx)) / columns        width  = pw · exp(tw) / input width
        centre y = (cy + σ(ty)) / rows           height = ph · exp(th) / input height
        score = σ(objectness) · σ(class score)

    after Redmon & Farhadi, "YOLOv3", 2018, section 2.1 and 2.2, https://arxiv.org/abs/1804.02767. An exponential
    that overflows gives a box as large as the picture.

    Attributes:
        anchors: For each scale, in the outputs' order, ``(width, height)`` of each box of a cell, in pixels.
        outputs: Names of the network's outputs in the order of ``anchors``; empty for the network's own order.
    """

    name: ClassVar[str] = "yolo_v3"

    anchors: tuple[tuple[tuple[float, float], ...], ...]
    outputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(
            self,
            anchors=list_of(list_of(list_of(number(above=0), count=2))),
            outputs=list_of(text(), minimum=0),
        )

    def is_joint(self, outputs: int) -> bool:  # noqa: ARG002
        """Tell whether boxes and scores come in one tensor, with so many outputs of the network."""
        return True

    def check(self, shapes: Sequence[tuple[int | None, ...]], input_size: tuple[int, int]) -> int:  # noqa: ARG002
        """Return the number of classes; see `Decoder.check`.

        Raises:
            OptionError: The outputs do not fit.
        """
        if len(shapes) != len(self.anchors):
            raise OptionError(
                f"decoder 'yolo_v3': anchors for {len(self.anchors)} scales do not fit {len(shapes)} outputs. "
                "Give one list of anchors for each output."
            )
        classes = [self._classes(index, shape) for index, shape in enumerate(shapes)]
        if len(set(classes)) != 1:
            raise OptionError(f"decoder 'yolo_v3': the outputs have different numbers of classes, {classes}.")
        return classes[0]

    def decode(self, outputs: Sequence[Any], input_size: tuple[int, int], ops: Any) -> tuple[Any, Any]:
        """Return boxes and scores; see `Decoder.decode`."""
        grids = [tuple(output.shape[1:3]) for output in outputs]
        # One tensor of all scales, so that every operation below runs once.
        numbers = joined(
            [flat(output, ops, per_cell=len(anchors)) for output, anchors in zip(outputs, self.anchors, strict=True)],
            ops,
        )
        scores = ops.sigmoid(numbers[..., 4:5]) * ops.sigmoid(numbers[..., 5:])
        return self._boxes(numbers[..., :4], grids, input_size, ops), scores

    def _classes(self, index: int, shape: tuple[int | None, ...]) -> int:
        channels = grid_of(self, index, shape)[2]
        boxes = len(self.anchors[index])
        if channels % boxes or channels // boxes < 6:
            raise OptionError(
                f"decoder 'yolo_v3': {boxes} anchors need {boxes} times 5 + classes channels, "
                f"output {index} has {channels}. Change anchors."
            )
        return channels // boxes - 5

    def _boxes(self, numbers: Any, grids: Sequence[tuple[int, ...]], input_size: tuple[int, int], ops: Any) -> Any:
        import numpy as np

        cells, origins, halves = [], [], []
        for (rows, columns), anchors in zip(grids, self.anchors, strict=True):
            count = rows * columns
            cells.append(np.tile([1 / columns, 1 / rows], (count * len(anchors), 1)))
            origins.append(np.repeat(cell_indices((rows, columns)) / [columns, rows], len(anchors), axis=0))
            halves.append(np.tile(np.array(anchors) / [input_size[1], input_size[0]] / 2, (count, 1)))
        offsets, sizes = ops.split(numbers, 2, axis=-1)
        centres = ops.sigmoid(offsets) * constant(np.concatenate(cells), ops) + constant(np.concatenate(origins), ops)
        return corners(centres, ops.exp(sizes) * constant(np.concatenate(halves), ops), ops)
