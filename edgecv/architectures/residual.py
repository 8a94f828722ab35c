"""ResNet-18 and ResNet-34 in torchvision's layout, and SE-ResNet-50."""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from edgecv.architectures.blocks import bottleneck_unit, normalized_convolution, residual_unit

__all__ = ["resnet18", "resnet34", "se_resnet50"]

# Table 1 of the paper: filters of the four stages, and how many units each stage has.
_FILTERS = (64, 128, 256, 512)
_UNITS_18 = (2, 2, 2, 2)
_UNITS_34 = (3, 4, 6, 3)
_UNITS_50 = _UNITS_34
_SE_RATIO = 16


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
    return _resnet("resnet18", residual_unit, _UNITS_18, input_shape, classes)


def resnet34(input_shape: tuple[int, int, int] = (224, 224, 3), *, classes: int = 1000) -> keras.Model:
    """Build ResNet-34: `resnet18` with 3, 4, 6 and 3 units (table 1, column "34-layer")."""
    return _resnet("resnet34", residual_unit, _UNITS_34, input_shape, classes)


def se_resnet50(input_shape: tuple[int, int, int] = (224, 224, 3), *, classes: int = 1000) -> keras.Model:
    """Build SE-ResNet-50: ResNet-50 with squeeze-and-excitation, ratio 16, before the sum of every unit.

    As `resnet18`, with 3, 4, 6 and 3 bottleneck units of which the 3 × 3 convolution has the stride, timm's layout of
    28,088,024 trainable parameters.

    Reference:
        Hu, Shen, Albanie, Sun, Wu, "Squeeze-and-Excitation Networks", 2017, https://arxiv.org/abs/1709.01507,
        table 1, column "SE-ResNet-50".
    """

    def unit(x: Any, filters: int, *, stride: int, name: str) -> Any:
        return bottleneck_unit(x, filters, stride=stride, excitation=_SE_RATIO, name=name)

    return _resnet("se_resnet50", unit, _UNITS_50, input_shape, classes)


def _resnet(
    name: str, unit: Callable[..., Any], units: tuple[int, ...], input_shape: tuple[int, int, int], classes: int
) -> keras.Model:
    image = keras.Input(input_shape, name="image")
    x = normalized_convolution(image, 64, 7, 2, name="stem")
    x = layers.ReLU(name="stem_relu")(x)
    # After a ReLU a border of zeros is as neutral to the maximum as torchvision's minus infinity.
    x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)
    for stage, (filters, repeats) in enumerate(zip(_FILTERS, units, strict=True), start=1):
        for index in range(1, repeats + 1):
            stride = 2 if stage > 1 and index == 1 else 1
            x = unit(x, filters, stride=stride, name=f"stage{stage}_unit{index}")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(image, x, name=name)
