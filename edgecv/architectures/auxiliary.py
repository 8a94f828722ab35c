"""Auxiliary classifiers: further outputs that help a deep network to train and leave it afterwards.

Reference: Szegedy et al., "Going Deeper with Convolutions", 2014, https://arxiv.org/abs/1409.4842, section 5.
"""

import re
from typing import Any

import keras
from keras import layers

from edgecv.network_outputs import flat_tensors, network_output_names

__all__ = ["auxiliary_classifier", "without_auxiliary"]

_NAME = re.compile(r"auxiliary\d+")


def auxiliary_classifier(x: Any, classes: int, *, name: str) -> Any:
    """Average by 5 × 5 at stride 3, 128 maps of 1 × 1, 1,024 units, dropout of 0.7, softmax.

    Args:
        x: Tensor ``(batch, height, width, channels)``, height and width at least 5.
        classes: Number of classes.
        name: Name of the last layer and so of the output: ``auxiliary`` and a number, by which
            `without_auxiliary` knows it.

    Returns:
        Probabilities ``(batch, classes)``.
    """
    x = layers.AveragePooling2D(5, 3, name=f"{name}_pool")(x)
    x = layers.Conv2D(128, 1, activation="relu", kernel_initializer="he_normal", name=f"{name}_conv")(x)
    x = layers.Flatten(name=f"{name}_flatten")(x)
    x = layers.Dense(1024, activation="relu", kernel_initializer="he_normal", name=f"{name}_fc")(x)
    x = layers.Dropout(0.7, name=f"{name}_dropout")(x)
    return layers.Dense(classes, activation="softmax", name=name)(x)


def without_auxiliary(model: keras.Model) -> keras.Model:
    """Return a network without its auxiliary outputs; a network that has none as it is.

    Args:
        model: A functional model; it stays as it is.

    Returns:
        A model of the same layers, weights shared, that gives the other outputs: a tensor where one is left, else
        a list. It knows what `edgecv.build` knew of ``model``.
    """
    if not getattr(model, "outputs", None):  # subclassed, and never called
        return model
    pairs = list(zip(network_output_names(model), flat_tensors(model.outputs), strict=True))
    kept = [tensor for name, tensor in pairs if not _NAME.fullmatch(name)]
    if not kept or len(kept) == len(pairs):
        return model
    plain = keras.Model(model.inputs[0], kept[0] if len(kept) == 1 else kept, name=model.name)
    info = getattr(model, "edgecv_info", None)
    if info is not None:
        plain.edgecv_info = info
    return plain
