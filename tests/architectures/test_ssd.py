"""SSD-MobileNetV2: maps, anchors, decoded boxes, random weights; the real ones: plugins/edgecv-weights-ssd."""

import os
import re
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest

import edgecv
from edgecv import registry
from edgecv.decoders import Ssd
from edgecv.errors import WeightsError
from edgecv.labels import builtin_labels
from edgecv.photos import shipped_photos
from edgecv.pictures import fit_picture
from edgecv.weights import hash_weights, load_weights

SSD = registry.load_architecture("ssd_mobilenet_v2")


@pytest.fixture(scope="module")
def network() -> Any:
    """With random weights, at a small size."""
    model = SSD.build(input_size=(96, 128))
    assert load_weights(SSD, model, weights="random").source == "random (seed 0)"
    return model


def decoder() -> Ssd:
    assert isinstance(SSD.decoder, Ssd)
    return SSD.decoder


# By hand: a map has ceil(side / stride) cells a side; 3 anchors a cell on the first, 6 on the others.
@pytest.mark.parametrize(
    ("size", "anchors"),
    [
        ((300, 300), 3 * 19 * 19 + 6 * (10 * 10 + 5 * 5 + 3 * 3 + 2 * 2 + 1)),  # 1917, as published
        ((320, 320), 3 * 20 * 20 + 6 * (10 * 10 + 5 * 5 + 3 * 3 + 2 * 2 + 1)),
        ((96, 128), 3 * 6 * 8 + 6 * (3 * 4 + 2 * 2 + 1 * 1 + 1 * 1 + 1 * 1)),
        ((33, 300), 3 * 3 * 19 + 6 * (2 * 10 + 1 * 5 + 1 * 3 + 1 * 2 + 1 * 1)),
    ],
)
def test_heads_and_decoder_agree_on_the_anchors(size: tuple[int, int], anchors: int) -> None:
    shapes = SSD.build(input_size=size, classes=7).output_shape
    assert shapes == [(None, anchors, 4), (None, anchors, 8)]
    assert decoder().check(shapes, size) == 7


def test_outputs_are_named_as_the_original_names_them() -> None:
    model = SSD.build(input_size=(96, 96))
    assert model.output_names == ["box_encodings", "class_predictions"]
    # Depthwise and pointwise of 17 blocks, 16 expansions, stem and head, 4 × 2 extra, 2 heads on each of 6 maps.
    convolutions = [layer for layer in model.layers if hasattr(layer, "kernel")]
    assert len(convolutions) == 17 * 2 + 16 + 2 + 8 + 12
    assert all(layer.use_bias for layer in convolutions)
    assert sum(isinstance(layer, keras.layers.ReLU) for layer in model.layers) == 17 + 16 + 2 + 8
    # Residual blocks of table 2: the repeats after the first in each stage, 1 + 2 + 3 + 2 + 2.
    assert sum(isinstance(layer, keras.layers.Add) for layer in model.layers) == 10


def test_anchors_run_row_by_row() -> None:
    """A dot at the right end of a wide picture moves the right cells of every row, and no others.

    By hand, the pixels that a cell of the first map sees grow layer by layer as 3, 7, 11, 19, 27, 43, 59, 75, then
    by 32 in each of six blocks at stride 16: 267, which is 8.3 cells to each side.
    """
    model = SSD.build(input_size=(64, 512))
    load_weights(SSD, model, weights="random")
    black = np.zeros((1, 64, 512, 3), np.float32)
    dotted = black.copy()
    dotted[0, 32, -1] = 1
    moved = np.abs(np.asarray(model(dotted)[1]) - np.asarray(model(black)[1]))[0].max(axis=-1)
    first = moved[: 3 * 4 * 32].reshape(4, 32, 3)
    assert (first[:, : 32 - 10] == 0).all()
    assert (first[:, 32 - 6 :] > 0).all()


