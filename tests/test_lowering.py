"""Folding of the scaling into the first convolution, names of scopes, and that nothing of it stays in the network."""

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import edgecv
from edgecv.errors import ConversionError
from edgecv.lowering import layer_paths, lower, scope_indices, unique_name
from edgecv.preprocess import STYLES
from edgecv.weights import hash_weights

FORMATS = ("onnx", "tflite")


def network(first: Any, *, classes: int = 3) -> Any:
    """A classifier of 9 × 9 pictures that begins with the layers that ``first`` makes."""
    image = keras.Input((9, 9, 3), name="image")
    x = layers.GlobalAveragePooling2D(name="pool")(first(image))
    return keras.Model(image, layers.Dense(classes, name="head")(x), name="network")


def two_readers(image: Any) -> Any:
    x = layers.Conv2D(3, 3, padding="same", name="stem")(image)
    return layers.Concatenate()([x, layers.AveragePooling2D(1, name="raw")(image)])


def twice(image: Any) -> Any:
    stem = layers.Conv2D(3, 3, padding="same", name="stem")
    return stem(stem(image))


class Standardized(layers.Conv2D):  # type: ignore[misc]
    """A convolution that normalises its kernel: scaling the kernel changes nothing."""

    def call(self, x: Any) -> Any:
        kernel = self.kernel - keras.ops.mean(self.kernel, axis=(0, 1, 2))
        kernel = kernel / (keras.ops.std(self.kernel, axis=(0, 1, 2)) + 1e-5)
        return keras.ops.conv(x, kernel, strides=1, padding="same")


FOLDED = {
    "plain": lambda x: layers.Conv2D(4, 3, padding="same", name="stem")(x),
    "strided": lambda x: layers.Conv2D(4, 3, 2, padding="same", use_bias=False, name="stem")(x),
    "padded": lambda x: layers.Conv2D(4, 3, 2, name="stem")(layers.ZeroPadding2D(((0, 1), (2, 0)))(x)),
}
# A depthwise kernel and a dense one are other layers' business; what is not a plain convolution stays as it is.
KEPT = {
    "two readers": two_readers,
    "called twice": twice,
    "depthwise": lambda x: layers.DepthwiseConv2D(3, depth_multiplier=2, name="stem")(x),
    "grouped": lambda x: layers.Conv2D(6, 3, groups=3, name="stem")(x),
    "pooled": lambda x: layers.Conv2D(4, 3, name="stem")(layers.MaxPooling2D(2)(x)),
    "normalised": lambda x: layers.Conv2D(4, 3, name="stem")(layers.BatchNormalization()(x)),
    "subclass": lambda x: Standardized(4, 3, padding="same", name="stem")(x),
}
FIRST = FOLDED | KEPT


@pytest.mark.parametrize("style", ["0-1", "tf", "torch", "caffe"])
@pytest.mark.parametrize("kind", FIRST)
def test_the_lowered_graph_answers_like_the_deployable(kind: str, style: str) -> None:
    model = network(FIRST[kind])
    deployable = edgecv.deploy(model, preprocess=style, activation="none")
    pictures = np.random.default_rng(0).integers(0, 256, (1, 9, 9, 3), np.uint8)
    function = lower(deployable, kernels_as_inputs=False).function
    (lowered,) = run(function, pictures)
    (expected,) = deployable.run(pictures).values()
    np.testing.assert_allclose(lowered, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())


def run(function: Any, pictures: Any) -> list[Any]:
    import tensorflow as tf

    outputs = function(tf.constant(pictures))
    return [np.asarray(output) for output in keras.tree.flatten(outputs)]


@pytest.mark.parametrize("kind", FIRST)
def test_the_scaling_is_folded_where_it_may_be_and_nowhere_else(kind: str) -> None:
    model = network(FIRST[kind])
    deployable = edgecv.deploy(model, preprocess="caffe", activation="none")
    lowered = lower(deployable, kernels_as_inputs=True)
    names = [name for name, path in lowered.kernel_names.items() if path.startswith("stem/")]
    kept = deployable.network.get_layer("stem").weights[0].numpy()
    values = lowered.kernels[names[0]]
    if kind in FOLDED:
        # caffe only reverses the channels and subtracts means: the kernel reads RGB instead of BGR.
        np.testing.assert_array_equal(values, kept[:, :, ::-1])
    else:
        np.testing.assert_array_equal(values, kept)


