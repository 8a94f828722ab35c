"""Which activation a tensor of a network went through last."""

from typing import Any, Literal

__all__ = ["last_activation"]


def last_activation(tensor: Any) -> Literal["softmax", "sigmoid", "none"] | None:
    """Return the activation that a symbolic tensor went through last; None where it cannot be told."""
    import keras
    from keras import layers

    layer, _, index = tensor._keras_history
    if isinstance(layer, layers.Softmax):
        return "softmax"
    function = getattr(layer, "activation", None)
    name = getattr(function, "__name__", None)
    if name in ("softmax", "sigmoid"):
        return "softmax" if name == "softmax" else "sigmoid"
    if getattr(layer, "outputs", None):  # a nested model
        return last_activation(keras.tree.flatten(layer.outputs)[index])
    passes_through = isinstance(
        layer,
        layers.Dropout
        | layers.Flatten
        | layers.Reshape
        | layers.Identity
        | layers.Cropping2D
        | layers.UpSampling2D
        | layers.Resizing,
    )
    if passes_through or (isinstance(layer, layers.Activation) and name == "linear"):
        return last_activation(keras.tree.flatten(layer._inbound_nodes[0].input_tensors)[0])
    linear = isinstance(
        layer,
        layers.Dense
        | layers.Conv2D
        | layers.Conv2DTranspose
        | layers.SeparableConv2D
        | layers.BatchNormalization
        | layers.GlobalAveragePooling2D,
    )
    return "none" if linear and name in (None, "linear") else None
