"""SSD: a single-shot detector on MobileNetV2, BatchNorm folded into biases, and a small one for microcontrollers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

__all__ = ["ssd_mobilenet_v2", "ssd_tiny"]

_STEM_FILTERS = 32
_HEAD_FILTERS = 1280
# The block whose expansion, at stride 16, is the first of the six feature maps.
_FIRST_MAP = 13
# Three boxes a cell on the first map (the "reduced lowest layer"), six on the others.
_BOXES = (3, 6, 6, 6, 6, 6)
# Extra maps behind the backbone: filters of the 1 × 1 convolution, then of the 3 × 3 one at stride 2.
_EXTRA = ((256, 512), (128, 256), (128, 256), (64, 128))

# ssd_tiny: (filters, stride) of the convolutions up to its first map, filters of the extra maps as above.
_TINY_BODY = ((16, 2), (32, 2), (32, 1), (64, 2), (64, 1), (64, 1))
_TINY_EXTRA = ((32, 64), (32, 48))
_TINY_BOXES = 6
_PRECISE = "float32"  # of the outputs, also where the body computes in half precision


@dataclass(frozen=True)
class _Stage:
    """One row of table 2 of the MobileNetV2 paper."""

    expansion: int
    filters: int
    repeats: int
    stride: int


_STAGES = (
    _Stage(1, 16, 1, 1),
    _Stage(6, 24, 2, 2),
    _Stage(6, 32, 3, 2),
    _Stage(6, 64, 4, 2),
    _Stage(6, 96, 3, 1),
    _Stage(6, 160, 3, 2),
    _Stage(6, 320, 1, 1),
)


def ssd_mobilenet_v2(input_shape: tuple[int, int, int] = (300, 300, 3), *, classes: int = 23) -> keras.Model:
    """Build SSD-MobileNetV2 as it is deployed: every BatchNorm is folded into its convolution.

    Maps float32 RGB pictures ``(batch, height, width, channels)`` scaled to [-1, 1] to two float32 tensors:
    ``box_encodings`` ``(batch, anchors, 4)``, offsets to the anchors in the order y, x, height, width, and
    ``class_predictions`` ``(batch, anchors, classes + 1)``, logits, of which the first is the background.
    The anchors come map by map (strides 16, 32, 64, 128, 256, 512), row by row, cell by cell; a 300 × 300
    picture has 3 · 19² + 6 · (10² + 5² + 3² + 2² + 1²) = 1917.

    Args:
        input_shape: ``(height, width, channels)``; height and width in pixels, each at least 1. A map has
            ``ceil(height / stride)`` × ``ceil(width / stride)`` cells.
        classes: Number of classes, without the background.

    Returns:
        An uncompiled functional model with the initialisers' weights.

    Reference:
        Liu, Anguelov, Erhan, Szegedy, Reed, Fu, Berg, "SSD: Single Shot MultiBox Detector", 2015,
        https://arxiv.org/abs/1512.02325, section 2; Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2:
        Inverted Residuals and Linear Bottlenecks", 2018, https://arxiv.org/abs/1801.04381, table 2 and
        section 6.2 (which maps).
    """
    image = keras.Input(input_shape, name="image")
    boxes, scores = [], []
    for index, (features, anchors) in enumerate(zip(_feature_maps(image), _BOXES, strict=True)):
        boxes.append(_predictor(features, anchors, 4, name=f"map{index}_box"))
        scores.append(_predictor(features, anchors, classes + 1, name=f"map{index}_class"))
    outputs = [_joined(boxes, name="box_encodings"), _joined(scores, name="class_predictions")]
    return keras.Model(image, outputs, name="ssd_mobilenet_v2")


def ssd_tiny(input_shape: tuple[int, int, int] = (160, 160, 3), *, classes: int = 10) -> keras.Model:
    """Build a detector of fewer than 250,000 parameters, for microcontrollers to phones.

    Maps float32 RGB pictures ``(batch, height, width, channels)`` scaled to [-1, 1] to two float32 tensors:
    ``box_encodings`` ``(batch, anchors, 4)``, offsets to the anchors in the order x, y, width, height, and
    ``class_predictions`` ``(batch, anchors, classes + 1)``, logits, of which the first is the background.
    Four maps, of the strides 8, 16, 32 and 64, have six anchors a cell, which come map by map, row by row, cell by
    cell; a 160 × 160 picture has 6 · (20² + 10² + 5² + 3²) = 3204.

    Plain convolutions where maps are large: a processor gains little from separable ones of so few channels.

    Args:
        input_shape: ``(height, width, channels)``; height and width in pixels, each at least 1.
        classes: Number of classes, without the background.

    Returns:
        An uncompiled functional model with the initialisers' weights.

    Reference:
        Of edgecv; the parts are those of Liu et al., "SSD: Single Shot MultiBox Detector", 2015,
        https://arxiv.org/abs/1512.02325, section 2.1.
    """
    image = x = keras.Input(input_shape, name="image")
    for index, (filters, stride) in enumerate(_TINY_BODY):
        x = _normalized(x, filters, 3, stride, name=f"conv{index}")
    maps = [x]
    x = _normalized(x, 64, 3, 2, name="map1_down")
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="map1_depthwise")(x)
    x = _normalized(x, 64, 1, 1, name="map1_mix")
    maps.append(x)
    for index, (narrow, wide) in enumerate(_TINY_EXTRA, start=2):
        x = _normalized(x, narrow, 1, 1, name=f"map{index}_narrow")
        x = _normalized(x, wide, 3, 2, name=f"map{index}_wide")
        maps.append(x)
    boxes, scores = [], []
    for index, features in enumerate(maps):
        boxes.append(_predictor(features, _TINY_BOXES, 4, name=f"map{index}_box"))
        scores.append(_predictor(features, _TINY_BOXES, classes + 1, name=f"map{index}_class"))
    outputs = [_joined(boxes, name="box_encodings"), _joined(scores, name="class_predictions")]
    return keras.Model(image, outputs, name="ssd_tiny")


def _normalized(x: Any, filters: int, size: int, stride: int, *, name: str) -> Any:
    x = layers.Conv2D(
        filters, size, stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu6")(x)


def _feature_maps(image: Any) -> list[Any]:
    """Return the six maps: of block 13's expansion, of the backbone's end, and the four extra ones."""
    maps = []
    x = _convolution(image, _STEM_FILTERS, 3, 2, name="stem")
    for index, stage in enumerate(_blocks()):
        skip = x
        if stage.expansion != 1:
            x = _convolution(x, skip.shape[-1] * stage.expansion, 1, 1, name=f"block{index}_expand")
        if index == _FIRST_MAP:
            maps.append(x)
        x = _filtered(x, skip, stage, name=f"block{index}")
    x = _convolution(x, _HEAD_FILTERS, 1, 1, name="head")
    maps.append(x)
    for index, (narrow, wide) in enumerate(_EXTRA):
        x = _convolution(x, narrow, 1, 1, name=f"extra{index}_narrow")
        x = _convolution(x, wide, 3, 2, name=f"extra{index}_wide")
        maps.append(x)
    return maps


def _blocks() -> list[_Stage]:
    """Return one row a block; only a stage's first block has its stride."""
    return [
        _Stage(stage.expansion, stage.filters, 1, stage.stride if repeat == 0 else 1)
        for stage in _STAGES
        for repeat in range(stage.repeats)
    ]