def test_a_folded_torch_scaling_divides_the_kernel_by_the_deviations() -> None:
    deployable = edgecv.deploy(network(FOLDED["plain"]), preprocess="torch", activation="none")
    lowered = lower(deployable, kernels_as_inputs=True)
    (values,) = [lowered.kernels[name] for name, path in lowered.kernel_names.items() if path == "stem/kernel"]
    deviations = np.array([0.229, 0.224, 0.225]) * 255  # keras.applications, torch style
    kept = deployable.network.get_layer("stem").kernel.numpy()
    np.testing.assert_allclose(values, kept / deviations.reshape(1, 1, 3, 1), rtol=1e-6)


def test_an_input_that_is_an_output_too_keeps_its_scaling() -> None:
    image = keras.Input((9, 9, 3), name="image")
    x = layers.Conv2D(2, 3, name="stem")(image)
    deployable = edgecv.deploy(keras.Model(image, [x, layers.Identity(name="same")(image)]), preprocess="torch")
    bare = edgecv.deploy(keras.Model(image, [x, image]), preprocess="torch")
    pictures = np.random.default_rng(0).integers(0, 256, (1, 9, 9, 3), np.uint8)
    expected = STYLES["torch"].apply(pictures.astype(np.float32), np)
    for original in (deployable, bare):
        outputs = run(lower(original, kernels_as_inputs=False).function, pictures)
        scaled = next(values for values in outputs if values.shape == (1, 9, 9, 3))
        np.testing.assert_allclose(scaled, expected, rtol=1e-5)


def test_float_input_leaves_the_kernel_alone() -> None:
    deployable = edgecv.deploy(network(FOLDED["plain"]), preprocess="torch", input_dtype="float32", activation="none")
    lowered = lower(deployable, kernels_as_inputs=True)
    (values,) = [lowered.kernels[name] for name, path in lowered.kernel_names.items() if path == "stem/kernel"]
    np.testing.assert_array_equal(values, deployable.network.get_layer("stem").kernel.numpy())


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["separable", "residual"])
def test_exporting_leaves_the_network_as_it_was(name: str, form: str, networks: Any, tmp_path: Path) -> None:
    deployable = networks.deployable(name)
    before = [layer.get_config() for layer in deployable.network.layers]
    weights = hash_weights(deployable.network)
    edgecv.export(deployable, to=form, path=tmp_path / f"network.{form}", verify=False)
    assert hash_weights(deployable.network) == weights
    assert [layer.get_config() for layer in deployable.network.layers] == before
    assert not any("call" in vars(layer) for layer in deployable.network.layers)


def test_a_network_that_cannot_be_traced_is_refused_and_left_as_it_was() -> None:
    class Moody(layers.Layer):  # type: ignore[misc]
        fails = False

        def call(self, x: Any) -> Any:
            if self.fails:
                raise RuntimeError("no more\nof this")
            return x

    moody = Moody(name="moody")
    deployable = edgecv.deploy(network(moody), preprocess="none")
    Moody.fails = True
    message = "network cannot be traced at 9x9: Exception encountered when calling Moody.call(). no more of this."
    with pytest.raises(ConversionError, match=f"^{re.escape(message)}$"):
        lower(deployable, kernels_as_inputs=False)
    assert not any("call" in vars(layer) for layer in deployable.network.layers)


def test_layers_are_listed_once_with_their_paths() -> None:
    picture = keras.Input((9, 9, 3), name="picture")
    inner = keras.Sequential([keras.Input((9, 9, 3)), layers.Conv2D(2, 3, name="conv")], name="inner")
    x = layers.Flatten(name="flat")(inner(picture))
    paths = [path for path, _ in layer_paths(keras.Model(picture, x))]
    assert paths == ["picture", "inner", "inner/conv", "flat"]


@pytest.mark.parametrize(
    ("name", "indices"),
    [
        ("model/L3/Conv2D", [3]),
        ("L0/L12/add", [12]),
        ("a_1/L3_2/Relu;a_1/L4/BiasAdd", [3, 4]),
        ("L3:0", [3]),
        ("PL3/Conv", []),
        ("L3x/Conv", []),
        ("pipeline", []),
    ],
)
def test_scopes_lead_back_to_layers(name: str, indices: list[int]) -> None:
    assert scope_indices(name) == indices


def test_taken_names_are_numbered() -> None:
    taken: set[str] = set()
    assert [unique_name("a", taken) for _ in range(3)] == ["a", "a_2", "a_3"]
    assert taken == {"a", "a_2", "a_3"}
