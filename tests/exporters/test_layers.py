"""Layers of every kind that convolutional networks are made of, verified in both formats."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import edgecv
from edgecv.deployable import Deployable
from edgecv.pipeline import Original
from edgecv.registry import runtime_for
from edgecv.weights.random import randomize

FORMATS = ("onnx", "tflite")
Body = Callable[[Any], Any]


class Mish(layers.Layer):  # type: ignore[misc]
    """A custom layer with a weight of its own: x · tanh(softplus(slope · x))."""

    def build(self, shape: Any) -> None:
        self.slope = self.add_weight(shape=(shape[-1],), initializer="ones", name="slope")

    def call(self, x: Any) -> Any:
        return x * keras.ops.tanh(keras.ops.softplus(self.slope * x))


def twice(x: Any) -> Any:
    shared = layers.Conv2D(3, 3, padding="same", activation="relu", name="shared")
    return layers.Add()([shared(x), shared(shared(x))])


def nested(x: Any) -> Any:
    image = keras.Input((12, 10, 3))
    inner = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, padding="same", name="conv")(image))
    backbone = keras.Model(image, layers.ReLU(name="relu")(inner), name="backbone")
    backbone.trainable = False
    return backbone(x)


def joined(x: Any) -> Any:
    halves = [layers.Conv2D(3, size, padding="same", activation="relu")(x) for size in (1, 3)]
    return layers.Concatenate()(halves)


BODIES: dict[str, Body] = {
    "dilated": layers.Conv2D(4, 3, padding="same", dilation_rate=2),
    "grouped": layers.Conv2D(6, 3, groups=3, strides=2, padding="same"),
    "depthwise, multiplier 2": layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
    "separable": layers.SeparableConv2D(5, 3, strides=2, padding="same"),
    "in one dimension": lambda x: layers.Conv1D(4, 3, padding="same")(layers.Reshape((-1, 3))(x)),
    "transposed": layers.Conv2DTranspose(4, 3, strides=2, padding="same"),
    "transposed, norm": lambda x: layers.BatchNormalization()(layers.Conv2DTranspose(4, 3, strides=2)(x)),
    "strided, even and odd": lambda x: layers.Conv2D(4, 4, 3, padding="same")(x[:, 1:]),
    "LeakyReLU": layers.LeakyReLU(0.1),
    "PReLU": lambda x: layers.PReLU(alpha_initializer=keras.initializers.Constant(0.3), shared_axes=(1, 2))(x),
    "SiLU": layers.Activation("silu"),
    "hard-swish": layers.Activation("hard_silu"),
    "GELU": layers.Activation("gelu"),
    "exact GELU": lambda x: keras.activations.gelu(x, approximate=False),
    "ELU": layers.ELU(),
    "ReLU6": layers.ReLU(6.0),
    "concatenated": joined,
    "upsampled": layers.UpSampling2D(2),
    "upsampled smoothly": layers.UpSampling2D(2, interpolation="bilinear"),
    "cropped": layers.Cropping2D(((1, 2), (0, 3))),
    "padded unevenly": lambda x: layers.AveragePooling2D(3)(layers.ZeroPadding2D(((0, 1), (2, 0)))(x)),
    "pooled": lambda x: layers.MaxPooling2D(3, 2, padding="same")(layers.AveragePooling2D(3, 1, padding="same")(x)),
    "layer norm": lambda x: layers.LayerNormalization()(x),
    "group norm": lambda x: layers.GroupNormalization(3)(x),
    "norm first": lambda x: layers.Conv2D(4, 3)(layers.BatchNormalization()(x)),
    "squeeze and excite": lambda x: x * layers.Dense(3, "sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x)),
    "permuted": layers.Permute((2, 1, 3)),
    "dropout": lambda x: layers.Dropout(0.5)(layers.GaussianNoise(1.0)(x)),
    "shared": twice,
    "nested": nested,
    "custom": lambda x: Mish(name="mish")(x),
    "rescaled inside": lambda x: layers.Rescaling(2.0, 0.5)(x),
}  # fmt: skip


def network(body: Body, name: str = "network") -> Any:
    """The layers of a body between a convolution and a classifier's head, on 12 × 10 pixels."""
    keras.utils.clear_session(free_memory=False)
    image = keras.Input((12, 10, 3), name="image")
    x = body(layers.Conv2D(3, 3, padding="same", name="stem")(image))
    x = layers.Dense(4, name="head")(layers.Flatten(name="flatten")(x))
    model = keras.Model(image, x, name=name)
    randomize(model, edgecv.Preprocess(scale=(1 / 255,)))
    return model


