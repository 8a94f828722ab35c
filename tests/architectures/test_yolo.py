"""YOLOv3 and YOLOv3-tiny: layers and anchors as in Darknet's cfg files, decoded boxes, random weights."""

import re
from typing import Any

import keras
import numpy as np
import pytest

import edgecv
from edgecv import registry
from edgecv.decoders import YoloV3
from edgecv.errors import ArchitectureError, WeightsError
from edgecv.labels import builtin_labels
from edgecv.photos import shipped_photos
from edgecv.pictures import fit_picture
from edgecv.weights import load_weights

YOLO = registry.load_architecture("yolo_v3")
TINY = registry.load_architecture("yolo_v3_tiny")
NAMES = ("yolo_v3", "yolo_v3_tiny")


@pytest.fixture(scope="module")
def yolo() -> Any:
    return YOLO.build(input_size=(64, 96))


@pytest.fixture(scope="module")
def tiny() -> Any:
    return TINY.build(input_size=(64, 96))


def decoder(architecture: Any) -> YoloV3:
    assert isinstance(architecture.decoder, YoloV3)
    return architecture.decoder


def count(model: Any, kind: type) -> int:
    return sum(isinstance(layer, kind) for layer in model.layers)


def test_every_scale_has_three_boxes_a_cell(yolo: Any, tiny: Any) -> None:
    """Strides 32, 16, 8; 3 · (5 + 80) = 255 numbers a cell."""
    assert yolo.output_shape == [(None, 2, 3, 255), (None, 4, 6, 255), (None, 8, 12, 255)]
    assert tiny.output_shape == [(None, 2, 3, 255), (None, 4, 6, 255)]
    assert YOLO.build(input_size=(32, 32), classes=1).output_shape[0] == (None, 1, 1, 18)


def test_layers_are_those_of_yolov3_cfg(yolo: Any) -> None:
    """The numbers of [convolutional], [shortcut], [upsample] and of [route] sections with two layers."""
    assert count(yolo, keras.layers.Conv2D) == 75
    assert count(yolo, keras.layers.BatchNormalization) == 75 - 3
    assert count(yolo, keras.layers.LeakyReLU) == 75 - 3
    assert count(yolo, keras.layers.Add) == 23
    assert count(yolo, keras.layers.UpSampling2D) == 2
    assert count(yolo, keras.layers.Concatenate) == 2
    assert yolo.count_params() == YOLO.parameters


def test_layers_are_those_of_yolov3_tiny_cfg(tiny: Any) -> None:
    assert count(tiny, keras.layers.Conv2D) == 13
    assert count(tiny, keras.layers.BatchNormalization) == 13 - 2
    assert count(tiny, keras.layers.MaxPooling2D) == 6
    assert count(tiny, keras.layers.UpSampling2D) == 1
    assert count(tiny, keras.layers.Concatenate) == 1
    # Layer 8 of the cfg, before its pool, joins the upsampled one: 128 + 256 channels at stride 16.
    assert tiny.get_layer("head16_concat").output.shape == (None, 4, 6, 128 + 256)


def test_anchors_are_those_of_the_cfg_files() -> None:
    """Written once more as the keys "anchors" and "mask" of each [yolo] section, in the order of the sections."""
    anchors = [(10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326)]
    masks = [(6, 7, 8), (3, 4, 5), (0, 1, 2)]
    assert decoder(YOLO).anchors == tuple(tuple(anchors[index] for index in mask) for mask in masks)
    anchors = [(10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319)]
    assert decoder(TINY).anchors == tuple(tuple(anchors[index] for index in mask) for mask in [(3, 4, 5), (0, 1, 2)])


def test_labels_are_coco_s() -> None:
    labels = builtin_labels("coco")
    assert len(labels) == len(set(labels)) == 80
    # Indices as in Darknet's coco.names; the names of 3, 57 and 62 are COCO's own.
    known = {0: "person", 3: "motorcycle", 11: "stop sign", 16: "dog", 57: "couch", 62: "tv", 79: "toothbrush"}
    assert {index: labels[index] for index in known} == known


