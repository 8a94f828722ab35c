"""`edgecv export`, `build` and `verify` as a user meets them."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgecv.cli import cli

_REPORT = {"passed", "checks", "task"}
_CHECK = {"runtime", "device", "images", "output", "max_abs_diff", "cosine", "tolerance", "passed"}
_ARTIFACT = {
    "path", "format", "precision", "bytes", "sha256", "seconds", "inputs", "optional_inputs", "outputs", "verification",
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_export_json_has_the_keys_that_scripts_read(folder: Path) -> None:
    result = CliRunner().invoke(cli, ["export", "lenet5", "--to", "onnx", "--to", "tflite", "--json"])
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert set(document["weights"]) == {"source", "sha256"}
    assert [artifact["path"] for artifact in document["artifacts"]] == ["lenet5.onnx", "lenet5.tflite"]
    for artifact in document["artifacts"]:
        assert set(artifact) >= _ARTIFACT
        assert set(artifact["verification"]) >= _REPORT
        assert all(set(check) >= _CHECK for check in artifact["verification"]["checks"])
        assert artifact["verification"]["passed"] is True
        assert artifact["inputs"] == [{"name": "image", "shape": [1, 32, 32, 1], "dtype": "uint8"}]
        assert artifact["outputs"] == [{"name": "probabilities", "shape": [1, 10], "dtype": "float32"}]
        assert (folder / artifact["path"]).stat().st_size == artifact["bytes"]


def test_verify_passes_what_export_wrote_and_fails_a_damaged_file(folder: Path) -> None:
    assert CliRunner().invoke(cli, ["export", "lenet5", "--to", "onnx"]).exit_code == 0
    path = folder / "lenet5.onnx"
    assert CliRunner().invoke(cli, ["verify", "lenet5.onnx"]).exit_code == 0
    assert CliRunner().invoke(cli, ["verify", "lenet5.onnx", "--against", "lenet5"]).exit_code == 0
    other = CliRunner().invoke(cli, ["verify", "lenet5.onnx", "--against", "lenet5", "--seed", "1", "--json"])
    assert other.exit_code == 1
    assert json.loads(other.stdout)["passed"] is False
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert CliRunner().invoke(cli, ["verify", "lenet5.onnx"]).exit_code == 1
    path.write_bytes(b"garbage")
    assert CliRunner().invoke(cli, ["verify", "lenet5.onnx"]).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lenet", "--to", "onnx"], "Unknown architecture 'lenet'. Did you mean 'lenet5'?"),
        (["lenet5", "--to", "onn"], "Unknown exporter 'onn'. Did you mean 'onnx'? Installed: onnx, tflite."),
        (["lenet5", "--to", "onnx", "--top-k", "11"], "top-k must be between 1 and the number of classes, 10, got 11."),
        (["lenet5", "--to", "onnx", "--precision", "int3"], "onnx writes float32, float16, int8, not 'int3'."),
        (["lenet5", "--to", "onnx", "-o", "no/x.onnx"], "Cannot write 'no/x.onnx': the folder 'no' does not exist."),
        (["lenet5", "--to", "onnx", "-o", "x.bin"], "onnx writes .onnx, so the output cannot be 'x.bin'."),
        (["lenet5", "--to", "onnx", "--input-size", "8x8"], "lenet5 needs an input of at least 32x32 pixels, got 8x8."),
        (["lenet5", "--to", "onnx", "--batch", "0"], "'0' is no batch. Give a number of pictures from 1, or dynamic."),
        (["lenet5", "--to", "onnx", "--labels", "two.txt"], "There are 2 labels for 10 classes."),
        (["empty.keras", "--to", "onnx"], "'empty.keras' is empty. Save the model again."),
        (["cut.keras", "--to", "onnx"], "'cut.keras' is no .keras file, or is cut off. Save the model again."),
        (["text.txt", "--to", "onnx"], "'text.txt' is no model: its name must end in .keras, .h5, .hdf5."),
        (
            ["folder", "--to", "onnx"],
            "'folder' is a folder without saved_model.pb or run.json. Give a model file, a run or a SavedModel.",
        ),
        (["missing.keras", "--to", "onnx"], "'missing.keras' cannot be read: No such file or directory."),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(folder: Path, arguments: list[str], message: str) -> None:
    (folder / "two.txt").write_text("one\ntwo\n")
    (folder / "empty.keras").touch()
    (folder / "cut.keras").write_bytes(b"PK\x03\x04 cut")
    (folder / "text.txt").write_text("no model")
    (folder / "folder").mkdir()
    before = sorted(folder.iterdir())
    result = CliRunner().invoke(cli, ["export", *arguments])
    assert result.exit_code == 2
    assert result.stdout == ""
    errors = [line for line in result.stderr.splitlines() if not line.startswith("Warning: ")]
    assert len(errors) == 1
    assert errors[0].startswith("Error: ")
    assert message in errors[0]
    assert sorted(folder.iterdir()) == before


def test_build_writes_a_file_that_carries_its_preprocessing(folder: Path) -> None:
    assert CliRunner().invoke(cli, ["build", "lenet5", "-o", "net.keras"]).exit_code == 0
    result = CliRunner().invoke(cli, ["export", "net.keras", "--to", "onnx", "--top-k", "3"])
    assert result.exit_code == 0
    assert "Warning" not in result.stderr
    assert (folder / "net.onnx").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_an_interrupted_export_leaves_nothing_under_the_final_name(folder: Path, number: int, code: int) -> None:
    command = [sys.executable, "-m", "edgecv.cli", "export", "resnet18", "--to", "tflite"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    # The temporary is named when the writing begins; before that there is nothing to lose.
    while not list(folder.glob(".edgecv-tmp-*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == code
    assert not (folder / "resnet18.tflite").exists()
    assert CliRunner().invoke(cli, ["export", "lenet5", "--to", "onnx"]).exit_code == 0
    assert [entry.name for entry in folder.iterdir()] == ["lenet5.onnx"]
