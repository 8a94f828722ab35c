"""The shipped detector on scenes whose digits it has never seen."""

import csv
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgecv import deploy, export, load, registry
from edgecv.data.reading import open_data
from edgecv.evaluation.evaluate import evaluate
from edgecv.models import build
from edgecv.nms import Nms
from edgecv.weights import load_weights

from edgecv_weights_ssd_tiny import PACKAGED

TINY = registry.load_architecture("ssd_tiny")
ROOT = Path(__file__).parents[1]
SCENES = ROOT / "scenes"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The exported artifacts."""
    folder = tmp_path_factory.mktemp("artifacts")
    deployable = deploy(build("ssd_tiny"), nms=Nms(score_threshold=0.01, iou_threshold=0.45))
    return {name: export(deployable, to=name, path=folder / f"ssd_tiny.{name}").path for name in ("onnx", "tflite")}


def test_the_weights_are_found_and_named() -> None:
    model = TINY.build()
    record = load_weights(TINY, model, weights="auto")
    assert record.source == "digits (edgecv-weights-ssd-tiny 0.1.0)"
    assert record.note is None
    assert PACKAGED.missing(TINY) is None


def test_artifacts_are_small(files: dict[str, Path]) -> None:
    assert all(path.stat().st_size < 1_200_000 for path in files.values())
    assert TINY.parameters < 250_000


@pytest.mark.parametrize("name", ["onnx", "tflite"])
def test_most_digits_of_the_scenes_are_found(files: dict[str, Path], name: str) -> None:
    dataset = open_data(str(SCENES / "labels.csv"))
    figures = evaluate(load(files[name]), dataset, dataset.samples).to_json()
    assert figures["images"] == 12
    assert figures["AP50"] > 0.85


def test_answers_are_those_that_were_recorded(files: dict[str, Path]) -> None:
    with (ROOT / "tests" / "golden.csv").open(newline="") as file:
        golden = list(csv.DictReader(file))
    results: Any = load(files["onnx"]).predict(SCENES / golden[0]["picture"])
    assert [each["label"] for each in results[: len(golden)]] == [row["label"] for row in golden]
    for each, row in zip(results, golden, strict=False):
        assert each["score"] == pytest.approx(float(row["score"]), abs=1e-4)
        assert each["box"] == pytest.approx([float(row[side]) for side in ("x1", "y1", "x2", "y2")], abs=0.01)


def test_the_file_is_made_again_from_a_network_of_these_weights(tmp_path: Path) -> None:
    from edgecv.models import save_model

    spec = importlib.util.spec_from_file_location("make_weights", ROOT / "make_weights.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    save_model(build("ssd_tiny"), tmp_path / "model.keras")
    script.main([str(tmp_path / "model.keras"), "-o", str(tmp_path)])
    (made,) = tmp_path.glob("ssd_tiny-*.npz")
    shipped = PACKAGED.file(TINY)
    assert shipped is not None
    assert made.name == shipped.name
    assert made.read_bytes() == shipped.read_bytes()
    assert all(values.dtype == np.float32 for values in np.load(made).values())
