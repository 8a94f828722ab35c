"""The decoder of anchor-free detectors: distances from a point to the four sides of its box."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from edgecv.decoders.base import (
    activated,
    cell_indices,
    check_fields,
    check_softmax,
    choice,
    constant,
    flat,
    grid_of,
    joined,
    list_of,
    shape_text,
    text,
    undoable,
    whole,
)
from edgecv.errors import OptionError

__all__ = ["AnchorFree"]

ScoreActivation = Literal["none", "sigmoid", "softmax"]


@dataclass(frozen=True, kw_only=True)
class AnchorFree:
    """Distances from the middle of each cell to the left, top, right and bottom side of its box.

    The network's outputs are, with K = 4 · ``bins``, one of

    * for each stride a grid ``(batch, rows, columns, K + C)``;
    * for each stride two grids, the distances ``(…, K)``, then the class scores ``(…, C)``;
    * all strides in one tensor ``(batch, anchors, K + C)``;
    * all strides in two tensors, the distances ``(batch, anchors, K)``, then the class scores ``(batch, anchors, C)``.

    Anchors run by stride in the order of ``strides``, then by row, then by column. Cell (i, j) of stride s stands for
    the point x = (j + ½) · s, y = (i + ½) · s in pixels, and with the distances l, t, r, b in strides its box is

        x1 = (x − l·s) / width,  y1 = (y − t·s) / height,  x2 = (x + r·s) / width,  y2 = (y + b·s) / height

    (Tian et al., "FCOS", 2019, section 3.1 and equation 1, https://arxiv.org/abs/1904.01355). With several bins,
    a distance is the mean of the distribution that the network gives for it: Σ k · softmax(numbers)ₖ over
    k = 0 … bins − 1 (Li et al., "Generalized Focal Loss", 2020, equation 5, https://arxiv.org/abs/2006.04388).

    Attributes:
        strides: Pixels a cell of each grid, in the outputs' order.
        bins: Numbers for one distance; 1 where the network gives the distance itself.
        activation: What class scores still have to go through.
        outputs: Names of the network's outputs in the order above; empty for the network's own order.
    """

    name: ClassVar[str] = "anchor_free"

    strides: tuple[int, ...] = (8, 16, 32)
    bins: int = 16
    activation: ScoreActivation = "sigmoid"
    outputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(
            self,
            strides=list_of(whole(1)),
            bins=whole(1),
            activation=choice(*get_args(ScoreActivation)),
            outputs=list_of(text(), minimum=0),
        )

    def grids(self, input_size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Return ``(rows, columns)`` of each stride's grid: the input's size over the stride, rounded up."""
        height, width = input_size
        return tuple((-(-height // stride), -(-width // stride)) for stride in self.strides)

    @property
    def score_activation(self) -> str:
        """What scores went through last and can be compared without: ``sigmoid`` or ``none``."""
        return undoable(self.activation)

    def is_joint(self, outputs: int) -> bool:
        """Tell whether boxes and scores come in one tensor, with so many outputs of the network."""
        return outputs in (1, len(self.strides))

    def check(self, shapes: Sequence[tuple[int | None, ...]], input_size: tuple[int, int]) -> int:
        """Return the number of classes; see `Decoder.check`.

        Raises:
            OptionError: The outputs do not fit.
        """
        ranks = {len(shape) for shape in shapes}
        if ranks == {3} and len(shapes) <= 2:
            return self._check_flat(shapes, input_size)
        if ranks == {4} and len(shapes) in (len(self.strides), 2 * len(self.strides)):
            return self._check_grids(shapes, input_size)
        raise OptionError(
            f"decoder 'anchor_free': outputs of the shapes {', '.join(map(shape_text, shapes)) or 'none'} do not fit "
            f"{len(self.strides)} strides; it needs one or two grids for each, or one or two tensors "
            "(batch, anchors, numbers) for all."
        )

    def decode(self, outputs: Sequence[Any], input_size: tuple[int, int], ops: Any) -> tuple[Any, Any]:
        """Return boxes and scores; see `Decoder.decode`."""
        grids = self.grids(input_size)
        if len(outputs[0].shape) == 4:
            each = len(outputs) // len(self.strides)
            grids = tuple(tuple(output.shape[1:3]) for output in outputs[::each])
            outputs = self._joined(outputs, ops)
        distances, scores = outputs if len(outputs) == 2 else self._apart(outputs[0])
        distances, scores = ops.cast(distances, "float32"), ops.cast(scores, "float32")
        return self._boxes(distances, grids, input_size, ops), activated(scores, self.activation, ops)

    def _check_flat(self, shapes: Sequence[tuple[int | None, ...]], input_size: tuple[int, int]) -> int:
        if any(None in shape[1:] for shape in shapes) or shapes[0][1] != shapes[-1][1]:
            raise OptionError(
                f"decoder 'anchor_free': outputs of the shapes {', '.join(map(shape_text, shapes))} do not fit; they "
                "must have the same, known number of anchors."
            )
        count = sum(rows * columns for rows, columns in self.grids(input_size))
        if shapes[0][1] != count:
            raise OptionError(
                f"decoder 'anchor_free': strides {list(self.strides)} give {count} anchors at "
                f"{input_size[0]}x{input_size[1]}, the network's head has {shapes[0][1]}. Change strides."
            )
        return self._classes([int(shape[2] or 0) for shape in shapes])

    def _check_grids(self, shapes: Sequence[tuple[int | None, ...]], input_size: tuple[int, int]) -> int:
        grids = [grid_of(self, index, shape) for index, shape in enumerate(shapes)]
        each = len(grids) // len(self.strides)
        classes = []
        for index, stride in enumerate(self.strides):
            of_stride = grids[index * each : (index + 1) * each]
            for rows, columns, _ in of_stride:
                # A network rounds a size that is no multiple of the stride up or down.
                if abs(rows * stride - input_size[0]) >= stride or abs(columns * stride - input_size[1]) >= stride:
                    raise OptionError(
                        f"decoder 'anchor_free': a grid of {rows}x{columns} cells does not fit stride {stride} at "
                        f"{input_size[0]}x{input_size[1]}. Change strides, or the order of outputs."
                    )
            if of_stride[0][:2] != of_stride[-1][:2]:
                raise OptionError(
                    f"decoder 'anchor_free': the grids of stride {stride} differ, "
                    f"{' and '.join(f'{rows}x{columns}' for rows, columns, _ in of_stride)}."
                )
            classes.append(self._classes([channels for _, _, channels in of_stride]))
        if len(set(classes)) != 1:
            raise OptionError(f"decoder 'anchor_free': the strides have different numbers of classes, {classes}.")
        return classes[0]

    def _classes(self, channels: Sequence[int]) -> int:
        """Return the number of classes of one output of K + C numbers, or of two of K and C."""
        distances = 4 * self.bins
        if len(channels) == 2:
            fits, classes = channels[0] == distances, channels[1]
        else:
            fits, classes = channels[0] > distances, channels[0] - distances
        if not fits:
            needed = str(distances) if len(channels) == 2 else f"more than {distances}"
            raise OptionError(
                f"decoder 'anchor_free': 4 distances of {self.bins} bins need {needed} numbers, the network's head "
                f"has {channels[0]}. Change bins."
            )
        check_softmax(self, self.activation, classes)
        return classes

    def _joined(self, outputs: Sequence[Any], ops: Any) -> list[Any]:
        tensors = [flat(output, ops) for output in outputs]
        each = len(tensors) // len(self.strides)
        return [joined(tensors[part::each], ops) for part in range(each)]

    def _apart(self, numbers: Any) -> tuple[Any, Any]:
        return numbers[..., : 4 * self.bins], numbers[..., 4 * self.bins :]

    def _boxes(self, distances: Any, grids: Sequence[tuple[int, int]], input_size: tuple[int, int], ops: Any) -> Any:
        import numpy as np

        if self.bins > 1:
            anchors = distances.shape[1]
            share = ops.softmax(ops.reshape(distances, (-1, self.bins)))
            mean = ops.matmul(share, constant(np.arange(self.bins)[:, None], ops))
            distances = ops.reshape(mean, (-1, anchors, 4))
        height, width = input_size
        points, steps = [], []
        for grid, stride in zip(grids, self.strides, strict=True):
            point = (cell_indices(grid) + 0.5) * stride / [width, height]
            points.append(np.tile(point, 2))
            step = stride / np.array([-width, -height, width, height])
            steps.append(np.tile(step, (len(point), 1)))
        boxes = distances * constant(np.concatenate(steps), ops) + constant(np.concatenate(points), ops)
        return ops.clip(boxes, 0.0, 1.0)
