"""The small networks that an exporter is tried on, and what is made of them: one case each.

All weights are seeded. Each network is built once a process; deploying leaves it as it is.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecv.deployable import Deployable

__all__ = ["CASES", "LABELS", "MOST_DETECTIONS", "Case", "unconvertible"]

# Names that a careless writer of text breaks.
LABELS = ("cat", "Käfer", "日本", 'say "no"', "a, b; c\\d")
MOST_DETECTIONS = 3


@dataclass(frozen=True, kw_only=True)
class Case:
    """A Deployable that an exporter is tried on.

    Attributes:
        name: Short and unique; checks bear it.
        says: What it is, in a few words.
        network: Builds the network, seeded weights included.
        options: Of `edgecv.deploy`.
        nms: Settings of suppression, where they are not the default ones.
        unproven_in_int8: Why int8 cannot be judged by it, for exporters that write nothing else; empty where it can.
    """

    name: str
    says: str
    network: Callable[[], Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    nms: Mapping[str, Any] | None = None
    unproven_in_int8: str = ""

    def deploy(self) -> "Deployable":
        """Make the Deployable."""
        import edgecv
        from edgecv.nms import Nms

        options = dict(self.options)
        if self.nms is not None:
            options["nms"] = Nms(**self.nms)
        return edgecv.deploy(self.network(), name=f"conformance_{self.name}", **options)


@functools.cache
def _classifier() -> Any:
    """SAME padding that is uneven, BatchNorm behind a convolution and a depthwise one, softmax."""
    from keras import Input, Model, layers

    image = Input((24, 24, 3), name="image")
    x = layers.Conv2D(8, 3, 2, padding="same", use_bias=False, name="stem")(image)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = layers.ReLU(name="stem_relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = layers.BatchNormalization(epsilon=1e-5, name="depthwise_bn")(x)
    x = layers.ReLU(6.0, name="depthwise_relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return _seeded(Model(image, layers.Dense(5, activation="softmax", name="head")(x)), "caffe")


@functools.cache
def _odd() -> Any:
    """Odd sides, uneven zero padding, VALID convolutions, a shortcut, no last activation."""
    from keras import Input, Model, layers

    image = Input((21, 27, 3), name="image")
    x = layers.ZeroPadding2D(((0, 1), (2, 1)), name="pad")(image)
    x = layers.Conv2D(6, 3, 2, activation="relu", name="stem")(x)
    y = layers.Conv2D(6, 3, padding="same", use_bias=False, name="branch")(x)
    y = layers.BatchNormalization(name="branch_bn")(y)
    x = layers.ReLU(name="sum_relu")(layers.Add(name="sum")([x, y]))
    x = layers.Flatten(name="flatten")(layers.MaxPooling2D(2, name="pool")(x))
    return _seeded(Model(image, layers.Dense(4, name="head")(x)), "torch")


@functools.cache
def _grey() -> Any:
    """One channel, and a sigmoid for several classes at once."""
    from keras import Input, Model, layers

    image = Input((17, 16, 1), name="image")
    x = layers.Conv2D(6, 5, 2, padding="same", activation="relu", name="stem")(image)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return _seeded(Model(image, layers.Dense(3, activation="sigmoid", name="head")(x)), "0-1")


@functools.cache
def _outputs() -> Any:
    """A vector and a map, which no task describes."""
    from keras import Input, Model, layers

    image = Input((16, 20, 3), name="image")
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="stem")(image)
    x = layers.AveragePooling2D(2, name="pool")(x)
    field = layers.Conv2D(2, 1, name="field_head")(x)
    vector = layers.Dense(3, name="vector_head")(layers.GlobalAveragePooling2D(name="average")(x))
    return _seeded(Model(image, {"vector": vector, "field": field}), "0-1")


@functools.cache
def _detector() -> Any:
    """Two grids of anchors in SSD's encoding, three classes and the background."""
    from keras import Input, Model, layers

    from edgecv.decoders import Ssd
    from edgecv.deployable import ModelInfo

    image = Input((32, 48, 3), name="image")
    x = layers.Conv2D(8, 3, 2, padding="same", use_bias=False, name="stem")(image)
    x = layers.ReLU(name="stem_relu")(layers.BatchNormalization(name="stem_bn")(x))
    fine = layers.Conv2D(12, 5, 4, padding="same", activation="relu", name="fine")(x)
    coarse = layers.Conv2D(12, 3, 2, padding="same", activation="relu", name="coarse")(fine)
    boxes, scores = [], []
    for name, grid in (("fine", fine), ("coarse", coarse)):
        boxes.append(layers.Reshape((-1, 4))(layers.Conv2D(3 * 4, 1, name=f"{name}_boxes")(grid)))
        scores.append(layers.Reshape((-1, 4))(layers.Conv2D(3 * 4, 1, name=f"{name}_scores")(grid)))
    network = Model(image, [layers.Concatenate(axis=1)(boxes), layers.Concatenate(axis=1)(scores)])
    decoder = Ssd(
        feature_maps=((4, 6), (2, 3)),
        scales=(0.3, 0.6),
        aspect_ratios=(1.0, 2.0, 0.5),
        interpolated_aspect_ratio=0.0,
        activation="sigmoid",
        background=True,
    )
    network.edgecv_info = ModelInfo(name="detector", decoder=decoder)
    return _seeded(network, "tf", decoder)


