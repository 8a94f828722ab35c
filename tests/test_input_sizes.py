"""Detectors and segmenters at another size than they were built for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgecv
from edgecv.errors import OptionError
from edgecv.models import build
from edgecv.registry import load_architecture


@pytest.fixture(scope="module")
def small() -> Any:
    return build("ssd_tiny", weights="random", input_size=(96, 96))


def test_a_detector_answers_as_one_that_was_built_at_that_size(small: Any) -> None:
    deployable = edgecv.deploy(small, input_size=(128, 160))
    built = load_architecture("ssd_tiny").build(input_size=(128, 160))
    built.set_weights(small.get_weights())
    built.edgecv_info = small.edgecv_info
    picture = np.random.default_rng(0).integers(0, 256, (1, 128, 160, 3), dtype=np.uint8)
    answers = deployable.run(picture, checkpoints=True)
    for name, values in edgecv.deploy(built).run(picture, checkpoints=True).items():
        np.testing.assert_allclose(answers[name], values, atol=1e-6)
    assert deployable.input.shape == (1, 128, 160, 3)
    assert small.inputs[0].shape == (None, 96, 96, 3)  # stays as it is


@pytest.mark.parametrize("name", ["onnx", "tflite"])
def test_it_is_exported_and_proven_at_that_size(small: Any, tmp_path: Path, name: str) -> None:
    artifact = edgecv.export(edgecv.deploy(small, input_size=(64, 128)), to=name, path=tmp_path / f"small.{name}")
    assert artifact.report is not None
    assert artifact.report.passed
    assert edgecv.load(artifact.path).metadata["input"]["shape"] == [1, 64, 128, 3]


def test_a_segmenter_too(caplog: pytest.LogCaptureFixture) -> None:
    network = build("selfie_segmentation", weights="random", input_size=(64, 64))
    edgecv.deploy(network, input_size=(64, 64))
    assert not caplog.messages
    assert edgecv.deploy(network, input_size=(96, 128)).notes == (
        "selfie_segmentation was built for another size than 96x128: measure it there anew.",
    )
    (mask,) = edgecv.deploy(network, input_size=(96, 128)).run(np.zeros((1, 96, 128, 3), np.uint8)).values()
    assert mask.shape == (1, 96, 128)


def test_a_size_that_its_layers_cannot_take_is_one_line() -> None:
    network = build("yolo_v3_tiny", weights="random", input_size=(64, 64), classes=2)
    with pytest.raises(OptionError) as caught:
        edgecv.deploy(network, input_size=(72, 64))
    message = str(caught.value)
    assert message.startswith("Model 'yolo_v3_tiny' cannot take pictures of 72x64 pixels: ")
    assert message.endswith(". Choose another size.")
    assert "\n" not in message


def test_a_classifier_keeps_its_size() -> None:
    network = build("lenet5", weights="random")
    with pytest.raises(OptionError) as caught:
        edgecv.deploy(network, input_size=(64, 64))
    assert str(caught.value) == (
        "Model 'lenet5' takes 32x32 pictures only, not 64x64. "
        "Leave --input-size out, or build the network at that size."
    )
