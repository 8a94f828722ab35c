"""New heads on a trained body: where classifiers are cut, and what the new heads give."""

import re
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import edgecv
from edgecv.errors import ModelError, OptionError
from edgecv.training.heads import classification_head, localisation_head, without_top


def refused(error: type[Exception], message: str) -> Any:
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def body(image: Any) -> Any:
    x = layers.Conv2D(6, 3, 2, activation="relu", name="stem")(image)
    return layers.BatchNormalization(name="stem_bn")(x)


def dense_top() -> Any:
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Flatten(name="flatten")(body(image))
    x = layers.Dropout(0.5, name="dropout_one")(layers.Dense(8, activation="relu", name="hidden")(x))
    return keras.Model(image, layers.Dense(5, activation="softmax", name="predictions")(x), name="net")


def mobilenet_top() -> Any:
    image = keras.Input((16, 16, 3), name="image")
    x = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(body(image))
    x = layers.Conv2D(5, 1, name="conv_preds")(layers.Dropout(0.1, name="dropout")(x))
    x = layers.Activation("softmax", name="predictions")(layers.Reshape((5,), name="reshape")(x))
    return keras.Model(image, x, name="net")


def squeezenet_top() -> Any:
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Dropout(0.5, name="drop9")(body(image))
    x = layers.ReLU(name="relu10")(layers.Conv2D(5, 1, name="conv10")(x))
    return keras.Model(image, layers.Softmax(name="loss")(layers.GlobalAveragePooling2D(name="pool10")(x)), name="net")


class Distances(layers.Layer):  # type: ignore[misc]
    """Euclidean distances to one trained centre a class, as LeNet-5's output layer has them."""

    def build(self, shape: Any) -> None:
        self.centres = self.add_weight(shape=(5, shape[-1]), name="centres")

    def call(self, x: Any) -> Any:
        return keras.ops.sum((x[:, None] - self.centres) ** 2, axis=-1)


def distance_top() -> Any:
    image = keras.Input((16, 16, 3), name="image")
    x = layers.GlobalAveragePooling2D(name="pool")(body(image))
    x = layers.Softmax(name="predictions")(-Distances(name="distances")(x))
    return keras.Model(image, x, name="net")


def nested_top() -> Any:
    image = keras.Input((16, 16, 3), name="image")
    inner = keras.Input((16, 16, 3), name="inner")
    backbone = keras.Model(inner, body(inner), name="backbone")
    x = layers.GlobalMaxPooling2D(name="pool")(backbone(layers.Rescaling(1 / 255, name="rescaling")(image)))
    return keras.Model(image, layers.Dense(5, name="predictions")(x), name="net")


def sequential_top() -> Any:
    return keras.Sequential(
        [keras.Input((16, 16, 3), name="image"), *dense_top().layers[1:4], layers.Dense(5, name="last")], name="net"
    )


@pytest.mark.parametrize(
    ("model", "kept", "features"),
    [
        (dense_top, ["image", "stem", "stem_bn", "flatten", "hidden"], (None, 8)),
        (mobilenet_top, ["image", "stem", "stem_bn", "pool"], (None, 1, 1, 6)),
        (squeezenet_top, ["image", "stem", "stem_bn"], (None, 7, 7, 6)),
        (distance_top, ["image", "stem", "stem_bn", "pool"], (None, 6)),
        (nested_top, ["image", "rescaling", "stem", "stem_bn", "pool"], (None, 6)),
        (sequential_top, ["image", "stem", "stem_bn", "flatten"], (None, 294)),
    ],
    ids=["dense", "mobilenet", "squeezenet", "distances", "nested", "sequential"],
)
def test_a_classifier_is_cut_before_the_layer_of_its_classes(
    model: Any, kept: list[str], features: tuple[int | None, ...]
) -> None:
    whole = model()
    base = without_top(whole)
    assert [layer.name for layer in base.layers] == kept
    assert base.output_shape == features
    assert base.name == "net"
    assert not hasattr(base, "edgecv_info")


