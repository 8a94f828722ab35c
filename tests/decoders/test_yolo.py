"""yolo_grid and yolo_v3: boxes and scores by hand, the layout of a cell's numbers, and every misfit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from keras import ops

from edgecv.decoders import Decoder, YoloGrid, YoloV3
from edgecv.errors import OptionError

Array = np.ndarray[Any, Any]
LN2, LN3 = np.log(2), np.log(3)


def decode(decoder: Decoder, outputs: Sequence[Array], size: tuple[int, int]) -> tuple[Array, Array]:
    decoder.check([(None, *output.shape[1:]) for output in outputs], size)
    boxes, scores = decoder.decode([ops.convert_to_tensor(output) for output in outputs], size, ops)
    return np.asarray(boxes), np.asarray(scores)


def test_five_boxes_and_twenty_classes_are_45_numbers_a_cell() -> None:
    # YOLO with anchors, one set of class scores a cell: 5 · (4 + 1) + 20.
    decoder = YoloGrid(anchors=((1, 1),) * 5)
    assert decoder.check([(None, 13, 13, 45)], (416, 416)) == 20
    boxes, scores = decode(decoder, [np.zeros((1, 13, 13, 45), "float32")], (416, 416))
    assert boxes.shape == (1, 845, 4)
    assert scores.shape == (1, 845, 20)
    # All zeros: σ(0) · 1/20.
    np.testing.assert_allclose(scores, 0.025, rtol=1e-6)


@pytest.mark.parametrize(
    ("activation", "classes"),
    [
        # Class scores 0, ln 3, 0: softmax 1/5, 3/5, 1/5; sigmoid 1/2, 3/4, 1/2.
        ("softmax", [0.2, 0.6, 0.2]),
        ("sigmoid", [0.5, 0.75, 0.5]),
        ("none", [0, LN3, 0]),
    ],
)
def test_a_box_of_the_grid_by_hand(activation: Any, classes: list[float]) -> None:
    # 2 rows × 3 columns, 2 boxes, 3 classes; cell (1, 2), box 1 with an anchor of 1.5 × 0.5 cells:
    # tx = 0, ty = ln 3: σ = ½ and ¾: centre x = 2.5 / 3, y = 1.75 / 2;
    # tw = −ln 3, th = ln 2: width = 1.5 / 3 / 3 = 1/6, height = 0.5 · 2 / 2 = ½; y2 = 0.875 + 0.25, clipped.
    # to = ln 3: ¾.
    grid = np.zeros((1, 2, 3, 13), "float32")
    grid[0, 1, 2, 5:10] = [0, LN3, -LN3, LN2, LN3]
    grid[0, 1, 2, 10:] = [0, LN3, 0]
    boxes, scores = decode(YoloGrid(anchors=((9, 9), (1.5, 0.5)), activation=activation), [grid], (64, 96))
    np.testing.assert_allclose(boxes[0, 11], [0.75, 0.625, 11 / 12, 1.0], rtol=1e-6)
    np.testing.assert_allclose(scores[0, 11], np.multiply(0.75, classes), rtol=1e-6)
    # Box 0 of the same cell shares its classes, with an objectness of ½ of its own.
    np.testing.assert_allclose(scores[0, 10], np.multiply(0.5, classes), rtol=1e-6)
    assert boxes.dtype == scores.dtype == np.float32


def test_boxes_of_the_grid_run_by_row_column_and_box() -> None:
    # Anchors of a tenth of a cell: the centre of box b in cell (i, j) of 2 × 3 is (j + ½) / 3, (i + ½) / 2.
    boxes, _ = decode(YoloGrid(anchors=((0.1, 0.1), (0.2, 0.2))), [np.zeros((1, 2, 3, 11), "float32")], (64, 96))
    centres = (boxes[0, :, :2] + boxes[0, :, 2:]) / 2
    expected = [[(j + 0.5) / 3, (i + 0.5) / 2] for i in range(2) for j in range(3) for _ in range(2)]
    np.testing.assert_allclose(centres, expected, rtol=1e-6)
    np.testing.assert_allclose(boxes[0, :, 2] - boxes[0, :, 0], [0.1 / 3, 0.2 / 3] * 6, rtol=1e-5)


def test_one_class_of_the_grid_has_the_score_of_the_objectness() -> None:
    # A softmax over one class is 1.
    grid = np.array([0, 0, 0, 0, LN3, -7], "float32").reshape(1, 1, 1, 6)
    _, scores = decode(YoloGrid(anchors=((1, 1),)), [grid], (32, 32))
    np.testing.assert_allclose(scores, [[[0.75]]], rtol=1e-6)


def test_a_box_of_yolo_v3_by_hand() -> None:
    # 64 × 96 pixels; grids of 1 × 2 with anchors of 8 × 8 pixels, and of 2 × 3 with one more of 30 × 16.
    # The second grid's cell (1, 2), box 1, 2 classes: tx = 0, ty = ln 3: centre x = 2.5 / 3, y = 1.75 / 2;
    # tw = −ln 3, th = 0: width = 30 / 3 / 96 = 10 / 96, height = 16 / 64 = ¼.
    # Objectness ln 3: ¾; classes 0 and ln 3: ½ and ¾.
    coarse = np.zeros((1, 1, 2, 7), "float32")
    fine = np.zeros((1, 2, 3, 14), "float32")
    fine[0, 1, 2, 7:] = [0, LN3, -LN3, 0, LN3, 0, LN3]
    boxes, scores = decode(YoloV3(anchors=(((8, 8),), ((8, 8), (30, 16)))), [coarse, fine], (64, 96))
    assert boxes.shape == (1, 2 + 12, 4)
    np.testing.assert_allclose(boxes[0, 13], [80 / 96 - 5 / 96, 0.75, 80 / 96 + 5 / 96, 1.0], rtol=1e-6)
    np.testing.assert_allclose(scores[0, 13], [0.375, 0.5625], rtol=1e-6)
    # Zeros: the middle of the cell, the anchor's size, σ(0)² = ¼. The coarse grid's cell (0, 1): x = 1.5 / 2.
    np.testing.assert_allclose(boxes[0, 1], [0.75 - 4 / 96, 0.5 - 4 / 64, 0.75 + 4 / 96, 0.5 + 4 / 64], rtol=1e-6)
    np.testing.assert_allclose(scores[0, :12], 0.25, rtol=1e-6)
    assert boxes.dtype == scores.dtype == np.float32


def test_yolo_v3_at_416_has_10647_boxes() -> None:
    # 3 · (13² + 26² + 52²), with the anchors of Darknet's yolov3.cfg.
    decoder = YoloV3(
        anchors=(
            ((116, 90), (156, 198), (373, 326)),
            ((30, 61), (62, 45), (59, 119)),
            ((10, 13), (16, 30), (33, 23)),
        )
    )
    sides = (13, 26, 52)
    assert decoder.check([(None, side, side, 255) for side in sides], (416, 416)) == 80
    boxes, scores = decode(decoder, [np.zeros((1, side, side, 255), "float32") for side in sides], (416, 416))
    assert boxes.shape == (1, 10647, 4)
    assert scores.shape == (1, 10647, 80)
    # The middle cell of the coarsest grid, anchor 116 × 90.
    middle = [0.5 - 58 / 416, 0.5 - 45 / 416, 0.5 + 58 / 416, 0.5 + 45 / 416]
    np.testing.assert_allclose(boxes[0, 3 * (6 * 13 + 6)], middle, rtol=1e-6)


@pytest.mark.parametrize("decoder", [YoloGrid(anchors=((1, 1),)), YoloV3(anchors=(((32, 32),),))])
def test_an_overflowing_size_is_the_whole_picture_and_spoils_no_other_box(decoder: Decoder) -> None:
    # exp(1000) is infinite in float32.
    grid = np.zeros((1, 2, 2, 6), "float32")
    grid[0, 0, 0, 2:4] = 1000
    boxes, scores = decode(decoder, [grid], (64, 64))
    assert boxes[0].tolist() == [[0, 0, 1, 1], [0.5, 0, 1, 0.5], [0, 0.5, 0.5, 1], [0.5, 0.5, 1, 1]]
    assert np.isfinite(scores).all()


def test_a_number_that_is_none_spoils_no_other_box() -> None:
    grid = np.zeros((1, 2, 2, 6), "float32")
    grid[0, 0, 0] = np.nan
    boxes, scores = decode(YoloV3(anchors=(((32, 32),),)), [grid], (64, 64))
    assert np.isfinite(boxes[0, 1:]).all()
    assert np.isfinite(scores[0, 1:]).all()


THREE = YoloV3(anchors=(((1, 1),) * 3,) * 2)


@pytest.mark.parametrize(
    ("decoder", "shapes", "message"),
    [
        (
            YoloGrid(anchors=((1, 1),) * 5),
            [(None, 13, 13, 25)],
            "decoder 'yolo_grid': 5 anchors and at least 1 class need 26 channels or more, the network's head has 25. "
            "Change anchors.",
        ),
        (
            YoloGrid(anchors=((1, 1),) * 5),
            [(None, 13, 13, 45)] * 2,
            "decoder 'yolo_grid' needs 1 output, got 2. Name it with the key 'outputs'.",
        ),
        (
            YoloGrid(anchors=((1, 1),) * 5),
            [(None, 169, 45)],
            "decoder 'yolo_grid': output 0 has the shape (any, 169, 45), it must be a grid (batch, height, width, "
            "channels) of known size.",
        ),
        (
            THREE,
            [(None, 13, 13, 255)],
            "decoder 'yolo_v3': anchors for 2 scales do not fit 1 outputs. Give one list of anchors for each output.",
        ),
        (
            THREE,
            [(None, 13, 13, 255), (None, 26, 26, 256)],
            "decoder 'yolo_v3': 3 anchors need 3 times 5 + classes channels, output 1 has 256. Change anchors.",
        ),
        (
            THREE,
            [(None, 13, 13, 15), (None, 26, 26, 15)],
            "decoder 'yolo_v3': 3 anchors need 3 times 5 + classes channels, output 0 has 15. Change anchors.",
        ),
        (
            THREE,
            [(None, 13, 13, 255), (None, 26, 26, 24)],
            "decoder 'yolo_v3': the outputs have different numbers of classes, [80, 3].",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_one_line(decoder: Decoder, shapes: Any, message: str) -> None:
    with pytest.raises(OptionError) as error:
        decoder.check(shapes, (416, 416))
    assert str(error.value) == message
