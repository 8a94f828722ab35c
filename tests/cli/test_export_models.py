"""`edgecv export` of users' files, with users' pictures, options and places to write to."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result
from keras import layers
from PIL import Image

from edgecv.cli import cli
from edgecv.photos import shipped_photos
from edgecv.quiet import quiet_frameworks
from edgecv.session import load, runtime_of

_UNSCALED = (
    "Warning: {name} does not say how its pictures are scaled: the network gets 0…255 RGB. "
    "Use --preprocess if it was trained on anything else.\n"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def mine(folder: Path) -> Any:
    """A user's classifier of four classes, without an activation at its end, in three kinds of file."""
    image = keras.Input((12, 16, 3), name="image")
    x = layers.Conv2D(4, 3, activation="relu", name="stem")(layers.Rescaling(1 / 64, -2)(image))
    x = layers.Flatten(name="flatten")(layers.MaxPooling2D(5, name="pool")(x))
    initializer = keras.initializers.RandomNormal(stddev=0.3, seed=1)
    network = keras.Model(image, layers.Dense(4, kernel_initializer=initializer, name="head")(x), name="mine")
    with quiet_frameworks():
        network.save(folder / "mine.keras")
        network.save(folder / "mine.h5")
        network.export(folder / "saved")
    return network


@pytest.fixture
def photos(folder: Path) -> Path:
    """Five real photos in a folder, beside a file that is no picture."""
    place = folder / "photos"
    place.mkdir()
    for name, pixels in list(shipped_photos().items())[:5]:
        Image.fromarray(pixels).save(place / f"{name}.png")
    (place / "notes.txt").write_text("no picture")
    return place


def export(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["export", *map(str, arguments)])


