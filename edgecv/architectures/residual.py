"""ResNet-18 and ResNet-34 in torchvision's layout, from one residual unit."""

from typing import Any

import keras
from keras import layers

__all__ = ["residual_unit", "resnet18", "resnet34"]

_EPSILON = 1e-5  # torchvision's BatchNorm; Keras' default is 1e-3
# Table 1 of the paper: filters of the four stages, and how many units each stage has.
_FILTERS = (64, 128, 256, 512)
_UNITS_18 = (2, 2, 2, 2)
_UNITS_34 = (3, 4, 6, 3)


def resnet18(input_shape: tuple[int, int, int] = (224, 224, 3), *, classes: int = 1000) -> keras.Model:
    """Build ResNet-18.

    Maps float32 pictures ``(batch, height, width, channels)``, normalised by ImageNet's mean and
    deviation (style ``torch``), to float32 probabilities ``(batch, classes)``.

    Args:
        input_shape: ``(height, width, channels)``; height and width in pixels, each at least 1 (32 keeps
            a whole pixel of the last stage).
        classes: Number of classes.

    Returns:
        An uncompiled functional model with the initialisers' weights.

    Reference:
        He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015,
        https://arxiv.org/abs/1512.03385, table 1, column "18-layer".
    """
    return _resnet("resnet18", _UNITS_18, input_shape, classes)


def resnet34(input_shape: tuple[int, int, int] = (224, 224, 3), *, classes: int = 1000) -> keras.Model:
    """Build ResNet-34: `resnet18` with 3, 4, 6 and 3 units (table 1, column "34-layer")."""
    return _resnet("resnet34", _UNITS_34, input_shape, classes)


def residual_unit(x: Any, filters: int, *, stride: int = 1, name: str) -> Any:
    """Two 3 × 3 convolutions beside a skip, added and rectified.

    The skip is the identity where the shape stays, else a 1 × 1 convolution of the same stride with
    BatchNorm (option B of the paper).

    Args:
        x: Tensor ``(batch, height, width, channels)``.
        filters: Channels of the result.
        stride: Stride of the first convolution and of the skip.
        name: Prefix of the layers' names.

    Returns:
        Tensor ``(batch, ceil(height / stride), ceil(width / stride), filters)``.
    """
    y = _convolution(x, filters, 3, stride, name=f"{name}_1")
    y = layers.ReLU(name=f"{name}_1_relu")(y)
    y = _convolution(y, filters, 3, 1, name=f"{name}_2")
    skip = x
    if stride != 1 or x.shape[-1] != filters:
        skip = _convolution(x, filters, 1, stride, name=f"{name}_skip")
    y = layers.Add(name=f"{name}_add")([skip, y])
    return layers.ReLU(name=f"{name}_relu")(y)


def _resnet(name: str, units: tuple[int, ...], input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    image = keras.Input(input_shape, name="image")
    x = _convolution(image, 64, 7, 2, name="stem")
    x = layers.ReLU(name="stem_relu")(x)
    # After a ReLU a border of zeros is as neutral to the maximum as torchvision's minus infinity.
    x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)
    for stage, (filters, repeats) in enumerate(zip(_FILTERS, units, strict=True), start=1):
        for index in range(1, repeats + 1):
            stride = 2 if stage > 1 and index == 1 else 1
            x = residual_unit(x, filters, stride=stride, name=f"stage{stage}_unit{index}")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(image, x, name=name)


def _convolution(x: Any, filters: int, size: int, stride: int, *, name: str) -> Any:
    """Convolution and BatchNorm, padded by ``size // 2`` on every side as torch does."""
    padding = "same"
    if stride > 1 and size > 1:
        # At stride 2 "same" pads the right and the bottom only; torch pads every side.
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
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
    return layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(x)
