"""The definition that artifacts are compared with: input, scaling, head, labels, and what is refused."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import edgecv
from edgecv.decoders import decoder_to_json
from edgecv.deployable import Deployable, ModelInfo
from edgecv.deploying import deploy
from edgecv.errors import ModelError, OptionError
from edgecv.preprocess import Fit, Preprocess

ADDED = "The last layer has no activation: {} was added (--activation none leaves it out)."
UNKNOWN = "The last layer's activation is unknown: none was added. Set it with --activation."
UNSCALED = (
    "{} does not say how its pictures are scaled: the network gets 0…255 RGB. "
    "Use --preprocess if it was trained on anything else."
)


def classifier(*last: Any, channels: int = 3, size: Any = (8, 8), name: str = "net") -> Any:
    """A network whose last layers are given."""
    image = keras.Input((*size, channels), name="image")
    x = layers.GlobalAveragePooling2D(name="pool")(image)
    for layer in last:
        x = layer(x)
    return keras.Model(image, x, name=name)


def refused(error: type[Exception], message: str) -> Any:
    return pytest.raises(error, match=f"^{re.escape(message)}$")


@pytest.mark.parametrize(
    ("last", "option", "added", "total", "note"),
    [
        ([layers.Dense(4)], "auto", "softmax", "softmax", ADDED.format("softmax")),
        ([layers.Dense(1)], "auto", "sigmoid", "sigmoid", ADDED.format("sigmoid")),
        ([layers.Dense(4, activation="softmax")], "auto", "none", "softmax", ""),
        ([layers.Dense(4, activation="sigmoid")], "auto", "none", "sigmoid", ""),
        ([layers.Dense(4), layers.Softmax()], "auto", "none", "softmax", ""),
        ([layers.Dense(4), layers.Activation("softmax")], "auto", "none", "softmax", ""),
        ([layers.Dense(4), layers.Activation("linear")], "auto", "softmax", "softmax", ADDED.format("softmax")),
        ([layers.Dense(4), layers.Dropout(0.5)], "auto", "softmax", "softmax", ADDED.format("softmax")),
        ([layers.Dense(4, activation="softmax"), layers.Flatten()], "auto", "none", "softmax", ""),
        ([layers.Dense(4, activation="relu")], "auto", "none", "none", UNKNOWN),
        ([layers.Dense(4, activation="log_softmax")], "auto", "none", "none", UNKNOWN),
        ([layers.Dense(4), layers.ReLU()], "auto", "none", "none", UNKNOWN),
        ([layers.Dense(4), layers.Activation("tanh")], "auto", "none", "none", UNKNOWN),
        ([layers.Dense(4)], "none", "none", "none", ""),
        ([layers.Dense(4, activation="softmax")], "none", "none", "softmax", ""),
        ([layers.Dense(4)], "sigmoid", "sigmoid", "sigmoid", ""),
        ([layers.Dense(4, activation="softmax")], "softmax", "none", "softmax", ""),
        ([layers.Dense(4), layers.ReLU()], "softmax", "softmax", "softmax", ""),
        # Behind a layer that is not looked through, only the answers tell.
        ([layers.Dense(4, activation="softmax"), layers.Rescaling(1.0)], "auto", "none", "softmax", ""),
        ([layers.Dense(4, activation="softmax"), layers.Rescaling(1.0)], "softmax", "none", "softmax", ""),
        ([layers.Dense(4, activation="softmax"), layers.Rescaling(2.0)], "auto", "none", "none", UNKNOWN),
        ([layers.Dense(4, activation="softmax"), layers.Rescaling(-1.0, 0.5)], "auto", "none", "none", UNKNOWN),
        ([layers.Dense(4, activation="sigmoid"), layers.Rescaling(1.0)], "auto", "none", "none", UNKNOWN),
        ([layers.Dense(1, activation="softmax"), layers.Rescaling(1.0)], "auto", "none", "none", UNKNOWN),
    ],
)
def test_an_activation_is_added_only_where_the_last_layer_has_none(
    last: list[Any], option: Any, added: str, total: str, note: str
) -> None:
    fresh = [type(layer).from_config(layer.get_config()) for layer in last]
    deployable = deploy(classifier(*fresh), preprocess="none", activation=option)
    assert (deployable.added_activation, deployable.activation) == (added, total)
    assert deployable.notes == ((note,) if note else ())
    assert deployable.output_names == (("logits",) if total == "none" else ("probabilities",))


@pytest.mark.parametrize(("told", "added"), [("sigmoid", "none"), ("none", "sigmoid"), (None, "sigmoid")])
def test_what_is_told_of_a_network_stands_for_what_its_layers_do_not(told: Any, added: str) -> None:
    network = classifier(layers.Dense(4, activation="sigmoid"), layers.Rescaling(1.0))
    network.edgecv_info = ModelInfo(name="net", activation=told)
    deployable = deploy(network, preprocess="none", activation="sigmoid")
    assert (deployable.added_activation, deployable.activation) == (added, "sigmoid")
    assert deployable.postprocess() == {"activation": "sigmoid", "added_activation": added, "top_k": None}


def test_the_activation_of_a_nested_model_is_seen() -> None:
    inner = classifier(layers.Dense(4, activation="softmax"), name="inner")
    image = keras.Input((8, 8, 3))
    assert deploy(keras.Model(image, inner(image)), preprocess="none").added_activation == "none"
    sequential = keras.Sequential([keras.Input((8, 8, 3)), inner])
    assert deploy(sequential, preprocess="none").added_activation == "none"


def test_what_is_assumed_is_said() -> None:
    network = classifier(layers.Dense(4), name="mine")
    assert deploy(network).notes == (UNSCALED.format("mine"), ADDED.format("softmax"))
    assert deploy(network, preprocess="tf", activation="none").notes == ()


@pytest.mark.parametrize("added", ["softmax", "sigmoid"])
def test_the_head_gives_probabilities(added: Any) -> None:
    deployable = deploy(classifier(layers.Dense(3)), preprocess="none", activation=added)
    logits = np.array([[1.0, 2.0, 3.0]], np.float32)
    (given,) = deployable.head([logits]).values()
    exact = np.exp(logits.astype(np.float64))
    expected = exact / exact.sum() if added == "softmax" else exact / (1 + exact)
    np.testing.assert_allclose(np.asarray(given), expected, rtol=1e-6)


def test_top_k_gives_scores_and_int32_classes() -> None:
    deployable = deploy(classifier(layers.Dense(4)), preprocess="none", activation="none", top_k=2)
    given = deployable.head([np.array([[0.1, 0.4, 0.2, 0.3], [4, 3, 2, 1]], np.float32)])
    assert np.asarray(given["classes"]).tolist() == [[1, 3], [0, 1]]
    assert np.asarray(given["classes"]).dtype == np.int32
    np.testing.assert_array_equal(np.asarray(given["scores"]), np.array([[0.4, 0.3], [4, 3]], np.float32))


# By hand, for a picture of the one colour (10, 20, 30): keras.applications' formulas.
SCALED = {
    "none": [10, 20, 30],
    "0-1": [10 / 255, 20 / 255, 30 / 255],
    "tf": [10 / 127.5 - 1, 20 / 127.5 - 1, 30 / 127.5 - 1],
    "torch": [(10 / 255 - 0.485) / 0.229, (20 / 255 - 0.456) / 0.224, (30 / 255 - 0.406) / 0.225],
    "caffe": [30 - 103.939, 20 - 116.779, 10 - 123.68],
}


@pytest.mark.parametrize("style", SCALED)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_network_gets_scaled_pictures(style: str, dtype: Any) -> None:
    image = keras.Input((2, 2, 3))
    network = keras.Model(image, layers.Identity(name="same")(image))
    deployable = deploy(network, preprocess=style, input_dtype=dtype)
    picture = np.full((1, 2, 2, 3), (10, 20, 30), np.uint8)
    (given,) = deployable.run(deployable.feed(picture)).values()
    np.testing.assert_allclose(given, np.broadcast_to(np.array(SCALED[style]), (1, 2, 2, 3)), rtol=1e-5)


def test_the_network_s_own_data_are_taken_unless_others_are_given() -> None:
    network = classifier(layers.Dense(2))
    scaling = Preprocess(style="tf", mean=(127.5,), scale=(1 / 127.5,), fit=Fit(mode="crop", fraction=0.875))
    network.edgecv_info = ModelInfo(
        name="known", task="classification", preprocess=scaling, labels=("a", "b"), weights_source="imagenet"
    )
    own = deploy(network, activation="none")
    assert (own.name, own.preprocess, own.labels, own.weights_source) == ("known", scaling, ("a", "b"), "imagenet")
    other = deploy(network, name="mine", preprocess="0-1", labels=["x", "y"])
    assert (other.name, other.preprocess.style, other.labels) == ("mine", "0-1", ("x", "y"))
    # How a picture becomes the network's size has nothing to do with the scaling.
    assert other.preprocess.fit == scaling.fit


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        (lambda x: {"b": layers.Dense(1)(x), "a": layers.Dense(2)(x)}, ("a", "b")),
        (lambda x: [layers.Dense(1, name="p")(x), layers.Dense(2, name="q")(x)], None),
        (lambda x: layers.Reshape((3, 1), name="r")(x), None),
    ],
    ids=["dictionary", "list", "one"],
)
def test_any_other_model_keeps_its_output_names(outputs: Any, names: Any) -> None:
    image = keras.Input((8, 8, 3))
    network = keras.Model(image, outputs(layers.GlobalAveragePooling2D()(image)))
    deployable = deploy(network, preprocess="none")
    assert deployable.task == "other"
    assert deployable.output_names == (names or tuple(network.output_names))
    answers = deployable.run(np.zeros((1, 8, 8, 3), np.uint8))
    assert tuple(answers) == deployable.output_names


def test_a_sequential_model_s_output_has_its_last_layer_s_name() -> None:
    network = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(2, 3, name="field")])
    assert deploy(network).output_names == ("field",)


def test_outputs_of_one_name_are_told_apart() -> None:
    image = keras.Input((8, 8, 3))
    shared = layers.Conv2D(2, 1, name="shared")
    network = keras.Model(image, [shared(image), shared(image * 2.0)])
    names = deploy(network, preprocess="none").output_names
    assert len(set(names)) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preprocess": "imagenet"}, "preprocess must be one of none, 0-1, tf, torch, caffe, got 'imagenet'."),
        ({"input_dtype": "int8"}, "input type must be one of uint8, float32, got 'int8'."),
        ({"activation": "relu"}, "activation must be one of auto, softmax, sigmoid, none, got 'relu'."),
        ({"batch": 0}, "batch must be at least 1 or dynamic, got 0."),
        ({"top_k": 0}, "top-k must be between 1 and the number of classes, 4, got 0."),
        ({"top_k": 5}, "top-k must be between 1 and the number of classes, 4, got 5."),
        ({"labels": ["a", "b"]}, "There are 2 labels for 4 classes. Give one label a class."),
        ({"input_size": (0, 8)}, "input size must be at least 1x1, got 0x8."),
        (
            {"input_size": (9, 8)},
            "Model 'net' takes 8x8 pictures only, not 9x8. Leave --input-size out, or build the network at that size.",
        ),
        (
            {"batch": 2**25},
            "33554432 pictures of 8x8 are 6,442,450,944 values, and tensors hold at most 2,147,483,647. "
            "Choose a smaller input size or batch.",
        ),
    ],
)
def test_an_option_that_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    with refused(OptionError, message):
        deploy(classifier(layers.Dense(4)), **{"preprocess": "none", **options})


@pytest.mark.parametrize("style", ["torch", "caffe"])
def test_a_scaling_of_colours_is_refused_for_luminance(style: str) -> None:
    message = f"preprocess {style!r} is for 3 channels, the network has 1. Use none, 0-1 or tf."
    with refused(OptionError, message):
        deploy(classifier(layers.Dense(4), channels=1), preprocess=style)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"top_k": 1}, "--top-k is for classifiers; this network is no classifier."),
        ({"activation": "softmax"}, "--activation softmax is for classifiers; 'field' is no classifier."),
    ],
)
def test_options_of_classifiers_are_refused_for_others(option: dict[str, Any], message: str) -> None:
    image = keras.Input((8, 8, 3))
    network = keras.Model(image, layers.Conv2D(2, 3)(image), name="field")
    with refused(OptionError, message):
        deploy(network, preprocess="none", **option)


def test_a_network_of_any_size_needs_one() -> None:
    network = classifier(layers.Dense(4), size=(None, None))
    with refused(OptionError, "Model 'net' takes pictures of any size. Choose one with --input-size HxW."):
        deploy(network, preprocess="none")
    assert deploy(network, preprocess="none", input_size=(5, 7)).input.shape == (1, 5, 7, 3)


def test_a_network_that_is_not_for_pictures_is_refused() -> None:
    word = keras.Input((20,), name="word")
    with refused(
        ModelError,
        "Model 'words' takes (any, 20), which is no batch of pictures. "
        "Give a model of input (batch, height, width, 3) or (batch, height, width, 1).",
    ):
        deploy(keras.Model(word, layers.Dense(2)(word), name="words"))
    with pytest.raises(ModelError, match=r"^Model 'net' takes \(any, 8, 8, 4\), which is no batch of pictures\. "):
        deploy(classifier(layers.Dense(2), channels=4))


def test_a_network_of_two_inputs_is_refused() -> None:
    one, two = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    network = keras.Model([one, two], layers.Add()([one, two]), name="pair")
    with refused(ModelError, "Model 'pair' has 2 inputs; edgecv needs one, a batch of pictures."):
        deploy(network)


def test_a_network_without_outputs_is_refused() -> None:
    image = keras.Input((8, 8, 3))
    network = keras.Model(image, layers.Identity()(image), name="mute")
    network._outputs = []  # Keras 3.15 builds none itself
    with refused(ModelError, "Model 'mute' has no outputs. Save a model that returns at least one tensor."):
        deploy(network)


def test_a_network_that_was_never_called_is_refused() -> None:
    class Subclassed(keras.Model):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    with refused(ModelError, "Model 'never' has no known input. Call it once on a picture before saving it."):
        deploy(Subclassed(name="never"))


def test_a_size_that_the_network_cannot_take_is_refused() -> None:
    network = keras.Sequential(
        [keras.Input((None, None, 3)), layers.Conv2D(2, 5), layers.Conv2D(2, 5), layers.GlobalMaxPooling2D()],
        name="deep",
    )
    deployable = deploy(network, preprocess="none", input_size=(6, 6))
    with pytest.raises(ModelError, match=r"^deep cannot run on 6x6 pictures: .+\.$"):
        deployable.run(np.zeros((1, 6, 6, 3), np.uint8))


def test_the_library_says_what_it_assumed_in_its_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="edgecv"):
        deployable: Deployable = edgecv.deploy(classifier(layers.Dense(4), name="mine"))
    assert [record.getMessage() for record in caplog.records] == list(deployable.notes)


def test_a_decoder_may_be_given_by_its_file(networks: Any, tmp_path: Path) -> None:
    network = networks.build("detector")
    document = {key: value for key, value in decoder_to_json(networks.DETECTOR).items() if value != []}
    (tmp_path / "mine.json").write_text(json.dumps(document))
    deployable = deploy(network, preprocess="tf", decoder=str(tmp_path / "mine.json"))
    assert deployable.detection is not None
    assert deployable.detection.decoder == networks.DETECTOR
    with pytest.raises(OptionError, match=r"^decoder 'sliding_window' cannot be used by its name alone: "):
        deploy(network, preprocess="tf", decoder="sliding_window")