def exported(*arguments: object) -> dict[str, Any]:
    result = export(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def refused(*arguments: object) -> str:
    """Export what cannot work; return the last line of stderr, and see that all other lines are warnings."""
    before = sorted(Path().rglob("*"))
    result = export(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    *warnings, error = result.stderr.splitlines()
    assert all(line.startswith("Warning: ") for line in warnings)
    assert sorted(Path().rglob("*")) == before
    return error


def entries(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def metadata(name: str) -> dict[str, Any]:
    return runtime_of(Path(name))[1].read_metadata(Path(name))


def softmax(logits: Any) -> Any:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("form", ["onnx", "tflite"])
@pytest.mark.parametrize("model", ["mine.keras", "mine.h5", "saved"])
def test_a_users_file_of_any_kind_is_exported_and_answers_as_it_did(model: str, form: str, mine: Any) -> None:
    document = exported(model, "--to", form, "--preprocess", "none", "--activation", "softmax")
    (artifact,) = document["artifacts"]
    name = model.partition(".")[0]
    assert (document["model"], artifact["path"]) == (name, f"{name}.{form}")
    assert artifact["inputs"] == [{"name": "image", "shape": [1, 12, 16, 3], "dtype": "uint8"}]
    assert artifact["outputs"] == [{"name": "probabilities", "shape": [1, 4], "dtype": "float32"}]
    picture = np.random.default_rng(0).integers(0, 256, (1, 12, 16, 3), np.uint8)
    given = load(artifact["path"]).run(picture)["probabilities"]
    np.testing.assert_allclose(given, softmax(np.asarray(mine(picture.astype(np.float32)))), rtol=1e-4, atol=1e-7)


@pytest.mark.usefixtures("mine")
def test_pictures_of_a_folder_are_what_is_verified_on(photos: Path) -> None:
    document = exported("mine.keras", "--to", "onnx", "--preprocess", "none", "--images", photos)
    (check,) = document["artifacts"][0]["verification"]["checks"]
    assert check["images"] == 7  # five photos and two pictures of noise
    assert check["worst"].startswith((f"{photos}/", "noise:"))
    lines = export("mine.keras", "--to", "onnx", "--preprocess", "none", "--images", photos).stdout
    assert lines.startswith("mine.onnx  0.0 MB  ")
    assert lines.endswith(" on 7 pictures\n")


@pytest.mark.usefixtures("mine", "photos")
def test_pictures_that_cannot_be_used_are_one_line() -> None:
    Path("empty").mkdir()
    assert refused("mine.keras", "--to", "onnx", "--images", "empty") == (
        "Error: Folder 'empty' holds no picture. Name one with JPEG, PNG or WebP files."
    )
    assert refused("mine.keras", "--to", "onnx", "--images", "nowhere") == (
        "Error: Picture 'nowhere' does not exist. Name a picture, a folder or a glob."
    )
    Path("photos/torn.png").write_bytes(b"\x89PNG torn")
    assert refused("mine.keras", "--to", "onnx", "--images", "photos") == (
        "Error: Picture 'photos/torn.png' is damaged or no picture that edgecv reads. "
        "Use JPEG, PNG, WebP, TIFF, BMP or GIF."
    )


def test_pictures_on_which_nothing_varies_prove_nothing() -> None:
    # One class: its probability is 1, whatever the picture; a network of ones would pass, too.
    result = export("lenet5", "--classes", "1", "--to", "onnx", "--to", "tflite", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert [artifact["path"] for artifact in document["artifacts"]] == [None, None]
    assert not any(artifact["verification"]["passed"] for artifact in document["artifacts"])
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert [line.split(": ")[2] for line in errors] == ["nothing is proven"] * 2
    assert all(line.endswith(". Nothing was written.") for line in errors)
    assert entries(Path()) == []


@pytest.mark.usefixtures("mine")
def test_what_is_assumed_is_a_warning() -> None:
    result = export("mine.keras", "--to", "onnx")
    assert result.exit_code == 0
    assert result.stderr == _UNSCALED.format(name="mine") + (
        "Warning: The last layer has no activation: softmax was added (--activation none leaves it out).\n"
    )
    result = export("saved", "--to", "onnx")
    assert result.exit_code == 0
    assert result.stderr == _UNSCALED.format(name="saved") + (
        "Warning: The last layer's activation is unknown: none was added. Set it with --activation.\n"
    )
    result = export("mine.keras", "--to", "onnx", "--preprocess", "none", "--activation", "none")
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("activation", "output"),
    [("auto", "probabilities"), ("softmax", "probabilities"), ("sigmoid", "probabilities"), ("none", "logits")],
)
def test_the_activation_is_in_the_file(activation: str, output: str, mine: Any) -> None:
    exported("mine.keras", "--to", "onnx", "--preprocess", "none", "--activation", activation)
    picture = np.random.default_rng(0).integers(0, 256, (1, 12, 16, 3), np.uint8)
    logits = np.asarray(mine(picture.astype(np.float32)))
    expected = {"none": logits, "sigmoid": 1 / (1 + np.exp(-logits))}.get(activation, softmax(logits))
    given = load("mine.onnx").run(picture)
    assert list(given) == [output]
    np.testing.assert_allclose(given[output], expected, rtol=1e-4, atol=1e-6)


def test_an_unknown_activation_is_one_line() -> None:
    assert refused("lenet5", "--to", "onnx", "--activation", "tanh") == (
        "Error: Invalid value for '--activation': 'tanh' is not one of 'auto', 'softmax', 'sigmoid', 'none'."
    )


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_a_dynamic_batch_takes_any_number_of_pictures(form: str, mine: Any) -> None:
    document = exported("mine.keras", "--to", form, "--preprocess", "none", "--batch", "dynamic")
    (artifact,) = document["artifacts"]
    assert artifact["inputs"][0]["shape"] == [None, 12, 16, 3]
    assert artifact["outputs"][0]["shape"] == [None, 4]
    assert [check["batch"] for check in artifact["verification"]["checks"]] == [1, 3]
    pictures = np.random.default_rng(0).integers(0, 256, (5, 12, 16, 3), np.uint8)
    given = load(artifact["path"]).run(pictures)["probabilities"]
    np.testing.assert_allclose(given, softmax(np.asarray(mine(pictures.astype(np.float32)))), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("batch", "problem"),
    [("0", "'0'"), ("-1", "'-1'"), ("two", "'two'"), ("1.5", "'1.5'")],
)
def test_any_other_batch_is_one_line(batch: str, problem: str) -> None:
    assert refused("lenet5", "--to", "onnx", "--batch", batch) == (
        f"Error: Invalid value for '--batch': {problem} is no batch. Give a number of pictures from 1, or dynamic."
    )


@pytest.mark.usefixtures("mine")
def test_labels_are_in_the_file_or_refused() -> None:
    Path("labels.txt").write_text("un\ndeux\ntrois\nquatre\n")
    exported("mine.keras", "--to", "onnx", "--to", "tflite", "--labels", "labels.txt")
    for name in ("mine.onnx", "mine.tflite"):
        assert metadata(name)["labels"] == ["un", "deux", "trois", "quatre"]
        Path(name).unlink()
    Path("labels.txt").write_text("un\ndeux\ntrois\n")
    assert refused("mine.keras", "--to", "onnx", "--labels", "labels.txt") == (
        "Error: There are 3 labels for 4 classes. Give one label a class."
    )
    Path("labels.txt").write_bytes(b"\xff\xfe\x00")
    assert refused("mine.keras", "--to", "onnx", "--labels", "labels.txt") == (
        "Error: Labels 'labels.txt' are not UTF-8 text. Give a text file with one label a line."
    )
    assert refused("mine.keras", "--to", "onnx", "--labels", "no.txt") == (
        "Error: Cannot read labels 'no.txt': No such file or directory."
    )


def test_scaling_of_a_json_file_is_in_the_graph(mine: Any) -> None:
    scaling = {"order": "bgr", "mean": [10, 20, 30], "scale": [0.5, 0.25, 2]}
    Path("mine.json").write_text(json.dumps({**scaling, "resize": {"mode": "crop", "fraction": 0.5}}))
    exported("mine.keras", "--to", "onnx", "--preprocess", "mine.json")
    kept = metadata("mine.onnx")["preprocess"]
    assert kept == {
        "style": "custom",
        **scaling,
        "resize": {"mode": "crop", "fraction": 0.5, "filter": "bilinear"},
    }
    picture = np.random.default_rng(0).integers(0, 256, (1, 12, 16, 3), np.uint8)
    x = (picture[..., ::-1].astype(np.float32) - [10, 20, 30]) * [0.5, 0.25, 2]
    given = load("mine.onnx").run(picture)["probabilities"]
    np.testing.assert_allclose(given, softmax(np.asarray(mine(x.astype(np.float32)))), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "bad.json",
            "{",
            "--preprocess 'bad.json' is no JSON: "
            "Expecting property name enclosed in double quotes: line 1 column 2 (char 1).",
        ),
        ("bad.json", None, "--preprocess 'bad.json' cannot be read: No such file or directory."),
        ("tff", None, "--preprocess must be one of none, 0-1, tf, torch, caffe or a FILE.json, got 'tff'."),
    ],
)
@pytest.mark.usefixtures("mine")
def test_scaling_that_cannot_be_read_is_one_line(name: str, content: str | None, message: str) -> None:
    if content is not None:
        Path(name).write_text(content)
    assert refused("mine.keras", "--to", "onnx", "--preprocess", name) == f"Error: {message}"


_LAYER = """
import keras

print("a module may talk")

@keras.saving.register_keras_serializable(package="my_export_layers")
class Halved(keras.layers.Layer):
    def call(self, x):
        return x / 2
"""


@pytest.fixture
def custom() -> Iterator[None]:
    """A model with a layer of the user's; nothing of it stays registered."""
    known = dict(keras.saving.get_custom_objects())
    Path("my_export_layers.py").write_text(_LAYER)
    scope: dict[str, Any] = {"__name__": "my_export_layers"}
    exec(_LAYER.replace("print", "str"), scope)
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Flatten()(scope["Halved"](name="halved")(image))
    with quiet_frameworks():
        keras.Model(image, layers.Dense(3, name="head")(x), name="custom").save("custom.keras")
    keras.saving.get_custom_objects().clear()
    keras.saving.get_custom_objects().update(known)
    yield
    sys.modules.pop("my_export_layers", None)
    keras.saving.get_custom_objects().clear()
    keras.saving.get_custom_objects().update(known)


@pytest.mark.usefixtures("custom")
@pytest.mark.parametrize("name", ["my_export_layers", "my_export_layers.py"])
def test_a_custom_layer_is_exported_once_its_module_is_named(name: str) -> None:
    assert refused("custom.keras", "--to", "onnx") == (
        "Error: 'custom.keras' cannot be loaded: a custom layer is not known: 'Halved'. "
        "Name the module that registers it with --import MODULE."
    )
    result = export("custom.keras", "--to", "onnx", "--preprocess", "0-1", "--import", name, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["artifacts"][0]["verification"]["passed"]  # what the module prints is not in it
    assert "a module may talk" in result.stderr
    assert load("custom.onnx").run(np.zeros((1, 8, 8, 3), np.uint8))["probabilities"].shape == (1, 3)


def test_a_module_that_cannot_be_imported_is_one_line() -> None:
    Path("broken.py").write_text("raise RuntimeError('boom')")
    for name in ("broken", "broken.py"):
        assert refused("lenet5", "--to", "onnx", "--import", name) == (
            f"Error: --import {name!r} cannot be imported: RuntimeError: boom"
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "onnx", "--to", "onnx"], "--to names a format twice: onnx, onnx."),
        (
            ["--to", "onnx", "--to", "tflite", "-o", "x.onnx"],
            "-o 'x.onnx' is no folder; with several formats it must be one that exists.",
        ),
        (
            ["--to", "onnx", "-o", "no/x.onnx"],
            "Cannot write 'no/x.onnx': the folder 'no' does not exist. Create it first.",
        ),
        (["--to", "onnx", "--device", "gpu"], "ONNX Runtime has no device 'gpu' in edgecv. Use cpu or cuda."),
        ([], "Missing option '--to'."),
    ],
)
def test_outputs_and_devices_that_cannot_be_are_one_line(arguments: list[str], message: str) -> None:
    assert refused("lenet5", *arguments) == f"Error: {message}"


def test_a_folder_in_the_place_of_the_file_is_one_line() -> None:
    Path("lenet5.onnx").mkdir()
    assert refused("lenet5", "--to", "onnx") == (
        "Error: Cannot write 'lenet5.onnx': it is a folder. Name a file with -o."
    )


def test_several_formats_go_into_the_folder_that_is_named() -> None:
    Path("out").mkdir()
    document = exported("lenet5", "--to", "onnx", "--to", "tflite", "-o", "out")
    assert [artifact["path"] for artifact in document["artifacts"]] == ["out/lenet5.onnx", "out/lenet5.tflite"]
    assert entries(Path("out")) == ["lenet5.onnx", "lenet5.tflite"]
