"""The resize inside the graph: pictures of any size go in; boxes come out in 0…1 of them, and masks at their size.

Bilinear interpolation between pixel centres, written as gathers of rows and columns with weights, so that every
engine computes the same numbers, and the network's input keeps a static size whatever the picture's is.
A pixel centre of the output lies at (i + ½) × step − ½ of the picture, clamped to it: what ONNX calls
``half_pixel`` and TensorFlow ``half_pixel_centers``. Nothing is smoothed where a picture becomes smaller.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from edgecv.errors import OptionError
from edgecv.preprocess import LETTERBOX_GREY

__all__ = ["GraphResize", "ResizeMode"]

ResizeMode = Literal["letterbox", "stretch"]


class _Axis(NamedTuple):
    """Where the picture lies along one axis of the input, in whole pixels; int32 scalar tensors."""

    picture: Any  # the picture's side
    filled: Any  # the part of the input that it fills
    before: Any  # what lies before it


@dataclass(frozen=True, kw_only=True)
class GraphResize:
    """A resize that is part of the graph.

    Attributes:
        mode: ``stretch`` ignores the aspect ratio; ``letterbox`` keeps the whole picture, centred, and fills
            the rest with grey 114.
    """

    mode: ResizeMode

    def __post_init__(self) -> None:
        if self.mode not in get_args(ResizeMode):
            raise OptionError(f"resize must be one of {', '.join(get_args(ResizeMode))}, got {self.mode!r}.")

    def apply(self, image: Any, size: tuple[int, int], ops: Any) -> Any:
        """Bring pictures to the network's size.

        Args:
            image: uint8 ``(batch, any, any, channels)`` in [0, 255].
            size: ``(height, width)`` of the network's input, in pixels.
            ops: ``keras.ops``.

        Returns:
            float32 ``(batch, height, width, channels)`` in [0, 255].
        """
        channels = int(image.shape[3])
        x, places = image, self._axes(image, size, ops)
        for axis, (place, side) in enumerate(zip(places, size, strict=True), start=1):
            x = _interpolated(x, place, side, axis, ops)
        x = ops.reshape(x, (-1, *size, channels))
        if self.mode == "stretch":
            return x
        rows, columns = (_inside(place, side, ops) for place, side in zip(places, size, strict=True))
        inside = ops.logical_and(ops.reshape(rows, (1, -1, 1, 1)), ops.reshape(columns, (1, 1, -1, 1)))
        return ops.where(inside, x, float(LETTERBOX_GREY))

    def boxes_in_picture(self, boxes: Any, image: Any, size: tuple[int, int], ops: Any) -> Any:
        """Map boxes ``(batch, count, 4)`` in 0…1 of the input to 0…1 of the picture, clipped to it."""
        if self.mode == "stretch":
            return boxes
        sides = []
        for place, side in zip(self._axes(image, size, ops), size, strict=True):
            filled, before = (ops.cast(each, "float32") for each in (place.filled, place.before))
            sides.append((float(side) / filled, before / filled))
        (high, top), (wide, left) = sides
        x1, y1, x2, y2 = (boxes[..., index : index + 1] for index in range(4))
        mapped = [x1 * wide - left, y1 * high - top, x2 * wide - left, y2 * high - top]
        return ops.clip(ops.concatenate(mapped, axis=-1), 0.0, 1.0)

    def mask_in_picture(self, mask: Any, image: Any, size: tuple[int, int], ops: Any) -> Any:
        """Map masks ``(batch, height, width)`` of the input to the picture's size, by nearest neighbour.

        Each pixel of the picture gets the one of the input that its centre lies in.
        """
        for axis, place in enumerate(self._axes(image, size, ops), start=1):
            mask = ops.take(mask, _nearest(place, ops), axis=axis)
        return mask

    def places_in_input(self, picture_size: tuple[int, int], size: tuple[int, int]) -> tuple[Any, Any]:
        """Return the row of the input for each of the picture's rows, and the column for each column, by NumPy.

        Args:
            picture_size: ``(height, width)`` of the picture, in pixels.
            size: ``(height, width)`` of the network's input, in pixels.
        """
        import numpy as np

        picture, sides = (tuple(map(np.int32, each)) for each in (picture_size, size))
        rows, columns = self._laid(*picture, *sides, ops=np)
        return _nearest(rows, np), _nearest(columns, np)

    def _axes(self, image: Any, size: tuple[int, int], ops: Any) -> tuple[_Axis, _Axis]:
        shape = ops.shape(image)
        height, width = (ops.cast(shape[axis], "int32") for axis in (1, 2))
        rows, columns = (ops.convert_to_tensor(side, "int32") for side in size)
        return self._laid(height, width, rows, columns, ops=ops)

    def _laid(self, height: Any, width: Any, rows: Any, columns: Any, *, ops: Any) -> tuple[_Axis, _Axis]:
        """Lay a picture of ``height`` × ``width`` pixels into an input of ``rows`` × ``columns``."""
        if self.mode == "stretch":
            return _Axis(height, rows, rows * 0), _Axis(width, columns, columns * 0)
        by_height = rows * width <= columns * height
        tall, wide = _rounded(height * columns, width, ops), _rounded(width * rows, height, ops)
        return (
            _letterboxed(height, rows, ops.where(by_height, rows, tall), ops),
            _letterboxed(width, columns, ops.where(by_height, wide, columns), ops),
        )


def _rounded(numerator: Any, denominator: Any, ops: Any) -> Any:
    """Return the nearest whole number, halves upwards."""
    return ops.floor_divide(2 * numerator + denominator, 2 * denominator)


def _letterboxed(picture: Any, side: Any, filled: Any, ops: Any) -> _Axis:
    # Whole pixels, so that no row mixes picture and grey.
    filled = ops.minimum(ops.maximum(filled, 1), side)
    return _Axis(picture, filled, ops.floor_divide(side - filled, 2))


def _interpolated(x: Any, place: _Axis, side: int, axis: int, ops: Any) -> Any:
    """Resize along one axis to ``side`` pixels.

    The place (i + ½) · picture / filled − ½ is computed as a fraction of whole numbers: in float32 its digits
    past the point would depend on how an engine divides, and on noise that shows.
    """
    pixels = 2 * (ops.arange(side, dtype="int32") - place.before) + 1
    step = 2 * place.filled
    at = ops.minimum(ops.maximum(pixels * place.picture - place.filled, 0), (place.picture - 1) * step)
    low = ops.floor_divide(at, step)
    high = ops.minimum(low + 1, place.picture - 1)
    shape = [1, 1, 1, 1]
    shape[axis] = side
    weight = ops.reshape(ops.cast(at - low * step, "float32") / ops.cast(step, "float32"), shape)
    first, second = (ops.cast(ops.take(x, index, axis=axis), "float32") for index in (low, high))
    return first + (second - first) * weight


def _nearest(place: _Axis, ops: Any) -> Any:
    """Return which pixel of the input the centre of each pixel of the picture lies in: (i + ½) · filled / picture."""
    pixels = 2 * ops.arange(place.picture, dtype="int32") + 1
    return ops.floor_divide(pixels * place.filled, 2 * place.picture) + place.before


def _inside(place: _Axis, side: int, ops: Any) -> Any:
    pixels = ops.arange(side, dtype="int32")
    return ops.logical_and(pixels >= place.before, pixels < place.before + place.filled)
