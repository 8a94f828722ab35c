"""Random weights: seeded, alive, and without blow-up."""

import os
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
import skimage.data
from keras import layers
from PIL import Image
from sklearn.datasets import load_sample_images

from edgecv import registry
from edgecv.architecture import Architecture
from edgecv.photos import shipped_photos
from edgecv.preprocess import Preprocess
from edgecv.weights import hash_weights
from edgecv.weights.random import randomize

FAST = ("efficientnet_lite0", "fashion_cnn", "googlenet", "lenet5", "lenet5_original", "mobilenet_v2", "resnet18")
# Detectors' scores are shifted besides; their own tests tell how.
SLOW = tuple(
    name
    for name in registry.architecture_names()
    if name not in FAST and registry.load_architecture(name).task == "classification"
)


def names() -> list[Any]:
    return [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def strange_pictures(architecture: Architecture) -> Any:
    """Four pictures that the calibration never saw, among them a nearly black and a nearly uniform one."""
    height, width, channels = architecture.input_shape
    china, _ = load_sample_images().images
    found = []
    for pixels in (skimage.data.camera(), skimage.data.hubble_deep_field(), china, skimage.data.retina()):
        picture = Image.fromarray(pixels).convert("L" if channels == 1 else "RGB").resize((width, height))
        found.append(np.asarray(picture, np.float32).reshape(height, width, channels))
    return architecture.preprocess.apply(np.stack(found), np).astype("float32")


def logits(model: Any, pictures: Any) -> Any:
    """The logarithms of the probabilities: the logits but for a constant a picture."""
    values = np.log(np.maximum(np.asarray(model(pictures), np.float64), 1e-30))
    values = values.reshape(len(values), -1)
    return values - values.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("name", names())
def test_signal_stays_alive(name: str) -> None:
    """Different pictures differ in their logits by about as much as classes do, and rounding stays small.

    Measured as the deviation over pictures of each class' logit, averaged: the calibration sets it to 2 on
    its own pictures. Dead networks have 0.00; one that blew up on strange pictures had 50.
    """
    architecture = registry.load_architecture(name)
    model = architecture.build()
    randomize(model, architecture.preprocess)
    pictures = strange_pictures(architecture)
    clean = logits(model, pictures)
    assert 0.5 < clean.std(axis=0).mean() < 4.0
    # The softmax is neither flat nor saturated.
    probabilities = np.asarray(model(pictures)).reshape(len(pictures), -1)
    assert (probabilities.max(axis=1) > 10 / architecture.classes).all() or architecture.classes == 10
    assert probabilities.max() < 0.999
    # Noise of a rounding's size, 16 times over, stays below the tolerance of verification, 1e-4, 5 times over.
    noise = np.random.default_rng(0).standard_normal(pictures.shape)
    noisy = logits(model, (pictures * (1 + 1e-6 * noise)).astype("float32"))
    assert np.abs(noisy - clean).max() / np.abs(clean).max() < 5e-4


def test_seeds_differ_and_repeat() -> None:
    architecture = registry.load_architecture("mobilenet_v2")
    model = architecture.build(input_size=(96, 96))
    hashes = []
    for seed in (0, 1, 0):
        randomize(model, architecture.preprocess, seed)
        hashes.append(hash_weights(model))
    assert hashes[0] == hashes[2] != hashes[1]


@pytest.mark.parametrize("name", ["mobilenet_v2", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_weights_are_the_same_in_every_process(name: str) -> None:
    code = (
        "from edgecv import registry, weights\n"
        f"architecture = registry.load_architecture({name!r})\n"
        "network = architecture.build()\n"
        "weights.load_weights(architecture, network, weights='random')\n"
        "print(weights.hash_weights(network))"
    )
    running = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-c", code]
        running.append(subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE))
    hashes = [process.communicate()[0].split()[-1] for process in running]
    assert hashes[0] == hashes[1]


def branches() -> Any:
    """Grey input, a nested network, Dropout, BatchNorm inside and outside, two outputs of different kinds."""
    inner_input = keras.Input((8, 8, 4))
    inner = layers.BatchNormalization(name="inner_bn")(layers.Conv2D(4, 3, padding="same")(inner_input))
    nested = keras.Model(inner_input, layers.ReLU()(inner), name="nested")
    image = keras.Input((16, 12, 1), name="image")
    x = layers.Conv2D(4, 3, name="first")(layers.Resizing(10, 10)(image))
    x = layers.Dropout(0.5)(nested(x))
    pooled = layers.BatchNormalization(name="outer_bn")(layers.GlobalAveragePooling2D()(x))
    scores = layers.Dense(5, activation="softmax", name="scores")(pooled)
    box = layers.Activation("sigmoid", name="box")(layers.Dense(4, name="box_linear")(pooled))
    return keras.Model(image, [scores, box])


def test_nested_networks_with_several_outputs_are_calibrated() -> None:
    model = branches()
    randomize(model, Preprocess(style="0-1", scale=(1 / 255,)), seed=5)
    norms = [model.get_layer("nested").get_layer("inner_bn"), model.get_layer("outer_bn")]
    for norm in norms:
        assert np.abs(np.asarray(norm.moving_mean)).max() > 1e-3
        assert norm.momentum == 0.99
    assert next(layer for layer in model.layers if isinstance(layer, layers.Dropout)).rate == 0.5
    assert model.get_layer("scores").activation is keras.activations.softmax

    photos = [
        np.asarray(Image.fromarray(photo).convert("L").resize((12, 16), 2)) for photo in shipped_photos().values()
    ]
    pictures = (np.stack(photos)[..., None] / 255).astype("float32")
    scores, box = (np.asarray(output, np.float64) for output in model(pictures))
    for values in (np.log(scores), np.log(box / (1 - box))):
        assert values.std(axis=0).mean() == pytest.approx(2, rel=0.5)
    # 0 over the photos and the noise together.
    np.testing.assert_allclose(np.log(box / (1 - box)).mean(axis=0), 0, atol=1.5)


def test_networks_without_a_picture_keep_neutral_statistics() -> None:
    first, second = keras.Input((3,)), keras.Input((8, 8, 3))
    x = layers.Add()([layers.Dense(4)(first), layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(second))])
    model = keras.Model([first, second], layers.BatchNormalization(name="bn")(x))
    randomize(model, Preprocess())
    assert np.asarray(model.get_layer("bn").moving_variance).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sequential_networks_of_any_channels(channels: int) -> None:
    # A scaling of three channels on another number is left out rather than broadcast.
    model = keras.Sequential([keras.Input((None, None, channels)), layers.Conv2D(6, 3), layers.GlobalMaxPooling2D()])
    model.add(layers.Dense(3, activation="softmax"))
    randomize(model, registry.load_architecture("vgg16").preprocess)
    assert np.isfinite(model.get_weights()[-1]).all()
    assert np.abs(model.get_weights()[-1]).max() > 0


def test_photos_are_small_real_and_distinct() -> None:
    photos = shipped_photos()
    assert list(photos) == sorted(photos)
    assert len(photos) >= 5
    for photo in photos.values():
        assert photo.dtype == np.uint8
        assert photo.shape == (128, 128, 3)
        assert photo.std() > 20
        assert not photo.flags.writeable
    assert len({photo.tobytes() for photo in photos.values()}) == len(photos)