@pytest.mark.parametrize(
    ("name", "features", "dropped"),
    [
        ("lenet5", (None, 84), ["predictions"]),
        ("fashion_cnn", (None, 64), ["dropout2", "predictions"]),
        ("efficientnet_lite0", (None, 1280), ["dropout", "predictions"]),
        ("mobilenet", (None, 1, 1, 1024), ["dropout", "conv_preds", "reshape_2", "predictions"]),
        ("resnet18", (None, 512), ["predictions"]),
    ],
)
def test_the_architectures_are_cut_at_the_features_of_their_papers(
    name: str, features: tuple[int | None, ...], dropped: list[str]
) -> None:
    model = edgecv.build(name, weights="random")
    base = without_top(model)
    assert base.output_shape == features
    names = [layer.name for layer in base.layers]
    assert [layer.name for layer in model.layers if layer.name not in names] == dropped


def test_auxiliary_classifiers_leave_with_the_top() -> None:
    from edgecv.architectures.googlenet import googlenet

    base = without_top(googlenet((96, 96, 3), classes=5, auxiliary=True))
    assert base.output_shape == (None, 1024)
    assert not [layer.name for layer in base.layers if "auxiliary" in layer.name]


def test_the_body_computes_what_it_computed_in_the_classifier() -> None:
    whole = mobilenet_top()
    pictures = np.random.default_rng(0).uniform(0, 1, (2, 16, 16, 3)).astype("float32")
    (kernel, bias), base = whole.get_layer("conv_preds").get_weights(), without_top(whole)
    logits = np.asarray(base(pictures)).reshape(2, 6) @ kernel[0, 0] + bias
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(whole(pictures)), expected, rtol=1e-5)


def test_training_the_new_network_leaves_the_old_one_as_it_is() -> None:
    whole = dense_top()
    before = [value.copy() for value in whole.get_weights()]
    network = classification_head(without_top(whole), classes=2)
    network.compile("sgd", loss="sparse_categorical_crossentropy")
    pictures = np.random.default_rng(0).uniform(0, 1, (4, 16, 16, 3)).astype("float32")
    network.train_on_batch(pictures, np.array([0, 1, 0, 0]))
    assert np.max(np.abs(network.get_layer("stem").get_weights()[0] - before[0])) > 0
    for now, then in zip(whole.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_the_new_classifier_is_flat_and_its_layers_can_be_frozen_by_name() -> None:
    network = classification_head(without_top(nested_top()), classes=3, dropout=0.2)
    assert [layer.name for layer in network.layers][-3:] == ["pool", "head_dropout", "predictions"]
    assert network.output_shape == (None, 3)
    network.get_layer("stem").trainable = False
    network.get_layer("stem_bn").trainable = False
    # Of a dense layer for three classes: kernel and bias.
    assert [tuple(weight.shape) for weight in network.trainable_weights] == [(6, 3), (3,)]


def test_a_frozen_layer_stays_frozen_in_the_copy() -> None:
    whole = dense_top()
    whole.get_layer("stem").trainable = False
    base = without_top(whole)
    assert [layer.trainable for layer in base.layers[1:]] == [False, True, True, True]


def test_a_map_is_pooled_before_the_new_head() -> None:
    pictures = np.random.default_rng(0).uniform(0, 1, (2, 16, 16, 3)).astype("float32")
    base = without_top(squeezenet_top())
    network = classification_head(base, classes=2)
    kernel, _ = network.get_layer("predictions").get_weights()
    logits = np.asarray(base(pictures)).mean(axis=(1, 2)) @ kernel
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(network(pictures)), expected, rtol=1e-5)


def test_a_localiser_has_the_heads_predictions_objectness_and_box() -> None:
    network = localisation_head(without_top(dense_top()), classes=3, objectness=True)
    assert network.output_names == ["predictions", "objectness", "box"]
    assert network.output_shape == [(None, 3), (None, 1), (None, 4)]
    assert [layer.activation.__name__ for layer in network.layers[-3:]] == ["softmax", "sigmoid", "sigmoid"]
    assert localisation_head(without_top(dense_top()), classes=3).output_names == ["predictions", "box"]


