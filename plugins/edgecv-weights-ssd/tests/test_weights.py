"""The rebuilt network with the packaged weights against the original, and what the provider refuses."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import skimage.data
from edgecv import registry
from edgecv.errors import WeightsError
from edgecv.labels import builtin_labels
from edgecv.photos import shipped_photos
from edgecv.weights import WeightsProvider, load_weights
from PIL import Image

import edgecv_weights_ssd
from edgecv_weights_ssd import PACKAGED

SSD = registry.load_architecture("ssd_mobilenet_v2")
ORIGINAL = Path(os.environ.get("EDGECV_OBJECTRON_DATA", ""))
DOG = Path(os.environ.get("EDGECV_DARKNET_DATA", "/usr/share/darknet/data")) / "dog.jpg"
# What two runtimes may differ by; box encodings reach 81, and LiteRT's own kernels and its XNNPACK differ by
# up to 3e-4 there (4e-6 of 81).
TOLERANCE = 5e-5


def script(path: str) -> Any:
    """Import a file of this distribution that is no part of the package."""
    file = Path(__file__).parents[1] / path
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GOLDEN = script("tests/make_golden.py")


@pytest.fixture(scope="module")
def network() -> Any:
    model = SSD.build()
    record = load_weights(SSD, model, weights="auto")
    assert record.source == "openimages (edgecv-weights-ssd 0.1.0)"
    assert record.note is None
    return model


def sigmoid(values: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(values, np.float64)))


def raw(network: Any, image: Any) -> tuple[Any, Any]:
    boxes, logits = (np.asarray(output)[0] for output in network(image))
    return boxes, logits


def assert_same(ours: tuple[Any, Any], theirs: tuple[Any, Any]) -> None:
    """Box encodings relative to their range, scores as they are."""
    boxes, logits = (np.abs(a - b).max() / np.abs(b).max() for a, b in zip(ours, theirs, strict=True))
    assert boxes < TOLERANCE
    assert logits < TOLERANCE
    assert np.abs(sigmoid(ours[1]) - sigmoid(theirs[1])).max() < TOLERANCE


@pytest.mark.parametrize("photo", GOLDEN.PHOTOS)
def test_answers_are_those_recorded_from_the_original(network: Any, photo: str) -> None:
    golden = np.load(GOLDEN.GOLDEN)
    anchors = golden[f"{photo}_anchors"]
    boxes, logits = raw(network, GOLDEN.network_input(shipped_photos()[photo]))
    assert len(anchors) > 80
    assert_same((boxes[anchors], logits[anchors]), (golden[f"{photo}_boxes"], golden[f"{photo}_logits"]))


@pytest.mark.skipif(not ORIGINAL.is_file(), reason="EDGECV_OBJECTRON_DATA does not name the original")
def test_every_number_of_every_photo_is_the_original_s(network: Any) -> None:
    runner = GOLDEN.runner(GOLDEN.original(ORIGINAL))
    for photo in shipped_photos().values():
        image = GOLDEN.network_input(photo)
        assert_same(raw(network, image), GOLDEN.answers(runner, image))


@pytest.mark.skipif(not ORIGINAL.is_file(), reason="EDGECV_OBJECTRON_DATA does not name the original")
def test_the_file_is_made_again_byte_for_byte(tmp_path: Path) -> None:
    script("make_weights.py").main([str(ORIGINAL), "-o", str(tmp_path)])
    (made,) = tmp_path.iterdir()
    path = PACKAGED.file(SSD)
    assert path is not None
    assert made.name == path.name
    assert made.read_bytes() == path.read_bytes()


@pytest.mark.skipif(not ORIGINAL.is_file(), reason="EDGECV_OBJECTRON_DATA does not name the original")
def test_labels_are_the_original_s() -> None:
    background, *labels = ORIGINAL.read_bytes()[:184].decode().splitlines()
    assert background == "???"
    assert tuple(labels) == builtin_labels("everyday")


def test_preprocess_is_the_original_s() -> None:
    photo = shipped_photos()["cat"]
    stretched = np.asarray(Image.fromarray(photo).resize((300, 300), Image.Resampling.BILINEAR), np.float32)[None]
    np.testing.assert_allclose(SSD.preprocess.apply(stretched, np), GOLDEN.network_input(photo), atol=1e-6)


# Scores: measured with the original file; the last digit moves with the decoder of JPEG files. Boxes: read off
# the pictures by eye, x1, y1, x2, y2 in pixels.
def test_chelsea_is_a_cat(network: Any) -> None:
    check(network, skimage.data.chelsea(), {"Cat": (0.85, (0, 0, 405, 300))})


@pytest.mark.skipif(not DOG.is_file(), reason="Darknet's dog.jpg is not here")
def test_dog_bicycle_and_car_are_found(network: Any) -> None:
    with Image.open(DOG) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    expected = {
        "Dog": (0.74, (128, 220, 312, 540)),
        "Bicycle": (0.67, (125, 130, 566, 418)),
        "Car": (0.66, (472, 80, 700, 168)),
    }
    check(network, pixels, expected)


def check(network: Any, pixels: Any, expected: dict[str, tuple[float, tuple[int, int, int, int]]]) -> None:
    """Hold the photo's best classes, each by its best anchor, to scores and boxes."""
    assert SSD.decoder is not None
    outputs = network(GOLDEN.network_input(pixels))
    boxes, scores = (np.asarray(tensor)[0] for tensor in SSD.decoder.decode(outputs, (300, 300), keras.ops))
    best = scores.max(axis=0).argsort()[::-1][: len(expected)]
    assert [builtin_labels("everyday")[index] for index in best] == list(expected)
    height, width, _ = pixels.shape
    for index, (score, box) in zip(best, expected.values(), strict=True):
        anchor = scores[:, index].argmax()
        assert scores[anchor, index] == pytest.approx(score, abs=0.01)
        assert iou(boxes[anchor] * (width, height, width, height), box) > 0.75


