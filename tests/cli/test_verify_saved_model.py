"""`edgecv verify --against` a SavedModel, which hides its layers, of artifacts that came from a `.keras` file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
from click.testing import CliRunner, Result
from keras import layers, ops

from edgecv.cli import cli
from edgecv.deployable import ModelInfo
from edgecv.models import save_model
from edgecv.quiet import quiet_frameworks
from edgecv.session import runtime_of


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, arguments)])


def network(last: Any, *, pixels: bool = False, seed: int = 1) -> Any:
    """A classifier, or a segmenter, whose last layer is given."""
    image = keras.Input((12, 16, 3), name="image")
    initializer = keras.initializers.RandomNormal(stddev=0.2, seed=seed)
    x = layers.Conv2D(4, 3, padding="same", kernel_initializer=initializer)(layers.Rescaling(1 / 64, -2)(image))
    return keras.Model(image, last(x if pixels else layers.Flatten()(x)), name="mine")


CLASSIFIER: tuple[str, ...] = ()
SEGMENTER = ("--task", "segmentation")


@pytest.mark.parametrize(
    ("last", "options", "output"),
    [
        (layers.Dense(4, activation="softmax"), CLASSIFIER, "probabilities"),
        (layers.Dense(4, activation="sigmoid"), CLASSIFIER, "probabilities"),
        (layers.Dense(4), CLASSIFIER, "probabilities"),
        (layers.Dense(4), ("--activation", "sigmoid"), "probabilities"),
        (layers.Dense(4), ("--activation", "none"), "logits"),
        (layers.Conv2D(3, 3, padding="same", activation="softmax"), SEGMENTER, "mask"),
        (layers.Conv2D(1, 3, padding="same", activation="sigmoid"), SEGMENTER, "mask"),
    ],
    ids=["softmax", "sigmoid", "added", "sigmoid-added", "none", "pixels-softmax", "pixels-sigmoid"],
)
def test_no_activation_is_put_on_top_of_the_hidden_one(
    last: Any, options: tuple[str, ...], output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = options == SEGMENTER
    with quiet_frameworks():
        network(type(last).from_config(last.get_config()), pixels=pixels).save("mine.keras")
        keras.models.load_model("mine.keras").export("saved")
        network(type(last).from_config(last.get_config()), pixels=pixels, seed=2).export("other")
    exported = run("export", "mine.keras", "--to", "onnx", *options, "--json")
    assert exported.exit_code == 0, exported.stderr
    (artifact,) = json.loads(exported.stdout)["artifacts"]
    assert [each["name"] for each in artifact["outputs"]] == [output]
    same = run("verify", "mine.onnx", "--against", "saved", "--json")
    assert same.exit_code == 0, same.stderr
    assert run("verify", "mine.onnx", "--against", "other").exit_code == 1


@pytest.mark.parametrize(("told", "code"), [("sigmoid", 0), ("none", 1)])
def test_what_a_file_says_of_its_own_activation_goes_before_the_artifacts_word(
    told: Any, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with quiet_frameworks():
        logits = network(layers.Dense(4))
        logits.save("logits.keras")
        # A sigmoid that its layers do not tell of; the artifact says that there was none before the one it added.
        original = keras.Model(logits.input, ops.tanh(logits.output / 2) / 2 + 0.5)
        original.edgecv_info = ModelInfo(name="told", activation=told)
        save_model(original, Path("told.keras"))
    assert run("export", "logits.keras", "--to", "onnx", "--activation", "sigmoid").exit_code == 0
    assert run("verify", "logits.onnx", "--against", "told.keras").exit_code == code


def test_an_activation_of_the_networks_own_and_an_added_one_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with quiet_frameworks():
        logits = network(layers.Dense(4))
        logits.save("without.keras")
        keras.Model(logits.input, layers.Activation("softmax")(logits.output)).save("with.keras")
    for name, other in (("without", "with"), ("with", "without")):
        assert run("export", f"{name}.keras", "--to", "onnx").exit_code == 0
        assert run("verify", f"{name}.onnx", "--against", f"{other}.keras").exit_code == 0


def test_an_artifact_that_does_not_say_what_was_added_is_still_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seal: Callable[[Path, dict[str, Any]], Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    with quiet_frameworks():
        network(layers.Dense(4)).save("mine.keras")
    assert run("export", "mine.keras", "--to", "onnx").exit_code == 0
    said = runtime_of(Path("mine.onnx"))[1].read_metadata(Path("mine.onnx"))
    del said["postprocess"]["added_activation"]
    seal(Path("mine.onnx"), said)
    assert run("verify", "mine.onnx", "--against", "mine.keras").exit_code == 0
