"""`edgecv fcn`, and `edgecv verify` of what it wrote, as a user meets them."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result
from keras import layers, ops
from PIL import Image

import edgecv
from edgecv.cli import cli
from edgecv.photos import shipped_photos

_CHECK = {"runtime", "device", "images", "output", "max_abs_diff", "cosine", "tolerance", "passed", "cells"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def lenet(folder: Path) -> Path:
    path = folder / "lenet5.keras"
    edgecv.save_model(edgecv.build("lenet5", weights="random"), path)
    assert run("fcn", "lenet5.keras", "-o", "fcn.keras").exit_code == 0
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def refused(*arguments: str) -> str:
    before = set(Path.cwd().iterdir())
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert set(Path.cwd().iterdir()) == before
    return result.stderr.rstrip()


def test_a_name_is_rewritten_and_the_file_opens_without_custom_objects(folder: Path) -> None:
    result = run("fcn", "lenet5", "--weights", "random", "-o", "out.keras")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "out.keras  stride 4x4, window 32x32, offset 0,0 pixels  weights: random (seed 0)\n"
    network = keras.models.load_model(folder / "out.keras")
    assert network.input_shape == (None, None, None, 1)
    assert network(np.zeros((1, 36, 40, 1), "float32")).shape == (1, 2, 3, 10)


def test_json_states_the_grid(folder: Path) -> None:
    arguments = ["--weights", "random", "--classes", "3", "--input-size", "44x40", "--window", "pool", "--json"]
    result = run("fcn", "fashion_cnn", *arguments, "-o", "out.keras")
    document = json.loads(result.stdout)
    assert document.pop("bytes") == (folder / "out.keras").stat().st_size
    assert (
        document.pop("parameters")
        == edgecv.build("fashion_cnn", weights="random", input_size=(44, 40), classes=3).count_params()
    )
    assert document == {
        "path": "out.keras",
        "model": "fashion_cnn_fcn",
        "weights": "random (seed 0)",
        "stride": [8, 8],
        "window": [44, 40],
        "offset": [0, 0],
        "outputs": ["predictions"],
    }  # fmt: skip


@pytest.mark.usefixtures("lenet")
def test_verify_proves_the_file_against_a_file_and_against_a_name() -> None:
    for against in (["lenet5.keras"], ["lenet5", "--weights", "random"]):
        result = run("verify", "fcn.keras", "--against", *against)
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("ok   every cell equals the classifier on that crop: 96 cells on 8 pictures, ")
        assert result.stderr == ""


@pytest.mark.usefixtures("lenet")
def test_verify_of_another_network_is_no(folder: Path) -> None:
    result = run("verify", "fcn.keras", "--against", "lenet5", "--weights", "random", "--seed", "1", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert set(document) >= {"passed", "checks", "task"}
    assert document["passed"] is False
    assert all(set(check) >= _CHECK for check in document["checks"])
    result = run("verify", "fcn.keras", "--against", "lenet5", "--weights", "random", "--classes", "3")
    assert result.exit_code == 1
    assert result.stdout.startswith("FAIL the two have the same outputs and grid: 0 cells on 0 pictures, ")
    assert result.stderr == (
        "Error: 'fcn.keras' is not verified: the classifier maps 1 channels to [3] numbers, "
        "the FCN 1 channels to [10] numbers.\n"
    )
    assert folder.joinpath("fcn.keras").exists()


@pytest.mark.usefixtures("lenet")
def test_verify_takes_a_folder_of_pictures(folder: Path) -> None:
    (folder / "photos").mkdir()
    Image.fromarray(shipped_photos()["cat"]).save(folder / "photos" / "cat.png")
    result = run("verify", "fcn.keras", "--against", "lenet5.keras", "--images", "photos", "--json")
    document = json.loads(result.stdout)
    assert document["passed"] is True
    assert [check["images"] for check in document["checks"]] == [3]


@pytest.mark.usefixtures("lenet")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["verify", "fcn.keras"],
            "'fcn.keras' is a network and no artifact: name its classifier with --against MODEL.",
        ),
        (
            ["verify", "fcn.keras", "--against", "lenet5.keras", "--device", "cuda"],
            "--device is for artifacts; a network is proven on the cpu, got cuda.",
        ),
        (
            ["verify", "lenet5.keras", "--against", "lenet5.keras"],
            "'lenet5' is no fully convolutional network: it takes (None, 32, 32, 1). Make one of it with edgecv fcn.",
        ),
        (["verify", "fcn.keras", "--against", "none.keras"], "'none.keras' cannot be read: No such file or directory."),
        (["verify", "none.keras", "--against", "lenet5"], "'none.keras' cannot be read: No such file or directory."),
        (["fcn", "lenet5.keras", "-o", "out.h5"], "The output must end in .keras, got 'out.h5'."),
        (["fcn", "lenet5.keras", "-o", "no/out.keras"], "Cannot write 'no/out.keras': the folder 'no' does not exist."),
        (
            ["fcn", "lenet5.keras", "-o", "out.keras", "--classes", "3"],
            "--classes is for an architecture's name; 'lenet5.keras' is a file with weights of its own.",
        ),
        (
            ["fcn", "lenet5.keras", "-o", "out.keras", "--window", "whole"],
            "Invalid value for '--window': 'whole' is not one of 'pool', 'cell'.",
        ),
        (
            ["fcn", "fcn.keras", "-o", "out.keras"],
            "'lenet5_fcn' takes pictures of any size, (None, None, None, 1), so that its window is not known. "
            "Build it with a fixed height, width and number of channels.",
        ),
        (["fcn", "lenet", "-o", "out.keras"], "Unknown architecture 'lenet'. Did you mean 'lenet5'? Installed: "),
    ],
)
def test_wrong_input_is_one_line(arguments: list[str], message: str) -> None:
    assert refused(*arguments).startswith(f"Error: {message}")


def test_a_saved_model_is_refused(folder: Path) -> None:
    (folder / "saved").mkdir()
    (folder / "saved" / "saved_model.pb").write_bytes(b"")
    assert refused("fcn", "saved", "-o", "out.keras") == (
        "Error: 'saved' is a SavedModel, which has no layers that fcn could rewrite. Give a .keras file."
    )


def _headless() -> keras.Model:
    image = keras.Input((8, 8, 3))
    return keras.Model(image, layers.Conv2D(2, 3, name="last")(image))


def _time_axis() -> keras.Model:
    steps = keras.Input((16, 8))
    return keras.Model(steps, layers.Dense(3, name="dense")(steps))


def _two_inputs() -> keras.Model:
    left, right = keras.Input((8, 8, 1), name="left"), keras.Input((8, 8, 1), name="right")
    x = layers.Flatten()(layers.Add()([left, right]))
    return keras.Model([left, right], layers.Dense(2)(x), name="pair")


def _turned() -> keras.Model:
    image = keras.Input((8, 8, 3))
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(layers.Permute((2, 1, 3), name="turn")(image))))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (_headless, "Layer 'last' is the output, but no dense layer comes before it: there is no head to rewrite."),
        (_time_axis, "Layer 'dense' is dense over the last axis of (None, 16, 8): a time axis and no picture."),
        (_two_inputs, "'pair' has 2 inputs, 'left', 'right'. It must have one, a picture."),
        (_turned, "Layer 'turn' is a Permute: what its cells see is not known."),
    ],
)
def test_models_without_a_head_to_rewrite_are_one_line(build: Any, message: str) -> None:
    build().save("model.keras")
    assert refused("fcn", "model.keras", "-o", "out.keras").startswith(f"Error: {message}")


def test_a_legacy_file_is_rewritten() -> None:
    image = keras.Input((9, 9, 3))
    scores = ops.softmax(layers.Dense(2)(layers.Flatten()(layers.Conv2D(2, 3)(image))))
    keras.Model(image, scores).save("old.h5")
    result = run("fcn", "old.h5", "-o", "out.keras")
    assert result.exit_code == 0, result.stderr
    result = run("verify", "out.keras", "--against", "old.h5")
    assert result.exit_code == 0, result.output
    assert result.stderr == (
        "Warning: The classifier does not say how it wants its pixels: it gets 0…255 RGB (set --preprocess).\n"
    )
    assert run("verify", "out.keras", "--against", "old.h5", "--preprocess", "tf").stderr == ""
