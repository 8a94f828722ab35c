"""edgecv's own layers: against hand-worked cases and TensorFlow, in files, in artifacts, in training."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import edgecv
from edgecv.architectures.custom_layers import EuclideanRBF, LocalResponseNormalization, PartialConv2D, scaled_tanh
from edgecv.errors import ArchitectureError
from edgecv.weights.random import randomize


def test_scaled_tanh_keeps_one() -> None:
    # Appendix A of the paper chose the constants so that f(1) = 1 and f(-1) = -1.
    values = np.asarray(scaled_tanh(ops.convert_to_tensor([-1.0, 0.0, 1.0, 100.0])))
    np.testing.assert_allclose(values, [-1, 0, 1, 1.7159], atol=1e-4)


def test_response_normalisation_by_hand() -> None:
    # n = 3, k = 1, alpha = 0.5, beta = 1 on the channels 1, 2, 3, 4: sums of squares 5, 14, 29, 25.
    layer = LocalResponseNormalization(depth_radius=1, bias=1.0, alpha=0.5, beta=1.0)
    values = np.asarray(layer(np.array([[[[1, 2, 3, 4]]]], "float32")))
    np.testing.assert_allclose(values.ravel(), [1 / 3.5, 2 / 8, 3 / 15.5, 4 / 13.5], rtol=1e-6)


def test_alexnet_s_constants_by_hand() -> None:
    # k = 2, n = 5, alpha = 1e-4, beta = 0.75: one channel of 100 beside two of 0: 100 / (2 + 1e-4 · 1e4) ** 0.75.
    values = np.asarray(LocalResponseNormalization()(np.array([[[[0, 100, 0]]]], "float32")))
    np.testing.assert_allclose(values.ravel(), [0, 100 / 3**0.75, 0], rtol=1e-6)


@pytest.mark.parametrize("beta", [0.5, 0.6, 0.75, 1.0])
@pytest.mark.parametrize("radius", [0, 2, 9])
def test_response_normalisation_equals_tensorflow_s(radius: int, beta: float) -> None:
    import tensorflow as tf

    x = np.random.default_rng(0).normal(0, 80, (2, 5, 4, 7)).astype("float32")
    ours = LocalResponseNormalization(depth_radius=radius, bias=2.0, alpha=1e-4, beta=beta)(x)
    theirs = tf.nn.local_response_normalization(x, radius, 2.0, 1e-4, beta)
    np.testing.assert_allclose(np.asarray(ours), theirs.numpy(), rtol=2e-6)


@pytest.mark.parametrize(
    ("options", "got"),
    [
        ({"depth_radius": -1}, "depth_radius -1, bias 2, alpha 0.0001"),
        ({"bias": 0.0}, "depth_radius 2, bias 0, alpha 0.0001"),
        ({"alpha": -1.0}, "depth_radius 2, bias 2, alpha -1"),
    ],
)
def test_constants_out_of_range_are_refused(options: dict[str, Any], got: str) -> None:
    message = f"^LocalResponseNormalization needs depth_radius >= 0, bias > 0 and alpha >= 0, got {got}.$"
    with pytest.raises(ArchitectureError, match=message):
        LocalResponseNormalization(**options)


def test_partial_connections_are_an_ordinary_convolution_of_a_sparse_kernel() -> None:
    layer = PartialConv2D([(0, 2), (1,), (0, 1, 2)], kernel_size=2)
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype("float32")
    answer = np.asarray(layer(x))
    kernel = np.zeros((2, 2, 3, 3), "float32")
    own = np.asarray(layer.kernel)
    for place, (channel, index) in enumerate([(0, 0), (2, 0), (1, 1), (0, 2), (1, 2), (2, 2)]):
        kernel[:, :, channel, index] = own[:, :, place]
    plain = layers.Conv2D(3, 2)
    plain.build((None, 5, 4, 3))
    plain.set_weights([kernel, np.zeros(3, "float32")])
    np.testing.assert_allclose(answer, np.asarray(plain(x)), rtol=1e-5, atol=1e-6)
    assert layer.count_params() == 2 * 2 * 6 + 3


def test_what_is_not_connected_stays_so_in_training() -> None:
    image = keras.Input((6, 6, 3))
    x = PartialConv2D([(0, 2), (1,)], kernel_size=3, activation=scaled_tanh, name="partial")(image)
    model = keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))
    model.compile(keras.optimizers.Adam(0.1), "mse")
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(8, 6, 6, 3)).astype("float32"), generator.normal(size=(8, 2)).astype("float32")
    layer = model.get_layer("partial")
    before = np.asarray(layer.full_kernel)
    # One step, in which Adam moves each weight by about its rate; after more of them one may be back where it was.
    model.fit(x, y, epochs=1, verbose=0)
    after = np.asarray(layer.full_kernel)
    connected = np.zeros((3, 2), bool)
    connected[[0, 2, 1], [0, 0, 1]] = True
    assert (before[:, :, ~connected] == 0).all()
    assert (after[:, :, ~connected] == 0).all()
    assert (np.abs(after - before)[:, :, connected] > 1e-3).all()


def test_connections_that_cannot_be_are_refused() -> None:
    message = r"^PartialConv2D 'c' needs at least one channel a filter, each once, got \(\(0, 0\),\)\.$"
    with pytest.raises(ArchitectureError, match=message):
        PartialConv2D([(0, 0)], kernel_size=3, name="c")
    message = r"^PartialConv2D 'c' gets 2 channels, and its connections name \[0, 2\]\.$"
    with pytest.raises(ArchitectureError, match=message):
        PartialConv2D([(0, 2)], kernel_size=3, name="c")(np.zeros((1, 4, 4, 2), "float32"))


def test_distances_by_hand() -> None:
    layer = EuclideanRBF(2, centres=[[1, 0], [0, 3]])
    # (2, 1): (2 − 1)² + 1² = 2; 2² + (1 − 3)² = 8.
    np.testing.assert_allclose(np.asarray(layer(np.array([[2, 1]], "float32"))), [[-2, -8]], rtol=1e-6)
    assert layer.trainable_weights == []
    assert np.asarray(EuclideanRBF(3, trainable_centres=True)(np.zeros((1, 4), "float32"))).tolist() == [[-4, -4, -4]]


def test_centres_of_another_shape_are_refused() -> None:
    message = r"^EuclideanRBF 'r' has 3 units of 2 inputs, and its centres are of shape \(2, 2\)\.$"
    with pytest.raises(ArchitectureError, match=message):
        EuclideanRBF(3, centres=np.eye(2), name="r")(np.zeros((1, 2), "float32"))


def network() -> Any:
    """Every layer of edgecv's own, with pixels large enough for the normalisation to matter."""
    image = keras.Input((14, 12, 3), name="image")
    x = layers.Conv2D(8, 3, 2, activation="relu", name="stem")(image)
    x = LocalResponseNormalization(depth_radius=1, bias=1.5, alpha=1e-3, beta=0.6, name="norm")(x)
    x = PartialConv2D([(0, 3), (1, 2, 7), (4, 5, 6)], kernel_size=2, activation=scaled_tanh, name="partial")(x)
    x = layers.Dense(6, activation=scaled_tanh, name="features")(layers.Flatten(name="flatten")(x))
    x = EuclideanRBF(4, trainable_centres=True, name="distances")(x)
    model = keras.Model(image, layers.Activation("softmax", name="scores")(x), name="own")
    randomize(model, edgecv.Preprocess())
    return model


