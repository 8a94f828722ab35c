"""Anchor-free heads: boxes by hand, the mean of a distribution, every arrangement of outputs, and every misfit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from keras import ops

from edgecv.decoders import AnchorFree
from edgecv.errors import OptionError

Array = np.ndarray[Any, Any]


def decode(decoder: AnchorFree, outputs: Sequence[Array], size: tuple[int, int]) -> tuple[Array, Array]:
    decoder.check([(None, *output.shape[1:]) for output in outputs], size)
    boxes, scores = decoder.decode([ops.convert_to_tensor(output) for output in outputs], size, ops)
    return np.asarray(boxes), np.asarray(scores)


def test_a_box_from_distances_by_hand() -> None:
    # 32 × 64 pixels, stride 8: 4 × 8 cells. Cell (1, 2) stands for x = 20, y = 12. Distances 1, 2, 3, 0.5 strides:
    # x1 = 20 − 8 = 12, y1 = 12 − 16 = −4 (clipped), x2 = 20 + 24 = 44, y2 = 12 + 4 = 16.
    grid = np.zeros((1, 4, 8, 6), "float32")
    grid[0, 1, 2] = [1, 2, 3, 0.5, 0, np.log(3)]
    boxes, scores = decode(AnchorFree(strides=(8,), bins=1), [grid], (32, 64))
    assert boxes[0, 10].tolist() == [12 / 64, 0, 44 / 64, 0.5]
    np.testing.assert_allclose(scores[0, 10], [0.5, 0.75], rtol=1e-6)
    # Without distances the box is the point itself, the middle of the cell.
    assert boxes[0, 11].tolist() == [28 / 64, 12 / 32, 28 / 64, 12 / 32]
    assert boxes.dtype == scores.dtype == np.float32


def test_a_distance_is_the_mean_of_its_distribution() -> None:
    # 4 bins. Numbers 0, ln 2, ln 3, ln 2: probabilities 1, 2, 3, 2 of 8: mean (0 + 2 + 6 + 6) / 8 = 1.75.
    # Four zeros: mean 1.5. A sure bin: its number.
    grid = np.zeros((1, 4, 4, 17), "float32")
    grid[0, 2, 1, 0:4] = [0, np.log(2), np.log(3), np.log(2)]
    grid[0, 2, 1, 8:12] = [-100, 0, -100, -100]
    grid[0, 2, 1, 12:16] = [-100, -100, 0, -100]
    boxes, _ = decode(AnchorFree(strides=(16,), bins=4), [grid], (64, 64))
    # Cell (2, 1): x = 24, y = 40. Left 1.75, top 1.5, right 1, bottom 2 strides of 16 pixels.
    # x1 = 24 − 28 = −4 (clipped), y1 = 40 − 24 = 16, x2 = 24 + 16 = 40, y2 = 40 + 32 = 72 (clipped).
    np.testing.assert_allclose(boxes[0, 9], [0, 16 / 64, 40 / 64, 1], rtol=1e-6)


def test_a_mean_inside_the_picture() -> None:
    # As above, with the left distance of 1.75 in a picture wide enough: cell (0, 2) of stride 16: x = 40, 40 − 28.
    grid = np.zeros((1, 1, 4, 17), "float32")
    grid[0, 0, 2, 0:4] = [0, np.log(2), np.log(3), np.log(2)]
    boxes, _ = decode(AnchorFree(strides=(16,), bins=4), [grid], (16, 64))
    np.testing.assert_allclose(boxes[0, 2, 0], 12 / 64, rtol=1e-6)


@pytest.mark.parametrize(
    ("activation", "expected"), [("none", [0, np.log(3)]), ("sigmoid", [0.5, 0.75]), ("softmax", [0.25, 0.75])]
)
def test_class_scores_by_hand(activation: Any, expected: list[float]) -> None:
    outputs = [np.zeros((1, 1, 4), "float32"), np.array([[[0, np.log(3)]]], "float32")]
    decoder = AnchorFree(strides=(8,), bins=1, activation=activation)
    assert decoder.score_activation == ("sigmoid" if activation == "sigmoid" else "none")
    _, scores = decode(decoder, outputs, (8, 8))
    np.testing.assert_allclose(scores[0, 0], expected, rtol=1e-6)


def test_every_arrangement_of_the_outputs_gives_the_same() -> None:
    # 20 × 28 pixels at strides 8 and 16, rounded up: 3 × 4 and 2 × 2 cells; 2 bins, 3 classes.
    random = np.random.default_rng(7)
    decoder = AnchorFree(strides=(8, 16), bins=2)
    grids = [random.normal(size=(2, *shape, 11)).astype("float32") for shape in ((3, 4), (2, 2))]
    flat = np.concatenate([grid.reshape(2, -1, 11) for grid in grids], axis=1)
    apart = [part for grid in grids for part in (grid[..., :8], grid[..., 8:])]
    expected = decode(decoder, grids, (20, 28))
    assert expected[0].shape == (2, 16, 4)
    assert expected[1].shape == (2, 16, 3)
    for outputs in ([flat], [flat[..., :8], flat[..., 8:]], apart):
        for found, wanted in zip(decode(decoder, outputs, (20, 28)), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
    # The coarse grid comes last: the point of its last cell is (24, 24), below the picture.
    zeros = [np.zeros((1, 3, 4, 4 + 3), "float32"), np.zeros((1, 2, 2, 4 + 3), "float32")]
    boxes, _ = decode(AnchorFree(strides=(8, 16), bins=1), zeros, (20, 28))
    points = [[4 / 28, 4 / 20], [28 / 28, 20 / 20], [8 / 28, 8 / 20], [24 / 28, 20 / 20]]
    np.testing.assert_allclose(boxes[0, [0, 11, 12, 15], :2], points, rtol=1e-6)


def test_640_pixels_at_the_usual_strides_have_8400_points() -> None:
    # 80² + 40² + 20².
    decoder = AnchorFree()
    assert decoder.check([(None, 8400, 144)], (640, 640)) == 80
    assert decoder.check([(None, 8400, 64), (None, 8400, 80)], (640, 640)) == 80
    assert decoder.check([(None, side, side, 144) for side in (80, 40, 20)], (640, 640)) == 80


def test_grids_of_a_network_that_rounds_down_are_taken_as_they_are() -> None:
    # 20 / 8 rounded down: 2 × 2 cells.
    boxes, _ = decode(AnchorFree(strides=(8,), bins=1), [np.zeros((1, 2, 2, 5), "float32")], (20, 20))
    np.testing.assert_allclose(boxes[0, 3], [0.6, 0.6, 0.6, 0.6], rtol=1e-6)


def test_one_stride_with_two_grids_is_told_from_two_strides() -> None:
    two = [np.zeros((1, 2, 2, 4), "float32"), np.zeros((1, 2, 2, 3), "float32")]
    boxes, scores = decode(AnchorFree(strides=(8,), bins=1), two, (16, 16))
    assert boxes.shape == (1, 4, 4)
    assert scores.shape == (1, 4, 3)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            [(None, 8300, 144)],
            "decoder 'anchor_free': strides [8, 16, 32] give 8400 anchors at 640x640, the network's head has 8300. "
            "Change strides.",
        ),
        (
            [(None, 8400, 64)],
            "decoder 'anchor_free': 4 distances of 16 bins need more than 64 numbers, the network's head has 64. "
            "Change bins.",
        ),
        (
            [(None, 8400, 68), (None, 8400, 80)],
            "decoder 'anchor_free': 4 distances of 16 bins need 64 numbers, the network's head has 68. Change bins.",
        ),
        (
            [(None, 8400, 64), (None, 8399, 80)],
            "decoder 'anchor_free': outputs of the shapes (any, 8400, 64), (any, 8399, 80) do not fit; they must have "
            "the same, known number of anchors.",
        ),
        (
            [(None, None, 144)],
            "decoder 'anchor_free': outputs of the shapes (any, any, 144) do not fit; they must have the same, known "
            "number of anchors.",
        ),
        (
            [(None, 80, 80, 144), (None, 40, 40, 144)],
            "decoder 'anchor_free': outputs of the shapes (any, 80, 80, 144), (any, 40, 40, 144) do not fit 3 strides; "
            "it needs one or two grids for each, or one or two tensors (batch, anchors, numbers) for all.",
        ),
        (
            [],
            "decoder 'anchor_free': outputs of the shapes none do not fit 3 strides; "
            "it needs one or two grids for each, or one or two tensors (batch, anchors, numbers) for all.",
        ),
        (
            [(None, 20, 20, 144), (None, 40, 40, 144), (None, 80, 80, 144)],
            "decoder 'anchor_free': a grid of 20x20 cells does not fit stride 8 at 640x640. "
            "Change strides, or the order of outputs.",
        ),
        (
            [(None, 80, 80, 144), (None, 40, 40, 144), (None, 20, 20, 145)],
            "decoder 'anchor_free': the strides have different numbers of classes, [80, 80, 81].",
        ),
        (
            [(None, 8400)],
            "decoder 'anchor_free': outputs of the shapes (any, 8400) do not fit 3 strides; "
            "it needs one or two grids for each, or one or two tensors (batch, anchors, numbers) for all.",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_one_line(shapes: Any, message: str) -> None:
    with pytest.raises(OptionError) as error:
        AnchorFree().check(shapes, (640, 640))
    assert str(error.value) == message


def test_a_softmax_over_one_class_is_refused() -> None:
    with pytest.raises(OptionError) as error:
        AnchorFree(strides=(8,), bins=1, activation="softmax").check([(None, 4, 4, 5)], (32, 32))
    assert str(error.value) == (
        "decoder 'anchor_free': a softmax over 1 class gives every anchor the score 1. Set activation to sigmoid."
    )


def test_grids_of_one_stride_that_differ_are_refused() -> None:
    # 36 / 8 is 4 rounded down, 5 rounded up.
    with pytest.raises(OptionError) as error:
        AnchorFree(strides=(8,), bins=1).check([(None, 4, 4, 4), (None, 5, 5, 3)], (36, 36))
    assert str(error.value) == "decoder 'anchor_free': the grids of stride 8 differ, 4x4 and 5x5."
