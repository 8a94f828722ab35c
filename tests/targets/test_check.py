"""Artifacts against targets, from the shell and in Python."""

import json
import shutil
import subprocess
import sys
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


def test_a_float_file_casts_its_pixels_which_tensorflow_lite_micro_cannot() -> None:
    (obstacle,) = check(GOLDEN / "separable-tflite-float32.tflite", "tflm").obstacles
    assert (obstacle.op, obstacle.layer) == ("CAST", "pipeline: scaling")
    assert obstacle.problem == "its kernel takes float32, int8, int16, int32, bool, not uint8"
    assert obstacle.remedy == "export with --input float32: scaling is then up to the caller"


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


@pytest.mark.parametrize("name", ["browser", "ethos-u", "mediapipe", "onnxruntime", "tflite-gpu", "tflm"])
def test_tables_say_where_they_come_from(name: str) -> None:
    table = load_table(name)
    assert table["source"]
    assert table["version"]
    assert table["date"].startswith("20")


def test_what_cannot_be_checked_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        TargetError, match=r"^Unknown target 'tfml'. Did you mean 'tflm'\? Known: browser, ethos-u55-32, .*tflm\.$"
    ):
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


def test_what_stays_on_the_cpu_of_an_ethos_u_is_named_with_its_layer() -> None:
    checked = check(CLASSIFIER, "ethos-u55-128")
    assert [(each.op, each.layer) for each in checked.obstacles] == [
        ("DEQUANTIZE", "head"),
        ("SOFTMAX", "pipeline: activation"),
    ]
    floats = check(GOLDEN / "separable-tflite-float32.tflite", "ethos-u85-256")
    assert floats.failing == floats.operators
    assert "no operator is on the NPU" in floats.notes
    assert "export with --precision int8, without giving the layer back to float32" in {
        each.remedy for each in floats.obstacles
    }


def test_a_release_of_onnx_runtime_reads_opsets_ir_versions_and_types_of_its_own(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    def write(dtype: int, opset: int, ir: int, op: str = "Relu", domain: str = "") -> Path:
        tensors = [helper.make_tensor_value_info(name, dtype, [1, 4]) for name in "xy"]
        graph = helper.make_graph([helper.make_node(op, ["x"], ["y"], domain=domain)], "g", tensors[:1], tensors[1:])
        opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=ir), tmp_path / "one.onnx")
        return tmp_path / "one.onnx"

    def problems(path: Path, target: str) -> list[tuple[str, str]]:
        return [(each.problem, each.remedy) for each in check(path, target).obstacles]

    assert problems(write(TensorProto.FLOAT, 13, 7), "onnxruntime==1.7") == []
    assert problems(write(TensorProto.FLOAT, 21, 10), "onnxruntime==1.17.3") == [
        (
            "it has IR version 10, and 1.17 reads 9 at most",
            "export with a lower --opset, whose IR version is lower, or use onnxruntime>=1.18",
        ),
        ("it has opset 21, and 1.17 knows 20 at most", "export with --opset 20, or use onnxruntime>=1.18"),
    ]
    assert problems(write(TensorProto.FLOAT, 21, 10), "onnxruntime>=1.18") == []
    (problem, _), *_ = problems(write(TensorProto.INT16, 14, 7), "onnxruntime==1.20")
    assert problem == "its CPU kernel takes float16, float32, float64, int32, int8, not int16"
    (problem, _), *_ = problems(write(TensorProto.FLOAT, 13, 7, "Swish", "own"), "browser")
    assert problem == "it is of the domain 'own', not one of ONNX's own"
    message = r"^Target 'onnxruntime==0.3' is a release that the table does not know: it has 1.7 to 1.32. Name one.$"
    with pytest.raises(TargetError, match=message):
        check(tmp_path / "one.onnx", "onnxruntime==0.3")
    message = r"^Target 'onnxruntime' names no release of ONNX Runtime. Write onnxruntime==1.32, say.$"
    with pytest.raises(TargetError, match=message):
        check(tmp_path / "one.onnx", "onnxruntime")


def test_mediapipe_wants_its_own_types_and_the_gpu_no_integers() -> None:
    problems = {each.problem for each in check(DETECTOR, "mediapipe").obstacles}
    assert problems == {
        "it has loops, and MediaPipe opens files of one graph",
        "it has no labels, and MediaPipe could not name a class",
        "ObjectDetector takes float32 outputs alone, not classes int32, count int32",
    }
    assert not check(DETECTOR, "tflite-gpu").passed
    assert check(CLASSIFIER, "tflite-gpu").passed


def test_looking_imports_no_framework() -> None:
    code = "import edgecv.targets, edgecv.cli.check, sys; print({'onnx', 'tensorflow', 'keras'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