def test_a_convolution_at_stride_2_reads_darknet_s_border() -> None:
    """Darknet pads every side by 1, so that the first cell sees pixels -1, 0 and 1; "same" would see 0, 1 and 2."""
    model = YOLO.build(input_size=(32, 32))
    path = keras.Model(model.get_layer("stem_leaky").output, model.get_layer("stage1_down_conv").output)
    features = np.zeros((1, 32, 32, 32), np.float32)
    features[0, 2, 2] = 1.0
    answer = np.abs(np.asarray(path(features))[0]).max(axis=-1)
    assert answer.shape == (16, 16)
    assert np.argwhere(answer > 0).tolist() == [[1, 1]]
    features = np.roll(features, -1, axis=(1, 2))  # pixel (1, 1)
    answer = np.abs(np.asarray(path(features))[0]).max(axis=-1)
    assert np.argwhere(answer > 0).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_the_last_pool_of_tiny_keeps_the_size_and_looks_ahead(tiny: Any) -> None:
    """Darknet's [maxpool] of size 2 and stride 1 pads the right and the bottom."""
    pool = tiny.get_layer("pool5")
    values = np.arange(6, dtype=np.float32).reshape(1, 2, 3, 1)
    assert np.asarray(pool(values))[0, :, :, 0].tolist() == [[4, 5, 5], [4, 5, 5]]


@pytest.mark.parametrize("architecture", [YOLO, TINY], ids=NAMES)
def test_a_box_is_decoded_where_its_cell_and_anchor_say(architecture: Any) -> None:
    """By hand: the cell in row 1 and column 2 at stride 32, its second box, an anchor as the network's head has it."""
    size = (64, 96)
    model = architecture.build(input_size=size)
    outputs = [np.full((1, *shape[1:]), -20, np.float32) for shape in model.output_shape]
    outputs[0][0, 1, 2, 85:] = [0, 0, np.log(0.1), np.log(0.2), 2, *[-20] * 16, 3, *[-20] * 63, *[-20] * 85]
    boxes, scores = (np.asarray(tensor)[0] for tensor in architecture.decoder.decode(outputs, size, keras.ops))
    anchor, kind = np.unravel_index(scores.argmax(), scores.shape)
    assert builtin_labels("coco")[kind] == "dog"
    assert scores.max() == pytest.approx(1 / (1 + np.exp(-2.0)) / (1 + np.exp(-3.0)), rel=1e-5)
    width, height = {"yolo_v3": (156, 198), "yolo_v3_tiny": (135, 169)}[architecture.name]
    half_width, half_height = 0.1 * width / 2, 0.2 * height / 2
    # The cell's middle is x = 2.5 · 32, y = 1.5 · 32; the picture is 96 wide and 64 high.
    expected = [80 - half_width, 48 - half_height, min(80 + half_width, 96), min(48 + half_height, 64)]
    np.testing.assert_allclose(boxes[anchor] * (96, 64, 96, 64), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("yolo_v3", (416, 400), "yolo_v3 needs a height and a width that are multiples of 32, got 416x400."),
        ("yolo_v3_tiny", (33, 64), "yolo_v3_tiny needs a height and a width that are multiples of 32, got 33x64."),
        ("yolo_v3", (0, 416), "yolo_v3 needs an input of at least 32x32 pixels, got 0x416."),
    ],
)
def test_a_size_that_does_not_fit_is_refused(name: str, size: tuple[int, int], message: str) -> None:
    with pytest.raises(ArchitectureError, match=f"^{re.escape(message)}$"):
        registry.load_architecture(name).build(input_size=size)


def test_there_are_no_published_weights_yet() -> None:
    message = "yolo_v3_tiny has no published weights. Use random ones or a file."
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        load_weights(TINY, TINY.build(input_size=(32, 32)), weights="imagenet")


@pytest.mark.parametrize(
    ("name", "size", "classes", "seed"),
    [
        ("yolo_v3_tiny", (416, 416), 80, 0),
        ("yolo_v3_tiny", (160, 160), 80, 1),
        ("yolo_v3_tiny", (96, 160), 1, 2),
        ("yolo_v3", (96, 96), 80, 0),
        pytest.param("yolo_v3", (416, 416), 80, 0, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_few_boxes_survive_on_each_photo_and_they_differ(
    name: str, size: tuple[int, int], classes: int, seed: int
) -> None:
    model = edgecv.build(name, weights="random", input_size=size, classes=classes, seed=seed)
    photos = np.stack([fit_picture(photo, YOLO.preprocess.fit, size) for photo in shipped_photos().values()])
    found = edgecv.deploy(model).run(photos)
    assert ((found["count"] >= 5) & (found["count"] <= 50)).all()
    # Not vacuous: on no two photos are the best boxes the same.
    best = found["boxes"][:, :3].reshape(len(photos), -1).round(2)
    assert len(np.unique(best, axis=0)) == len(photos)