def iou(one: Any, other: Any) -> float:
    width, height = np.maximum(np.minimum(one, other)[2:] - np.maximum(one, other)[:2], 0)
    common = width * height
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return float(common / (areas - common))


def test_other_input_sizes_take_the_same_weights() -> None:
    model = SSD.build(input_size=(192, 320))
    assert load_weights(SSD, model, weights="openimages").note is None


def test_other_classes_get_random_weights_and_the_reason() -> None:
    record = load_weights(SSD, SSD.build(input_size=(96, 96), classes=4), weights="auto")
    message = "Published weights of ssd_mobilenet_v2 are for 23 classes, got 4. Use random weights or a file."
    assert (record.source, record.note) == ("random (seed 0)", message)


def test_provider_honours_the_protocol() -> None:
    provider: WeightsProvider = PACKAGED
    assert isinstance(provider, WeightsProvider)
    assert registry.load_weights_provider("ssd_mobilenet_v2") is PACKAGED
    assert provider.missing(SSD) is None


def test_values_are_float16_as_in_the_original() -> None:
    arrays = PACKAGED.arrays(SSD)
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}
    assert sum(array.size for array in arrays.values()) == SSD.parameters


def test_importing_the_provider_imports_no_framework() -> None:
    code = "import sys, edgecv_weights_ssd; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"keras", "tensorflow", "ai_edge_litert"} & set(loaded)


@pytest.mark.parametrize("name", ["LICENSE", "NOTICE"])
def test_licence_and_origin_lie_beside_the_weights(name: str) -> None:
    text = (Path(edgecv_weights_ssd.__file__).parent / name).read_text()
    assert "Apache License" in text


def test_another_network_is_refused() -> None:
    model = SSD.build(input_size=(96, 96), classes=4)
    message = (
        "Published weights of ssd_mobilenet_v2 do not fit 'map0_class_conv/kernel'. Build it with the default classes."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        PACKAGED.load(SSD, model)