def test_a_file_of_them_opens_by_itself(tmp_path: Path) -> None:
    model = network()
    edgecv.save_model(model, tmp_path / "own.keras")
    again = edgecv.open_model(str(tmp_path / "own.keras"))
    x = np.random.default_rng(0).uniform(0, 255, (3, 14, 12, 3)).astype("float32")
    np.testing.assert_array_equal(np.asarray(again(x)), np.asarray(model(x)))
    assert [layer.get_config() for layer in again.layers] == [layer.get_config() for layer in model.layers]
    assert [weight.path for weight in again.trainable_weights] == [weight.path for weight in model.trainable_weights]


@pytest.mark.parametrize("form", ["onnx", "tflite"])
@pytest.mark.parametrize("batch", [1, None], ids=["1", "dynamic"])
def test_artifacts_answer_as_in_keras(batch: int | None, form: str, tmp_path: Path) -> None:
    deployable = edgecv.deploy(network(), preprocess="none", batch=batch)
    artifact = edgecv.export(deployable, to=form, path=tmp_path / f"own.{form}")
    assert artifact.report is not None
    assert artifact.report.passed, artifact.report.to_json()


def test_half_precision_keeps_its_type() -> None:
    for layer in (
        LocalResponseNormalization(dtype="mixed_float16"),
        PartialConv2D([(0,), (1, 2)], kernel_size=1, dtype="mixed_float16"),
        EuclideanRBF(3, dtype="mixed_float16"),
    ):
        answer = layer(np.ones((1, 2, 2, 3), "float16"))
        assert keras.backend.standardize_dtype(answer.dtype) == "float16"
