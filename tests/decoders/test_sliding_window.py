"""Sliding windows: where each cell's box lies, worked by hand, and every network that does not fit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from keras import ops

from edgecv.decoders import Decoder, SlidingWindow
from edgecv.errors import OptionError

Array = np.ndarray[Any, Any]


def decode(decoder: Decoder, outputs: Sequence[Array], size: tuple[int, int]) -> tuple[Array, Array]:
    decoder.check([(None, *output.shape[1:]) for output in outputs], size)
    boxes, scores = decoder.decode([ops.convert_to_tensor(output) for output in outputs], size, ops)
    return np.asarray(boxes), np.asarray(scores)


def test_the_box_of_a_cell_is_its_window() -> None:
    # 64 × 96 (height × width) pixels, windows of 32 × 48 every 16 rows and 24 columns: 3 × 3 cells.
    # Cell (1, 2) starts at y = 16, x = 48: x 48/96 … 96/96, y 16/64 … 48/64.
    scores = np.arange(18, dtype="float32").reshape(1, 3, 3, 2) / 18
    boxes, found = decode(SlidingWindow(stride=(16, 24), window=(32, 48)), [scores], (64, 96))
    assert boxes.shape == (1, 9, 4)
    assert boxes.dtype == found.dtype == np.float32
    assert boxes[0, 5].tolist() == [0.5, 0.25, 1.0, 0.75]
    assert boxes[0, 0].tolist() == [0.0, 0.0, 0.5, 0.5]
    np.testing.assert_array_equal(found, scores.reshape(1, 9, 2))


def test_a_box_relative_to_its_window() -> None:
    # The same cell (1, 2), window x 48 … 96, y 16 … 48. Centre (0.5, 0.25), size (0.5, 0.25) of the window:
    # x = 48 + (0.5 ± 0.25) · 48 = 60 … 84, over 96: 0.625 … 0.875;
    # y = 16 + (0.25 ± 0.125) · 32 = 20 … 28, over 64: 0.3125 … 0.4375.
    box = np.zeros((1, 3, 3, 4), "float32")
    box[0, 1, 2] = [0.5, 0.25, 0.5, 0.25]
    scores = np.full((1, 3, 3, 5), 0.5, "float32")
    decoder = SlidingWindow(stride=(16, 24), window=(32, 48), box="relative")
    boxes, found = decode(decoder, [scores, box], (64, 96))
    assert boxes[0, 5].tolist() == [0.625, 0.3125, 0.875, 0.4375]
    # Centre (0, 0) and size 0: the window's top-left corner, a box without area.
    assert boxes[0, 4].tolist() == [0.25, 0.25, 0.25, 0.25]
    np.testing.assert_array_equal(found, np.full((1, 9, 5), 0.5, "float32"))


def test_square_roots_of_sizes_are_squared() -> None:
    # Roots (0.5, 0.25) are sizes (0.25, 0.0625) of a 64-pixel window that is the picture.
    box = np.array([0.5, 0.5, 0.5, 0.25], "float32").reshape(1, 1, 1, 4)
    decoder = SlidingWindow(stride=(32, 32), window=(64, 64), box="relative", sqrt_sizes=True)
    boxes, _ = decode(decoder, [np.ones((1, 1, 1, 1), "float32"), box], (64, 64))
    assert boxes[0, 0].tolist() == [0.375, 0.46875, 0.625, 0.53125]


def test_the_score_is_class_times_objectness() -> None:
    scores = np.array([0.5, 0.25], "float32").reshape(1, 1, 1, 2)
    objectness = np.full((1, 1, 1, 1), 0.5, "float32")
    _, found = decode(SlidingWindow(stride=(8, 8), window=(8, 8)), [scores, objectness], (8, 8))
    assert found.tolist() == [[[0.25, 0.125]]]


def test_ten_numbers_a_cell_are_classes_objectness_and_box() -> None:
    # The text-book localiser: trained at 224, it looks at 448 in steps of 32, (448 − 224) / 32 + 1 = 8 cells a side.
    # Cell (7, 7) starts at 224; centre ½, size ½ of 224: 224 + 56 … 224 + 168, over 448: 0.625 … 0.875.
    cells = np.zeros((1, 8, 8, 10), "float32")
    cells[0, 7, 7] = [0, 0.5, 0, 0, 0.25, 0.5, 0.5, 0.5, 0.5, 0.5]
    decoder = SlidingWindow(stride=(32, 32), window=(224, 224), box="relative")
    assert decoder.check([(None, 8, 8, 10)], (448, 448)) == 5
    boxes, found = decode(decoder, [cells], (448, 448))
    assert boxes.shape == (1, 64, 4)
    assert boxes[0, 63].tolist() == [0.625, 0.625, 0.875, 0.875]
    assert found[0, 63].tolist() == [0, 0.25, 0, 0, 0.125]


def test_windows_over_the_edge_are_clipped_to_the_picture() -> None:
    # 64 × 64 pixels, windows of 48 pixels from −8 to 40 and from 24 to 72.
    boxes, _ = decode(
        SlidingWindow(stride=(32, 32), window=(48, 48), offset=(-8, -8)), [np.ones((1, 2, 2, 1), "float32")], (64, 64)
    )
    assert boxes[0].tolist() == [
        [0.0, 0.0, 0.625, 0.625],
        [0.375, 0.0, 1.0, 0.625],
        [0.0, 0.375, 0.625, 1.0],
        [0.375, 0.375, 1.0, 1.0],
    ]


def test_offsets_are_vertical_first() -> None:
    boxes, _ = decode(
        SlidingWindow(stride=(16, 16), window=(16, 16), offset=(8, 0)), [np.ones((1, 1, 2, 1), "float32")], (32, 32)
    )
    assert boxes[0].tolist() == [[0.0, 0.25, 0.5, 0.75], [0.5, 0.25, 1.0, 0.75]]


def test_scales_are_looked_at_in_turn_with_the_exact_ratio() -> None:
    # 101 × 75 pixels less two strides each are 51 × 37, nearest to scale ½: a window of 25 × 19 there is
    # 25/51 of the height and 19/37 of the width, and not ½.
    decoder = SlidingWindow(stride=(25, 19), window=(25, 19), scales=(1.0, 0.5))
    assert decoder.sizes((101, 75)) == ((101, 75), (51, 37))
    large = np.zeros((1, 4, 3, 2), "float32")
    small = np.ones((1, 2, 2, 2), "float32")
    boxes, found = decode(decoder, [large, small], (101, 75))
    assert found[0].tolist() == [[0, 0]] * 12 + [[1, 1]] * 4
    np.testing.assert_allclose(boxes[0, 1], [19 / 75, 0, 38 / 75, 25 / 101], rtol=1e-6)
    wide, high = 19 / 37, 25 / 51
    corners = [[0, 0, wide, high], [wide, 0, 1, high], [0, high, wide, 2 * high], [wide, high, 1, 2 * high]]
    np.testing.assert_allclose(boxes[0, 12:], corners, rtol=1e-6)


def test_scales_of_a_localiser_have_windows_of_their_own_size() -> None:
    # 64 pixels: at scale 1 windows of 32 every 32, at scale ½ the picture is 32 pixels, one window.
    # Centre ½, size ½: a quarter … three quarters of each window.
    half = np.full((1, 2, 2, 4), 0.5, "float32")
    one = np.full((1, 1, 1, 4), 0.5, "float32")
    score = [np.full((1, 2, 2, 3), 0.5, "float32"), np.full((1, 1, 1, 3), 0.25, "float32")]
    decoder = SlidingWindow(stride=(32, 32), window=(32, 32), box="relative", scales=(1.0, 0.5))
    boxes, found = decode(decoder, [score[0], half, score[1], one], (64, 64))
    assert boxes[0, 3].tolist() == [0.625, 0.625, 0.875, 0.875]
    assert boxes[0, 4].tolist() == [0.25, 0.25, 0.75, 0.75]
    assert found[0, :, 0].tolist() == [0.5, 0.5, 0.5, 0.5, 0.25]


@pytest.mark.parametrize(
    ("cells", "size"),
    [
        (9, 480),  # VALID: (480 − 224) / 32 + 1
        (8, 479),  # … rounded down
        (9, 450),  # SAME: ceil(450 / 32) = 15 cells, less 7, plus 1
    ],
)
def test_grids_of_sizes_beside_the_stride_are_accepted(cells: int, size: int) -> None:
    decoder = SlidingWindow(stride=(32, 32), window=(224, 224))
    assert decoder.check([(None, cells, cells, 5)], (size, size)) == 5


def test_a_receptive_field_larger_than_the_picture_is_a_window_with_a_negative_offset() -> None:
    # A SAME network of stride 32 sees 14 cells; its receptive field of 491 pixels starts 230 before the picture.
    decoder = SlidingWindow(stride=(32, 32), window=(491, 491), offset=(-230, -230))
    assert decoder.check([(None, 14, 14, 5)], (448, 448)) == 5
    # As many pixels after the picture's end as before its start: 18 + 64 + 18, and not one more.
    SlidingWindow(stride=(32, 32), window=(100, 100), offset=(-18, -18)).sizes((64, 64))
    with pytest.raises(OptionError, match=r"^decoder 'sliding_window': the window of 101x100 pixels is larger than "):
        SlidingWindow(stride=(32, 32), window=(101, 100), offset=(-18, -18)).sizes((64, 64))


WINDOW = SlidingWindow(stride=(32, 32), window=(224, 224))
BOX = SlidingWindow(stride=(32, 32), window=(224, 224), box="relative")
SCALES = SlidingWindow(stride=(32, 32), window=(224, 224), scales=(1.0, 0.5))
NEEDS = "class scores, at most an objectness, and a box of 4 numbers"


@pytest.mark.parametrize(
    ("decoder", "shapes", "size", "message"),
    [
        (
            WINDOW,
            [(None, 1, 8, 5)],
            (192, 448),
            "decoder 'sliding_window': the window of 224x224 pixels is larger than the picture of 192x448. "
            "Choose a larger --input-size or larger scales.",
        ),
        (
            SCALES,
            [(None, 6, 6, 5), (None, 1, 1, 5)],
            (384, 384),
            "decoder 'sliding_window': the window of 224x224 pixels is larger than the picture of 192x192 at scale "
            "0.5. Choose a larger --input-size or larger scales.",
        ),
        (
            WINDOW,
            [(None, 7, 8, 5)],
            (448, 448),
            "decoder 'sliding_window': a grid of 7x8 cells does not fit a picture of 448x448 with stride 32x32, window "
            "224x224 and offset 0,0: the last window would end 32 pixels before the picture's end. "
            "Change stride, window or offset.",
        ),
        (
            WINDOW,
            [(None, 8, 9, 5)],
            (448, 448),
            "decoder 'sliding_window': a grid of 8x9 cells does not fit a picture of 448x448 with stride 32x32, window "
            "224x224 and offset 0,0: the last window would end 32 pixels past the picture's end. "
            "Change stride, window or offset.",
        ),
        (
            WINDOW,
            [(None, 5)],
            (224, 224),
            "decoder 'sliding_window': output 0 has the shape (any, 5), it must be a grid (batch, height, width, "
            "channels) of known size.",
        ),
        (
            WINDOW,
            [(None, None, None, 5)],
            (224, 224),
            "decoder 'sliding_window': output 0 has the shape (any, any, any, 5), it must be a grid (batch, height, "
            "width, channels) of known size.",
        ),
        (
            WINDOW,
            [],
            (224, 224),
            "decoder 'sliding_window': 0 outputs over 1 scales do not fit box 'window', which needs class scores and "
            "at most an objectness for each scale.",
        ),
        (
            SCALES,
            [(None, 8, 8, 5)] * 3,
            (448, 448),
            "decoder 'sliding_window': 3 outputs over 2 scales do not fit box 'window', which needs class scores and "
            "at most an objectness for each scale.",
        ),
        (
            SCALES,
            [(None, 8, 8, 5), (None, 1, 1, 6)],
            (448, 448),
            "decoder 'sliding_window': the scales have different numbers of classes, [5, 6].",
        ),
        (
            WINDOW,
            [(None, 8, 8, 5), (None, 8, 8, 4)],
            (448, 448),
            "decoder 'sliding_window': outputs of 5, 4 channels do not fit box 'window', which needs class scores and "
            "at most an objectness. The key 'outputs' names them in this order.",
        ),
        (
            BOX,
            [(None, 8, 8, 4), (None, 8, 8, 5), (None, 8, 8, 1)],
            (448, 448),
            f"decoder 'sliding_window': outputs of 4, 5, 1 channels do not fit box 'relative', which needs {NEEDS}. "
            "The key 'outputs' names them in this order.",
        ),
        (
            BOX,
            [(None, 8, 8, 5)],
            (448, 448),
            f"decoder 'sliding_window': outputs of 5 channels do not fit box 'relative', which needs {NEEDS}. "
            "The key 'outputs' names them in this order.",
        ),
        (
            BOX,
            [(None, 8, 8, 5), (None, 1, 1, 4)],
            (448, 448),
            "decoder 'sliding_window': outputs 0 to 1 have different grids, 8x8, 1x1.",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_one_line(
    decoder: SlidingWindow, shapes: Any, size: tuple[int, int], message: str
) -> None:
    with pytest.raises(OptionError) as error:
        decoder.check(shapes, size)
    assert str(error.value) == message


def test_a_picture_that_a_scale_makes_nothing_of_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^decoder 'sliding_window': the window of 8x8 .* picture of 0x0 at scale "):
        SlidingWindow(stride=(8, 8), window=(8, 8), offset=(-8, -8), scales=(0.01,)).sizes((48, 64))
