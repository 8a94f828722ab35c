"""EfficientNet-Lite: EfficientNet without squeeze-and-excite and with ReLU6, for devices."""

import math
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

__all__ = ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]

_EPSILON = 1e-3
_STEM_FILTERS = 32
_HEAD_FILTERS = 1280


@dataclass(frozen=True)
class _Stage:
    """One row of table 1 of the EfficientNet paper."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    filters: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


def efficientnet_lite0(input_shape: tuple[int, int, int] = (224, 224, 3), *, classes: int = 1000) -> keras.Model:
    """Build EfficientNet-Lite0.

    Maps float32 RGB pictures ``(batch, height, width, channels)`` scaled by ``(x − 127) / 128`` to
    float32 probabilities ``(batch, classes)``.

    Args:
        input_shape: ``(height, width, channels)``; height and width in pixels, each at least 1 (32 keeps
            a whole pixel of the last stage).
        classes: Number of classes.

    Returns:
        An uncompiled functional model with the initialisers' weights.

    Reference:
        Tan, Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019,
        https://arxiv.org/abs/1905.11946, table 1; the Lite changes: TensorFlow Blog, "Higher accuracy on
        vision models with EfficientNet-Lite", 2020.
    """
    return _efficientnet_lite("efficientnet_lite0", input_shape, classes, width=1.0, depth=1.0, dropout=0.2)


def efficientnet_lite1(input_shape: tuple[int, int, int] = (240, 240, 3), *, classes: int = 1000) -> keras.Model:
    """Build EfficientNet-Lite1: `efficientnet_lite0`, 1.1 times as deep."""
    return _efficientnet_lite("efficientnet_lite1", input_shape, classes, width=1.0, depth=1.1, dropout=0.2)


def efficientnet_lite2(input_shape: tuple[int, int, int] = (260, 260, 3), *, classes: int = 1000) -> keras.Model:
    """Build EfficientNet-Lite2: `efficientnet_lite0`, 1.1 times as wide and 1.2 times as deep."""
    return _efficientnet_lite("efficientnet_lite2", input_shape, classes, width=1.1, depth=1.2, dropout=0.3)


def _efficientnet_lite(
    name: str, input_shape: tuple[int, int, int], classes: int, *, width: float, depth: float, dropout: float
) -> keras.Model:
    image = keras.Input(input_shape, name="image")
    # The Lite networks scale neither the stem nor the head.
    x = _convolution(image, _STEM_FILTERS, 3, 2, name="stem")
    x = layers.ReLU(6.0, name="stem_relu6")(x)
    for index, stage in enumerate(_scaled_blocks(width, depth)):
        x = _block(x, stage, name=f"block{index}")
    x = _convolution(x, _HEAD_FILTERS, 1, 1, name="head")
    x = layers.ReLU(6.0, name="head_relu6")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(image, x, name=name)


def _scaled_blocks(width: float, depth: float) -> list[_Stage]:
    """Return one row a block; only a stage's first block has its stride."""
    blocks = []
    for index, stage in enumerate(_STAGES):
        first_or_last = index in (0, len(_STAGES) - 1)
        repeats = stage.repeats if first_or_last else math.ceil(depth * stage.repeats)
        filters = _round_filters(width * stage.filters)
        for repeat in range(repeats):
            stride = stage.stride if repeat == 0 else 1
            blocks.append(_Stage(1, stage.kernel, stride, stage.expansion, filters))
    return blocks


def _round_filters(filters: float) -> int:
    """Round to a multiple of 8, never down by more than a tenth."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded


def _block(x: Any, stage: _Stage, *, name: str) -> Any:
    """Inverted residual: expand 1 × 1, filter each channel, project 1 × 1; skipped where the shape stays."""
    skip = x
    if stage.expansion != 1:
        x = _convolution(x, skip.shape[-1] * stage.expansion, 1, 1, name=f"{name}_expand")
        x = layers.ReLU(6.0, name=f"{name}_expand_relu6")(x)
    x = layers.DepthwiseConv2D(
        stage.kernel,
        stage.stride,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_normal",
        name=f"{name}_depthwise_conv",
    )(x)
    x = layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_depthwise_bn")(x)
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu6")(x)
    x = _convolution(x, stage.filters, 1, 1, name=f"{name}_project")
    if stage.stride == 1 and skip.shape[-1] == stage.filters:
        x = layers.Add(name=f"{name}_add")([skip, x])
    return x


def _convolution(x: Any, filters: int, size: int, stride: int, *, name: str) -> Any:
    x = layers.Conv2D(
        filters,
        size,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(x)
