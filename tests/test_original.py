"""The original's answers: as many pictures at once as fit, and one by one where a layer wants that."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import edgecv
from edgecv import original
from edgecv.deployable import Deployable
from edgecv.errors import ModelError
from edgecv.original import gather_pictures, original_answers


@keras.saving.register_keras_serializable("test_original")
class OneRow(keras.layers.Layer):  # type: ignore[misc]
    """Is written for a batch of one."""

    def call(self, x: Any) -> Any:
        return keras.ops.reshape(x, (1, x.shape[-1]))


def network(last: keras.layers.Layer, *, batch: int | None = None) -> Deployable:
    inputs = keras.Input((8, 8, 3), batch_size=batch)
    x = keras.layers.Conv2D(4, 3, kernel_initializer="he_normal")(inputs)
    x = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    outputs = keras.layers.Dense(3)(last(x))
    return edgecv.deploy(keras.Model(inputs, outputs), preprocess="0-1", activation="softmax")


def one_by_one(deployable: Deployable, pictures: Any) -> Any:
    return np.concatenate([deployable.run(picture[None])["probabilities"] for picture in pictures])


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    batches: list[int] = []
    run = Deployable.run

    def counting(self: Deployable, images: Any, **options: Any) -> Any:
        batches.append(len(images))
        return run(self, images, **options)

    monkeypatch.setattr(Deployable, "run", counting)
    return batches


@pytest.mark.parametrize(("pixels", "expected"), [(8 * 8 * 20, [8]), (8 * 8 * 3, [3, 3, 2]), (1, [1] * 8)])
def test_as_many_pictures_are_run_at_once_as_fit(
    pixels: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    deployable = network(keras.layers.Flatten())
    pictures = gather_pictures(deployable, None)
    wanted = one_by_one(deployable, pictures.values)
    monkeypatch.setattr(original, "_PIXELS_AT_ONCE", pixels)
    batches = counted(monkeypatch)
    np.testing.assert_allclose(original_answers(deployable, pictures)["probabilities"], wanted, atol=1e-5)
    assert batches == expected


@pytest.mark.parametrize(
    "make",
    [
        lambda: network(OneRow()),
        lambda: network(keras.layers.Lambda(lambda x: x[:1, 0, 0])),
        lambda: network(keras.layers.Flatten(), batch=1),
    ],
    ids=["fails for more", "answers once for all", "says so"],
)
def test_a_network_for_a_batch_of_one_is_run_picture_by_picture(make: Callable[[], Deployable]) -> None:
    deployable = make()
    pictures = gather_pictures(deployable, None)
    wanted = one_by_one(deployable, pictures.values)
    np.testing.assert_array_equal(original_answers(deployable, pictures)["probabilities"], wanted)


def test_a_network_that_cannot_run_says_so() -> None:
    deployable = network(keras.layers.Lambda(lambda x: 1 // 0 if x.shape[0] is not None else x[:, 0, 0]))
    with pytest.raises(ModelError, match=r"^functional.* cannot run on 8x8 pictures: .*division.*$"):
        original_answers(deployable, gather_pictures(deployable, None))
