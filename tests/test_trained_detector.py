"""A trained detector all the way: real weights, real digits that it has never seen, both formats, the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import edgecv
from edgecv.cli import cli
from edgecv.data.reading import open_data
from edgecv.data.samples import Dataset
from edgecv.evaluation.evaluate import evaluate
from edgecv.keras_session import keras_session
from edgecv.models import build
from edgecv.nms import Nms
from edgecv.registry import load_architecture
from edgecv.weights.packaged import PackagedWeights

_PLUGIN = Path(__file__).parents[1] / "plugins" / "edgecv-weights-ssd-tiny"
_SCENES = _PLUGIN / "scenes"
_WEIGHTS = PackagedWeights(
    distribution="edgecv-weights-ssd-tiny", source="digits", folder=_PLUGIN / "src" / "edgecv_weights_ssd_tiny"
)
_MEASURED = Nms(score_threshold=0.01, iou_threshold=0.45)


@pytest.fixture(scope="module")
def network() -> Any:
    """ssd_tiny with the weights of the distribution beside edgecv, whether that is installed or not."""
    architecture = load_architecture("ssd_tiny")
    if _WEIGHTS.file(architecture) is None:
        pytest.skip("the weights are not part of edgecv's own source distribution")
    model = build("ssd_tiny", weights="random")
    arrays = _WEIGHTS.arrays(architecture)
    for variable in model.weights:
        variable.assign(arrays[variable.path])
    return model


@pytest.fixture(scope="module")
def scenes() -> Dataset:
    return open_data(str(_SCENES / "labels.csv"))


@pytest.fixture(scope="module")
def artifacts(network: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("artifacts")
    deployable = edgecv.deploy(network, nms=_MEASURED)
    return {name: edgecv.export(deployable, to=name, path=folder / f"tiny.{name}").path for name in ("onnx", "tflite")}


def test_every_format_has_the_same_average_precision(network: Any, scenes: Dataset, artifacts: dict[str, Path]) -> None:
    original = evaluate(keras_session(edgecv.deploy(network, nms=_MEASURED)), scenes, scenes.samples).to_json()
    assert original["AP50"] > 0.85
    for path in artifacts.values():
        figures = evaluate(edgecv.load(path), scenes, scenes.samples).to_json()
        assert figures["AP"] == pytest.approx(original["AP"], abs=1e-3)
        assert figures["AP50"] == pytest.approx(original["AP50"], abs=1e-3)


@pytest.mark.parametrize("form", ["onnx", pytest.param("tflite", marks=pytest.mark.slow)])
def test_int8_keeps_a_budget_of_average_precision(network: Any, form: str, photo_folder: Path, tmp_path: Path) -> None:
    artifact = edgecv.export(
        edgecv.deploy(network),
        to=form,
        path=tmp_path / f"tiny.{form}",
        precision="int8",
        calibration=[*sorted(_SCENES.glob("*.png"))[:2], *sorted(photo_folder.iterdir())[:10]],
        max_drop=0.2,
        data=_SCENES / "labels.csv",
    )
    found = artifact.quantization
    assert found is not None
    assert (found.metric, found.pictures, found.met, found.float_layers) == ("AP50", 10, True, ())
    assert found.original is not None
    assert found.original > 0.8
    assert found.drop is not None
    assert abs(found.drop) < 0.1
    assert found.notes[-1] == "2 pictures of --data calibrate, too, and were left out of what is judged on."


def test_the_files_are_small(artifacts: dict[str, Path]) -> None:
    assert all(path.stat().st_size < 1_200_000 for path in artifacts.values())


@pytest.mark.parametrize("name", ["onnx", "tflite"])
def test_the_command_line_finds_and_draws_digits(artifacts: dict[str, Path], tmp_path: Path, name: str) -> None:
    picture = _SCENES / "scene_05.png"
    command = [
        "predict",
        str(artifacts[name]),
        str(picture),
        "--score-threshold",
        "0.5",
        "--json",
        "--save",
        str(tmp_path),
    ]
    result = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert result.exit_code == 0
    (answer,) = json.loads(result.stdout)
    truth = [row.split(",") for row in (_SCENES / "labels.csv").read_text().splitlines() if "scene_05" in row]
    found = sorted(each["label"] for each in answer["results"])
    assert len(found) >= len(truth) - 1
    assert set(found) & {row[1] for row in truth}
    drawn = np.asarray(Image.open(tmp_path / picture.name).convert("RGB"))
    coloured = np.ptp(drawn.astype(int), axis=2) > 60  # the scene itself is grey
    assert coloured.sum() > 200


def test_a_picture_in_any_mode_and_size_is_answered(artifacts: dict[str, Path], tmp_path: Path) -> None:
    scene = Image.open(_SCENES / "scene_05.png")
    session = edgecv.load(artifacts["onnx"])
    session.set_thresholds(score=0.5)
    plain = [(each["label"], round(each["score"], 2)) for each in session.predict(_SCENES / "scene_05.png")]
    for mode in ("RGB", "RGBA", "LA", "P"):
        scene.convert(mode).save(tmp_path / "scene.png")
        assert [(each["label"], round(each["score"], 2)) for each in session.predict(tmp_path / "scene.png")] == plain
    scene.convert("RGB").convert("CMYK").save(tmp_path / "scene.jpg", quality=98)
    assert len(session.predict(tmp_path / "scene.jpg")) >= len(plain) - 1
    assert session.predict(np.zeros((1, 1, 3), np.uint8)) == []
    assert [len(each) for each in session.predict([np.zeros((8, 300, 3), np.uint8)] * 3)] == [0, 0, 0]
