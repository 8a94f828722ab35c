"""The small convolutional network of a textbook, for 28 by 28 grey pictures."""

from typing import Any

import keras
from keras import layers

from edgecv.errors import ArchitectureError

__all__ = ["fashion_cnn"]

# One row a stage: (convolutions, filters, kernel size); a 2 × 2 max pool ends each stage.
_STAGES = ((1, 64, 7), (2, 128, 3), (2, 256, 3))
_DENSE = (128, 64)
_SMALLEST = 2 ** len(_STAGES)  # every pool halves the side; one pixel has to remain


def fashion_cnn(input_shape: tuple[int, int, int] = (28, 28, 1), *, classes: int = 10) -> keras.Model:
    """Build the Fashion-MNIST classifier: five convolutions, three dense layers.

    Maps float32 pictures ``(batch, height, width, channels)`` scaled to [0, 1] to float32 probabilities
    ``(batch, classes)``.

    Args:
        input_shape: ``(height, width, channels)``; height and width in pixels, each at least 8.
        classes: Number of classes.

    Returns:
        An uncompiled functional model with the initialisers' weights.

    Raises:
        ArchitectureError: The picture is too small for three pools.

    Reference:
        Géron, "Hands-On Machine Learning with Scikit-Learn, Keras, and TensorFlow", 3rd edition, 2022,
        chapter 14, section "Implementing Pooling Layers with Keras".
    """
    height, width, _ = input_shape
    if min(height, width) < _SMALLEST:
        raise ArchitectureError(
            f"fashion_cnn halves its input {len(_STAGES)} times, got {height}x{width}. "
            f"Give at least {_SMALLEST}x{_SMALLEST} pixels."
        )
    image = keras.Input(input_shape, name="image")
    x: Any = image
    for stage, (repeats, filters, size) in enumerate(_STAGES, start=1):
        for index in range(1, repeats + 1):
            name = f"conv{stage}_{index}"
            x = layers.Conv2D(
                filters, size, padding="same", activation="relu", kernel_initializer="he_normal", name=name
            )(x)
        x = layers.MaxPooling2D(2, name=f"pool{stage}")(x)
    x = layers.Flatten(name="flatten")(x)
    for index, units in enumerate(_DENSE, start=1):
        x = layers.Dense(units, activation="relu", kernel_initializer="he_normal", name=f"dense{index}")(x)
        x = layers.Dropout(0.5, name=f"dropout{index}")(x)
    x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(image, x, name="fashion_cnn")
