"""LeNet-5: as built today for 32 by 32 grey pictures, and as published in 1998 for 28 by 28."""

from typing import Any

import keras
from keras import layers

from edgecv.architectures.custom_layers import EuclideanRBF, PartialConv2D, scaled_tanh
from edgecv.architectures.digit_bitmaps import DIGIT_BITMAPS
from edgecv.errors import ArchitectureError

__all__ = ["lenet5", "lenet5_original"]

# Layers C1, C3 and C5 of the paper's figure 2: (name, filters); a 2 × 2 average pool follows the first two.
_CONVOLUTIONS = (("c1", 6), ("c3", 16), ("c5", 120))
_KERNEL = 5
_UNITS = 84  # of F6; the original's outputs compare them with a bitmap of 12 rows by 7
_BORDER = 2  # pixels of zeros that the original adds on every side
_SMALLEST = 32  # the smallest side at which C5 still has a 5 × 5 input
# Table I of the paper: the maps of S2 that each map of C3 sees. Six see three in a row, six see four in a row, three
# see four with a gap, one sees all.
_C3 = (
    *(tuple(sorted((first + step) % 6 for step in range(3))) for first in range(6)),
    *(tuple(sorted((first + step) % 6 for step in range(4))) for first in range(6)),
    *(tuple(sorted((first + step) % 6 for step in (0, 1, 3, 4))) for first in range(3)),
    tuple(range(6)),
)


def lenet5(
    input_shape: tuple[int, int, int] | None = None, *, classes: int = 10, original: bool = False
) -> keras.Model:
    """Build LeNet-5 with average pools, tanh and a softmax, or the network of 1998.

    Maps float32 pictures ``(batch, height, width, channels)`` scaled to [0, 1] to float32 probabilities
    ``(batch, classes)``.

    Today's form differs from the paper: C3 sees all maps of S2, the pools have no weights, and the output is a
    softmax of a dense layer. The original has what the paper has:

    * the picture gets a border of two zeros, 28 × 28 becomes 32 × 32 (the paper's pictures have that border);
    * every unit up to F6 squashes by 1.7159 · tanh(2/3 · x), equation 6;
    * S2 and S4 have a coefficient and a bias a map (the coefficient is of the average, the paper's of the sum of four);
    * maps of C3 see three, four or six maps of S2, table I;
    * ten outputs are the squared distances of F6 to ten fixed bitmaps of ±1, equation 7 and figure 3. The bitmaps are
      edgecv's drawings of the digits; any other number of classes gets fixed codes of ±1, drawn with equal probability
      from one seed, which section II.B names as the other choice. The centres do not train (they are weights, so
      that a file may hold others). Probabilities are the softmax of minus the distance.

    Its trainable parameters are the paper's 60,000: C1 156, S2 12, C3 1,516, S4 32, C5 48,120, F6 10,164.

    Args:
        input_shape: ``(height, width, channels)``; height and width in pixels, each at least 32 (28 in the
            original). The default is the smallest, grey.
        classes: Number of classes.
        original: Build the network of 1998.

    Returns:
        An uncompiled functional model with the initialisers' weights.

    Raises:
        ArchitectureError: The picture is too small.

    Reference:
        LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998,
        https://doi.org/10.1109/5.726791, figure 2 and table I.
    """
    smallest = _SMALLEST - 2 * _BORDER if original else _SMALLEST
    shape = input_shape or (smallest, smallest, 1)
    name = "lenet5_original" if original else "lenet5"
    if min(shape[:2]) < smallest:
        raise ArchitectureError(
            f"{name} has three 5x5 convolutions without padding, got {shape[0]}x{shape[1]}. "
            f"Give at least {smallest}x{smallest} pixels."
        )
    image = keras.Input(shape, name="image")
    outputs = _original(image, classes) if original else _modern(image, classes)
    return keras.Model(image, outputs, name=name)


def lenet5_original(input_shape: tuple[int, int, int] = (28, 28, 1), *, classes: int = 10) -> keras.Model:
    """Build the LeNet-5 of 1998: `lenet5` with ``original=True``."""
    return lenet5(input_shape, classes=classes, original=True)


def _modern(image: Any, classes: int) -> Any:
    x = image
    for index, (name, filters) in enumerate(_CONVOLUTIONS):
        if index:
            x = layers.AveragePooling2D(2, name=f"s{2 * index}")(x)
        x = layers.Conv2D(filters, _KERNEL, activation="tanh", name=name)(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(_UNITS, activation="tanh", name="f6")(x)
    return layers.Dense(classes, activation="softmax", name="predictions")(x)


def _original(image: Any, classes: int) -> Any:
    (c1, maps), (c3, _), (c5, features) = _CONVOLUTIONS
    x = layers.ZeroPadding2D(_BORDER, name="border")(image)
    x = layers.Conv2D(maps, _KERNEL, activation=scaled_tanh, name=c1)(x)
    x = _subsampling(x, name="s2")
    x = PartialConv2D(_C3, kernel_size=_KERNEL, activation=scaled_tanh, name=c3)(x)
    x = _subsampling(x, name="s4")
    x = layers.Conv2D(features, _KERNEL, activation=scaled_tanh, name=c5)(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(_UNITS, activation=scaled_tanh, name="f6")(x)
    centres = DIGIT_BITMAPS if classes == len(DIGIT_BITMAPS) else None
    x = EuclideanRBF(classes, centres=centres, name="rbf")(x)
    return layers.Activation("softmax", name="predictions")(x)


def _subsampling(x: Any, *, name: str) -> Any:
    """Average 2 × 2, then one coefficient and one bias a map, which are a depthwise convolution of 1 × 1."""
    x = layers.AveragePooling2D(2, name=f"{name}_average")(x)
    return layers.DepthwiseConv2D(1, depthwise_initializer="ones", activation=scaled_tanh, name=name)(x)
