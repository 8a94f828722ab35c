"""`--report`: a page of an export and of a verification, also where they fail; refused before any work."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgecv.cli import cli
from edgecv.html_report import latency

_EVIL = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(latency, "_SECONDS", 0.01)
    return tmp_path


def _save(name: str, *, scale: float = 1.0) -> None:
    """Save a classifier; the second layer's weights may be scaled."""
    import keras

    keras.utils.set_random_seed(3)
    image = keras.Input((12, 16, 3), name="image")
    x = keras.layers.Conv2D(4, 3, name="first")(image)
    x = keras.layers.Conv2D(4, 3, name="second")(x)
    x = keras.layers.Flatten(name="flatten")(keras.layers.MaxPooling2D(4, name="pool")(x))
    network = keras.Model(image, keras.layers.Dense(4, name="head")(x), name="mine")
    layer = network.get_layer("second")
    layer.set_weights([weights * scale for weights in layer.get_weights()])
    network.save(name)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def test_an_export_and_a_verification_write_pages(folder: Path) -> None:
    Path("labels.txt").write_text("\n".join([_EVIL, *"123456789"]) + "\n")
    formats = ("--to", "onnx", "--to", "tflite")
    result = run("export", "lenet5", *formats, "--labels", "labels.txt", "--report", "r.html", "--json")
    assert result.exit_code == 0, result.stderr
    artifacts = json.loads(result.stdout)["artifacts"]
    page = Path("r.html").read_text()
    assert _EVIL not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "ONNX and TFLite answer like the original." in page
    assert "Time of a run" in page
    for artifact in artifacts:
        assert artifact["sha256"] in page
        assert f"{artifact['bytes']:,} bytes" in page
    assert "photo:astronaut" in page
    assert run("verify", "lenet5.onnx", "--report", "v.html").exit_code == 0
    recorded = Path("v.html").read_text()
    assert "the original&#39;s answers that the artifact carries" in recorded
    assert sorted(path.name for path in folder.iterdir()) == [
        *("labels.txt", "lenet5.onnx", "lenet5.tflite", "r.html", "v.html")
    ]


def test_a_failing_export_writes_its_report_and_nothing_else(folder: Path) -> None:
    # One class: its probability is 1, whatever the picture; nothing can be proven.
    result = run("export", "lenet5", "--classes", "1", "--to", "onnx", "--report", "r.html")
    assert result.exit_code == 1
    assert [path.name for path in folder.iterdir()] == ["r.html"]
    page = Path("r.html").read_text()
    assert "<title>Failed: lenet5: ONNX</title>" in page
    assert "ONNX does not answer like the original: nothing is proven" in page
    assert "not written" in page


def test_a_failing_verification_with_bisection_is_a_page_that_names_the_layer() -> None:
    _save("sound.keras")
    _save("faulty.keras", scale=1.5)
    assert run("export", "sound.keras", "--to", "onnx", "--preprocess", "0-1").exit_code == 0
    against = ("--against", "faulty.keras", "--preprocess", "0-1", "--bisect")
    result = run("verify", "sound.onnx", *against, "--report", "r.html")
    assert result.exit_code == 1, result.stderr
    page = Path("r.html").read_text()
    assert "<title>Failed: sound: ONNX</title>" in page
    assert "faulty.keras, run in Keras" in page
    assert "Diverges after a layer" in page
    (line,) = [line for line in page.splitlines() if "diverges here" in line]
    assert ">second<" in line


@pytest.mark.parametrize("command", [["export", "nowhere.keras", "--to", "onnx"], ["verify", "nowhere.onnx"]])
def test_a_report_that_cannot_be_written_is_refused_before_the_work(command: list[str]) -> None:
    Path("folder.html").mkdir()
    refusals = {
        "missing/r.html": "Cannot write 'missing/r.html': the folder 'missing' does not exist. Create it first.",
        "folder.html": "Cannot write 'folder.html': it is a folder. Name a file with --report.",
        "/proc/r.html": "Cannot write '/proc/r.html': the folder '/proc' takes no files. Name another one.",
        "r.txt": "--report must be a FILE.html, got 'r.txt'.",
        "/dev/null.html/r.html": (
            "Cannot write '/dev/null.html/r.html': the folder '/dev/null.html' does not exist. Create it first."
        ),
    }
    for path, message in refusals.items():
        result = run(*command, "--report", path)
        assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"Error: {message}\n")


def test_without_jinja2_the_command_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    result = run("export", "lenet5", "--to", "onnx", "--report", "r.html")
    assert (result.exit_code, result.stdout, result.stderr) == (
        *(2, ""),
        "Error: A report needs jinja2, which is not installed. Run: pip install 'edgecv[report]'\n",
    )
