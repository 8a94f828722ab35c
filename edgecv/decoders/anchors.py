"""Anchors of SSD (its paper calls them default boxes): boxes of several shapes around every cell of every layer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

__all__ = ["Layer", "grid_anchors", "linear_scales", "merged", "ssd_layers"]

# The first layer's fixed small box where that layer is reduced to three.
_SMALLEST_SCALE = 0.1

Shape = tuple[float, float]


@dataclass(frozen=True)
class Layer:
    """One grid of anchors.

    Attributes:
        grid: ``(rows, columns)``.
        shapes: ``(scale, aspect ratio)`` of each anchor of a cell, the ratio being width / height.
    """

    grid: tuple[int, int]
    shapes: tuple[Shape, ...]

    def __len__(self) -> int:
        return self.grid[0] * self.grid[1] * len(self.shapes)


def linear_scales(lowest: float, highest: float, layers: int) -> tuple[float, ...]:
    """Return the scales of ``layers`` layers, evenly from the lowest to the highest.

    Reference:
        Liu et al., "SSD", 2016, https://arxiv.org/abs/1512.02325, equation 4.
    """
    if layers == 1:
        return ((lowest + highest) / 2,)
    return tuple(lowest + (highest - lowest) * index / (layers - 1) for index in range(layers))


def ssd_layers(
    grids: Sequence[tuple[int, int]],
    scales: Sequence[float],
    aspect_ratios: Sequence[Sequence[float]],
    *,
    interpolated_aspect_ratio: float,
    reduce_lowest_layer: bool,
) -> tuple[Layer, ...]:
    """Say which anchors each layer has.

    A layer of scale s has one anchor of scale s for each aspect ratio, and one of scale sqrt(s · s') for
    ``interpolated_aspect_ratio``, where s' is the next layer's scale (1 for the last).

    Args:
        grids: ``(rows, columns)`` of each layer, finest first.
        scales: One a layer; one more is the s' of the last.
        aspect_ratios: Width / height of a layer's anchors, for each layer.
        interpolated_aspect_ratio: Of the interpolated anchor; 0 for none.
        reduce_lowest_layer: The first layer has three anchors instead: scale 0.1 at ratio 1, and its own scale at
            ratios 2 and ½.

    Reference:
        Section 2.2 of the paper, as TensorFlow's Object Detection API and MediaPipe generate them.
    """
    following = [*scales[1:], 1.0]
    layers = []
    for index, grid in enumerate(grids):
        scale = scales[index]
        if index == 0 and reduce_lowest_layer:
            shapes = [(_SMALLEST_SCALE, 1.0), (scale, 2.0), (scale, 0.5)]
        else:
            shapes = [(scale, ratio) for ratio in aspect_ratios[index]]
            if interpolated_aspect_ratio:
                shapes.append((math.sqrt(scale * following[index]), interpolated_aspect_ratio))
        layers.append(Layer(grid, tuple(shapes)))
    return tuple(layers)


def merged(layers: Sequence[Layer], strides: Sequence[int]) -> tuple[Layer, ...]:
    """Make one layer, with the anchors of all, of successive layers of the same stride."""
    result = []
    for _, group in groupby(zip(strides, layers, strict=True), key=lambda pair: pair[0]):
        same = [layer for _, layer in group]
        result.append(Layer(same[0].grid, tuple(shape for layer in same for shape in layer.shapes)))
    return tuple(result)


def grid_anchors(layers: Sequence[Layer], input_size: tuple[int, int]) -> Any:
    """Place the anchors: by layer, row, column, then in the order of the cell's shapes.

    An anchor of scale s and aspect ratio a is s · sqrt(a) wide and s / sqrt(a) high, measured in the shorter side
    of the input, so that ratio 1 is a square in pixels. It sits in the middle of its cell.

    Args:
        layers: Where they are.
        input_size: ``(height, width)`` in pixels.

    Returns:
        float64 ``(anchors, 4)``: centre x, centre y, width, height in 0…1 of the input.
    """
    import numpy as np

    height, width = input_size
    shorter = min(input_size)
    placed = []
    for layer in layers:
        rows, columns = layer.grid
        scale, ratio = np.array(layer.shapes).T
        anchors = np.empty((rows, columns, len(layer.shapes), 4))
        anchors[..., 0] = ((np.arange(columns) + 0.5) / columns)[None, :, None]
        anchors[..., 1] = ((np.arange(rows) + 0.5) / rows)[:, None, None]
        anchors[..., 2] = scale * np.sqrt(ratio) * shorter / width
        anchors[..., 3] = scale / np.sqrt(ratio) * shorter / height
        placed.append(anchors.reshape(-1, 4))
    return np.concatenate(placed)
