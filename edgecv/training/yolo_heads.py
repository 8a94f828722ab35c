"""A detector on any classifier's body: one grid of boxes that share a cell's class scores."""

import keras
from keras import layers

from edgecv.errors import OptionError
from edgecv.layer_graph import layer_graph

__all__ = ["HEADS", "yolo_grid_head"]

# Patterns of the names of the layers that are new.
HEADS = ("head_grid*",)
# Of the convolution on the body: as many as its map has, within these.
_FEWEST_FILTERS, _MOST_FILTERS = 64, 256


def yolo_grid_head(base: keras.Model, *, classes: int, boxes: int) -> keras.Model:
    """Put a grid of boxes on a body, at its last map of more than one cell; what comes behind that is left out.

    A 3×3 convolution, BatchNorm and ReLU look at a cell's surroundings, a 1×1 convolution gives its numbers.

    Args:
        base: What `edgecv.training.heads.without_top` gives; it and the result share their layers.
        classes: Number of classes, at least 1.
        boxes: Boxes a cell, at least 1.

    Returns:
        A functional model to a float32 grid ``(batch, rows, columns, boxes · 5 + classes)`` without an activation,
        as `edgecv.decoders.YoloGrid` takes it; float32 also where the body computes in half precision.

    Raises:
        OptionError: ``classes`` or ``boxes`` is below 1, or the body has no such map.
    """
    for name, number in (("classes", classes), ("boxes", boxes)):
        if number < 1:
            raise OptionError(f"{name} must be at least 1, got {number}.")
    x = _last_map(base)
    filters = min(max(x.shape[-1], _FEWEST_FILTERS), _MOST_FILTERS)
    x = layers.Conv2D(
        filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal", name="head_grid_conv"
    )(x)
    x = layers.BatchNormalization(name="head_grid_bn")(x)
    x = layers.ReLU(name="head_grid_relu")(x)
    x = layers.Conv2D(5 * boxes + classes, 1, dtype="float32", name="head_grid_output")(x)
    return keras.Model(base.inputs[0], x, name=base.name)


def _last_map(base: keras.Model) -> keras.KerasTensor:
    """Return the last tensor ``(batch, rows, columns, features)`` that has more than one cell."""
    graph = layer_graph(base)
    for step in reversed(graph.steps):
        for tensor in step.node.outputs:
            if len(tensor.shape) == 4 and tuple(tensor.shape[1:3]) != (1, 1):
                return tensor
    raise OptionError(
        f"{base.name!r} has no map of more than one cell that a grid of boxes could be put on. "
        "Choose a network with convolutions, or a larger input size."
    )
