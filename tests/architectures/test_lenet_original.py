"""The LeNet-5 of 1998, layer by layer against the paper."""

import math
from typing import Any

import keras
import numpy as np
import pytest

import edgecv
from edgecv.architectures.digit_bitmaps import DIGIT_BITMAPS
from edgecv.architectures.lenet import lenet5
from edgecv.errors import ArchitectureError

# Table I of the paper, a row a map of S2, a column a map of C3.
TABLE_1 = """
X...XXX..XXXX.XX
XX...XXX..XXXX.X
XXX...XXX..X.XXX
.XXX..XXXX..X.XX
..XXX..XXXX.XX.X
...XXX..XXXX.XXX
"""


@pytest.fixture(scope="module")
def network() -> Any:
    return lenet5(original=True)


def test_trainable_parameters_are_the_paper_s(network: Any) -> None:
    # Section II.B gives each of them.
    numbers = {
        layer.name: sum(math.prod(weight.shape) for weight in layer.trainable_weights)
        for layer in network.layers
        if layer.trainable_weights
    }
    assert numbers == {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164}
    assert sum(numbers.values()) == 60_000


def test_maps_have_the_paper_s_sizes(network: Any) -> None:
    # Figure 2.
    shapes = {name: network.get_layer(name).output.shape[1:] for name in ("border", "c1", "s2", "c3", "s4", "c5", "f6")}
    assert shapes == {
        "border": (32, 32, 1),
        "c1": (28, 28, 6),
        "s2": (14, 14, 6),
        "c3": (10, 10, 16),
        "s4": (5, 5, 16),
        "c5": (1, 1, 120),
        "f6": (84,),
    }


def test_c3_is_connected_as_in_table_1(network: Any) -> None:
    layer = network.get_layer("c3")
    connected = np.abs(np.asarray(layer.full_kernel)).sum(axis=(0, 1)) > 0
    expected = [[mark == "X" for mark in row] for row in TABLE_1.split()]
    assert connected.tolist() == expected
    assert sorted(map(len, layer.connections)) == [3] * 6 + [4] * 9 + [6]


def test_probabilities_are_the_softmax_of_minus_the_distance(network: Any) -> None:
    picture = np.random.default_rng(0).random((3, 28, 28, 1), "float32")
    features = keras.Model(network.input, network.get_layer("f6").output)(picture)
    distances = np.square(np.asarray(features)[:, None] - DIGIT_BITMAPS).sum(axis=-1)
    expected = np.exp(distances.min(axis=1, keepdims=True) - distances)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(network(picture)), expected, rtol=1e-4, atol=1e-7)


def test_bitmaps_are_ten_pictures_of_black_and_white() -> None:
    assert DIGIT_BITMAPS.shape == (10, 12 * 7)
    assert np.unique(DIGIT_BITMAPS).tolist() == [-1, 1]
    assert len({bitmap.tobytes() for bitmap in DIGIT_BITMAPS}) == 10


def test_pools_average_and_weigh(network: Any) -> None:
    pool = network.get_layer("s2")
    coefficients, biases = np.arange(1, 7) / 10, np.arange(6) / 7
    before = [np.asarray(weight) for weight in pool.weights]
    pool.set_weights([coefficients.reshape(1, 1, 6, 1), biases])
    maps = np.random.default_rng(0).normal(size=(1, 2, 2, 6)).astype("float32")
    expected = 1.7159 * np.tanh(2 / 3 * (maps.mean(axis=(1, 2)) * coefficients + biases))
    answer = pool(network.get_layer("s2_average")(maps))
    pool.set_weights(before)
    np.testing.assert_allclose(np.asarray(answer)[:, 0, 0], expected, rtol=1e-5)


def test_other_numbers_of_classes_get_codes_that_never_change() -> None:
    first, second = (np.asarray(lenet5(classes=26, original=True).get_layer("rbf").centres) for _ in range(2))
    assert first.shape == (84, 26)
    assert np.unique(first).tolist() == [-1, 1]
    assert (first == second).all()
    assert len({code.tobytes() for code in first.T}) == 26


def test_small_pictures_are_refused() -> None:
    message = "^lenet5_original has three 5x5 convolutions without padding, got 28x27. Give at least 28x28 pixels.$"
    with pytest.raises(ArchitectureError, match=message):
        lenet5((28, 27, 1), original=True)


def test_it_learns_and_its_bitmaps_stay() -> None:
    """Two textures, told apart from chance after a few steps."""
    keras.utils.set_random_seed(0)
    network = lenet5(original=True)
    generator = np.random.default_rng(0)
    pictures = generator.random((64, 28, 28, 1)).astype("float32")
    labels = np.arange(64) % 2
    pictures[labels == 1, ::2] = 0
    network.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = network.fit(pictures, labels, epochs=12, batch_size=16, verbose=0).history
    assert history["accuracy"][-1] > 0.95
    assert (np.asarray(network.get_layer("rbf").centres) == DIGIT_BITMAPS.T).all()


def test_fully_convolutional_form_takes_larger_pictures() -> None:
    network = edgecv.build("lenet5_original", weights="random")
    fcn = edgecv.to_fcn(network)
    picture = np.random.default_rng(0).random((1, 28, 28, 1), "float32")
    np.testing.assert_allclose(np.asarray(fcn(picture))[:, 0, 0], np.asarray(network(picture)), rtol=1e-5)
    assert fcn(np.zeros((1, 36, 32, 1), "float32")).shape == (1, 3, 2, 10)
