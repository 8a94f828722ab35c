"""`edgecv export` and others on a machine that lacks a package, a permission or room on its disk."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras import layers
from PIL import Image

from edgecv.cli import cli
from edgecv.quiet import quiet_frameworks


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def export(*arguments: str) -> None:
    result = CliRunner().invoke(cli, ["export", *arguments])
    assert result.exit_code == 0, result.stderr


def entries(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


# Python with packages taken away: what an installation without an extra looks like from within.
_WITHOUT = """
import importlib.machinery, sys
found = importlib.machinery.PathFinder.find_spec
def find_spec(cls, name, path=None, target=None):
    return None if name.partition(".")[0] == {package!r} else found(name, path, target)
importlib.machinery.PathFinder.find_spec = classmethod(find_spec)
from edgecv.cli import main
main()
"""


def run_refused(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    *warnings, error = done.stderr.splitlines()
    assert all(line.startswith("Warning: ") for line in warnings)
    return error


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ("keras", "onnx cannot be written here: keras is not installed. Run: pip install 'edgecv[export]'"),
        ("tensorflow", "onnx cannot be written here: tensorflow is not installed. Run: pip install 'edgecv[export]'"),
        ("tf2onnx", "onnx cannot be written here: tf2onnx is not installed. Run: pip install 'edgecv[export]'"),
        ("onnx", "onnx cannot be written here: onnx is not installed. Run: pip install 'edgecv[export]'"),
        ("onnxruntime", "onnx cannot be verified here: onnxruntime is not installed. Run: pip install 'edgecv[onnx]'"),
    ],
)
def test_a_missing_extra_is_one_line_with_the_command_that_mends_it(package: str, message: str) -> None:
    # Not even the long work of building begins.
    assert run_refused(_WITHOUT.format(package=package), "export", "resnet152", "--to", "onnx") == f"Error: {message}"
    assert entries(Path()) == []


def test_building_without_keras_is_one_line() -> None:
    for package, message in (
        ("keras", "Working with networks needs keras, which is not installed. Run: pip install 'edgecv[export]'"),
        ("tensorflow", "Keras needs tensorflow, which is not installed. Run: pip install 'edgecv[export]'"),
    ):
        code = _WITHOUT.format(package=package)
        assert run_refused(code, "build", "lenet5", "-o", "x.keras") == f"Error: {message}"


@pytest.mark.parametrize(
    ("form", "package", "message"),
    [
        (
            "onnx",
            "onnxruntime",
            "Opening .onnx files needs onnxruntime, which is not installed. Run: pip install 'edgecv[onnx]'",
        ),
        (
            "tflite",
            "ai_edge_litert",
            "Opening .tflite files needs ai-edge-litert, which is not installed. Run: pip install 'edgecv[tflite]'",
        ),
    ],
)
def test_a_missing_engine_is_one_line_with_the_command_that_mends_it(form: str, package: str, message: str) -> None:
    export("lenet5", "--to", form)
    Image.new("RGB", (32, 32)).save("black.png")
    code = _WITHOUT.format(package=package)
    assert run_refused(code, "predict", f"lenet5.{form}", "black.png") == f"Error: {message}"
    assert run_refused(code, "verify", f"lenet5.{form}") == f"Error: {message}"


# Root may write and read anywhere; without these two rights (capabilities 1 and 2) permission bits bind it, too.
_UNPRIVILEGED = """
import ctypes, os, sys
for right in (1, 2):
    ctypes.CDLL(None).prctl(24, right, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
"""
_SEVERAL = """
import json, sys
from click.testing import CliRunner
from edgecv.cli import cli
results = [CliRunner().invoke(cli, arguments.split()) for arguments in sys.argv[1:]]
print(json.dumps([[result.exit_code, result.stdout, result.stderr.splitlines()[-1]] for result in results]))
"""


def test_folders_and_files_without_permission_are_one_line(folder: Path) -> None:
    (folder / "locked").mkdir(mode=0o555)
    (folder / "closed").mkdir(mode=0o000)
    for name in ("secret.keras", "secret.onnx", "secret.txt", "secret.png"):
        (folder / name).touch(mode=0o000)
    export("lenet5", "--to", "onnx")
    Image.new("RGB", (32, 32)).save("black.png")
    cases = {
        "build lenet5 -o locked/x.keras": "Cannot write 'locked/x.keras': the folder 'locked' is read-only.",
        "export lenet5 --to onnx -o locked/x.onnx": "Cannot write 'locked/x.onnx': the folder 'locked' is read-only.",
        "export secret.keras --to onnx": "'secret.keras' cannot be read: Permission denied.",
        "export lenet5 --to onnx --labels secret.txt": "Invalid value for '--labels': "
        "Path 'secret.txt' is not readable.",
        "predict secret.onnx black.png": "Invalid value for 'ARTIFACT': Path 'secret.onnx' is not readable.",
        "predict closed/x.onnx black.png": "Cannot read 'closed/x.onnx': Permission denied. "
        "Name a file that edgecv exported.",
        "export closed/x.keras --to onnx": "'closed/x.keras' cannot be read: Permission denied.",
        "predict lenet5.onnx secret.png": "Picture 'secret.png' cannot be read: Permission denied. Name another one.",
        "predict lenet5.onnx closed": "Folder 'closed' cannot be read: Permission denied. Name another one.",
        "predict lenet5.onnx closed/x.png": "Picture 'closed/x.png' cannot be read: Permission denied. "
        "Name another one.",
        "predict lenet5.onnx black.png --save locked/out": "Cannot write to 'locked/out': Permission denied. "
        "Name another folder with --save.",
        "predict lenet5.onnx black.png --save locked": "Cannot write 'locked/black.png': "
        "the folder 'locked' is read-only.",
    }
    command = [sys.executable, "-c", _UNPRIVILEGED, _SEVERAL, *cases]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    results = json.loads(done.stdout)
    assert results == [[2, "", f"Error: {message}"] for message in cases.values()]
    assert entries(folder / "locked") == []


@pytest.fixture
def tiny_disk(folder: Path) -> Iterator[Path]:
    """A real disk of 64 KiB."""
    place = folder / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("there is no mount command")
    command = [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("command", ["export --to onnx", "export --to tflite", "build", "predict"])
def test_a_full_disk_is_one_line_and_nothing_is_left_on_it(command: str, tiny_disk: Path) -> None:
    verb, *rest = command.split()
    if verb == "predict":
        export("lenet5", "--to", "onnx")
        noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
        Image.fromarray(noise).save("noise.png")
        path, arguments = "disk/noise.png", ["lenet5.onnx", "noise.png", "--save", "disk"]
    else:
        path = f"disk/x.{rest[-1] if rest else 'keras'}"
        arguments = ["lenet5", *rest, "-o", path]
    result = CliRunner().invoke(cli, [verb, *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    message = f"Error: Cannot write {path!r}: the disk is full. Free some space and try again."
    assert result.stderr.splitlines()[-1] == message
    assert entries(tiny_disk) == []


def test_a_format_that_fits_stays_where_the_next_does_not(tiny_disk: Path) -> None:
    image = keras.Input((8, 8, 3), name="image")
    network = keras.Model(image, layers.Dense(3)(layers.Flatten()(image)), name="small")
    with quiet_frameworks():
        network.save("small.keras")
    arguments = ["small.keras", "--to", "onnx", "--to", "tflite", "--preprocess", "0-1"]
    export(*arguments)
    sizes = [Path(name).stat().st_size for name in ("small.onnx", "small.tflite")]
    page = 4096
    both = sum(-(-size // page) for size in sizes)
    (tiny_disk / "filler").write_bytes(bytes(65536 - page * (both - 1)))
    result = CliRunner().invoke(cli, ["export", *arguments, "-o", "disk"])
    assert (result.exit_code, result.stdout) == (2, "")
    *_, before, error = result.stderr.splitlines()
    assert before.startswith("Warning: Before the error: disk/small.onnx 0.0 MB ")
    assert error == "Error: Cannot write 'disk/small.tflite': the disk is full. Free some space and try again."
    assert entries(tiny_disk) == ["filler", "small.onnx"]