@pytest.mark.parametrize("kind", BODIES)
def test_a_layer_answers_as_in_keras(kind: str, tmp_path: Path) -> None:
    body = BODIES[kind]
    model = network(type(body).from_config(body.get_config()) if isinstance(body, layers.Layer) else body)
    original = Original(edgecv.deploy(model, preprocess="0-1"))
    for form in FORMATS:
        artifact = edgecv.export(original, to=form, path=tmp_path / f"network.{form}")
        assert artifact.report is not None
        assert artifact.report.passed


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("batch", [1, 4, None], ids=["1", "4", "dynamic"])
@pytest.mark.parametrize("name", ["separable", "two_outputs"])
def test_every_batch(name: str, batch: int | None, form: str, networks: Any, tmp_path: Path) -> None:
    deployable = networks.deployable(name, batch=batch)
    artifact = edgecv.export(deployable, to=form, path=tmp_path / f"network.{form}")
    assert artifact.report is not None
    assert {check.batch for check in artifact.report.checks} == ({1, 3} if batch is None else {batch})
    assert {output.shape[0] for output in artifact.outputs} == {batch}
    pictures = np.random.default_rng(0).integers(0, 256, (6, *deployable.input_size, 3), np.uint8)
    runner = opened(artifact.path)
    assert runner.inputs[0].shape == (batch, *deployable.input_size, 3)
    given = [batch] if batch else [1, 2, 6]
    for count in given:
        answers = runner.run({"image": pictures[:count]})
        for output, expected in deployable.run(pictures[:count]).items():
            np.testing.assert_allclose(answers[output], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["separable", "residual", "multilabel", "two_outputs", "lenet5"])
def test_float32_input_takes_what_the_network_takes(name: str, form: str, networks: Any, tmp_path: Path) -> None:
    deployable = networks.deployable(name, input_dtype="float32")
    artifact = edgecv.export(deployable, to=form, path=tmp_path / f"network.{form}")
    runner = opened(artifact.path)
    assert runner.inputs[0].dtype == "float32"
    picture = np.random.default_rng(0).normal(size=(1, *deployable.input_size, deployable.channels)).astype("float32")
    bare = keras.tree.flatten(deployable.network(picture, training=False))
    answers = runner.run({"image": picture})
    assert list(answers) == list(deployable.output_names)
    if deployable.added_activation == "none":
        for values, expected in zip(answers.values(), bare, strict=True):
            np.testing.assert_allclose(values, np.asarray(expected), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("batch", [1, None], ids=["1", "dynamic"])
def test_top_k_gives_the_best_classes_first(batch: int | None, form: str, networks: Any, tmp_path: Path) -> None:
    whole = networks.deployable("separable")
    deployable = networks.deployable("separable", top_k=3, batch=batch)
    artifact = edgecv.export(deployable, to=form, path=tmp_path / f"network.{form}")
    assert [(info.name, info.shape, info.dtype) for info in artifact.outputs] == [
        ("scores", (batch, 3), "float32"),
        ("classes", (batch, 3), "int32"),
    ]
    picture = np.random.default_rng(0).integers(0, 256, (1, *whole.input_size, 3), np.uint8)
    answers = opened(artifact.path).run({"image": picture})
    (expected,) = whole.run(picture)["probabilities"]
    assert answers["classes"].dtype == np.int32
    assert answers["classes"][0].tolist() == np.argsort(-expected)[:3].tolist()
    np.testing.assert_allclose(answers["scores"][0], np.sort(expected)[::-1][:3], rtol=1e-4)


@pytest.mark.parametrize("form", FORMATS)
def test_a_sequential_network_of_any_size_gets_a_fixed_one(form: str, tmp_path: Path) -> None:
    model = keras.Sequential(
        [
            keras.Input((None, None, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.GlobalMaxPooling2D(),
            layers.Dense(3),
            layers.Softmax(),
        ],
        name="any_size",
    )
    randomize(model, edgecv.Preprocess())
    deployable = edgecv.deploy(model, preprocess="none", input_size=(14, 18))
    artifact = edgecv.export(deployable, to=form, path=tmp_path / f"any.{form}")
    assert opened(artifact.path).inputs[0].shape == (1, 14, 18, 1)
    assert deployable.output_names == ("probabilities",)


def test_outputs_keep_the_names_of_a_dictionary(networks: Any) -> None:
    deployable: Deployable = networks.deployable("two_outputs")
    answers = deployable.run(np.zeros((1, 16, 20, 3), np.uint8))
    assert {name: values.shape for name, values in answers.items()} == {"field": (1, 8, 10, 2), "vector": (1, 3)}


def opened(path: Path) -> Any:
    found = runtime_for(path.suffix)
    assert found is not None
    return found[1].open(path)
