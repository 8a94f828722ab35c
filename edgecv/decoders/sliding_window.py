"""The decoder of fully convolutional classifiers: each cell of the grid has seen one window of the picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from edgecv.decoders.base import (
    cell_indices,
    check_fields,
    choice,
    constant,
    flag,
    flat,
    framed_corners,
    grid_of,
    joined,
    list_of,
    number,
    text,
    whole,
)
from edgecv.errors import OptionError

__all__ = ["SlidingWindow"]

BoxKind = Literal["window", "relative"]

_ANY_PIXEL = whole(-1_000_000)


@dataclass(frozen=True, kw_only=True)
class SlidingWindow:
    """Boxes of a classifier, or classifier-localiser, that looks at a whole picture in one pass.

    The network's outputs, each a grid ``(batch, rows, columns, …)`` with values that are already activated:

    * class scores ``C``, in [0, 1];
    * where trained, objectness ``1``, in [0, 1]: the score of a class is then class × objectness;
    * for ``box="relative"``, the box ``4``: centre x, centre y, width, height in 0…1 of the cell's window.

    For ``box="relative"`` one output of ``C + 1 + 4`` numbers in this order does as well.

    Cell (i, j) has seen the window whose top-left corner is at y = oy + i·sy, x = ox + j·sx pixels, with offset o
    and stride s, and whose size is ``window``: the step of a cell is the product of all strides before it
    (Sermanet et al., "OverFeat", 2014, section 3.5 and figure 5, https://arxiv.org/abs/1312.6229). Its box is

        x1 = (ox + j·sx + (cx − w/2)·window_width) / width,    x2 = (ox + j·sx + (cx + w/2)·window_width) / width

    and the same for y. With ``sqrt_sizes`` the network gives square roots, as YOLO's loss asks for (Redmon et
    al., 2016, equation 3, https://arxiv.org/abs/1506.02640), and w and h are squared first. With
    ``box="window"`` the box is the window itself: (cx, cy, w, h) = (½, ½, 1, 1).

    With several ``scales`` the network runs on the picture resized to each of `sizes`, and gives all its outputs
    for the first scale, then for the second, and so on.

    Attributes:
        stride: Pixels from one cell to the next, ``(vertical, horizontal)``.
        window: ``(height, width)`` in pixels of what one cell sees.
        offset: ``(y, x)`` of the top-left corner of the first cell's window; negative where padding lies there.
        box: ``window`` or ``relative``.
        sqrt_sizes: Widths and heights are square roots.
        scales: Factors on the input's size at which the network looks.
        outputs: Names of the network's outputs in the order above; empty for the network's own order.
    """

    name: ClassVar[str] = "sliding_window"

    stride: tuple[int, int]
    window: tuple[int, int]
    offset: tuple[int, int] = (0, 0)
    box: BoxKind = "window"
    sqrt_sizes: bool = False
    scales: tuple[float, ...] = (1.0,)
    outputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(
            self,
            stride=list_of(whole(1), count=2),
            window=list_of(whole(1), count=2),
            offset=list_of(_ANY_PIXEL, count=2),
            box=choice(*get_args(BoxKind)),
            sqrt_sizes=flag(),
            scales=list_of(number(above=0, maximum=16)),
            outputs=list_of(text(), minimum=0),
        )

    def takes_probabilities(self, outputs: int) -> bool:
        """Whether the first of a network's outputs is class scores alone, which this decoder takes as they are."""
        return self.box == "window" or outputs > 1

    def passes_scores(self, outputs: int) -> bool:
        """Whether its scores are the network's class scores, not multiplied by an objectness."""
        return outputs == (1 if self.box == "window" else 2)

    @property
    def fixed_boxes(self) -> bool:
        """Whether the boxes are the same on every picture, so that only scores can tell pictures apart."""
        return self.box == "window"

    def sizes(self, input_size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Return the ``(height, width)`` at which the network runs, one a scale.

        Each differs from the input's by a multiple of the stride: at other sizes SAME padding would lie
        elsewhere than the classifier was trained with.

        Raises:
            OptionError: A window is larger than the picture at that scale.
        """
        sizes = tuple(
            (_scaled(input_size[0], scale, self.stride[0]), _scaled(input_size[1], scale, self.stride[1]))
            for scale in self.scales
        )
        for scale, size in zip(self.scales, sizes, strict=True):
            # What a negative offset adds at the start may be added at the end, too.
            room = [side - 2 * min(start, 0) for side, start in zip(size, self.offset, strict=True)]
            if min(size) < 1 or self.window[0] > room[0] or self.window[1] > room[1]:
                at = "" if scale == 1 else f" at scale {scale:g}"
                raise OptionError(
                    f"decoder 'sliding_window': the window of {_size(self.window)} pixels is larger than the "
                    f"picture of {_size(size)}{at}. Choose a larger --input-size or larger scales."
                )
        return sizes

    def is_joint(self, outputs: int) -> bool:
        """Tell whether boxes and scores come in one tensor, with so many outputs of the network."""
        return self.box != "window" and outputs == 1

    def check(self, shapes: Sequence[tuple[int | None, ...]], input_size: tuple[int, int]) -> int:
        """Return the number of classes; see `Decoder.check`.

        Raises:
            OptionError: The outputs do not fit.
        """
        sizes = self.sizes(input_size)
        count = len(shapes) // len(sizes)
        if len(shapes) != count * len(sizes) or not 1 <= count <= (2 if self.box == "window" else 3):
            raise OptionError(
                f"decoder 'sliding_window': {len(shapes)} outputs over {len(sizes)} scales do not fit box "
                f"{self.box!r}, which needs {self._needs()} for each scale."
            )
        classes = {
            self._check_scale(index * count, shapes[index * count : (index + 1) * count], size)
            for index, size in enumerate(sizes)
        }
        if len(classes) != 1:
            raise OptionError(
                f"decoder 'sliding_window': the scales have different numbers of classes, {sorted(classes)}."
            )
        return classes.pop()

    def decode(self, outputs: Sequence[Any], input_size: tuple[int, int], ops: Any) -> tuple[Any, Any]:
        """Return boxes and scores; see `Decoder.decode`."""
        sizes = self.sizes(input_size)
        count = len(outputs) // len(sizes)
        grids = [tuple(outputs[index * count].shape[1:3]) for index in range(len(sizes))]
        parts = [joined([flat(x, ops) for x in outputs[part::count]], ops) for part in range(count)]
        if self.box == "relative" and count == 1:
            classes = parts[0].shape[-1] - 5
            parts = [parts[0][..., :classes], parts[0][..., classes : classes + 1], parts[0][..., classes + 1 :]]
        box = parts.pop() if self.box == "relative" else None
        scores = parts[0] * parts[1] if len(parts) == 2 else parts[0]
        origins, windows = self._windows(grids, sizes)
        if box is not None:
            return self._relative(box, origins, windows, ops), scores
        return _same_for_all(origins, windows, ops.shape(scores)[0], ops), scores

    def _needs(self) -> str:
        if self.box == "window":
            return "class scores and at most an objectness"
        return "class scores, at most an objectness, and a box of 4 numbers"

    def _check_scale(self, first: int, shapes: Sequence[tuple[int | None, ...]], size: tuple[int, int]) -> int:
        grids = [grid_of(self, first + index, shape) for index, shape in enumerate(shapes)]
        if len({grid[:2] for grid in grids}) != 1:
            raise OptionError(
                f"decoder 'sliding_window': outputs {first} to {first + len(grids) - 1} have different grids, "
                f"{', '.join(_size(grid[:2]) for grid in grids)}."
            )
        self._check_grid(grids[0][:2], size)
        channels = [grid[2] for grid in grids]
        if self.box == "relative" and len(channels) == 1:
            channels = [channels[0] - 5, 1, 4]
        box = [4] if self.box == "relative" else []
        if channels[0] < 1 or channels[1:] not in (box, [1, *box]):
            raise OptionError(
                f"decoder 'sliding_window': outputs of {', '.join(str(grid[2]) for grid in grids)} channels do not "
                f"fit box {self.box!r}, which needs {self._needs()}. The key 'outputs' names them in this order."
            )
        return channels[0]

    def _check_grid(self, grid: tuple[int, int], size: tuple[int, int]) -> None:
        """Refuse a grid that would lie beside the picture.

        Padding and rounding of the network move the end of the last window by less than one stride from the
        picture's end, plus as much as the first window is moved from its start.
        """
        for cells, side, stride, window, offset in zip(grid, size, self.stride, self.window, self.offset, strict=True):
            past = offset + (cells - 1) * stride + window - side
            if not -stride - max(offset, 0) < past < stride - min(offset, 0):
                raise OptionError(
                    f"decoder 'sliding_window': a grid of {_size(grid)} cells does not fit a picture of "
                    f"{_size(size)} with stride {_size(self.stride)}, window {_size(self.window)} and offset "
                    f"{self.offset[0]},{self.offset[1]}: the last window would end {abs(past)} pixels "
                    f"{'past' if past > 0 else 'before'} the picture's end. Change stride, window or offset."
                )

    def _windows(self, grids: Sequence[tuple[int, ...]], sizes: Sequence[tuple[int, int]]) -> tuple[Any, Any]:
        """Return origins and sizes of all windows, float64 ``(anchors, 2)``, x first, in 0…1 of the picture."""
        import numpy as np

        origins, windows = [], []
        for (rows, columns), (height, width) in zip(grids, sizes, strict=True):
            pixels = cell_indices((rows, columns)) * self.stride[::-1] + self.offset[::-1]
            origins.append(pixels / [width, height])
            windows.append(np.broadcast_to([self.window[1] / width, self.window[0] / height], pixels.shape))
        return np.concatenate(origins), np.concatenate(windows)

    def _relative(self, box: Any, origins: Any, windows: Any, ops: Any) -> Any:
        if len(self.scales) == 1:
            windows = windows[0]
        return framed_corners(box, ops, sqrt_sizes=self.sqrt_sizes, frames=(origins, windows))


def _same_for_all(origins: Any, windows: Any, batch: Any, ops: Any) -> Any:
    import numpy as np

    boxes = np.concatenate([origins, origins + windows], axis=-1).clip(0.0, 1.0)
    return ops.broadcast_to(constant(boxes, ops), (batch, *boxes.shape))


def _scaled(side: int, scale: float, stride: int) -> int:
    return side - stride * round(side * (1 - scale) / stride)


def _size(pair: Sequence[int]) -> str:
    return f"{pair[0]}x{pair[1]}"
