"""The device side imports no training framework and no model library: it runs where none is installed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

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
