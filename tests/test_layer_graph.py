"""Calling a network layer by layer: Keras' answers, in less memory."""

import weakref
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from edgecv.layer_graph import call_sparingly


def nested() -> Any:
    """A model used twice inside another, a layer used twice, a sum over a long way, two outputs in a dictionary."""
    inner_image = keras.Input((8, 8, 4))
    inner = keras.Model(inner_image, layers.ReLU()(layers.BatchNormalization()(inner_image)), name="inner")
    image = keras.Input((8, 8, 3))
    first = layers.Conv2D(4, 3, padding="same")(image)
    twice = layers.Conv2D(4, 1)
    x = twice(inner(twice(inner(first))))
    x = keras.Sequential([layers.Dropout(0.0), layers.Conv2D(4, 3, padding="same")])(x) + first
    return keras.Model(image, {"b": layers.GlobalAveragePooling2D()(x), "a": ops.max(x, axis=-1)})


def frozen() -> Any:
    """A network with a BatchNorm that was called as not training."""
    image = keras.Input((8, 8, 3))
    return keras.Model(image, layers.Dense(4)(layers.BatchNormalization()(image, training=False)))


def picture(*shape: int) -> Any:
    return ops.convert_to_tensor(np.random.default_rng(0).standard_normal(shape, np.float32))


@pytest.mark.parametrize("build", [nested, frozen])
@pytest.mark.parametrize("training", [False, True])
def test_answers_are_those_of_keras(build: Any, training: bool) -> None:
    network = build()
    x = picture(2, 8, 8, 3)
    before = network.get_weights()
    wanted = keras.tree.flatten(network(x, training=training))
    trained = network.get_weights()
    network.set_weights(before)
    given = call_sparingly(network, x, training=training)
    assert len(given) == len(wanted)
    for ours, theirs in zip(given, wanted, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(ours), ops.convert_to_numpy(theirs))
    for ours, theirs in zip(network.get_weights(), trained, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_values_go_after_their_last_use() -> None:
    results: list[Any] = []
    alive: list[int] = []

    class Watched(layers.Layer):  # type: ignore[misc]  # Keras has no types
        """Adds 1, and counts how many results of its kind are still there."""

        def call(self, x: Any) -> Any:
            alive.append(sum(result() is not None for result in results))
            result = x + 1
            if not isinstance(result, keras.KerasTensor):
                results.append(weakref.ref(result))
            return result

    image = x = keras.Input((4,))
    for _ in range(6):
        x = Watched()(x)
    network = keras.Model(image, x)
    results.clear()  # what Keras called while building
    alive.clear()
    call_sparingly(network, picture(1, 4))
    assert alive == [0, 1, 1, 1, 1, 1]


class Doubled(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A functional model that is called in a way of its own."""

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        return 2 * super().call(inputs, training=training, mask=mask)


@pytest.mark.parametrize("inside", [False, True])
def test_a_model_with_its_own_call_is_called_so(inside: bool) -> None:
    image = keras.Input((4,))
    network: Any = Doubled(image, layers.Dense(3)(image))
    if inside:
        network = keras.Model(image, network(image))
    x = picture(1, 4)
    (given,) = call_sparingly(network, x)
    np.testing.assert_array_equal(ops.convert_to_numpy(given), ops.convert_to_numpy(network(x)))


@pytest.mark.parametrize("x", [np.arange(4).reshape(1, 4), np.arange(4, dtype="float32")], ids=["integers", "rank"])
def test_what_keras_converts_first_goes_to_keras(x: Any) -> None:
    image = keras.Input((4,) if x.ndim == 2 else (1,))
    network = keras.Model(image, layers.Dense(3)(image))
    (given,) = call_sparingly(network, x)
    np.testing.assert_array_equal(ops.convert_to_numpy(given), ops.convert_to_numpy(network(x)))


def test_a_wrong_shape_is_refused_as_keras_refuses_it() -> None:
    image = keras.Input((8, 8, 3))
    network = keras.Model(image, layers.ReLU()(image))
    with pytest.raises(ValueError, match=r"incompatible|expected shape"):
        call_sparingly(network, picture(1, 8, 9, 3))


def test_a_subclassed_model_is_called() -> None:
    class Own(keras.Model):  # type: ignore[misc]  # Keras has no types
        def call(self, x: Any) -> Any:
            return x * 3

    x = picture(1, 4)
    (given,) = call_sparingly(Own(), x)
    np.testing.assert_array_equal(ops.convert_to_numpy(given), ops.convert_to_numpy(x * 3))
