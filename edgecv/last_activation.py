"""Which activation a tensor of a network went through last."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import keras

__all__ = ["answered_activation", "last_activation"]

# A softmax in float16 sums to 1 within 1e-3; logits that do so on several pictures of noise are not met.
_SUM_TOLERANCE = 1e-3
_NOISE_PICTURES = 4


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


def answered_activation(network: "keras.Model", size: tuple[int, int], channels: int) -> Literal["softmax"] | None:
    """Run a classifier whose layers do not tell, a SavedModel, on noise: do its answers come out of a softmax?

    A sigmoid cannot be told so: logits may lie between 0 and 1, too.

    Args:
        network: Its first output is ``(batch, classes)``.
        size: ``(height, width)`` of the pictures.
        channels: Of the pictures.

    Returns:
        ``softmax`` where each picture's scores, of two classes or more, are at least 0 and sum to 1; None where they
        do not, or where it does not run: whoever runs it next says why.
    """
    from keras import ops

    from edgecv.layer_graph import call_sparingly

    given = network.inputs[0]
    shape = (given.shape[0] or _NOISE_PICTURES, *size, channels)
    noise = np.random.default_rng(0).integers(0, 256, shape)
    try:
        first = call_sparingly(network, ops.convert_to_tensor(noise, dtype=given.dtype))[0]
        scores = np.asarray(ops.convert_to_numpy(first), np.float64)
    except Exception:  # Keras and custom layers may raise anything
        return None
    sums = scores.sum(axis=-1)
    return "softmax" if scores.shape[-1] > 1 and scores.min() >= 0 and (abs(sums - 1) < _SUM_TOLERANCE).all() else None
