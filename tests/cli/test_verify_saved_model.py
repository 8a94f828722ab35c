"""`edgecv verify --against` a SavedModel, which hides its layers, of artifacts that came from a `.keras` file."""

import json
from pathlib import Path
from typing import Any

import keras
import pytest
from click.testing import CliRunner, Result
from keras import layers

from edgecv.cli import cli
from edgecv.quiet import quiet_frameworks


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
