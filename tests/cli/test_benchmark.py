import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edgecv.benchmarking import running
from edgecv.cli import cli

KEYS = ["artifact", "runtime", "device", "threads", "runs", "p50_ms", "p90_ms", "load_ms", "peak_rss_mb", "bytes"]
QUICK = ("--seconds", "0.05", "--threads", "1")


@pytest.fixture(autouse=True)
def peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the tests the matrix products."""
    monkeypatch.setattr(running, "measure_peaks", lambda counts: dict.fromkeys(counts, 50.0))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["benchmark", *map(str, arguments)])


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("Error: ").rstrip()


def test_json_has_the_contracts_keys_for_each_artifact_and_number_of_threads(artifact: Path, dynamic: Path) -> None:
    result = run(artifact, dynamic, *QUICK, "--threads", "2", "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [(row["artifact"], row["threads"]) for row in rows] == [
        (str(path), threads) for path in dict.fromkeys([artifact, dynamic]) for threads in (1, 2)
    ]
    for row in rows:
        assert list(row)[: len(KEYS)] == KEYS
        assert row["runtime"] == {".onnx": "onnxruntime", ".tflite": "litert"}[artifact.suffix]
        assert row["device"] == "cpu"
        assert row["runs"] >= 3
        assert 0 < row["p50_ms"] <= row["p90_ms"]
        assert row["interval_ms"][0] <= row["p50_ms"] <= row["interval_ms"][1]
        assert row["bytes"] == Path(row["artifact"]).stat().st_size
        assert row["peak_rss_mb"] > 10
        assert 0 < row["load_ms"] < row["first_ms"]
        assert row["multiply_adds"] == 0
        assert row["gflops"] is None
        assert row["peak_gflops"] == 50.0
        assert row["profile"] is None


def test_a_dynamic_batch_is_timed_with_several_pictures(dynamic: Path) -> None:
    (row,) = json.loads(run(dynamic, *QUICK, "--json").stdout)
    assert row["batch"] == 1
    assert [each["batch"] for each in row["throughput"]] == [1, 2, 4, 8]
    assert all(each["pictures_per_second"] > 0 for each in row["throughput"])


def test_people_read_a_table_and_a_profile(bare: Path, document: dict[str, Any], seal: Any) -> None:
    document["layers"] = {"mean": "means"}
    result = run(seal(bare, document), *QUICK, "--profile")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[2].split()[0] == "artifact"
    assert lines[2].split()[-1] == "GFLOP/s"
    engine = {".onnx": "onnxruntime", ".tflite": "litert"}[bare.suffix]
    assert f"{engine}, 1 thread" in [line.strip() for line in lines]
    assert any(line.startswith(f"{bare} on cpu with 1 thread: ") for line in lines)
    assert any("Keras layers" in line for line in lines)
    if bare.suffix == ".onnx":
        assert any("ReduceMean" in line and " mean " in line for line in lines)


def test_the_plot_is_a_picture_and_whole(artifact: Path, tmp_path: Path) -> None:
    from PIL import Image

    plot = tmp_path / "plot.png"
    assert run(artifact, *QUICK, "--plot", plot).exit_code == 0
    with Image.open(plot) as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_wrong_digest_is_refused_unless_said(artifact: Path) -> None:
    content = bytearray(artifact.read_bytes())
    place = content.index(b"green")
    content[place : place + 5] = b"Green"
    artifact.write_bytes(content)
    if artifact.suffix == ".onnx":
        assert refused(artifact, *QUICK) == f"{str(artifact)!r} is damaged: its digest disagrees. Export it again."
        assert run(artifact, *QUICK, "--no-check").exit_code == 0
    else:  # the zip has a checksum of its own
        assert refused(artifact, *QUICK)


def test_bad_input_is_one_line(artifact: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no artifact")
    assert refused(text, *QUICK) == (
        f"{str(text)!r} cannot be measured: its suffix is none of .onnx, .tflite, .keras, .h5."
    )
    missing = tmp_path / "missing.onnx"
    assert refused(missing) == f"Artifact {str(missing)!r} does not exist. Name a file that edgecv exported."
    keras = tmp_path / "missing.keras"
    assert refused(keras) == f"{str(keras)!r} does not exist. Name a .keras file or a file that edgecv exported."
    assert refused() == "Missing argument 'ARTIFACT...'."
    assert refused(artifact, "--threads", "0") == "Invalid value for '--threads': 0 is not in the range x>=1."
    assert refused(artifact, "--seconds", "0") == "Invalid value for '--seconds': 0.0 is not in the range x>0."
    assert (
        refused(artifact, "--image", missing)
        == f"Picture {str(missing)!r} does not exist. Name a picture, a folder or a glob."
    )
    folder = tmp_path / "none"
    assert refused(artifact, "--plot", folder / "a.png") == (
        f"Cannot write {str(folder / 'a.png')!r}: the folder {str(folder)!r} does not exist. Create it first."
    )
    assert refused(artifact, "--plot", tmp_path / "a.jpg") == (
        f"--plot must be a FILE.png, got {str(tmp_path / 'a.jpg')!r}."
    )
    assert refused(artifact, "--device", "tpu").startswith(
        {".onnx": "ONNX Runtime has no device 'tpu' in edgecv.", ".tflite": "LiteRT has no device 'tpu' in edgecv."}[
            artifact.suffix
        ]
    )


def test_one_broken_among_several_ends_it_before_anything_is_timed(artifact: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    assert refused(artifact, broken, *QUICK).startswith(f"{str(broken)!r} cannot be opened as ONNX: ")


def test_an_interrupted_benchmark_ends_with_130_and_leaves_no_process(artifact: Path) -> None:
    command = [sys.executable, "-m", "edgecv.cli", "benchmark", str(artifact), "--seconds", "60", "--threads", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        workers = _children(process.pid)
        end = time.monotonic() + 30
        while not workers and time.monotonic() < end:
            time.sleep(0.05)
            workers = _children(process.pid)
        assert workers
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=30)
    assert (process.returncode, out, error.strip()) == (130, "", "Error: Interrupted.")
    assert not any(map(_lives, workers))


def test_a_worker_ends_with_a_benchmark_that_was_killed(artifact: Path) -> None:
    command = [sys.executable, "-m", "edgecv.cli", "benchmark", str(artifact), "--seconds", "60", "--threads", "1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        workers = _children(process.pid)
        while not workers:
            time.sleep(0.05)
            workers = _children(process.pid)
        process.kill()
    end = time.monotonic() + 30
    while any(map(_lives, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(_lives, workers))


def _children(pid: int) -> list[int]:
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.NoSuchProcess:
        return []


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process that ended stays until its parent, which is no longer there, is replaced.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
