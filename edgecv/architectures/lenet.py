"""LeNet-5, for 32 by 32 grey pictures."""

from typing import Any

import keras
from keras import layers

from edgecv.errors import ArchitectureError

__all__ = ["lenet5"]

# Layers C1, C3 and C5 of the paper's figure 2: (name, filters); a 2 × 2 average pool follows the first two.
_CONVOLUTIONS = (("c1", 6), ("c3", 16), ("c5", 120))
_KERNEL = 5
_SMALLEST = 32  # the smallest side at which C5 still has a 5 × 5 input


def lenet5(input_shape: tuple[int, int, int] = (32, 32, 1), *, classes: int = 10) -> keras.Model:
    """Build LeNet-5 with average pools, tanh and a softmax.

    Maps float32 pictures ``(batch, height, width, channels)`` scaled to [0, 1] to float32 probabilities
    ``(batch, classes)``. It differs from the paper where today's versions do: C3 sees all maps of S2
    (the paper's table I drops some connections), the pools have no weights, and the output is a softmax
    in place of radial basis functions.

    Args:
        input_shape: ``(height, width, channels)``; height and width in pixels, each at least 32.
        classes: Number of classes.

    Returns:
        An uncompiled functional model with the initialisers' weights.

    Raises:
        ArchitectureError: The picture is too small.

    Reference:
        LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998,
        https://doi.org/10.1109/5.726791, figure 2.
    """
    height, width, _ = input_shape
    if min(height, width) < _SMALLEST:
        raise ArchitectureError(
            f"lenet5 has three 5x5 convolutions without padding, got {height}x{width}. "
            f"Give at least {_SMALLEST}x{_SMALLEST} pixels."
        )
    image = keras.Input(input_shape, name="image")
    x: Any = image
    for index, (name, filters) in enumerate(_CONVOLUTIONS):
        if index:
            x = layers.AveragePooling2D(2, name=f"s{2 * index}")(x)
        x = layers.Conv2D(filters, _KERNEL, activation="tanh", name=name)(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(84, activation="tanh", name="f6")(x)
    x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(image, x, name="lenet5")
