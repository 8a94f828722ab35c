"""Published keras.applications weights, without the network: Keras' download is replaced by files made here."""

import hashlib
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from edgecv import registry
from edgecv.errors import WeightsError
from edgecv.photos import shipped_photos
from edgecv.weights import keras_applications, load_weights
from edgecv.weights.keras_applications import _FILES, _File
from edgecv.weights.random import randomize

FUNCTIONS = {
    "densenet121": "DenseNet121",
    "efficientnet_b0": "EfficientNetB0",
    "inception_v3": "InceptionV3",
    "mobilenet": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
    "resnet101": "ResNet101",
    "resnet152": "ResNet152",
    "resnet50": "ResNet50",
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "xception": "Xception",
}
GET_FILE = "keras.src.utils.file_utils.get_file"


class _AskedError(Exception):
    """Keras wants a file."""


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(_FILES))
def test_files_are_those_that_keras_asks_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fname: str, origin: str, *, cache_subdir: str, file_hash: str | None = None) -> None:
        raise _AskedError(fname, origin, cache_subdir, file_hash)

    monkeypatch.setattr(GET_FILE, refuse)
    with pytest.raises(_AskedError) as asked:
        getattr(keras.applications, FUNCTIONS[name])(weights="imagenet")
    file = _FILES[name]
    assert asked.value.args == (file.name, file.url, "models", file.md5)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Keras cache, and no network."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras_applications, "unreachable", lambda _: "host.invalid cannot be reached (no network)")
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.mark.usefixtures("home")
def test_without_network_imagenet_fails() -> None:
    architecture = registry.load_architecture("mobilenet_v2")
    message = (
        "Published weights of mobilenet_v2 cannot be had: host.invalid cannot be reached (no network). "
        "Connect to the network, or use random weights or a file."
    )
    model = architecture.build(input_size=(64, 64))
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        load_weights(architecture, model, weights="imagenet")
    record = load_weights(architecture, model, weights="auto", seed=3)
    assert (record.source, record.note) == ("random (seed 3)", message)


def test_cached_weights_are_taken_and_equal_what_keras_itself_loads(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # EfficientNet-B0: the one network that Keras builds differently for its published weights.
    architecture = registry.load_architecture("efficientnet_b0")
    donor = keras.applications.EfficientNetB0(weights=None)
    normalization = next(layer for layer in donor.layers if isinstance(layer, keras.layers.Normalization))
    normalization.adapt_mean.assign([0.485, 0.456, 0.406])
    normalization.adapt_variance.assign([0.229**2, 0.224**2, 0.225**2])
    randomize(donor, architecture.preprocess)
    path = home / _FILES["efficientnet_b0"].name
    donor.save(path)  # whole models are written in the old HDF5 layout, which the published files have
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setitem(_FILES, "efficientnet_b0", _File(f"https://host.invalid/{path.name}", md5))

    model = architecture.build()
    record = load_weights(architecture, model, weights="auto")
    assert (record.source, record.note) == (f"imagenet (keras.applications, {path.name})", None)

    monkeypatch.setattr(GET_FILE, lambda *_, **__: str(path))
    expected: Any = keras.applications.EfficientNetB0(weights="imagenet")
    pixels = np.asarray(Image.fromarray(shipped_photos()["cat"]).resize((224, 224)), np.float32)[None]
    # After the first convolution: what differs lies before it, and deeper down random weights saturate.
    ours, published, plain = (np.asarray(_stem(network)(pixels)) for network in (model, expected, donor))
    np.testing.assert_allclose(ours, published, rtol=1e-4, atol=1e-5)
    assert np.abs(ours - plain).max() > 0.1


def _stem(network: Any) -> Any:
    return keras.Model(network.inputs[0], network.get_layer("stem_conv").output)
