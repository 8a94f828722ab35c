"""The rebuilt network with the packaged weights against the original."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgecv import registry
from edgecv.weights import WeightsProvider, load_weights
from PIL import Image

import edgecv_weights_selfie
from edgecv_weights_selfie import PACKAGED

SELFIE = registry.load_architecture("selfie_segmentation")
ORIGINAL = Path(os.environ.get("EDGECV_SELFIE_TFLITE", ""))
# What two runtimes may differ by: logits reach 700 here, where the last bit of a float32 is 6e-5, and LiteRT's own
# kernels and its XNNPACK differ by up to 2e-4 in the probabilities of these pictures.
TOLERANCE = 1e-4


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
    model = SELFIE.build()
    record = load_weights(SELFIE, model, weights="auto")
    assert record.source == "mediapipe (edgecv-weights-selfie 0.1.0)"
    assert record.note is None
    return model


def logits(network: Any, picture: str) -> Any:
    return np.asarray(network(GOLDEN.network_input(GOLDEN.pictures()[picture])))[0, :, :, 0]


def sigmoid(values: Any) -> Any:
    return (1 + np.tanh(np.asarray(values, np.float64) / 2)) / 2  # the same, without an overflow


@pytest.mark.parametrize("picture", ["whole_astronaut", "astronaut", "cat"])
def test_answers_are_those_recorded_from_the_original(network: Any, picture: str) -> None:
    golden = np.load(GOLDEN.GOLDEN)
    ours, step = logits(network, picture), GOLDEN.STEP
    unsure = (golden[picture] > 0.01) & (golden[picture] < 0.99)
    assert unsure.sum() > 80  # elsewhere every answer would do
    assert np.abs(sigmoid(ours[::step, ::step]) - golden[picture]).max() < TOLERANCE
    # A pixel on the border may fall to the other side.
    assert abs(int((ours > 0).sum()) - int(golden[f"{picture}_pixels"])) <= 2


# Read off the picture by eye, (x, y) in 256ths of its sides.
@pytest.mark.parametrize(
    ("point", "person"),
    [
        ((112, 60), True),  # the face
        ((110, 200), True),  # the suit
        ((112, 14), True),  # the hair
        ((30, 190), True),  # the sleeve
        ((245, 20), False),  # the wall above the shuttle
        ((200, 60), False),  # the shuttle
        ((20, 60), False),  # the flag
    ],
)
def test_the_astronaut_is_the_person(network: Any, point: tuple[int, int], person: bool) -> None:
    x, y = point
    assert (logits(network, "whole_astronaut")[y, x] > 0) == person


@pytest.mark.skipif(not ORIGINAL.is_file(), reason="EDGECV_SELFIE_TFLITE does not name the original")
@pytest.mark.parametrize("picture", GOLDEN.pictures())
def test_every_probability_is_the_original_s(network: Any, picture: str) -> None:
    runner = GOLDEN.runner(GOLDEN.original(ORIGINAL))
    theirs = GOLDEN.answer(runner, GOLDEN.network_input(GOLDEN.pictures()[picture]))
    assert np.abs(sigmoid(logits(network, picture)) - theirs).max() < TOLERANCE


@pytest.mark.skipif(not ORIGINAL.is_file(), reason="EDGECV_SELFIE_TFLITE does not name the original")
def test_the_file_is_made_again_byte_for_byte(tmp_path: Path) -> None:
    script("make_weights.py").main([str(ORIGINAL), "-o", str(tmp_path)])
    (made,) = tmp_path.iterdir()
    path = PACKAGED.file(SELFIE)
    assert path is not None
    assert made.name == path.name
    assert made.read_bytes() == path.read_bytes()


def test_preprocess_is_the_original_s() -> None:
    photo = GOLDEN.pictures()["whole_astronaut"]
    stretched = np.asarray(Image.fromarray(photo).resize((256, 256), Image.Resampling.BILINEAR), np.float32)[None]
    np.testing.assert_allclose(SELFIE.preprocess.apply(stretched, np), GOLDEN.network_input(photo), atol=1e-6)
    assert SELFIE.preprocess.fit.mode == "stretch"


def test_other_input_sizes_take_the_same_weights() -> None:
    model = SELFIE.build(input_size=(144, 256))
    assert load_weights(SELFIE, model, weights="mediapipe").note is None


def test_other_classes_get_random_weights_and_the_reason() -> None:
    record = load_weights(SELFIE, SELFIE.build(input_size=(32, 32), classes=4), weights="auto")
    message = "Published weights of selfie_segmentation do not fit 'logits/kernel'. Build it with the default classes."
    assert (record.source, record.note) == ("random (seed 0)", message)


def test_provider_honours_the_protocol() -> None:
    provider: WeightsProvider = PACKAGED
    assert isinstance(provider, WeightsProvider)
    assert registry.load_weights_provider("selfie_segmentation") is PACKAGED
    assert provider.missing(SELFIE) is None


def test_values_are_float16_as_in_the_original() -> None:
    arrays = PACKAGED.arrays(SELFIE)
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}
    assert sum(array.size for array in arrays.values()) == SELFIE.parameters


def test_importing_the_provider_imports_no_framework() -> None:
    code = "import sys, edgecv_weights_selfie; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"keras", "tensorflow", "ai_edge_litert"} & set(loaded)


@pytest.mark.parametrize("name", ["LICENSE", "NOTICE"])
def test_licence_and_origin_lie_beside_the_weights(name: str) -> None:
    text = (Path(edgecv_weights_selfie.__file__).parent / name).read_text()
    assert "Apache License" in text
