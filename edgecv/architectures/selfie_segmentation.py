"""The person segmenter of MediaPipe: MobileNetV3 with a small decoder, BatchNorm folded into biases.

image ─ stem ─ block 0 ─ 1, 2 ─ 3 … 7 ─ context      strides 2, 4, 8, 16; a half of 256 pixels each
          │        │       │              │
          │        │       └── decode8 ───┘          the coarse map enlarged, the fine one gated by both
          │        └────────── decode4
          └─────────────────── decode2 ─ logits      a transposed convolution, 2 × 2 at stride 2
"""

from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from edgecv.architectures.blocks import squeeze_excitation
from edgecv.errors import ArchitectureError

__all__ = ["selfie_segmentation"]

_STEM_FILTERS = 16
_CONTEXT_FILTERS = 128
_STRIDE = 16  # of the coarsest map


@dataclass(frozen=True)
class _Block:
    """One row of table 2 of the MobileNetV3 paper; the numbers are the published network's, which is narrower.

    Attributes:
        kernel: Side of the depthwise convolution.
        expanded: Channels of it.
        filters: Channels of the result.
        stride: Its stride.
        activation: ``relu`` or ``hard_silu``, which is the paper's h-swish.
        ratio: Of squeeze-and-excitation; None leaves it out.
    """

    kernel: int
    expanded: int
    filters: int
    stride: int
    activation: str
    ratio: int | None


_BLOCKS = (
    _Block(3, 16, 16, 2, "relu", 2),
    _Block(3, 72, 24, 2, "relu", None),
    _Block(3, 88, 24, 1, "relu", None),
    _Block(5, 96, 32, 2, "hard_silu", 4),
    _Block(5, 128, 32, 1, "hard_silu", 4),
    _Block(5, 128, 32, 1, "hard_silu", 4),
    _Block(5, 96, 32, 1, "hard_silu", 4),
    _Block(5, 96, 32, 1, "hard_silu", 4),
)


def selfie_segmentation(input_shape: tuple[int, int, int] = (256, 256, 3), *, classes: int = 2) -> keras.Model:
    """Build the segmenter as it is deployed: every BatchNorm is folded into its convolution.

    Maps float32 RGB pictures ``(batch, height, width, channels)`` scaled to [0, 1] to one float32 tensor ``logits``.
    For two classes it is ``(batch, height, width, 1)``: of class 1 against class 0, which the published network ends
    in the sigmoid of; 0 is the border between them. For more it is ``(batch, height, width, classes)``.

    Args:
        input_shape: ``(height, width, channels)``; height and width in pixels, each a multiple of 16.
        classes: Number of classes with the background, at least 2.

    Returns:
        An uncompiled functional model with the initialisers' weights.

    Raises:
        ArchitectureError: Height or width is no multiple of 16, or there is only one class.

    Reference:
        The graph of ``selfie_segmentation.tflite`` in the npm package ``@mediapipe/selfie_segmentation``, version
        0.1.1675465747. Encoder and context are those of Howard, Sandler, Chu, Chen, Chen, Tan, Wang, Zhu, Pang,
        Vasudevan, Le, Adam, "Searching for MobileNetV3", 2019, https://arxiv.org/abs/1905.02244, table 2 and
        section 6.4 (LR-ASPP), with fewer channels; the decoder has been published in the file alone.
    """
    height, width, _ = input_shape
    if height % _STRIDE or width % _STRIDE:
        raise ArchitectureError(
            f"selfie_segmentation needs a height and a width that are multiples of {_STRIDE}, got {height}x{width}."
        )
    if classes < 2:
        raise ArchitectureError(f"selfie_segmentation needs at least 2 classes, background included, got {classes}.")
    image = keras.Input(input_shape, name="image")
    *skips, x = _encoded(image)
    x = _context(x)
    for stride, skip in zip((8, 4, 2), reversed(skips), strict=True):
        x = _decoded(x, skip, name=f"decode{stride}")
    # Float32 where all others compute in float16: what is compared and learnt from.
    logits = layers.Conv2DTranspose(
        1 if classes == 2 else classes, 2, 2, padding="same", dtype="float32", name="logits"
    )(x)
    return keras.Model(image, logits, name="selfie_segmentation")


def _encoded(image: Any) -> list[Any]:
    """Return the last maps of strides 2, 4, 8 and 16."""
    x = _convolution(image, _STEM_FILTERS, 3, 2, activation="hard_silu", name="stem")
    maps = []
    for index, block in enumerate(_BLOCKS):
        if block.stride == 2:
            maps.append(x)
        x = _block(x, block, name=f"block{index}")
    return [*maps, x]


def _block(x: Any, block: _Block, *, name: str) -> Any:
    """Expand 1 × 1, filter each channel, weigh the channels, project 1 × 1; skipped where the shape stays."""
    skip = x
    x = _convolution(x, block.expanded, 1, activation=block.activation, name=f"{name}_expand")
    x = _filtered(x, block.kernel, block.stride, activation=block.activation, name=f"{name}_depthwise")
    if block.ratio is not None:
        x = squeeze_excitation(x, ratio=block.ratio, name=f"{name}_se")
    x = _convolution(x, block.filters, 1, name=f"{name}_project")
    if block.stride == 1 and skip.shape[-1] == block.filters:
        x = layers.Add(name=f"{name}_add")([skip, x])
    return x


def _context(x: Any) -> Any:
    """Weigh the coarsest map's channels by what the whole of it says (LR-ASPP)."""
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="context_squeeze")(x)
    gate = _convolution(gate, _CONTEXT_FILTERS, 1, activation="sigmoid", name="context_gate")
    x = _convolution(x, _CONTEXT_FILTERS, 1, activation="relu", name="context")
    return layers.Multiply(name="context_scale")([x, gate])


def _decoded(x: Any, skip: Any, *, name: str) -> Any:
    """Enlarge a map twofold and add the finer one, whose channels are weighed by what both say; refine the sum."""
    filters = skip.shape[-1]
    x = layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_up")(x)
    x = _convolution(x, filters, 1, name=f"{name}_narrow")
    gate = layers.Add(name=f"{name}_both")([skip, x])
    gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(gate)
    gate = _convolution(gate, filters, 1, activation="relu", name=f"{name}_reduce")
    gate = _convolution(gate, filters, 1, activation="sigmoid", name=f"{name}_excite")
    skip = layers.Multiply(name=f"{name}_scale")([skip, gate])
    x = layers.Add(name=f"{name}_add")([skip, x])
    x = _convolution(x, filters, 1, activation="relu", name=f"{name}_merge")
    refined = _filtered(x, 3, 1, activation="relu", name=f"{name}_refine")
    return layers.Add(name=f"{name}_refined")([x, refined])


def _convolution(x: Any, filters: int, size: int, stride: int = 1, *, activation: str | None = None, name: str) -> Any:
    x = layers.Conv2D(filters, size, stride, padding="same", kernel_initializer="he_normal", name=f"{name}_conv")(x)
    return x if activation is None else layers.Activation(activation, name=f"{name}_{activation}")(x)


def _filtered(x: Any, size: int, stride: int, *, activation: str, name: str) -> Any:
    x = layers.DepthwiseConv2D(size, stride, padding="same", depthwise_initializer="he_normal", name=f"{name}_conv")(x)
    return layers.Activation(activation, name=f"{name}_{activation}")(x)
