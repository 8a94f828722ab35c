"""GoogLeNet, and SE-GoogLeNet."""

from typing import Any

import keras
from keras import layers

from edgecv.architectures.auxiliary import auxiliary_classifier
from edgecv.architectures.blocks import Convolution, Pool, Steps, inception_module, squeeze_excitation
from edgecv.architectures.custom_layers import LocalResponseNormalization
from edgecv.errors import ArchitectureError

__all__ = ["googlenet", "se_googlenet"]

# Table 1 of the paper, a row a module: 1 × 1; 1 × 1 before 3 × 3; 1 × 1 before 5 × 5; 1 × 1 behind the pool.
_MODULES = {
    "3a": (64, (96, 128), (16, 32), 32),
    "3b": (128, (128, 192), (32, 96), 64),
    "4a": (192, (96, 208), (16, 48), 64),
    "4b": (160, (112, 224), (24, 64), 64),
    "4c": (128, (128, 256), (24, 64), 64),
    "4d": (112, (144, 288), (32, 64), 64),
    "4e": (256, (160, 320), (32, 128), 128),
    "5a": (256, (160, 320), (32, 128), 128),
    "5b": (384, (192, 384), (48, 128), 128),
}
_BEFORE_POOL = ("3b", "4e")
# Behind the third and the sixth module.
_AUXILIARY = {"4a": "auxiliary1", "4d": "auxiliary2"}
_AUXILIARY_SMALLEST = 65  # pixels: what four halvings, rounded up, leave 5 cells of
_SE_RATIO = 16


def googlenet(
    input_shape: tuple[int, int, int] = (224, 224, 3), *, classes: int = 1000, auxiliary: bool = False
) -> keras.Model:
    """Build GoogLeNet, the Inception network of 2014: nine modules, no BatchNorm, 6,998,552 parameters.

    Maps float32 RGB pictures ``(batch, height, width, channels)``, ImageNet's mean taken off, to float32
    probabilities ``(batch, classes)``. The local response normalisation has AlexNet's constants; the paper gives none.

    Args:
        input_shape: ``(height, width, channels)``; height and width in pixels, each at least 1 (32 keeps a whole pixel
            of the last stage), with auxiliary classifiers at least 65.
        classes: Number of classes.
        auxiliary: Give the softmax outputs ``auxiliary1`` and ``auxiliary2``, behind the third and the sixth module,
            too. Their losses weigh 0.3 in training; `edgecv.architectures.auxiliary.without_auxiliary` takes them
            off, as `edgecv.deploy` and `edgecv.to_fcn` do.

    Returns:
        An uncompiled functional model with the initialisers' weights.

    Raises:
        ArchitectureError: The picture is too small for the auxiliary classifiers.

    Reference:
        Szegedy et al., "Going Deeper with Convolutions", 2014, https://arxiv.org/abs/1409.4842, table 1 and figure 3.
    """
    return _googlenet("googlenet", input_shape, classes, auxiliary=auxiliary, excitation=None)


def se_googlenet(
    input_shape: tuple[int, int, int] = (224, 224, 3), *, classes: int = 1000, auxiliary: bool = False
) -> keras.Model:
    """Build SE-GoogLeNet: `googlenet` with squeeze-and-excitation, ratio 16, behind every module.

    Reference:
        Hu, Shen, Albanie, Sun, Wu, "Squeeze-and-Excitation Networks", 2017, https://arxiv.org/abs/1709.01507,
        figure 2.
    """
    return _googlenet("se_googlenet", input_shape, classes, auxiliary=auxiliary, excitation=_SE_RATIO)


def _googlenet(
    name: str, input_shape: tuple[int, int, int], classes: int, *, auxiliary: bool, excitation: int | None
) -> keras.Model:
    if auxiliary and min(input_shape[:2]) < _AUXILIARY_SMALLEST:
        raise ArchitectureError(
            f"{name} with auxiliary classifiers needs an input of at least {_AUXILIARY_SMALLEST}x{_AUXILIARY_SMALLEST} "
            f"pixels, got {input_shape[0]}x{input_shape[1]}."
        )
    image = keras.Input(input_shape, name="image")
    x = _stem(image)
    further = []
    for module, filters in _MODULES.items():
        x = inception_module(x, _branches(*filters), convolution=_convolution, name=f"inception_{module}")
        if excitation is not None:
            x = squeeze_excitation(x, ratio=excitation, name=f"inception_{module}_se")
        if auxiliary and module in _AUXILIARY:
            further.append(auxiliary_classifier(x, classes, name=_AUXILIARY[module]))
        if module in _BEFORE_POOL:
            x = layers.MaxPooling2D(3, 2, padding="same", name=f"pool{module[0]}")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.4, name="dropout")(x)
    x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(image, [x, *further] if further else x, name=name)


def _stem(image: Any) -> Any:
    x = _convolution(image, Convolution(64, 7, 2), "conv1")
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool1")(x)
    x = LocalResponseNormalization(name="norm1")(x)
    x = _convolution(x, Convolution(64), "conv2_reduce")
    x = _convolution(x, Convolution(192, 3), "conv2")
    x = LocalResponseNormalization(name="norm2")(x)
    return layers.MaxPooling2D(3, 2, padding="same", name="pool2")(x)


def _branches(one: int, three: tuple[int, int], five: tuple[int, int], pooled: int) -> tuple[Steps, ...]:
    return (
        (Convolution(one),),
        (Convolution(three[0]), Convolution(three[1], 3)),
        (Convolution(five[0]), Convolution(five[1], 5)),
        (Pool("max"), Convolution(pooled)),
    )


def _convolution(x: Any, step: Convolution, name: str) -> Any:
    return layers.Conv2D(
        step.filters,
        step.kernel,
        step.stride,
        padding=step.padding,
        activation="relu",
        kernel_initializer="he_normal",
        name=name,
    )(x)