def _filtered(x: Any, skip: Any, stage: _Stage, *, name: str) -> Any:
    """The rest of an inverted residual: filter each channel, project 1 × 1; skipped where the shape stays."""
    x = layers.DepthwiseConv2D(
        3, stage.stride, padding="same", depthwise_initializer="he_normal", name=f"{name}_depthwise_conv"
    )(x)
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu6")(x)
    x = layers.Conv2D(stage.filters, 1, kernel_initializer="he_normal", name=f"{name}_project_conv")(x)
    if stage.stride == 1 and skip.shape[-1] == stage.filters:
        x = layers.Add(name=f"{name}_add")([skip, x])
    return x


def _convolution(x: Any, filters: int, size: int, stride: int, *, name: str) -> Any:
    x = layers.Conv2D(filters, size, stride, padding="same", kernel_initializer="he_normal", name=f"{name}_conv")(x)
    return layers.ReLU(6.0, name=f"{name}_relu6")(x)


def _predictor(features: Any, anchors: int, numbers: int, *, name: str) -> Any:
    """Return ``(batch, cells · anchors, numbers)``: so many numbers for each anchor of each cell."""
    x = layers.Conv2D(anchors * numbers, 1, kernel_initializer="he_normal", dtype=_PRECISE, name=f"{name}_conv")(
        features
    )
    return layers.Reshape((-1, numbers), dtype=_PRECISE, name=f"{name}_flat")(x)


def _joined(maps: Sequence[Any], *, name: str) -> Any:
    return layers.Concatenate(axis=1, dtype=_PRECISE, name=name)(maps)
