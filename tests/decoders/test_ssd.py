"""SSD: its anchors against the reference generator's published numbers, its boxes by hand, and every misfit."""

from typing import Any

import numpy as np
import pytest
from keras import ops

from edgecv.decoders import Ssd
from edgecv.decoders.anchors import Layer, grid_anchors, linear_scales, merged, ssd_layers
from edgecv.errors import OptionError

Array = np.ndarray[Any, Any]

MOBILENET = Ssd(strides=(16, 32, 64, 128, 256, 512), reduce_lowest_layer=True)


def corners(anchors: Array) -> Array:
    """Return y1, x1, y2, x2, the form that TensorFlow's tests use."""
    x, y, width, height = anchors.T
    return np.stack([y - height / 2, x - width / 2, y + height / 2, x + width / 2], axis=-1)


def decode(decoder: Ssd, encodings: Any, scores: Any, size: tuple[int, int] = (300, 300)) -> tuple[Array, Array]:
    outputs = [ops.convert_to_tensor(np.asarray(values, "float32")) for values in (encodings, scores)]
    decoder.check([(None, *output.shape[1:]) for output in outputs], size)
    boxes, found = decoder.decode(outputs, size, ops)
    return np.asarray(boxes), np.asarray(found)


@pytest.mark.parametrize(("reduced", "count"), [(True, 7308), (False, 11640)])
def test_the_number_of_anchors_is_tensorflows(reduced: bool, count: int) -> None:
    # TensorFlow's Object Detection API, multiple_grid_anchor_generator_test.py, CreateSSDAnchorsTest:
    # 38² · (3 or 6) + (19² + 10² + 5² + 3² + 1²) · 6.
    maps = ((38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (1, 1))
    decoder = Ssd(feature_maps=maps, reduce_lowest_layer=reduced)
    layers = decoder.layers((300, 300))
    assert sum(map(len, layers)) == count
    assert grid_anchors(layers, (300, 300)).shape == (count, 4)


def test_ssd_mobilenet_at_300_has_1917_anchors() -> None:
    # 300 / 16, 32, … rounded up: 19, 10, 5, 3, 2, 1; 19² · 3 + (10² + 5² + 3² + 2² + 1²) · 6.
    layers = MOBILENET.layers((300, 300))
    assert [layer.grid for layer in layers] == [(19, 19), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]
    assert sum(map(len, layers)) == 1917


def test_the_anchors_of_ssd_mobilenet_by_hand() -> None:
    # Scales 0.2, 0.35, 0.5, 0.65, 0.8, 0.95. The first layer's cell (0, 1): centre (1.5, 0.5) / 19; sizes 0.1 × 0.1,
    # then 0.2 · √2 × 0.2 / √2, then the reverse.
    anchors = grid_anchors(MOBILENET.layers((300, 300)), (300, 300))
    expected = [
        [1.5 / 19, 0.5 / 19, 0.1, 0.1],
        [1.5 / 19, 0.5 / 19, 0.28284271, 0.14142136],
        [1.5 / 19, 0.5 / 19, 0.14142136, 0.28284271],
    ]
    np.testing.assert_allclose(anchors[3:6], expected, rtol=1e-7)
    # The second layer's first cell: centre 0.05; 0.35 at ratios 1, 2, ½, 3, ⅓, and √(0.35 · 0.5) = 0.41833 at 1.
    shapes = [
        [0.35, 0.35],
        [0.49497475, 0.24748737],
        [0.24748737, 0.49497475],
        [0.60621778, 0.20207259],
        [0.20207259, 0.60621778],
        [0.41833001, 0.41833001],
    ]
    np.testing.assert_allclose(anchors[1083:1089], [[0.05, 0.05, *shape] for shape in shapes], rtol=1e-7)
    # The last layer's last anchor: √(0.95 · 1) = 0.97467943 in the middle.
    np.testing.assert_allclose(anchors[-1], [0.5, 0.5, 0.97467943, 0.97467943], rtol=1e-7)


def test_anchors_of_a_wide_picture_are_tensorflows() -> None:
    # test_construct_anchor_grid_normalized of the same file: scale 1, ratio 1, on 1 × 2 cells of 320 × 640 pixels.
    anchors = grid_anchors([Layer((1, 2), ((1.0, 1.0),))], (320, 640))
    assert corners(anchors).tolist() == [[0.0, 0.0, 1.0, 0.5], [0.0, 0.5, 1.0, 1.0]]


def test_anchors_of_two_grids_are_tensorflows() -> None:
    # test_construct_multiple_grids of the same file, whose first anchors of the fine grid and all of the coarse
    # grid are spelt out there; ratio ½ is √2 high and 1 / √2 wide.
    layers = [Layer((4, 4), ((1.0, 1.0), (2.0, 1.0), (1.0, 0.5))), Layer((2, 2), ((1.0, 1.0), (1.0, 0.5)))]
    h, w = np.sqrt(2), 1 / np.sqrt(2)
    fine = [
        [0.125 - 0.5, 0.125 - 0.5, 0.125 + 0.5, 0.125 + 0.5],
        [0.125 - 1.0, 0.125 - 1.0, 0.125 + 1.0, 0.125 + 1.0],
        [0.125 - 0.5 * h, 0.125 - 0.5 * w, 0.125 + 0.5 * h, 0.125 + 0.5 * w],
    ]
    coarse = [
        [-0.25, -0.25, 0.75, 0.75],
        [0.25 - 0.5 * h, 0.25 - 0.5 * w, 0.25 + 0.5 * h, 0.25 + 0.5 * w],
        [-0.25, 0.25, 0.75, 1.25],
        [0.25 - 0.5 * h, 0.75 - 0.5 * w, 0.25 + 0.5 * h, 0.75 + 0.5 * w],
        [0.25, -0.25, 1.25, 0.75],
        [0.75 - 0.5 * h, 0.25 - 0.5 * w, 0.75 + 0.5 * h, 0.25 + 0.5 * w],
        [0.25, 0.25, 1.25, 1.25],
        [0.75 - 0.5 * h, 0.75 - 0.5 * w, 0.75 + 0.5 * h, 0.75 + 0.5 * w],
    ]
    found = corners(grid_anchors(layers, (1, 1)))
    assert found.shape == (56, 4)
    np.testing.assert_allclose(found[:3], fine, atol=1e-12)
    np.testing.assert_allclose(found[48:], coarse, atol=1e-12)


def test_scales_run_evenly_and_one_layer_has_their_mean() -> None:
    # Equation 4 of the paper with m = 6: steps of 0.14 from 0.2 to 0.9.
    np.testing.assert_allclose(linear_scales(0.2, 0.9, 6), [0.2, 0.34, 0.48, 0.62, 0.76, 0.9])
    # MediaPipe's CalculateScale: the mean where there is one layer.
    np.testing.assert_allclose(linear_scales(0.2, 0.9, 1), [0.55])


def test_successive_layers_of_one_stride_are_one_layer() -> None:
    # As MediaPipe merges them: each cell has the anchors of the first layer, then those of the second.
    layers = ssd_layers(
        [(2, 2), (2, 2), (1, 1)],
        [0.2, 0.3, 0.4],
        [[1.0, 2.0]] * 3,
        interpolated_aspect_ratio=0,
        reduce_lowest_layer=False,
    )
    assert merged(layers, [8, 8, 16]) == (
        Layer((2, 2), ((0.2, 1.0), (0.2, 2.0), (0.3, 1.0), (0.3, 2.0))),
        Layer((1, 1), ((0.4, 1.0), (0.4, 2.0))),
    )
    # Not so where different strides give the same grid: 9 / 16 and 9 / 32 are both 1, rounded up.
    assert [layer.grid for layer in Ssd(strides=(16, 32)).layers((9, 9))] == [(1, 1), (1, 1)]


def test_a_scale_more_than_layers_is_the_next_of_the_last() -> None:
    # √(0.4 · 0.9) = 0.6; without it √(0.4 · 1).
    decoder = Ssd(feature_maps=((1, 1),), scales=(0.4, 0.9), aspect_ratios=(1.0,))
    np.testing.assert_allclose(decoder.layers((8, 8))[0].shapes, [(0.4, 1.0), (0.6, 1.0)])
    decoder = Ssd(feature_maps=((1, 1),), scales=(0.4,), aspect_ratios=(1.0,))
    np.testing.assert_allclose(decoder.layers((8, 8))[0].shapes, [(0.4, 1.0), (0.4**0.5, 1.0)])


def test_aspect_ratios_may_differ_from_layer_to_layer() -> None:
    ratios: Any = [[1, 2], [1, 2, 3]]
    decoder = Ssd(feature_maps=((2, 2), (1, 1)), aspect_ratios=ratios, interpolated_aspect_ratio=0)
    assert [len(layer) for layer in decoder.layers((8, 8))] == [8, 3]


@pytest.mark.parametrize("order", ["yxhw", "xywh"])
def test_a_box_by_hand(order: Any) -> None:
    # Anchor: centre (0.5, 0.5), width 0.2, height 0.4. Encoding tx = 2, ty = 1, tw = −5 ln 2, th = 5 ln 2:
    # centre x = 0.5 + 2 · 0.1 · 0.2 = 0.54, centre y = 0.5 + 1 · 0.1 · 0.4 = 0.54,
    # width = 0.2 · exp(−5 ln 2 · 0.2) = 0.1, height = 0.4 · exp(5 ln 2 · 0.2) = 0.8.
    five = 5 * np.log(2)
    encoding = [1, 2, five, -five] if order == "yxhw" else [2, 1, -five, five]
    decoder = Ssd(anchors=((0.5, 0.5, 0.2, 0.4),), order=order)
    boxes, scores = decode(decoder, [[encoding]], [[[9, 0, np.log(3)]]])
    np.testing.assert_allclose(boxes, [[[0.49, 0.14, 0.59, 0.94]]], rtol=1e-6)
    # The background, 9, is out; σ(0) = ½, σ(ln 3) = ¾.
    np.testing.assert_allclose(scores, [[[0.5, 0.75]]], rtol=1e-6)
    assert boxes.dtype == scores.dtype == np.float32


def test_variances_follow_the_order_of_the_encoding() -> None:
    # Anchor of size 1 × 1 in the middle of nowhere to clip: y moves by 0.25 · 0.5, x by 0.25 · 0.25;
    # height halves (variance 1), width quarters (variance 2).
    encoding = [[[0.25, 0.25, -np.log(2), -np.log(2)]]]
    decoder = Ssd(anchors=((0.5, 0.5, 1.0, 1.0),), variances=(0.5, 0.25, 1.0, 2.0))
    boxes, _ = decode(decoder, encoding, [[[0, 0]]])
    x, y = 0.5 + 0.0625, 0.5 + 0.125
    np.testing.assert_allclose(boxes, [[[x - 0.125, y - 0.25, x + 0.125, y + 0.25]]], rtol=1e-6)


def test_a_zero_encoding_is_the_anchor_and_boxes_are_clipped() -> None:
    anchors = corners(grid_anchors(MOBILENET.layers((300, 300)), (300, 300))).clip(0, 1)[:, [1, 0, 3, 2]]
    boxes, _ = decode(MOBILENET, np.zeros((1, 1917, 4)), np.zeros((1, 1917, 3)))
    np.testing.assert_allclose(boxes[0], anchors, atol=1e-6)


@pytest.mark.parametrize(
    ("activation", "background", "expected"),
    [
        # exp(0), exp(ln 2), exp(ln 5) = 1, 2, 5 of 8
        ("softmax", True, [0.25, 0.625]),
        ("softmax", False, [0.125, 0.25, 0.625]),
        # 1/2, 2/3, 5/6
        ("sigmoid", True, [2 / 3, 5 / 6]),
        ("sigmoid", False, [1 / 2, 2 / 3, 5 / 6]),
        ("none", True, [np.log(2), np.log(5)]),
        ("none", False, [0, np.log(2), np.log(5)]),
    ],
)
def test_class_scores_by_hand(activation: Any, background: bool, expected: list[float]) -> None:
    decoder = Ssd(anchors=((0.5, 0.5, 0.2, 0.4),), activation=activation, background=background)
    assert decoder.check([(None, 1, 4), (None, 1, 3)], (300, 300)) == len(expected)
    assert decoder.score_activation == ("sigmoid" if activation == "sigmoid" else "none")
    _, scores = decode(decoder, np.zeros((1, 1, 4)), [[[0, np.log(2), np.log(5)]]])
    np.testing.assert_allclose(scores[0, 0], expected, rtol=1e-6)


def test_an_overflowing_size_is_the_whole_picture_and_spoils_no_other_box() -> None:
    decoder = Ssd(anchors=((0.5, 0.5, 0.2, 0.4), (0.5, 0.5, 0.5, 0.5)))
    boxes, _ = decode(decoder, [[[0, 0, 1e6, 1e6], [0, 0, 0, 0]]], np.zeros((1, 2, 2)))
    assert boxes[0].tolist() == [[0, 0, 1, 1], [0.25, 0.25, 0.75, 0.75]]


@pytest.mark.parametrize(
    ("decoder", "shapes", "message"),
    [
        (
            MOBILENET,
            [(None, 1916, 4), (None, 1916, 24)],
            "decoder 'ssd': its keys give 1917 anchors at 300x300, the network's head has 1916. "
            "Change strides, feature_maps or aspect_ratios.",
        ),
        (
            Ssd(anchors=((0.5, 0.5, 1, 1),)),
            [(None, 2, 4), (None, 2, 24)],
            "decoder 'ssd': its keys give 1 anchors at 300x300, the network's head has 2. Change anchors.",
        ),
        (
            MOBILENET,
            [(None, 1917, 24), (None, 1917, 4)],
            "decoder 'ssd': outputs of the shapes (any, 1917, 24), (any, 1917, 4) do not fit; it needs box encodings "
            "(batch, anchors, 4) and class scores (batch, anchors, classes). The key 'outputs' names them in this "
            "order.",
        ),
        (
            MOBILENET,
            [(None, 19, 19, 12)],
            "decoder 'ssd': outputs of the shapes (any, 19, 19, 12) do not fit; it needs box encodings "
            "(batch, anchors, 4) and class scores (batch, anchors, classes). The key 'outputs' names them in this "
            "order.",
        ),
        (
            MOBILENET,
            [(None, None, 4), (None, None, 24)],
            "decoder 'ssd': outputs of the shapes (any, any, 4), (any, any, 24) do not fit; it needs box encodings "
            "(batch, anchors, 4) and class scores (batch, anchors, classes). The key 'outputs' names them in this "
            "order.",
        ),
        (
            MOBILENET,
            [(None, 1917, 4), (None, 1917, 1)],
            "decoder 'ssd': 1 class scores leave no class beside the background. Set background to false.",
        ),
        (
            Ssd(anchors=((0.5, 0.5, 1, 1),), activation="softmax", background=False),
            [(None, 1, 4), (None, 1, 1)],
            "decoder 'ssd': a softmax over 1 class gives every anchor the score 1. Set activation to sigmoid.",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_one_line(decoder: Ssd, shapes: Any, message: str) -> None:
    with pytest.raises(OptionError) as error:
        decoder.check(shapes, (300, 300))
    assert str(error.value) == message