@functools.cache
def _segmenter() -> Any:
    """Scores of pixels at half of the input's size, from a fine and a coarse map."""
    from keras import Input, Model, layers

    from edgecv.deployable import ModelInfo

    image = Input((32, 40, 3), name="image")
    fine = layers.Conv2D(8, 3, 2, padding="same", activation="relu", name="stem")(image)
    x = layers.Conv2D(12, 3, 2, padding="same", activation="relu", name="coarse")(fine)
    x = layers.UpSampling2D(2, interpolation="bilinear", name="up")(x)
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="both")(layers.Concatenate()([fine, x]))
    network = Model(image, layers.Conv2D(4, 1, name="scores")(x))
    network.edgecv_info = ModelInfo(name="segmenter", task="segmentation")
    return _seeded(network, "torch")


@functools.cache
def _localiser() -> Any:
    """A trunk of dense layers shared by three heads."""
    from keras import Input, Model, layers

    from edgecv.deployable import ModelInfo
    from edgecv.localisation import Localisation

    image = Input((32, 40, 3), name="image")
    x = layers.Conv2D(8, 3, 2, padding="same", activation="relu", name="stem")(image)
    x = layers.Conv2D(8, 3, 2, padding="same", activation="relu", name="second")(x)
    x = layers.Dense(16, activation="relu", name="hidden")(layers.Flatten(name="flatten")(x))
    outputs = [
        layers.Dense(4, activation="softmax", name="predictions")(x),
        layers.Dense(1, activation="sigmoid", name="objectness")(x),
        layers.Dense(4, activation="sigmoid", name="box")(x),
    ]
    network = Model(image, outputs)
    localisation = Localisation(sqrt_sizes=True, outputs=("predictions", "objectness", "box"))
    network.edgecv_info = ModelInfo(name="localiser", task="localisation", localisation=localisation)
    return _seeded(network, "0-1")


def unconvertible() -> "Deployable":
    """Make a Deployable that no converter can write: a layer of it runs Python."""
    import keras
    from keras import Input, Model, layers

    import edgecv

    class PythonInside(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            import tensorflow as tf

            return tf.ensure_shape(tf.numpy_function(lambda values: values + 1, [x], tf.float32), x.shape)

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    image = Input((16, 16, 3), name="image")
    x = layers.GlobalAveragePooling2D(name="pool")(PythonInside(name="python_inside")(image))
    return edgecv.deploy(Model(image, layers.Dense(2, name="head")(x)), name="unconvertible", preprocess="0-1")


def _seeded(network: Any, style: str, decoder: Any = None) -> Any:
    """Give a network weights that tell pictures apart, and the scaling that they are made for."""
    from dataclasses import replace

    from edgecv.deployable import ModelInfo
    from edgecv.preprocess import STYLES
    from edgecv.weights.random import randomize

    randomize(network, STYLES[style], decoder=decoder)
    info = getattr(network, "edgecv_info", None) or ModelInfo(name="network")
    network.edgecv_info = replace(info, preprocess=STYLES[style], weights_source="random")
    return network


_CASES = (
    Case(name="classifier", says="a classifier with labels", network=_classifier, options={"labels": LABELS}),
    Case(name="odd-sizes", says="a network of 21x27 pixels with logits", network=_odd, options={"activation": "none"}),
    Case(name="one-channel", says="a network of grey pictures with a sigmoid", network=_grey),
    Case(name="top-k", says="a classifier that gives its three best", network=_classifier, options={"top_k": 3}),
    Case(name="dynamic-batch", says="a classifier of any batch", network=_classifier, options={"batch": None}),
    Case(
        name="float-input",
        says="a bare network of float32 pictures",
        network=_classifier,
        options={"input_dtype": "float32"},
    ),
    Case(name="several-outputs", says="a network of two outputs", network=_outputs),
    Case(
        name="whole-pictures",
        says="a network with the resize inside",
        network=_grey,
        options={"resize": "stretch"},
    ),
    Case(
        name="localiser",
        says="one class and one box",
        network=_localiser,
        unproven_in_int8="its random weights make other boxes of what int8 rounds",
    ),
    Case(name="detector", says="a detector with NMS inside", network=_detector, options={"labels": ("a", "b", "c")}),
    Case(name="every-anchor", says="a detector without NMS", network=_detector, options={"nms": None}),
    Case(
        name="no-detections",
        says="a detector that finds nothing",
        network=_detector,
        nms={"score_threshold": 1.0},
        unproven_in_int8="where nothing is found, agreement says nothing",
    ),
    Case(
        name="too-many-detections",
        says=f"a detector that finds more than the {MOST_DETECTIONS} that it may give",
        network=_detector,
        nms={"score_threshold": 0.0, "iou_threshold": 0.9, "max_detections": MOST_DETECTIONS},
    ),
    Case(name="segmenter", says="a segmenter", network=_segmenter),
)
CASES = {case.name: case for case in _CASES}
