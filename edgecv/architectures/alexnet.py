"""AlexNet and ZFNet: five convolutions, three dense layers, local response normalisation."""

from typing import Any

import keras
from keras import layers

from edgecv.architectures.custom_layers import LocalResponseNormalization

__all__ = ["alexnet", "zfnet"]

_UNITS = 4096


def alexnet(input_shape: tuple[int, int, int] = (227, 227, 3), *, classes: int = 1000) -> keras.Model:
    """Build AlexNet as published: two towers that meet in the third convolution and the dense layers.

    Maps float32 RGB pictures ``(batch, height, width, channels)``, ImageNet's mean taken off, to float32
    probabilities ``(batch, classes)``. The towers of the paper, one a GPU, are convolutions of two groups:
    60,965,224 parameters. Every pool is 3 × 3 of stride 2, overlapping. 224 × 224, the size in the paper's figure 2,
    does not give its 55 × 55 maps with 11 × 11 kernels of stride 4; 227 × 227 does.

    Args:
        input_shape: ``(height, width, channels)``; height and width in pixels, each at least 67.
        classes: Number of classes.

    Returns:
        An uncompiled functional model with the initialisers' weights.

    Reference:
        Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", 2012,
        https://papers.nips.cc/paper/4824, section 3 and figure 2; dropout: section 4.2.
    """
    image = keras.Input(input_shape, name="image")
    x = _convolution(image, 96, 11, 4, padding="valid", name="conv1")
    x = LocalResponseNormalization(name="norm1")(x)
    x = layers.MaxPooling2D(3, 2, name="pool1")(x)
    x = _convolution(x, 256, 5, groups=2, name="conv2")
    x = LocalResponseNormalization(name="norm2")(x)
    x = layers.MaxPooling2D(3, 2, name="pool2")(x)
    x = _convolution(x, 384, 3, name="conv3")
    x = _convolution(x, 384, 3, groups=2, name="conv4")
    x = _convolution(x, 256, 3, groups=2, name="conv5")
    x = layers.MaxPooling2D(3, 2, name="pool5")(x)
    return keras.Model(image, _head(x, classes), name="alexnet")


def zfnet(input_shape: tuple[int, int, int] = (224, 224, 3), *, classes: int = 1000) -> keras.Model:
    """Build ZFNet: AlexNet with a first convolution of 7 × 7 and stride 2, a second of stride 2, and one tower.

    Maps float32 RGB pictures ``(batch, height, width, channels)``, ImageNet's mean taken off, to float32
    probabilities ``(batch, classes)``. The contrast normalisation across maps, behind the first two pools, is AlexNet's
    local response normalisation; the paper gives no constants of its own. Padding is what the paper's sizes of maps ask
    for: 110, 55, 26, 13 and 6 cells a side.

    Args:
        input_shape: ``(height, width, channels)``; height and width in pixels, each at least 53.
        classes: Number of classes.

    Returns:
        An uncompiled functional model with the initialisers' weights.

    Reference:
        Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", 2013,
        https://arxiv.org/abs/1311.2901, figure 3 and section 3.
    """
    image = keras.Input(input_shape, name="image")
    x = layers.ZeroPadding2D(1, name="conv1_pad")(image)
    x = _convolution(x, 96, 7, 2, padding="valid", name="conv1")
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool1")(x)
    x = LocalResponseNormalization(name="norm1")(x)
    x = _convolution(x, 256, 5, 2, padding="valid", name="conv2")
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool2")(x)
    x = LocalResponseNormalization(name="norm2")(x)
    x = _convolution(x, 384, 3, name="conv3")
    x = _convolution(x, 384, 3, name="conv4")
    x = _convolution(x, 256, 3, name="conv5")
    x = layers.MaxPooling2D(3, 2, name="pool5")(x)
    return keras.Model(image, _head(x, classes), name="zfnet")


def _convolution(
    x: Any, filters: int, size: int, stride: int = 1, *, groups: int = 1, padding: str = "same", name: str
) -> Any:
    return layers.Conv2D(
        filters,
        size,
        stride,
        groups=groups,
        padding=padding,
        activation="relu",
        kernel_initializer="he_normal",
        name=name,
    )(x)


def _head(x: Any, classes: int) -> Any:
    x = layers.Flatten(name="flatten")(x)
    for name in ("fc6", "fc7"):
        x = layers.Dense(_UNITS, activation="relu", kernel_initializer="he_normal", name=name)(x)
        x = layers.Dropout(0.5, name=f"{name}_dropout")(x)
    return layers.Dense(classes, activation="softmax", name="predictions")(x)
