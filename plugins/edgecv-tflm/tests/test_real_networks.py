"""Real networks, whole: exported, proven, their sources compiled. Slow."""

import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import Any

import edgecv
import keras
import numpy as np
import pytest
from edgecv.photos import shipped_photos
from edgecv.preprocess import STYLES
from edgecv.weights.random import randomize
from PIL import Image

from edgecv_tflm.compiled import find_compiler

pytestmark = pytest.mark.slow
STUBS = Path(__file__).with_name("stubs")
SCENES = Path(__file__).parents[2] / "edgecv-weights-ssd-tiny" / "scenes"
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{STUBS}", "-fsyntax-only")


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crops")
    random = np.random.default_rng(0)
    photos = list(shipped_photos().values())
    for index in range(120):
        photo = photos[index % len(photos)]
        side = int(random.integers(min(photo.shape[:2]) // 3, min(photo.shape[:2])))
        top, left = (int(random.integers(0, length - side + 1)) for length in photo.shape[:2])
        Image.fromarray(photo[top : top + side, left : left + side]).resize((96, 96)).save(folder / f"{index:03d}.png")
    return folder


def compiled(artifact: Any) -> None:
    """Demand a proof in which the C sources took part, and compile them."""
    assert artifact.report.passed
    assert {check.runtime for check in artifact.report.checks} == {"tflm"}
    assert {check.provider for check in artifact.report.checks} == {"TensorFlow Lite Micro + compiled C"}
    for source in artifact.path.glob("*.c*"):
        compiler = [shutil.which("g++"), "-std=c++11"] if source.suffix == ".cc" else [find_compiler(), "-std=c99"]
        subprocess.run([*compiler, *STRICT, str(source)], check=True)  # type: ignore[list-item]


@pytest.mark.skipif(importlib.util.find_spec("edgecv_weights_ssd_tiny") is None, reason="its weights are not installed")
def test_ssd_tiny_goes_onto_a_microcontroller(tmp_path: Path) -> None:
    deployable = edgecv.deploy(edgecv.build("ssd_tiny", weights="digits"))
    artifact = edgecv.export(deployable, to="tflm", path=tmp_path / "x", calibration=SCENES)
    compiled(artifact)
    assert artifact.report.task == {"box_match": 1.0}
    assert artifact.findings["arena_bytes"] < 200_000
    assert artifact.findings["model_bytes"] < 250_000
    # Pixels in, one digit out: the scene's label.
    results: Any = edgecv.load(artifact.path).predict(SCENES / "scene_00.png")
    assert [each["label"] for each in results] == ["9"]


def test_mobilenet_v2_goes_onto_a_microcontroller(crops: Path, tmp_path: Path) -> None:
    network = keras.applications.MobileNetV2(alpha=0.35, input_shape=(96, 96, 3), weights=None)
    randomize(network, STYLES["tf"])
    deployable = edgecv.deploy(network, preprocess="tf", name="mobilenet_v2_035")
    artifact = edgecv.export(deployable, to="tflm", path=tmp_path / "x", calibration=crops)
    compiled(artifact)
    assert artifact.findings["arena_bytes"] < 220_000
    assert artifact.findings["model_bytes"] < 2_000_000