@pytest.mark.parametrize(("sqrt_sizes", "sides"), [(False, 0.5), (True, 0.5**0.5)])
def test_an_untrained_box_lies_in_the_middle_and_is_half_as_wide_and_high(sqrt_sizes: bool, sides: float) -> None:
    network = localisation_head(without_top(dense_top()), classes=3, sqrt_sizes=sqrt_sizes)
    _, box = network(np.zeros((1, 16, 16, 3), "float32"))  # the body of zeros is zero: only the bias speaks
    np.testing.assert_allclose(np.asarray(box)[0], [0.5, 0.5, sides, sides], rtol=1e-6)


def test_a_single_class_gets_a_sigmoid_as_a_softmax_of_one_is_always_one() -> None:
    network = classification_head(without_top(dense_top()), classes=1)
    assert network.layers[-1].activation.__name__ == "sigmoid"


def test_outputs_are_float32_under_mixed_precision() -> None:
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        base = without_top(dense_top())
        network = localisation_head(base, classes=3, objectness=True, dropout=0.1)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    outputs = network(np.ones((1, 16, 16, 3), "float32"))
    assert base.output.dtype == "bfloat16"
    assert [keras.backend.standardize_dtype(output.dtype) for output in outputs] == ["float32"] * 3


def test_a_layer_that_has_a_head_s_name_makes_room_for_it() -> None:
    image = keras.Input((8, 8, 3), name="image")
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Conv2D(4, 3, name="box")(image))
    network = localisation_head(without_top(keras.Model(image, layers.Dense(2, name="last")(x), name="net")), classes=2)
    assert [layer.name for layer in network.layers] == ["image", "box_1", "pool", "predictions", "box"]


def test_a_new_localiser_trains_with_losses_by_name() -> None:
    network = localisation_head(without_top(dense_top()), classes=2)
    network.compile("sgd", loss={"predictions": "sparse_categorical_crossentropy", "box": "mse"})
    targets = {"predictions": np.array([0, 1]), "box": np.full((2, 4), 0.5, "float32")}
    history = network.fit(np.ones((2, 16, 16, 3), "float32"), targets, verbose=0).history
    assert set(history) == {"loss", "predictions_loss", "box_loss"}


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (lambda x: layers.Concatenate(name="both")([x, x]), "layer 'both' is a Concatenate"),
        (lambda x: layers.DepthwiseConv2D(3, name="depthwise")(x), "layer 'depthwise' is a DepthwiseConv2D"),
        (lambda x: layers.GlobalAveragePooling2D(name="pool")(x), "layer 'wide' is a Conv2D"),
    ],
    ids=["merge", "depthwise", "no head"],
)
def test_a_network_without_a_head_is_refused(model: Any, problem: str) -> None:
    image = keras.Input((8, 8, 3), name="image")
    x = model(layers.Conv2D(4, 3, name="wide")(image))
    if problem == "layer 'wide' is a Conv2D":
        x = layers.Reshape((2, 2), name="square")(x)
    message = f"'net' has no head to take off: {problem}. "
    remedy = "Give a classifier that ends in a dense layer, or in a convolution to one map a class."
    with refused(ModelError, message + remedy):
        without_top(keras.Model(image, x, name="net"))


def test_a_network_of_a_head_alone_is_refused() -> None:
    network = keras.Sequential([keras.Input((4, 4, 3)), layers.Dense(5)], name="net")
    with refused(ModelError, "'net' has nothing before its last layer. Give a network with a body and a head."):
        without_top(network)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 0}, "classes must be at least 1, got 0."),
        ({"classes": 2, "dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0."),
    ],
)
def test_impossible_heads_are_refused(options: dict[str, Any], message: str) -> None:
    base = without_top(dense_top())
    for head in (classification_head, localisation_head):
        with refused(OptionError, message):
            head(base, **options)
