"""FCN-32s, 16s and 8s: a class for every pixel, from a classifier whose dense layers became convolutions.

    VGG16 or MobileNetV2 ─ (dense → convolution) ─┬─ stride 32 ─ score ─ × 2 ─ + ─ × 2 ─ + ─ × 8 ─ logits
                                                  ├─ stride 16 ─────── score ─┘         │
                                                  └─ stride 8 ────────────────── score ─┘

Every network is one row of `_Plan`. Each maps float32 pictures ``(batch, height, width, channels)``, scaled as
`edgecv.architectures.catalog` records, to float32 logits ``(batch, height, width, classes)``; height and width are
multiples of 32, else ArchitectureError. The weights are the initialisers'.

References:
    Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", 2015, section 4 and figure 3,
    https://arxiv.org/abs/1411.4038.
    The ``_dilated`` forms: Chen, Papandreou, Kokkinos, Murphy, Yuille, "Semantic Image Segmentation with Deep
    Convolutional Nets and Fully Connected CRFs", 2015, section 3.1, https://arxiv.org/abs/1412.7062; Yu, Koltun,
    "Multi-Scale Context Aggregation by Dilated Convolutions", 2016, https://arxiv.org/abs/1511.07122.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras
from keras import initializers, layers

from edgecv.architectures import keras_zoo
from edgecv.architectures.bilinear import bilinear_upsampling
from edgecv.errors import ArchitectureError
from edgecv.fcn import to_fcn
from edgecv.layer_copies import copy_weights
from edgecv.layer_graph import layer_graph

__all__ = [
    "fcn8s",
    "fcn8s_dilated",
    "fcn8s_mobilenet_v2",
    "fcn8s_mobilenet_v2_dilated",
    "fcn16s",
    "fcn16s_dilated",
    "fcn16s_mobilenet_v2",
    "fcn16s_mobilenet_v2_dilated",
    "fcn32s",
    "fcn32s_dilated",
    "fcn32s_mobilenet_v2",
    "fcn32s_mobilenet_v2_dilated",
]

Shape = tuple[int, int, int]
# Layer → what its copy has other than the original; None leaves it out.
Changes = Mapping[str, Mapping[str, Any] | None]

_STRIDE = 32  # of the coarsest map, where nothing is dilated
_CLASSIFIER_SIDE = 224  # pixels: fc1 of VGG16 sees the 7 × 7 cells that remain of them
_DROPOUT = 0.5
_SCORE_DEVIATION = 0.01
_PRECISE = "float32"  # of scores, also where the body computes in half precision


@dataclass(frozen=True, kw_only=True)
class _Backbone:
    """A classifier, and which of its maps are scored.

    Attributes:
        build: Its builder.
        maps: Layers whose outputs are scored, from the coarsest: of the strides 32, 16 and 8.
        dropped: Layers with dropout behind them.
        changes: What the copies have other than the classifier.
        dilated: Further changes that leave the stride of the last stage out. Each layer behind it has its taps
            twice as far apart: it sees the same values as before, and gives an answer between any two others.
    """

    build: Callable[..., keras.Model]
    maps: tuple[str, str, str]
    dropped: frozenset[str] = frozenset()
    changes: Changes = field(default_factory=dict)
    dilated: Changes


# The paper pads the picture by 100 pixels, so that the 7 × 7 cells of fc6 fit, and crops what comes out of it. Here
# fc6 pads its map: the same size without a crop, and no layer computes on a frame of zeros.
_VGG16 = _Backbone(
    build=keras_zoo.vgg16,
    maps=("fc2", "block4_pool", "block3_pool"),
    dropped=frozenset({"fc1", "fc2"}),
    changes={"fc1": {"padding": "same"}},
    dilated={
        "block5_pool": {"strides": (1, 1), "padding": "same"},
        "fc1": {"padding": "same", "dilation_rate": (2, 2)},
    },
)
# Of the strides 16 and 8 the last maps of many channels: 576 and 192, against 96 and 32 at the ends of the blocks.
_MOBILENET_V2 = _Backbone(
    build=keras_zoo.mobilenet_v2,
    maps=("out_relu", "block_13_expand_relu", "block_6_expand_relu"),
    dilated={
        "block_13_pad": None,
        "block_13_depthwise": {"strides": (1, 1), "padding": "same"},
        **{f"block_{index}_depthwise": {"dilation_rate": (2, 2)} for index in (14, 15, 16)},
    },
)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What a network is made of.

    Attributes:
        name: Its name.
        backbone: The classifier.
        scored: How many maps are scored: 1 is FCN-32s, 2 is 16s, 3 is 8s.
        dilated: Whether the coarsest map has stride 16.
    """

    name: str
    backbone: _Backbone
    scored: int
    dilated: bool

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the scored maps, from the coarsest."""
        return (16 if self.dilated else 32, 16, 8)[: self.scored]


def _builder(name: str) -> Callable[..., keras.Model]:
    """Return the builder of a network by its name: ``fcn{32,16,8}s[_mobilenet_v2][_dilated]``."""
    scored = {"fcn32s": 1, "fcn16s": 2, "fcn8s": 3}[name.partition("_")[0]]
    backbone = _MOBILENET_V2 if "mobilenet_v2" in name else _VGG16
    return partial(_build, _Plan(name=name, backbone=backbone, scored=scored, dilated=name.endswith("_dilated")))


def _build(plan: _Plan, input_shape: Shape = (320, 320, 3), *, classes: int = 21) -> keras.Model:
    height, width, channels = input_shape
    if height % _STRIDE or width % _STRIDE:
        raise ArchitectureError(
            f"{plan.name} needs a height and a width that are multiples of {_STRIDE}, got {height}x{width}."
        )
    image = keras.Input(input_shape, name="image")
    maps = _maps(plan, image, channels)
    return keras.Model(image, _logits(plan, maps, classes), name=plan.name)


def _maps(plan: _Plan, image: Any, channels: int) -> dict[str, Any]:
    """Call copies of the convolutional classifier's layers on a picture; return each layer's result by its name."""
    classifier = plan.backbone.build((_CLASSIFIER_SIDE, _CLASSIFIER_SIDE, channels), classes=1)
    graph = layer_graph(to_fcn(classifier))
    changes = {**plan.backbone.changes, **(plan.backbone.dilated if plan.dilated else {})}
    tensors: dict[int, Any] = {graph.input: image}
    found: dict[str, Any] = {}
    for step in graph.steps:
        name, results = step.path, [tensors[step.inputs[0]]]
        if (changed := changes.get(name, {})) is not None:
            copy = type(step.operation).from_config({**step.operation.get_config(), **changed})
            results = step.call(copy, tensors)
            copy_weights(step.operation, copy)
        if name in plan.backbone.dropped:
            results = [layers.Dropout(_DROPOUT, name=f"{name}_dropout")(results[0])]
        tensors.update(zip(step.outputs, results, strict=True))
        found[name] = results[0]
        if name == plan.backbone.maps[0]:  # behind it are the classifier's own classes
            break
    return found


def _logits(plan: _Plan, maps: Mapping[str, Any], classes: int) -> Any:
    """Score maps, and add each score to the enlarged one of the coarser map; the last enlargement is fixed."""
    coarsest, *finer = plan.backbone.maps[: plan.scored]
    stride, *strides = plan.strides
    x = _score(maps[coarsest], classes, name=coarsest)
    for name, finer_stride in zip(finer, strides, strict=True):
        if finer_stride < stride:
            x = bilinear_upsampling(x, stride // finer_stride, trainable=True, name=f"upscore_{name}")
        x = layers.Add(dtype=_PRECISE, name=f"fuse_{name}")([x, _score(maps[name], classes, name=name)])
        stride = finer_stride
    return bilinear_upsampling(x, stride, trainable=False, name="logits")


def _score(x: Any, classes: int, *, name: str) -> Any:
    """Return ``(batch, height, width, classes)``.

    The paper starts at zero, and found no difference to a random start (section 4.3). Small numbers let what lies
    before learn from the first step on, and tell pictures apart where only the body has weights.
    """
    start = initializers.RandomNormal(stddev=_SCORE_DEVIATION)
    return layers.Conv2D(classes, 1, kernel_initializer=start, dtype=_PRECISE, name=f"score_{name}")(x)


fcn32s = _builder("fcn32s")
fcn16s = _builder("fcn16s")
fcn8s = _builder("fcn8s")
fcn32s_dilated = _builder("fcn32s_dilated")
fcn16s_dilated = _builder("fcn16s_dilated")
fcn8s_dilated = _builder("fcn8s_dilated")
fcn32s_mobilenet_v2 = _builder("fcn32s_mobilenet_v2")
fcn16s_mobilenet_v2 = _builder("fcn16s_mobilenet_v2")
fcn8s_mobilenet_v2 = _builder("fcn8s_mobilenet_v2")
fcn32s_mobilenet_v2_dilated = _builder("fcn32s_mobilenet_v2_dilated")
fcn16s_mobilenet_v2_dilated = _builder("fcn16s_mobilenet_v2_dilated")
fcn8s_mobilenet_v2_dilated = _builder("fcn8s_mobilenet_v2_dilated")
