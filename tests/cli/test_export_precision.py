"""`edgecv export --precision`: what is refused before the long work, and what int8 and float16 give a user."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from edgecv.cli import cli

INT8 = ["lenet5", "--to", "onnx", "--precision", "int8"]
CALIBRATED = [*INT8, "--calibration", "photos"]
QUANTIZATION = {
    "calibration", "metric", "float", "int8", "drop", "max_drop", "met", "judged_on", "pictures", "requantisations",
    "float_layers", "bytes", "p50_ms", "slower_than_float", "notes",
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo_folder: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").symlink_to(photo_folder)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (INT8, "onnx in int8 needs real pictures to calibrate on. Give --calibration DIR."),
        (
            [*INT8[:-1], "int4", "--calibration", "photos"],
            "--calibration is for --precision int8, got int4. Leave it out.",
        ),
        (
            ["lenet5", "--to", "onnx", "--calibration", "photos"],
            "--calibration is for --precision int8, got float32. Leave it out.",
        ),
        (
            ["lenet5", "--to", "onnx", "--precision", "float16", "--max-drop", "0.1"],
            "--max-drop is for --precision int8, got float16. Leave it out.",
        ),
        (["lenet5", "--to", "onnx", "--data", "photos"], "--data is for --precision int8, got float32. Leave it out."),
        ([*INT8, "--calibration", "missing"], "Calibration folder 'missing' does not exist."),
        ([*INT8, "--calibration", "two.txt"], "Calibration folder 'two.txt' is a file."),
        (
            [*INT8, "--calibration", "empty"],
            "Folder 'empty' holds no picture to calibrate on. Give real ones, 100 or more.",
        ),
        (
            [*INT8, "--calibration", "broken"],
            "Picture 'broken/a.png' is damaged or no picture that edgecv reads. Use JPEG, PNG, WebP, TIFF, BMP or GIF.",
        ),
        (
            [*INT8, "--calibration", "noise"],
            "Picture 'noise/a.png' is random noise, from which ranges of real pictures cannot be learnt. "
            "Take it out, or allow it with --calibration-noise.",
        ),
        (
            [*CALIBRATED, "--max-drop", "-0.1"],
            "max-drop must be above 0 and below 1, got -0.1: 0.02 is two points of 100.",
        ),
        ([*CALIBRATED, "--max-drop", "1"], "max-drop must be above 0 and below 1, got 1: 0.02 is two points of 100."),
        (
            [*CALIBRATED, "--max-drop", "0.02"],
            "max-drop 0.02 needs 100 pictures to judge on, and there are 20. "
            "Give 500 to --calibration, which holds out every fifth, or labelled ones with --data.",
        ),
        (
            [*CALIBRATED, "--max-drop", "0.1", "--no-verify"],
            "--max-drop needs the artifact to run: it cannot go with --no-verify.",
        ),
        ([*CALIBRATED, "--part", "test"], "--part is for --data, which is missing. Leave it out."),
        ([*CALIBRATED, "--data", "missing"], "There are no data at 'missing'."),
        (
            [*CALIBRATED, "--data", "coco.json", "--max-drop", "0.9"],
            "'coco.json' holds labels for detection, and a classifier needs one class a picture",
        ),
        (["lenet5", "--to", "onnx", "--precision", "int3"], "onnx writes float32, float16, int8, not 'int3'."),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(folder: Path, arguments: list[str], message: str) -> None:
    (folder / "two.txt").write_text("one\ntwo\n")
    for name in ("empty", "broken", "noise"):
        (folder / name).mkdir()
    (folder / "broken" / "a.png").write_bytes(b"no picture")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "noise" / "a.png")
    write_coco(folder)
    before = sorted(folder.iterdir())
    result = CliRunner().invoke(cli, ["export", *arguments])
    assert result.exit_code == 2
    assert result.stdout == ""
    errors = [line for line in result.stderr.splitlines() if not line.startswith("Warning: ")]
    assert len(errors) == 1
    assert errors[0].startswith(f"Error: {message}")
    assert sorted(folder.iterdir()) == before


def write_coco(folder: Path) -> None:
    """Write three pictures, each with two boxes."""
    names = [f"photos/{index:03d}.png" for index in range(3)]
    boxes = [
        {"id": 1 + 2 * i + j, "image_id": i, "category_id": 1, "bbox": [1, 1, 9 + j, 9]}
        for i in range(3)
        for j in (0, 1)
    ]
    document = {
        "images": [{"id": i, "file_name": name, "width": 48, "height": 48} for i, name in enumerate(names)],
        "annotations": boxes,
        "categories": [{"id": 1, "name": "thing"}],
    }
    (folder / "coco.json").write_text(json.dumps(document))


def test_int8_in_both_formats_has_the_keys_that_scripts_read() -> None:
    arguments = ["lenet5", "--to", "onnx", "--to", "tflite", "--precision", "int8", "--calibration", "photos"]
    result = CliRunner().invoke(cli, ["export", *arguments, "--max-drop", "0.3", "--json"])
    assert result.exit_code == 0, result.stderr
    assert "Warning: Only 80 pictures calibrate: ranges of activations want 100 or more real ones." in result.stderr
    for artifact in json.loads(result.stdout)["artifacts"]:
        assert artifact["path"] == f"lenet5-int8.{artifact['format']}"
        assert artifact["precision"] == "int8"
        found = artifact["quantization"]
        assert set(found) == QUANTIZATION
        assert found["met"] is True
        assert found["calibration"]["pictures"] == 80
        assert (found["metric"], found["pictures"], found["float"]) == ("top1_agreement", 20, 1.0)
        assert set(found["bytes"]) == set(found["p50_ms"]) == {"float32", "all_int8", "written"}
        assert found["bytes"]["written"] < 0.35 * found["bytes"]["float32"]
        assert artifact["verification"]["passed"] is True
        assert artifact["verification"]["task"]["top1_agreement"] >= 0.7
        shown = CliRunner().invoke(cli, ["inspect", artifact["path"]])
        assert shown.exit_code == 0
        assert "top1_agreement" in shown.stdout
        assert CliRunner().invoke(cli, ["verify", artifact["path"]]).exit_code == 0
        against = ["verify", artifact["path"], "--against", "lenet5", "--images", "photos"]
        assert CliRunner().invoke(cli, against).exit_code == 0
        assert CliRunner().invoke(cli, [*against, "--seed", "1"]).exit_code == 1


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_float16_is_verified_at_its_own_tolerance(form: str) -> None:
    result = CliRunner().invoke(cli, ["export", "lenet5", "--to", form, "--precision", "float16", "--json"])
    assert result.exit_code == 0, result.stderr
    (artifact,) = json.loads(result.stdout)["artifacts"]
    assert {check["tolerance"] for check in artifact["verification"]["checks"]} == {0.005}
    assert set(artifact["quantization"]) == {"bytes", "p50_ms", "slower_than_float"}
    assert artifact["quantization"]["bytes"]["written"] < 0.6 * artifact["quantization"]["bytes"]["float32"]


def test_a_missed_budget_exits_with_1_and_prints_the_document(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecv.judging.AgreementJudge.judge", lambda *_: 0.5)
    result = CliRunner().invoke(cli, ["export", *CALIBRATED, "--max-drop", "0.1", "--json"])
    assert result.exit_code == 1, result.stderr
    (artifact,) = json.loads(result.stdout)["artifacts"]
    assert artifact["quantization"]["met"] is False
    assert (folder / "lenet5-int8.onnx").stat().st_size == artifact["bytes"]
    assert result.stderr.splitlines()[-1].startswith(
        "Error: lenet5 as onnx: top1_agreement drops by 0.5, above max-drop 0.1"
    )
    assert result.stderr.splitlines()[-1].endswith(" The best that was found was written.")


def test_a_person_reads_a_few_lines() -> None:
    result = CliRunner().invoke(cli, ["export", *CALIBRATED])
    assert result.exit_code == 0, result.stderr
    first, judged, sizes = result.stdout.splitlines()
    assert first.startswith("lenet5-int8.onnx  0.")
    assert judged.startswith("    top1_agreement ")
    assert judged.split(": ")[0].endswith(" of 1 on 20 pictures")
    assert sizes.startswith("    written 0.")


def test_labelled_pictures_are_judged_by_the_task_metric(folder: Path, photo_folder: Path) -> None:
    for index, file in enumerate(sorted(photo_folder.iterdir())[::2]):
        place = folder / "data" / str(index % 10)
        place.mkdir(exist_ok=True, parents=True)
        (place / file.name).write_bytes(file.read_bytes())
    result = CliRunner().invoke(cli, ["export", *CALIBRATED, "--data", "data", "--json"])
    assert result.exit_code == 0, result.stderr
    (artifact,) = json.loads(result.stdout)["artifacts"]
    found = artifact["quantization"]
    assert (found["metric"], found["judged_on"], found["pictures"]) == ("top1", "data (all)", 10)
    assert found["drop"] == pytest.approx(found["float"] - found["int8"])
    assert "Warning: 40 pictures of --data calibrate, too, and were left out of what is judged on." in result.stderr


def test_broken_labels_are_refused_without_naming_an_option_that_export_lacks(folder: Path) -> None:
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    (folder / "labels.csv").write_text("picture,class\na.png,0\nmissing.png,1\n")
    result = CliRunner().invoke(cli, ["export", *CALIBRATED, "--data", "labels.csv"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: 1 label is broken in 'labels.csv', the first at labels.csv:3: ")
    assert result.stderr.endswith(". Mend them, or give other --data.\n")


def test_the_same_command_writes_the_same_bytes() -> None:
    digests: set[Any] = set()
    for _ in range(2):
        result = CliRunner().invoke(cli, ["export", *CALIBRATED, "--json"])
        digests.add(json.loads(result.stdout)["artifacts"][0]["sha256"])
    assert len(digests) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_an_interrupted_quantisation_leaves_nothing(folder: Path, number: int, code: int) -> None:
    process = subprocess.Popen([sys.executable, "-m", "edgecv.cli", "export", *CALIBRATED], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list(folder.glob(".edgecv-tmp-*/*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == code
    assert not (folder / "lenet5-int8.onnx").exists()
    assert CliRunner().invoke(cli, ["export", "lenet5", "--to", "onnx", "--no-verify"]).exit_code == 0
    assert sorted(entry.name for entry in folder.iterdir()) == ["lenet5.onnx", "photos"]
