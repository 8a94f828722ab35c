"""Pieces that several networks are made of: residual units, inception modules, squeeze-and-excitation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from keras import layers

__all__ = [
    "Convolution",
    "Pool",
    "Steps",
    "bottleneck_unit",
    "inception_module",
    "normalized_convolution",
    "residual_unit",
    "squeeze_excitation",
]

Padding = Literal["same", "valid"]

_EPSILON = 1e-5  # torchvision's BatchNorm; Keras' default is 1e-3
_EXPANSION = 4  # of a bottleneck unit


def normalized_convolution(x: Any, filters: int, size: int, stride: int = 1, *, name: str) -> Any:
    """Convolution (``NAME_conv``) and BatchNorm (``NAME_bn``), padded by ``size // 2`` on every side as torch does.

    Args:
        x: Tensor ``(batch, height, width, channels)``.
        filters: Channels of the result.
        size: Side of the kernel, odd.
        stride: Stride.
        name: Prefix of the layers' names.

    Returns:
        Tensor ``(batch, ceil(height / stride), ceil(width / stride), filters)``.
    """
    padding: Padding = "same"
    if stride > 1 and size > 1:
        # At stride 2 "same" pads the right and the bottom only; torch pads every side.
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
        padding = "valid"
    x = layers.Conv2D(
        filters,
        size,
        stride,
        padding=padding,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(x)


def residual_unit(x: Any, filters: int, *, stride: int = 1, name: str) -> Any:
    """Two 3 × 3 convolutions beside a skip, added and rectified.

    The skip is the identity where the shape stays, else a 1 × 1 convolution of the same stride with
    BatchNorm (option B of the paper).

    Args:
        x: Tensor ``(batch, height, width, channels)``.
        filters: Channels of the result.
        stride: Stride of the first convolution and of the skip.
        name: Prefix of the layers' names.

    Returns:
        Tensor ``(batch, ceil(height / stride), ceil(width / stride), filters)``.

    Reference:
        He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015,
        https://arxiv.org/abs/1512.03385, figure 5, left.
    """
    y = normalized_convolution(x, filters, 3, stride, name=f"{name}_1")
    y = layers.ReLU(name=f"{name}_1_relu")(y)
    y = normalized_convolution(y, filters, 3, 1, name=f"{name}_2")
    return _skipped(x, y, stride=stride, name=name)


def bottleneck_unit(x: Any, filters: int, *, stride: int = 1, excitation: int | None = None, name: str) -> Any:
    """1 × 1, 3 × 3 and 1 × 1 convolution beside a skip, added and rectified.

    The stride is the 3 × 3 convolution's, as in torchvision and timm (the paper's is the first 1 × 1 one's).

    Args:
        x: Tensor ``(batch, height, width, channels)``.
        filters: Channels of the first two convolutions; the result has four times as many.
        stride: Stride of the second convolution and of the skip.
        excitation: Ratio of squeeze-and-excitation before the sum; None leaves it out.
        name: Prefix of the layers' names.

    Returns:
        Tensor ``(batch, ceil(height / stride), ceil(width / stride), 4 · filters)``.

    Reference:
        He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015,
        https://arxiv.org/abs/1512.03385, figure 5, right; with squeeze-and-excitation: Hu, Shen, Albanie, Sun, Wu,
        "Squeeze-and-Excitation Networks", 2017, https://arxiv.org/abs/1709.01507, figure 3.
    """
    y = normalized_convolution(x, filters, 1, name=f"{name}_1")
    y = layers.ReLU(name=f"{name}_1_relu")(y)
    y = normalized_convolution(y, filters, 3, stride, name=f"{name}_2")
    y = layers.ReLU(name=f"{name}_2_relu")(y)
    y = normalized_convolution(y, _EXPANSION * filters, 1, name=f"{name}_3")
    if excitation is not None:
        y = squeeze_excitation(y, ratio=excitation, name=f"{name}_se")
    return _skipped(x, y, stride=stride, name=name)


def _skipped(x: Any, y: Any, *, stride: int, name: str) -> Any:
    skip = x
    if stride != 1 or x.shape[-1] != y.shape[-1]:
        skip = normalized_convolution(x, y.shape[-1], 1, stride, name=f"{name}_skip")
    y = layers.Add(name=f"{name}_add")([skip, y])
    return layers.ReLU(name=f"{name}_relu")(y)


def squeeze_excitation(x: Any, *, ratio: int = 16, name: str) -> Any:
    """Weigh every channel by what the whole map says of all channels.

    The map's mean goes through a dense layer of ``channels / ratio`` units with ReLU and one of ``channels`` with
    sigmoid (convolutions of 1 × 1 here: they export without a reshape); the map is multiplied by the result.
    2 · channels² / ratio weights, and biases.

    Args:
        x: Tensor ``(batch, height, width, channels)``.
        ratio: Reduction, the paper's r.
        name: Prefix of the layers' names.

    Returns:
        Tensor of the same shape.

    Reference:
        Hu, Shen, Albanie, Sun, Wu, "Squeeze-and-Excitation Networks", 2017, https://arxiv.org/abs/1709.01507,
        equations 2 to 4.
    """
    channels = x.shape[-1]
    gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
    gate = layers.Conv2D(
        max(channels // ratio, 1), 1, activation="relu", kernel_initializer="he_normal", name=f"{name}_reduce"
    )(gate)
    gate = layers.Conv2D(channels, 1, activation="sigmoid", name=f"{name}_excite")(gate)
    return layers.Multiply(name=f"{name}_scale")([x, gate])


@dataclass(frozen=True)
class Convolution:
    """A convolution in a branch of an inception module; ``kernel`` is its side, or ``(height, width)``."""

    filters: int
    kernel: int | tuple[int, int] = 1
    stride: int = 1
    padding: Padding = "same"


@dataclass(frozen=True)
class Pool:
    """A pool of 3 × 3 in a branch of an inception module."""

    kind: Literal["average", "max"]
    stride: int = 1
    padding: Padding = "same"


# One after the other; a tuple in their place stands for branches side by side, and ends the steps.
Steps: TypeAlias = Sequence[Convolution | Pool | tuple["Steps", ...]]


def inception_module(
    x: Any, branches: Sequence[Steps], *, convolution: Callable[[Any, Convolution, str], Any], name: str
) -> Any:
    """Run branches side by side and concatenate their channels, in their order.

    Args:
        x: Tensor ``(batch, height, width, channels)``.
        branches: What each does; they must come to one height and width.
        convolution: Makes a convolution with all that belongs to it; gets the tensor, the step and a name.
        name: Prefix of the layers' names: ``NAME_BRANCH_STEP``, from 1.

    Returns:
        Tensor ``(batch, height', width', sum of the branches' channels)``.

    Reference:
        Szegedy et al., "Going Deeper with Convolutions", 2014, https://arxiv.org/abs/1409.4842, figure 2.
    """
    return layers.Concatenate(name=f"{name}_concat")(_ends(x, (tuple(branches),), convolution, name))


def _ends(x: Any, steps: Steps, convolution: Callable[[Any, Convolution, str], Any], name: str) -> list[Any]:
    """Return what a branch ends in, more than one tensor where it forks."""
    for index, step in enumerate(steps, start=1):
        if isinstance(step, tuple):
            parts = [_ends(x, part, convolution, f"{name}_{number}") for number, part in enumerate(step, start=1)]
            return [end for part in parts for end in part]
        if isinstance(step, Convolution):
            x = convolution(x, step, f"{name}_{index}")
        else:
            pool = layers.AveragePooling2D if step.kind == "average" else layers.MaxPooling2D
            x = pool(3, step.stride, padding=step.padding, name=f"{name}_pool")(x)
    return [x]
