"""The decoder of one grid whose cells have several boxes and share one set of class scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from edgecv.decoders.base import (
    activated,
    cell_indices,
    check_fields,
    choice,
    constant,
    corners,
    flat,
    grid_of,
    list_of,
    number,
    text,
)
from edgecv.errors import OptionError

__all__ = ["YoloGrid"]

ClassActivation = Literal["none", "sigmoid", "softmax"]


@dataclass(frozen=True, kw_only=True)
class YoloGrid:
    """B boxes a cell, with one set of C class scores for all of them.

    The network's one output is a grid ``(batch, rows, columns, B·5 + C)`` of numbers that have gone through no
    activation. A cell's numbers are tx, ty, tw, th, to of its first box, the same of its second, and so on;
    then its C class scores: 5 boxes and 20 classes are 45 numbers. With the cell's column cx and row cy, an
    anchor (pw, ph) in cells, and σ the logistic function, a box and its score for a class are

        centre x = (cx + σ(tx)) / columns        width  = pw · exp(tw) / columns
        centre y = (cy + σ(ty)) / rows           height = ph · exp(th) / rows
        score = σ(to) · activation(class scores)

    which is the direct location prediction of Redmon & Farhadi, "YOLO9000", 2016, section 2
    (https://arxiv.org/abs/1612.08242), with YOLO's class scores that belong to the cell (Redmon et al., 2016,
    section 2 and equation 1, https://arxiv.org/abs/1506.02640). An exponential that overflows gives a box as
    large as the picture.

    Attributes:
        anchors: ``(width, height)`` of each box of a cell, in cells: pixels of the input / stride.
        activation: What class scores go through.
        outputs: Name of the network's output, where it has several.
    """

    name: ClassVar[str] = "yolo_grid"

    anchors: tuple[tuple[float, float], ...]
    activation: ClassActivation = "softmax"
    outputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(
            self,
            anchors=list_of(list_of(number(above=0), count=2)),
            activation=choice(*get_args(ClassActivation)),
            outputs=list_of(text(), minimum=0),
        )

    def is_joint(self, outputs: int) -> bool:  # noqa: ARG002
        """Tell whether boxes and scores come in one tensor, with so many outputs of the network."""
        return True

    def check(self, shapes: Sequence[tuple[int | None, ...]], input_size: tuple[int, int]) -> int:  # noqa: ARG002
        """Return the number of classes; see `Decoder.check`.

        Raises:
            OptionError: The output does not fit.
        """
        if len(shapes) != 1:
            raise OptionError(f"decoder 'yolo_grid' needs 1 output, got {len(shapes)}. Name it with the key 'outputs'.")
        channels = grid_of(self, 0, shapes[0])[2]
        boxes = len(self.anchors)
        classes = channels - 5 * boxes
        if classes < 1:
            raise OptionError(
                f"decoder 'yolo_grid': {boxes} anchors and at least 1 class need {5 * boxes + 1} channels or more, "
                f"the network's head has {channels}. Change anchors."
            )
        return classes

    def decode(
        self,
        outputs: Sequence[Any],
        input_size: tuple[int, int],  # noqa: ARG002
        ops: Any,
    ) -> tuple[Any, Any]:
        """Return boxes and scores; see `Decoder.decode`."""
        (grid,) = outputs
        _, rows, columns, channels = grid.shape
        boxes = len(self.anchors)
        cells = flat(grid, ops)
        numbers = ops.reshape(cells[..., : 5 * boxes], (-1, rows * columns * boxes, 5))
        scores = self._scores(cells[..., 5 * boxes :], numbers[..., 4:], ops)
        scores = ops.reshape(scores, (-1, rows * columns * boxes, channels - 5 * boxes))
        return self._boxes(numbers, (rows, columns), ops), scores

    def _boxes(self, numbers: Any, grid: tuple[int, int], ops: Any) -> Any:
        import numpy as np

        size = np.array([grid[1], grid[0]])
        origins = np.repeat(cell_indices(grid) / size, len(self.anchors), axis=0)
        halves = np.tile(np.array(self.anchors) / size / 2, (grid[0] * grid[1], 1))
        centres = ops.sigmoid(numbers[..., :2]) * constant(1 / size, ops) + constant(origins, ops)
        return corners(centres, ops.exp(numbers[..., 2:4]) * constant(halves, ops), ops)

    def _scores(self, classes: Any, objectness: Any, ops: Any) -> Any:
        """Multiply class scores ``(batch, cells, C)`` and objectness ``(batch, cells · B, 1)`` to (…, cells, B, C)."""
        _, cells, count = classes.shape
        objectness = ops.reshape(ops.sigmoid(objectness), (-1, cells, len(self.anchors), 1))
        if self.activation == "softmax" and count == 1:  # is 1
            return objectness
        classes = ops.reshape(activated(classes, self.activation, ops), (-1, cells, 1, count))
        return classes * objectness
