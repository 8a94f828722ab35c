"""Tiny networks that the tests of the export side share; the fixture `networks` gives them."""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

import edgecv
from edgecv.decoders import Ssd
from edgecv.deployable import Deployable, ModelInfo
from edgecv.localisation import Localisation
from edgecv.preprocess import STYLES
from edgecv.weights.random import randomize

__all__ = ["NETWORKS", "build", "deployable"]


def _separable() -> Any:
    """SAME padding, BatchNorm behind a convolution and a depthwise one; 24 pixels at stride 2 pad on one side only."""
    image = keras.Input((24, 24, 3), name="image")
    x = layers.Conv2D(8, 3, 2, padding="same", use_bias=False, name="stem")(image)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = layers.ReLU(name="stem_relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = layers.BatchNormalization(epsilon=1e-5, name="depthwise_bn")(x)
    x = layers.ReLU(name="depthwise_relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(5, activation="softmax", name="head")(x), name="separable")


def _residual() -> Any:
    """VALID padding behind a ZeroPadding2D, a shortcut, and a last layer without activation."""
    image = keras.Input((21, 27, 3), name="image")
    x = layers.ZeroPadding2D(((0, 1), (2, 1)), name="pad")(image)
    x = layers.Conv2D(6, 3, 2, use_bias=True, name="stem")(x)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = layers.Activation("relu", name="stem_relu")(x)
    y = layers.Conv2D(6, 3, padding="same", use_bias=False, name="branch")(x)
    y = layers.BatchNormalization(name="branch_bn")(y)
    x = layers.Activation("relu", name="out_relu")(layers.Add(name="add")([x, y]))
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Flatten(name="flatten")(x)
    return keras.Model(image, layers.Dense(4, name="head")(x), name="residual")


def _multilabel() -> Any:
    """A sigmoid head: several classes may be there at once."""
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(6, 5, 2, padding="same", activation="relu", name="stem")(image)
    x = layers.SeparableConv2D(8, 3, activation="relu", name="separable")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(6, activation="sigmoid", name="head")(x), name="multilabel")


def _two_outputs() -> Any:
    """Two outputs that no task of edgecv describes, given as a dictionary."""
    image = keras.Input((16, 20, 3), name="image")
    x = layers.Conv2D(6, 3, padding="same", use_bias=False, name="stem")(image)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = layers.ReLU(name="stem_relu")(x)
    x = layers.AveragePooling2D(2, name="pool")(x)
    field = layers.Conv2D(2, 1, name="field_head")(x)
    vector = layers.Dense(3, name="vector_head")(layers.GlobalAveragePooling2D(name="average")(x))
    return keras.Model(image, {"vector": vector, "field": field}, name="two_outputs")


def _localiser() -> Any:
    """A trunk of dense layers shared by three heads; width and height are square roots."""
    image = keras.Input((32, 40, 3), name="image")
    x = layers.Conv2D(8, 3, 2, padding="same", activation="relu", name="stem")(image)
    x = layers.Conv2D(8, 3, 2, padding="same", activation="relu", name="second")(x)
    x = layers.Dense(16, activation="relu", name="hidden")(layers.Flatten(name="flatten")(x))
    scores = layers.Dense(5, activation="softmax", name="predictions")(x)
    objectness = layers.Dense(1, activation="sigmoid", name="objectness")(x)
    box = layers.Dense(4, activation="sigmoid", name="box")(x)
    network = keras.Model(image, [scores, objectness, box], name="localiser")
    network.edgecv_info = ModelInfo(
        name="localiser",
        task="localisation",
        localisation=Localisation(sqrt_sizes=True, outputs=("predictions", "objectness", "box")),
    )
    return network


def _segmenter() -> Any:
    """Scores of pixels at half of the input's size, from a fine and a coarse map."""
    image = keras.Input((32, 40, 3), name="image")
    x = layers.Conv2D(8, 3, 2, padding="same", use_bias=False, name="stem")(image)
    fine = layers.ReLU(name="stem_relu")(layers.BatchNormalization(name="stem_bn")(x))
    coarse = layers.Conv2D(12, 3, 2, padding="same", activation="relu", name="coarse")(fine)
    coarse = layers.UpSampling2D(2, interpolation="bilinear", name="up")(coarse)
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="both")(layers.Concatenate()([fine, coarse]))
    network = keras.Model(image, layers.Conv2D(5, 1, name="scores")(x), name="segmenter")
    network.edgecv_info = ModelInfo(name="segmenter", task="segmentation")
    return network


def _detector() -> Any:
    """Two layers of anchors, SSD's encoding, class scores with a background."""
    image = keras.Input((32, 48, 3), name="image")
    x = layers.Conv2D(8, 3, 2, padding="same", use_bias=False, name="stem")(image)
    x = layers.ReLU(name="stem_relu")(layers.BatchNormalization(name="stem_bn")(x))
    fine = layers.Conv2D(12, 5, 4, padding="same", activation="relu", name="fine")(x)
    coarse = layers.Conv2D(12, 3, 2, padding="same", activation="relu", name="coarse")(fine)
    boxes, scores = [], []
    for name, grid in (("fine", fine), ("coarse", coarse)):
        boxes.append(layers.Reshape((-1, 4))(layers.Conv2D(3 * 4, 1, name=f"{name}_boxes")(grid)))
        scores.append(layers.Reshape((-1, 4))(layers.Conv2D(3 * 4, 1, name=f"{name}_scores")(grid)))
    outputs = [layers.Concatenate(axis=1)(boxes), layers.Concatenate(axis=1)(scores)]
    network = keras.Model(image, outputs, name="detector")
    network.edgecv_info = ModelInfo(name="detector", decoder=DETECTOR)
    return network


# 4 × 6 and 2 × 3 cells of three anchors; three classes and the background.
DETECTOR = Ssd(
    feature_maps=((4, 6), (2, 3)),
    scales=(0.3, 0.6),
    aspect_ratios=(1.0, 2.0, 0.5),
    interpolated_aspect_ratio=0.0,
    activation="sigmoid",
    background=True,
)


def _lenet5() -> Any:
    return edgecv.build("lenet5", weights="random")


# Name → builder, and the scaling that the network is deployed with.
NETWORKS: dict[str, tuple[Callable[[], Any], str]] = {
    "lenet5": (_lenet5, "0-1"),
    "separable": (_separable, "caffe"),
    "residual": (_residual, "torch"),
    "multilabel": (_multilabel, "tf"),
    "two_outputs": (_two_outputs, "0-1"),
    "localiser": (_localiser, "0-1"),
    "segmenter": (_segmenter, "torch"),
    "detector": (_detector, "tf"),
}


def build(name: str) -> Any:
    """Build a network with seeded weights that tell pictures apart."""
    builder, style = NETWORKS[name]
    keras.utils.clear_session(free_memory=False)
    network = builder()
    info = getattr(network, "edgecv_info", None)
    randomize(network, STYLES[style], decoder=info.decoder if info else None)
    return network


def deployable(name: str, **options: Any) -> Deployable:
    """Build a network and deploy it with its own scaling; ``options`` are those of `edgecv.deploy`."""
    return edgecv.deploy(build(name), **{"preprocess": NETWORKS[name][1], **options})
