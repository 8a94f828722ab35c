"""The fully convolutional network of a localiser: class and box for every window of a picture."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras import layers

import edgecv
from edgecv.cli import cli
from edgecv.decoders import SlidingWindow
from edgecv.deployable import ModelInfo
from edgecv.localisation import Localisation
from edgecv.models import save_model
from edgecv.preprocess import Preprocess

NAMES = ("predictions", "objectness", "box")


def pooled(network: Any) -> Any:
    """The same heads behind a pool instead of a trunk."""
    image = keras.Input((32, 40, 3), name="image")
    x = layers.Conv2D(8, 3, 2, padding="same", activation="relu", name="stem")(image)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Conv2D(8, 3, 2, activation="relu", name="second")(x))
    heads = [(name, network.get_layer(name)) for name in NAMES]
    outputs = [layers.Dense(head.units, activation=head.activation, name=name)(x) for name, head in heads]
    other = keras.Model(image, outputs, name="pooled")
    other.edgecv_info = dataclasses.replace(network.edgecv_info, name="pooled", preprocess=Preprocess(scale=(1 / 255,)))
    return other


def pairs(network: Any, window: tuple[int, int], pictures: np.ndarray[Any, Any]) -> Any:
    """Slide the localiser over a picture in steps of 4 pixels: its boxes in 0…1 of the picture, and its scores."""
    height, width = pictures.shape[1:3]
    rows, columns = (height - window[0]) // 4 + 1, (width - window[1]) // 4 + 1
    boxes, scores = [], []
    for top, left in ((4 * row, 4 * column) for row in range(rows) for column in range(columns)):
        crop = pictures[:, top : top + window[0], left : left + window[1]]
        classes, objectness, box = (np.asarray(output)[0] for output in network(crop))
        (x, y), (w, h) = box[:2], box[2:] ** 2
        corners = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
        frame = np.array([window[1], window[0]] * 2)
        boxes.append((np.array([left, top] * 2) + corners * frame) / [width, height, width, height])
        scores.append(classes * objectness)
    return np.clip(boxes, 0, 1), np.array(scores)


def test_its_fcn_answers_for_every_window_as_the_localiser_for_its_picture() -> None:
    # VALID padding, so that every cell is exactly the localiser on that crop.
    image = keras.Input((16, 20, 3), name="image")
    x = layers.Conv2D(6, 4, 4, activation="tanh", name="stem")(image)
    x = layers.Dense(8, activation="tanh", name="hidden")(layers.Flatten(name="flatten")(x))
    heads = [(2, "softmax"), (1, "sigmoid"), (4, "sigmoid")]
    outputs = [layers.Dense(n, activation=kind, name=name)(x) for (n, kind), name in zip(heads, NAMES, strict=True)]
    network = keras.Model(image, outputs, name="net")
    network.edgecv_info = ModelInfo(
        name="net", preprocess=Preprocess(), localisation=Localisation(sqrt_sizes=True, outputs=NAMES)
    )
    fcn = edgecv.to_fcn(network)
    info = fcn.edgecv_info
    assert (info.task, info.localisation) == ("detection", None)
    assert info.decoder == SlidingWindow(stride=(4, 4), window=(16, 20), box="relative", sqrt_sizes=True, outputs=NAMES)
    pictures = np.random.default_rng(1).integers(0, 256, (1, 28, 44, 3), dtype=np.uint8)
    found = edgecv.deploy(fcn, input_size=(28, 44), nms=None).run(pictures)
    boxes, scores = pairs(network, (16, 20), pictures.astype("float32"))
    assert boxes.shape == (4 * 7, 4)
    np.testing.assert_allclose(found["boxes"][0], boxes, atol=1e-5)
    np.testing.assert_allclose(found["scores"][0], scores, atol=1e-5)


def test_the_order_that_a_localiser_says_goes_before_what_could_be_guessed() -> None:
    # Four classes look like a box, and the names say nothing.
    image = keras.Input((16, 16, 3), name="image")
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Conv2D(4, 3, 2, name="stem")(image))
    a = layers.Dense(4, activation="sigmoid", name="a")(x)
    b = layers.Dense(4, activation="sigmoid", name="b")(x)
    network = keras.Model(image, [b, a], name="net")
    network.edgecv_info = ModelInfo(name="net", localisation=Localisation(outputs=("a", "b")))
    assert edgecv.to_fcn(network).edgecv_info.decoder.outputs == ("a", "b")
    network.edgecv_info = ModelInfo(name="net", localisation=Localisation())
    assert edgecv.to_fcn(network).edgecv_info.decoder.outputs == ("b", "a")


@pytest.mark.parametrize("kind", ["trunk", "pool"])
def test_a_localiser_s_fcn_is_proven_exported_and_finds_boxes(kind: str, networks: Any, tmp_path: Path) -> None:
    network = networks.build("localiser")
    network.edgecv_info = dataclasses.replace(network.edgecv_info, preprocess=Preprocess(scale=(1 / 255,)))
    network = network if kind == "trunk" else pooled(network)
    path = tmp_path / "localiser.keras"
    save_model(network, path)
    fcn = tmp_path / "fcn.keras"
    document = run("fcn", path, "-o", fcn, "--json")
    assert document["outputs"] == list(NAMES)
    report = run("verify", fcn, "--against", path, "--json")
    assert report["passed"]
    arguments = ["--fcn", "--input-size", "96x120", "--score-threshold", "0.01", "-o", tmp_path]
    result = run("export", path, *arguments, "--to", "onnx", "--to", "tflite", "--json")
    assert [artifact["verification"]["passed"] for artifact in result["artifacts"]] == [True, True]
    photo = Path(edgecv.__file__).parent / "data" / "photos" / "cat.png"
    for artifact in result["artifacts"]:
        assert [output["name"] for output in artifact["outputs"]] == ["boxes", "scores", "classes", "count"]
        (answer,) = run("predict", artifact["path"], photo, "--json")
        assert answer["results"]
        assert all(set(found) == {"box", "score", "class", "label"} for found in answer["results"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"sqrt_sizes": False}, "says that width and height are sides, the localiser's that they are square roots"),
        ({"box": "window"}, "says box 'window', the localiser's is relative to its window"),
        (
            {"outputs": ("predictions", "box", "objectness")},
            "has class scores, objectness and box in another order than the localiser's",
        ),
    ],
    ids=["roots", "box", "order"],
)
def test_an_fcn_that_reads_the_box_otherwise_is_not_proven(change: dict[str, Any], problem: str, networks: Any) -> None:
    from edgecv.fcn_proof import prove

    network = networks.build("localiser")
    fcn = edgecv.to_fcn(network)
    fcn.edgecv_info = dataclasses.replace(
        fcn.edgecv_info, decoder=dataclasses.replace(fcn.edgecv_info.decoder, **change)
    )
    report = prove(fcn, network)
    assert [check.problem for check in report.checks] == [f"the FCN's file {problem}"]


def run(*arguments: Any) -> Any:
    outcome = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert outcome.exit_code == 0, outcome.output
    return json.loads(outcome.stdout)
