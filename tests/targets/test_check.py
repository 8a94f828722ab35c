"""Artifacts against targets, from the shell and in Python."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgecv.cli import cli
from edgecv.errors import ArtifactError, DigestError, TargetError
from edgecv.targets import check
from edgecv.targets.tables import load_table

GOLDEN = Path(__file__).parents[1] / "golden" / "robustness"
DETECTOR, CLASSIFIER = GOLDEN / "detector-tflite-int8.tflite", GOLDEN / "separable-tflite-int8.tflite"


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_a_classifier_goes_and_a_detector_with_nms_does_not() -> None:
    assert check(CLASSIFIER, "tflm").passed
    checked = check(DETECTOR, "tflm")
    assert not checked.passed
    assert {(each.op, each.layer) for each in checked.obstacles} >= {("TOPK_V2", "pipeline: NMS")}
    assert {each.remedy for each in checked.obstacles} == {"export with --no-nms: suppression then runs on the host"}


def test_the_shell_says_yes_with_0_and_no_with_1() -> None:
    yes = run("check", CLASSIFIER, "--target", "tflm")
    assert yes.exit_code == 0
    assert yes.stdout.startswith(f"✓ {CLASSIFIER} on tflm: all ")
    no = run("check", CLASSIFIER, DETECTOR, "--target", "tflm", "--json")
    assert no.exit_code == 1
    first, second = json.loads(no.stdout)
    assert {"artifact", "target", "passed", "obstacles"} <= set(first)
    assert (first["passed"], first["obstacles"], second["passed"]) == (True, [], False)
    assert {"op", "layer", "problem", "remedy"} <= set(second["obstacles"][0])


@pytest.mark.parametrize("name", ["tflm"])
def test_tables_say_where_they_come_from(name: str) -> None:
    table = load_table(name)
    assert table["source"]
    assert table["version"]
    assert table["date"].startswith("20")


def test_what_cannot_be_checked_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"^Unknown target 'tfml'. Did you mean 'tflm'\? Known: tflm.*\.$"):
        check(CLASSIFIER, "tfml")
    message = (
        r"^TensorFlow Lite Micro \S+ reads TFLite, and '.*detector-onnx-int8.onnx' is ONNX: "
        r"export it with --to tflite.$"
    )
    with pytest.raises(TargetError, match=message):
        check(GOLDEN / "detector-onnx-int8.onnx", "tflm")
    with pytest.raises(ArtifactError, match=r"^Artifact '.*gone.onnx' does not exist. Name a file that edgecv .*$"):
        check(tmp_path / "gone.onnx", "tflm")
    (tmp_path / "folder").mkdir()
    message = r"^'.*folder' is a folder: targets are checked for .onnx and .tflite files.$"
    with pytest.raises(TargetError, match=message):
        check(tmp_path / "folder", "tflm")
    (tmp_path / "text.tflite").write_text("no FlatBuffer at all")
    with pytest.raises(ArtifactError, match=r"^'.*text.tflite' cannot be opened as TFLite: [^\n]+ Export it again.$"):
        check(tmp_path / "text.tflite", "tflm")
    assert run("check", tmp_path / "text.tflite", "--target", "tflm").exit_code == 2


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = shutil.copy(CLASSIFIER, tmp_path)
    data = bytearray(Path(path).read_bytes())
    place = data.index(b"edgecv_version")
    data[place - 3] ^= 1
    Path(path).write_bytes(bytes(data))
    with pytest.raises((DigestError, ArtifactError)):
        check(path, "tflm")
