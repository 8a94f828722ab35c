"""A grid of boxes on classifiers: where it is put, and that the whole is a detector that can be shipped."""

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import edgecv
from edgecv.decoders import YoloGrid
from edgecv.errors import OptionError
from edgecv.training.heads import without_top
from edgecv.training.yolo_heads import yolo_grid_head

NEW = ["head_grid_conv", "head_grid_bn", "head_grid_relu", "head_grid_output"]


@pytest.mark.parametrize(
    ("name", "size", "place", "grid"),
    [
        # Behind a global mean, a flattening with dense layers, and a convolution over the whole of its map.
        ("mobilenet_v2", (64, 96), "out_relu", (2, 3)),
        ("fashion_cnn", None, "pool3", (3, 3)),
        ("lenet5", None, "s4", (5, 5)),
    ],
)
def test_the_grid_is_put_on_the_last_map_of_several_cells(
    name: str, size: tuple[int, int] | None, place: str, grid: tuple[int, int]
) -> None:
    base = without_top(edgecv.build(name, weights="random", input_size=size))
    network = yolo_grid_head(base, classes=4, boxes=3)
    # 3 boxes of 5 numbers, and 4 classes.
    assert network.output_shape == (None, *grid, 19)
    assert [layer.name for layer in network.layers[-5:]] == [place, *NEW]
    assert network.name == name
    assert YoloGrid(anchors=((1, 1),) * 3).check([network.output_shape], base.input_shape[1:3]) == 4


def body(*shape: int, features: int = 6, dtype: str = "float32") -> Any:
    image = keras.Input(shape, name="image")
    x = layers.Conv2D(features, 3, 2, dtype=dtype, name="stem")(image)
    return keras.Model(image, layers.GlobalMaxPooling2D(keepdims=True, name="pool")(x), name="net")


@pytest.mark.parametrize(("features", "filters"), [(6, 64), (100, 100), (1280, 256)])
def test_filters_follow_the_body_within_limits(features: int, filters: int) -> None:
    network = yolo_grid_head(body(9, 9, 3, features=features), classes=1, boxes=1)
    assert network.get_layer("head_grid_conv").filters == filters


def test_numbers_are_float32_on_a_body_in_half_precision() -> None:
    network = yolo_grid_head(body(9, 9, 3, dtype="mixed_float16"), classes=2, boxes=1)
    assert network(np.zeros((1, 9, 9, 3), "float32")).dtype == "float32"


def test_a_body_without_such_a_map_is_refused() -> None:
    image = keras.Input((4, 4, 3), name="image")
    dense = keras.Model(image, layers.Dense(8)(layers.Flatten()(image)), name="net")
    message = (
        "'net' has no map of more than one cell that a grid of boxes could be put on. "
        "Choose a network with convolutions, or a larger input size."
    )
    # A convolution over the whole picture leaves one cell.
    for base in (dense, body(3, 3, 3)):
        with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
            yolo_grid_head(base, classes=2, boxes=1)


@pytest.mark.parametrize(("classes", "boxes", "message"), [(0, 1, "classes"), (1, 0, "boxes")])
def test_numbers_below_one_are_refused(classes: int, boxes: int, message: str) -> None:
    with pytest.raises(OptionError, match=f"^{message} must be at least 1, got 0\\.$"):
        yolo_grid_head(body(9, 9, 3), classes=classes, boxes=boxes)


@pytest.mark.parametrize("to", ["onnx", "tflite"])
def test_the_detector_is_exported_and_proved(to: str, tmp_path: Path) -> None:
    base = without_top(edgecv.build("fashion_cnn", weights="random"))
    network = yolo_grid_head(base, classes=3, boxes=2)
    decoder = YoloGrid(anchors=((0.5, 0.5), (1.0, 1.5)))
    deployable = edgecv.deploy(network, decoder=decoder, preprocess="0-1", labels=["shirt", "shoe", "bag"])
    artifact = edgecv.export(deployable, to=to, path=tmp_path / f"grid.{to}", verify=True)
    assert artifact.report is not None
    assert artifact.report.passed
    assert {check.output for check in artifact.report.checks} >= {"pre_nms/boxes", "pre_nms/scores"}
