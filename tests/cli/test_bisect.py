"""`edgecv verify --bisect`."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result
from keras import layers

from edgecv.cli import cli
from edgecv.quiet import quiet_frameworks


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a user's classifier, and its artifact."""
    folder = tmp_path_factory.mktemp("made")
    image = keras.Input((12, 16, 3), name="image")
    x = layers.Conv2D(4, 3, activation="relu", name="stem")(layers.Rescaling(1 / 64, -2, name="rescaling")(image))
    x = layers.Conv2D(4, 3, activation="relu", name="second")(x)
    initializer = keras.initializers.RandomNormal(stddev=0.3, seed=1)
    x = layers.Dense(4, kernel_initializer=initializer, name="head")(layers.Flatten(name="flatten")(x))
    with quiet_frameworks():
        keras.Model(image, x, name="mine").save(folder / "mine.keras")
    result = CliRunner().invoke(
        cli,
        ["export", str(folder / "mine.keras"), "--preprocess", "none", "--to", "onnx", "-o", str(folder / "a.onnx")],
    )
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture
def folder(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def faulty(folder: Path) -> Path:
    """The artifact with a layer's weights 5 % larger."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(folder / "a.onnx")
    for tensor in model.graph.initializer:
        if tensor.name.startswith("second"):
            value = np.asarray(numpy_helper.to_array(tensor)) * np.float32(1.05)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    onnx.save(model, folder / "faulty.onnx")
    return folder / "faulty.onnx"


def verify(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["verify", *map(str, arguments)])


def test_no_folder_is_left_where_there_is_nothing_to_save(folder: Path) -> None:
    result = verify("a.onnx", "--against", "mine.keras", "--bisect", "--save-tensors", "out")
    assert result.exit_code == 0, result.output
    assert not (folder / "out").exists()


def test_a_damaged_file_is_bisected_all_the_same(faulty: Path, folder: Path) -> None:
    result = verify("faulty.onnx", "--against", "mine.keras", "--bisect", "--save-tensors", "out")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == "FAIL digest: the file is damaged: its bytes disagree with its digest"
    assert lines[1].startswith("FAIL probabilities: relative difference ")
    start = next(index for index, line in enumerate(lines) if line.startswith("It answers differently from layer"))
    assert lines[start].startswith("It answers differently from layer 'second' (Conv2D) on: error ")
    assert lines[start + 1] == "     tensor: second/Transpose:0"
    assert lines[start + 2] == "     group: second"
    assert lines[start + 4] == "     saved: out/second.npz"
    assert [line.split()[:2] for line in lines[start + 6 :]] == [
        ["ok", "rescaling"],
        ["ok", "stem"],
        [">", "FAIL"],
        ["FAIL", "flatten"],
        ["FAIL", "head"],
    ]
    assert [path.name for path in (folder / "out").iterdir()] == ["second.npz"]
    assert faulty.exists()


def test_the_report_has_a_key_of_its_own(faulty: Path) -> None:
    result = verify(faulty, "--against", "mine.keras", "--bisect", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)["bisect"]
    assert {key: found[key] for key in ("layer", "group", "op", "tensor", "verdict", "saved")} == {
        "layer": "second",
        "group": ["second"],
        "op": "Conv2D",
        "tensor": "second/Transpose:0",
        "verdict": "layer",
        "saved": None,
    }
    assert found["before"] < 1e-5 < 1e-2 < found["after"]
    assert [(layer["layer"], layer["wrong"]) for layer in found["layers"]] == [
        ("rescaling", False),
        ("stem", False),
        ("second", True),
        ("flatten", True),
        ("head", True),
    ]


@pytest.mark.usefixtures("folder")
def test_what_passes_diverges_nowhere() -> None:
    result = verify("a.onnx", "--against", "mine.keras", "--bisect", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["passed"] is True
    assert report["bisect"]["layer"] is None
    assert report["bisect"]["text"] == "Nothing diverges: the answers are the original's."
    assert "bisect" not in json.loads(verify("a.onnx", "--against", "mine.keras", "--json").stdout)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["a.onnx", "--bisect"], "--bisect needs --against MODEL: only the original has layers to compare with."),
        (
            ["a.onnx", "--bisect", "--against", "saved"],
            "'saved' is a SavedModel, which has no layers to compare with. Give a .keras file.",
        ),
        (
            ["mine.keras", "--bisect", "--against", "vgg16"],
            "--bisect is for artifacts; 'mine.keras' is a network. Leave it out.",
        ),
        (
            ["a.onnx", "--against", "mine.keras", "--baseline", "a.onnx"],
            "--baseline has no meaning without --bisect. Add it, or leave --baseline out.",
        ),
        (
            ["a.onnx", "--against", "mine.keras", "--save-tensors", "out"],
            "--save-tensors has no meaning without --bisect. Add it, or leave --save-tensors out.",
        ),
        (
            ["a.onnx", "--against", "mine.keras", "--bisect", "--save-tensors", "no/out"],
            "Cannot write 'no/out': the folder 'no' does not exist. Create it first.",
        ),
        (
            ["a.onnx", "--against", "mine.keras", "--bisect", "--baseline", "other.onnx"],
            "Artifact 'other.onnx' does not exist. Name a file that edgecv exported.",
        ),
        (  # before anything else is opened
            ["missing.onnx", "--against", "missing.keras", "--bisect", "--baseline", "mine.keras"],
            "'mine.keras' is no artifact: its suffix is none of .onnx, .tflite.",
        ),
    ],
)
def test_what_cannot_be_bisected_is_refused_in_one_line(arguments: list[str], problem: str, folder: Path) -> None:
    (folder / "saved").mkdir(exist_ok=True)
    (folder / "saved" / "saved_model.pb").write_bytes(b"")
    result = verify(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1] == f"Error: {problem}"