def test_zero_encodings_are_the_anchors_of_the_rule() -> None:
    """Corners of a cell's anchors, worked by hand for the first cells of the first two maps."""
    outputs = [np.zeros((1, 1917, 4), np.float32), np.zeros((1, 1917, 24), np.float32)]
    outputs[1][0, 1083, 20] = 3.0  # Dog is class 19 without the background
    boxes, scores = (np.asarray(tensor)[0] for tensor in decoder().decode(outputs, (300, 300), keras.ops))
    # First map: 19 × 19 cells, centre 1/38; a square of scale 0.1 and 0.2 at ratios 2 and ½. What is left of
    # the picture's border is cut off, so the sizes are read off the far side.
    centre = 0.5 / 19
    far = [[0.05, 0.05], [0.1 * 2**0.5, 0.1 / 2**0.5], [0.1 / 2**0.5, 0.1 * 2**0.5]]
    np.testing.assert_allclose(boxes[:3, 2:], centre + np.array(far), atol=1e-6)
    assert (boxes[:3, :2] == 0).all()
    # Second map: scale 0.2 + 0.75 / 5 = 0.35; the last anchor lies halfway to 0.5.
    np.testing.assert_allclose(boxes[1083, 2:], 0.05 + 0.175, atol=1e-6)
    np.testing.assert_allclose(boxes[1083 + 5, 2:], 0.05 + (0.35 * 0.5) ** 0.5 / 2, atol=1e-6)
    assert scores.shape == (1917, 23)
    assert scores.argmax() == 1083 * 23 + 19
    assert scores.max() == pytest.approx(1 / (1 + np.exp(-3.0)))


def test_labels_stand_where_the_original_s_label_map_has_them() -> None:
    labels = builtin_labels("everyday")
    known = {0: "Bicycle", 3: "Person", 7: "Cat", 15: "Bottle", 19: "Dog", 22: "Car"}
    assert {index: labels[index] for index in known} == known


@pytest.mark.parametrize(
    ("size", "classes", "seed"), [((300, 300), 23, 0), ((96, 128), 23, 1), ((96, 96), 1, 0)], ids=str
)
def test_few_boxes_survive_on_each_photo_and_they_differ(size: tuple[int, int], classes: int, seed: int) -> None:
    model = edgecv.build("ssd_mobilenet_v2", weights="random", input_size=size, classes=classes, seed=seed)
    photos = np.stack([fit_picture(photo, SSD.preprocess.fit, size) for photo in shipped_photos().values()])
    found = edgecv.deploy(model).run(photos)
    assert ((found["count"] >= 5) & (found["count"] <= 50)).all()
    # Not vacuous: on no two photos are the best boxes the same.
    best = found["boxes"][:, :3].reshape(len(photos), -1).round(2)
    assert len(np.unique(best, axis=0)) == len(photos)


def test_signal_does_not_blow_up(network: Any) -> None:
    """Every feature map keeps to the range of its ReLU6: neither dead nor saturated."""
    maps = [layer.output for layer in network.layers if layer.name.endswith("relu6")]
    features = keras.Model(network.input, maps)
    photo = fit_picture(shipped_photos()["cat"], SSD.preprocess.fit, (96, 128))[None].astype(np.float32)
    for values in features(SSD.preprocess.apply(photo, np).astype(np.float32)):
        values = np.asarray(values)
        assert 0.2 < values.mean() < 3
        assert (values >= 6).mean() < 0.1


def test_random_weights_are_seeded_and_the_same_in_every_process() -> None:
    model = SSD.build(input_size=(64, 64))
    hashes = []
    for seed in (0, 1, 0):
        load_weights(SSD, model, weights="random", seed=seed)
        hashes.append(hash_weights(model))
    assert hashes[0] == hashes[2] != hashes[1]
    code = (
        "from edgecv import registry, weights\n"
        "ssd = registry.load_architecture('ssd_mobilenet_v2')\n"
        "network = ssd.build(input_size=(64, 64))\n"
        "weights.load_weights(ssd, network, weights='random')\n"
        "print(weights.hash_weights(network))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    printed = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert printed.split()[-1] == hashes[0]


@pytest.mark.parametrize("weights", ["openimages", "auto"])
def test_without_the_distribution_the_reason_names_it(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load_weights_provider", lambda _: None)
    model = SSD.build(input_size=(64, 64))
    message = (
        "Published weights of ssd_mobilenet_v2 come in a distribution of their own, which is not installed. "
        "Run: pip install ./plugins/edgecv-weights-ssd"
    )
    if weights == "auto":
        record = load_weights(SSD, model, weights=weights)
        assert (record.source, record.note) == ("random (seed 0)", message)
        return
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        load_weights(SSD, model, weights=weights)


def test_imagenet_is_not_what_it_was_trained_on() -> None:
    message = "ssd_mobilenet_v2 has no weights 'imagenet'. Its published ones are 'openimages'."
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        load_weights(SSD, SSD.build(input_size=(64, 64)), weights="imagenet")
