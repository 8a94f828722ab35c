"""YOLOv3 and YOLOv3-tiny in Darknet's layout: one head a scale, each cell with three boxes."""

from typing import Any

import keras
from keras import layers

from edgecv.errors import ArchitectureError

__all__ = ["yolo_v3", "yolo_v3_tiny"]

_EPSILON = 1e-5  # as in Darknet's GPU kernel (its CPU code has 1e-6); Keras' default is 1e-3
_SLOPE = 0.1  # Darknet's "leaky"
_STRIDE = 32  # of the coarsest map
_BOXES = 3  # a cell
# Table 1 of the paper: filters of Darknet-53's five stages, each begun by a convolution at stride 2, and
# how many residual units each has.
_STAGES = ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))
# yolov3-tiny.cfg: filters of the convolutions up to stride 32; a 2 × 2 maximum follows each but the last.
_TINY_FILTERS = (16, 32, 64, 128, 256, 512, 1024)


def yolo_v3(input_shape: tuple[int, int, int] = (416, 416, 3), *, classes: int = 80) -> keras.Model:
    """Build YOLOv3 on Darknet-53.

    Maps float32 RGB pictures ``(batch, height, width, channels)`` scaled to [0, 1] to three float32 tensors
    ``(batch, height / stride, width / stride, 3 · (5 + classes))`` for the strides 32, 16 and 8, in this
    order. The numbers of a cell come box by box: x, y, width, height, objectness, classes; none has gone
    through its activation.

    Args:
        input_shape: ``(height, width, channels)``; height and width in pixels, each a multiple of 32.
        classes: Number of classes.

    Returns:
        An uncompiled functional model with the initialisers' weights.

    Raises:
        ArchitectureError: Height or width is no multiple of 32.

    Reference:
        Redmon, Farhadi, "YOLOv3: An Incremental Improvement", 2018, https://arxiv.org/abs/1804.02767,
        section 2 and table 1; Darknet's ``cfg/yolov3.cfg``.
    """
    _check_size("yolo_v3", input_shape)
    image = keras.Input(input_shape, name="image")
    fine, middle, coarse = _darknet53(image)
    x, large = _head(coarse, 512, classes, name="head32")
    x = _upsampled(x, middle, 256, name="head16")
    x, medium = _head(x, 256, classes, name="head16")
    x = _upsampled(x, fine, 128, name="head8")
    _, small = _head(x, 128, classes, name="head8")
    return keras.Model(image, [large, medium, small], name="yolo_v3")


def yolo_v3_tiny(input_shape: tuple[int, int, int] = (416, 416, 3), *, classes: int = 80) -> keras.Model:
    """Build YOLOv3-tiny: as `yolo_v3`, with 13 convolutions and two outputs, of the strides 32 and 16.

    Reference:
        Darknet's ``cfg/yolov3-tiny.cfg``, https://github.com/pjreddie/darknet.
    """
    _check_size("yolo_v3_tiny", input_shape)
    image = x = keras.Input(input_shape, name="image")
    for index, filters in enumerate(_TINY_FILTERS):
        # The last maximum moves by one cell: the map keeps its size.
        if index > 0:
            stride = 1 if index == len(_TINY_FILTERS) - 1 else 2
            x = layers.MaxPooling2D(2, stride, padding="same", name=f"pool{index - 1}")(x)
        x = _convolution(x, filters, 3, name=f"conv{index}")
        if index == 4:
            fine = x
    x = _convolution(x, 256, 1, name="neck")
    large = _output(_convolution(x, 512, 3, name="head32_wide"), classes, name="head32")
    x = _upsampled(x, fine, 128, name="head16")
    medium = _output(_convolution(x, 256, 3, name="head16_wide"), classes, name="head16")
    return keras.Model(image, [large, medium], name="yolo_v3_tiny")


def _check_size(name: str, input_shape: tuple[int, int, int]) -> None:
    height, width, _ = input_shape
    if height % _STRIDE or width % _STRIDE:
        raise ArchitectureError(
            f"{name} needs a height and a width that are multiples of {_STRIDE}, got {height}x{width}."
        )


def _darknet53(image: Any) -> tuple[Any, Any, Any]:
    """Return the maps of strides 8, 16 and 32."""
    x = _convolution(image, 32, 3, name="stem")
    maps = []
    for stage, (filters, units) in enumerate(_STAGES, start=1):
        x = _convolution(x, filters, 3, stride=2, name=f"stage{stage}_down")
        for index in range(1, units + 1):
            x = _residual_unit(x, filters, name=f"stage{stage}_unit{index}")
        maps.append(x)
    return maps[2], maps[3], maps[4]


def _residual_unit(x: Any, filters: int, *, name: str) -> Any:
    y = _convolution(x, filters // 2, 1, name=f"{name}_narrow")
    y = _convolution(y, filters, 3, name=f"{name}_wide")
    return layers.Add(name=f"{name}_add")([x, y])


def _head(x: Any, filters: int, classes: int, *, name: str) -> tuple[Any, Any]:
    """Return what the next, finer scale starts from, and the scale's output."""
    for index in range(1, 6):
        narrow = index % 2 == 1
        x = _convolution(x, filters if narrow else 2 * filters, 1 if narrow else 3, name=f"{name}_conv{index}")
    return x, _output(_convolution(x, 2 * filters, 3, name=f"{name}_conv6"), classes, name=name)


def _output(x: Any, classes: int, *, name: str) -> Any:
    # Float32 also where the body computes in half precision.
    return layers.Conv2D(
        _BOXES * (5 + classes), 1, kernel_initializer="he_normal", dtype="float32", name=f"{name}_output"
    )(x)


def _upsampled(x: Any, finer: Any, filters: int, *, name: str) -> Any:
    x = _convolution(x, filters, 1, name=f"{name}_lateral")
    x = layers.UpSampling2D(2, interpolation="nearest", name=f"{name}_upsample")(x)
    return layers.Concatenate(name=f"{name}_concat")([x, finer])


def _convolution(x: Any, filters: int, size: int, *, stride: int = 1, name: str) -> Any:
    """Convolution, BatchNorm and leaky ReLU, padded by ``size // 2`` on every side as Darknet does."""
    padding = "same"
    if stride > 1:
        # At stride 2 and an even side "same" would pad the right and the bottom, Darknet reads the left and
        # the top of its border.
        x = layers.ZeroPadding2D(((1, 0), (1, 0)), name=f"{name}_pad")(x)
        padding = "valid"
    x = layers.Conv2D(
        filters,
        size,
        stride,
        padding=padding,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(x)
    return layers.LeakyReLU(_SLOPE, name=f"{name}_leaky")(x)
