"""Inception-v4."""

from typing import Any

import keras
from keras import layers

from edgecv.architectures.blocks import Convolution, Pool, Steps, inception_module

__all__ = ["inception_v4"]

_EPSILON = 1e-3
_ACROSS, _DOWN = (1, 7), (7, 1)


def _halved(filters: int) -> Convolution:
    return Convolution(filters, 3, 2, "valid")


_POOL, _HALVED_POOL = Pool("average"), Pool("max", 2, "valid")
# Branches of the modules, by the figure of the paper that draws them: 3 (the three forks of the stem), 4 to 8 and,
# with k, l, m, n = 192, 224, 256, 384, 7. The order of 1 × n and n × 1 is that of the authors' published weights.
_STEM: tuple[tuple[Steps, ...], ...] = (
    ((_HALVED_POOL,), (_halved(96),)),
    (
        (Convolution(64), Convolution(96, 3, 1, "valid")),
        (Convolution(64), Convolution(64, _ACROSS), Convolution(64, _DOWN), Convolution(96, 3, 1, "valid")),
    ),
    ((_halved(192),), (_HALVED_POOL,)),
)
_A: tuple[Steps, ...] = (
    (Convolution(96),),
    (Convolution(64), Convolution(96, 3)),
    (Convolution(64), Convolution(96, 3), Convolution(96, 3)),
    (_POOL, Convolution(96)),
)
_REDUCTION_A: tuple[Steps, ...] = (
    (_halved(384),),
    (Convolution(192), Convolution(224, 3), _halved(256)),
    (_HALVED_POOL,),
)
_B: tuple[Steps, ...] = (
    (Convolution(384),),
    (Convolution(192), Convolution(224, _ACROSS), Convolution(256, _DOWN)),
    (
        Convolution(192),
        Convolution(192, _DOWN),
        Convolution(224, _ACROSS),
        Convolution(224, _DOWN),
        Convolution(256, _ACROSS),
    ),
    (_POOL, Convolution(128)),
)
_REDUCTION_B: tuple[Steps, ...] = (
    (Convolution(192), _halved(192)),
    (Convolution(256), Convolution(256, _ACROSS), Convolution(320, _DOWN), _halved(320)),
    (_HALVED_POOL,),
)
_FORK: tuple[Steps, ...] = ((Convolution(256, (1, 3)),), (Convolution(256, (3, 1)),))
_C: tuple[Steps, ...] = (
    (Convolution(256),),
    (Convolution(384), _FORK),
    (Convolution(384), Convolution(448, (3, 1)), Convolution(512, (1, 3)), _FORK),
    (_POOL, Convolution(256)),
)
# Figure 9: how often each module follows the one before.
_MODULES = (
    ("a", _A, 4),
    ("reduction_a", _REDUCTION_A, 1),
    ("b", _B, 7),
    ("reduction_b", _REDUCTION_B, 1),
    ("c", _C, 3),
)


def inception_v4(input_shape: tuple[int, int, int] = (299, 299, 3), *, classes: int = 1000) -> keras.Model:
    """Build Inception-v4.

    Maps float32 RGB pictures ``(batch, height, width, channels)`` scaled to [-1, 1] to float32 probabilities
    ``(batch, classes)``. 42,679,816 trainable parameters.

    Args:
        input_shape: ``(height, width, channels)``; height and width in pixels, each at least 75.
        classes: Number of classes.

    Returns:
        An uncompiled functional model with the initialisers' weights.

    Reference:
        Szegedy, Ioffe, Vanhoucke, Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual Connections on
        Learning", 2016, https://arxiv.org/abs/1602.07261, figures 3 to 9.
    """
    image = keras.Input(input_shape, name="image")
    x = _convolution(image, _halved(32), "stem_1")
    x = _convolution(x, Convolution(32, 3, 1, "valid"), "stem_2")
    x = _convolution(x, Convolution(64, 3), "stem_3")
    for index, branches in enumerate(_STEM, start=4):
        x = inception_module(x, branches, convolution=_convolution, name=f"stem_{index}")
    for module, branches, repeats in _MODULES:
        for index in range(1, repeats + 1):
            name = f"{module}{index}" if repeats > 1 else module
            x = inception_module(x, branches, convolution=_convolution, name=name)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.2, name="dropout")(x)
    x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(image, x, name="inception_v4")


def _convolution(x: Any, step: Convolution, name: str) -> Any:
    """Convolution, BatchNorm, ReLU."""
    x = layers.Conv2D(
        step.filters,
        step.kernel,
        step.stride,
        padding=step.padding,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
