"""The device side imports no training framework and no model library: it runs where none is installed."""

import dataclasses
import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import edgecv
from edgecv.nms import Nms

HEAVY = {"tensorflow", "keras", "onnx", "tf2onnx", "google.protobuf", "flatbuffers", "h5py"}
SCRIPT = """
import sys
from edgecv.cli import cli
try:
    cli.main({arguments!r}, prog_name="edgecv")
except SystemExit as end:
    sys.stderr.write(f"exit {{end.code}}")
sys.stderr.write("|" + " ".join(sys.modules))
"""


def modules_after(*arguments: str) -> set[str]:
    command = [sys.executable, "-c", SCRIPT.format(arguments=list(arguments))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    said, _, modules = done.stderr.rpartition("|")
    assert said.endswith("exit 0"), said
    return set(modules.split())


def test_commands_import_no_framework(artifact: Path, tmp_path: Path) -> None:
    Image.new("RGB", (5, 5)).save(tmp_path / "x.png")
    for arguments in (
        ["predict", str(artifact), str(tmp_path / "x.png"), "--json", "--save", str(tmp_path / "out")],
        ["inspect", str(artifact), "--json"],
        ["doctor"],
    ):
        assert not HEAVY & modules_after(*arguments), arguments


def detector(networks: Any, **options: Any) -> Any:
    return networks.deployable("detector", **options)


def sliding_classifier(networks: Any) -> Any:
    """A classifier that slides over two scales of the picture."""
    fcn = edgecv.to_fcn(networks.build("lenet5"))
    decoder = dataclasses.replace(fcn.edgecv_info.decoder, scales=(1.0, 0.5))
    return edgecv.deploy(fcn, preprocess="0-1", input_size=(64, 80), decoder=decoder)


@pytest.mark.parametrize(
    "make",
    [
        detector,
        functools.partial(detector, resize="letterbox"),
        functools.partial(detector, nms=None),
        functools.partial(detector, nms=Nms(soft_sigma=0.5)),
        sliding_classifier,
    ],
    ids=["plain", "resize", "no nms", "soft nms", "fcn"],
)
def test_detectors_need_no_framework(make: Callable[[Any], Any], networks: Any, tmp_path: Path) -> None:
    original = make(networks)
    picture = tmp_path / "x.png"
    Image.new("RGB", (51, 35), (200, 60, 20)).save(picture)
    for form in ("onnx", "tflite"):
        path = str(tmp_path / f"detector.{form}")
        edgecv.export(original, to=form, path=path)
        for arguments in (
            ["predict", path, str(picture), "--score-threshold", "0.3", "--save", str(tmp_path / "out")],
            ["verify", path],
            ["inspect", path],
        ):
            assert not HEAVY & modules_after(*arguments), arguments


@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"]])
def test_listing_imports_neither_framework_nor_engine(arguments: list[str]) -> None:
    loaded = modules_after(*arguments)
    assert not loaded & {*HEAVY, "onnxruntime", "ai_edge_litert", "PIL.Image"}


def test_help_imports_nothing_heavy() -> None:
    assert not modules_after("--help") & {*HEAVY, "numpy", "PIL", "rich", "onnxruntime", "ai_edge_litert"}


def test_predict_prints_one_json_document_and_nothing_else(artifact: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (5, 4), (255, 0, 0)).save(tmp_path / name)
    command = [sys.executable, "-m", "edgecv.cli", "predict", str(artifact), str(tmp_path / "*.png"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    assert [Path(each["source"]).name for each in answers] == ["a.png", "b.png"]
    assert [(each["width"], each["height"]) for each in answers] == [(5, 4)] * 2
    assert done.stderr == ""
