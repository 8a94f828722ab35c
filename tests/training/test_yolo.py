"""What YOLO's losses punish: by hand, against loops written from the papers, and by what their decoders make of it."""

import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from edgecv.decoders import YoloGrid, YoloV3
from edgecv.errors import ModelError, OptionError
from edgecv.training.yolo import start_objectness, with_anchors, yolo_grid_losses, yolo_v3_losses

Array = np.ndarray[Any, Any]
LN2 = np.log(2)
PADDING, CROWD = [0.0, 0.0, 0.0, 0.0, -1.0], -2.0

# Two scales of a picture of 64 × 64 pixels: 2 × 2 cells of 32 pixels, 4 × 4 of 16.
SMALL = YoloV3(anchors=(((16, 16), (32, 64)), ((8, 8),)))
# 16 × 32 pixels around (40, 24).
UPRIGHT = [0.5, 0.125, 0.75, 0.625, 1.0]


def refused(error: type[Exception], message: str) -> Any:
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def loss_of(loss: Any, truth: Any, output: Array) -> Array:
    return np.asarray(loss.call(ops.convert_to_tensor(np.array(truth, "float32")), ops.convert_to_tensor(output)))


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def entropy(wanted: float, given: float) -> float:
    return float(-wanted * np.log(given) - (1 - wanted) * np.log(1 - given))


def overlap(first: Sequence[float], second: Sequence[float], *, of_second: bool = False) -> float:
    """IoU of two boxes, or their intersection over the area of the second."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    common = max(width, 0) * max(height, 0)
    own = (second[2] - second[0]) * (second[3] - second[1])
    return common / (own if of_second else own + (first[2] - first[0]) * (first[3] - first[1]) - common)


def in_loops(
    truth: Any,
    output: Array,
    anchors: Sequence[Sequence[float]],
    own: Sequence[int],
    cell: float,
    *,
    box_weight: float,
    empty_weight: float,
    shared: str = "",
) -> float:
    """The loss of one picture; ``shared`` is the activation of class scores that belong to the cell."""
    rows, columns, _ = output.shape
    classes = output.shape[2] - 5 * len(own) if shared else output.shape[2] // len(own) - 5
    boxes, cells = {}, {}
    for row in (each for each in truth if each[4] >= 0):
        width, height = (row[2] - row[0]) * columns * cell, (row[3] - row[1]) * rows * cell
        x, y = (row[0] + row[2]) / 2 * columns, (row[1] + row[3]) / 2 * rows
        place = min(int(y), rows - 1), min(int(x), columns - 1)
        # Sizes overlap alike on a common corner and on a common centre.
        best = int(np.argmax([overlap([0, 0, width, height], [0, 0, *anchor]) for anchor in anchors]))
        if best in own:
            boxes[(*place, own.index(best))] = row, (x - place[1], y - place[0], width, height)
            cells[place] = row
    total = 0.0
    for i, j, b in np.ndindex(rows, columns, len(own)):
        numbers = output[i, j, 5 * b : 5 * b + 5] if shared else output[i, j].reshape(len(own), -1)[b]
        objectness = sigmoid(numbers[4])
        if (i, j, b) in boxes:
            row, (x, y, width, height) = boxes[i, j, b]
            wanted = np.log(width / anchors[own[b]][0]), np.log(height / anchors[own[b]][1])
            box = entropy(x, sigmoid(numbers[0])) + entropy(y, sigmoid(numbers[1]))
            box += 0.5 * (numbers[2] - wanted[0]) ** 2 + 0.5 * (numbers[3] - wanted[1]) ** 2
            total += box_weight * (2 - (row[2] - row[0]) * (row[3] - row[1])) * box + entropy(1, objectness)
            if not shared:
                total += sum(entropy(float(row[4] == c), sigmoid(numbers[5 + c])) for c in range(classes))
            continue
        middle = np.array([(j + sigmoid(numbers[0])) / columns, (i + sigmoid(numbers[1])) / rows])
        half = np.exp(numbers[2:4]) * anchors[own[b]] / (columns * cell, rows * cell) / 2
        found = np.clip([*(middle - half), *(middle + half)], 0, 1)
        near = any(row[4] >= 0 and overlap(row, found) > 0.5 for row in truth)
        crowded = any(row[4] == CROWD and overlap(row, found, of_second=True) >= 0.5 for row in truth)
        if not near and not crowded:
            total += empty_weight * entropy(0, objectness)
    for (i, j), row in cells.items() if shared else ():
        scores = output[i, j, 5 * len(own) :]
        if shared == "softmax":
            total -= np.log(np.exp(scores)[int(row[4])] / np.exp(scores).sum())
        else:
            total += sum(entropy(float(row[4] == c), sigmoid(scores[c])) for c in range(classes))
    return total


def random_truth(rng: np.random.Generator, pictures: int, objects: int, classes: int) -> Array:
    """Objects, two of them the same but for their class, crowds and padding."""
    centres, sides = rng.uniform(0, 1, (pictures, objects, 2)), rng.uniform(0.05, 0.5, (pictures, objects, 2))
    category = rng.integers(0, classes, (pictures, objects, 1)).astype("float64")
    truth = np.concatenate([np.clip(centres - sides, 0, 1), np.clip(centres + sides, 0, 1), category], axis=-1)
    truth[:, 1, :4] = truth[:, 0, :4]
    truth[:, -1, 4] = -1
    truth[:, -2, 4] = CROWD
    return truth.astype("float32")


def test_an_object_by_hand() -> None:
    # UPRIGHT overlaps 16 × 16 by 256 / 512, 32 × 64 by 512 / 2048, 8 × 8 by 64 / 512: the first has it, in the cell of
    # row 0 and column 1, at (40, 24) / 32 − (1, 0) = (¼, ¾). Its tw is ln(16 / 16) = 0, its th ln(32 / 16) = ln 2.
    # An output of zeros is σ = ½ everywhere: each cross-entropy is ln 2, whatever is wanted. So the box costs
    # (2 − ¼ · ½) · (2 ln 2 + ½ ln² 2), the objectness of 8 boxes 8 ln 2, 3 classes 3 ln 2. No other box overlaps it
    # by more than half: the tall one of the same cell, cut at the picture's border, by 512 / 1536.
    coarse, fine = yolo_v3_losses(SMALL, (32, 16), 3, box_weight=5.0)
    box = 1.875 * (2 * LN2 + LN2**2 / 2)
    found = loss_of(coarse, [[UPRIGHT]], np.zeros((1, 2, 2, 16), "float32"))
    np.testing.assert_allclose(found, [5 * box + 11 * LN2], rtol=1e-6)
    # The other scale has 16 boxes and none of the object.
    np.testing.assert_allclose(loss_of(fine, [[UPRIGHT]], np.zeros((1, 4, 4, 8), "float32")), [16 * LN2], rtol=1e-6)


def test_an_object_of_the_grid_by_hand() -> None:
    # The same in cells of 32 pixels: anchors of ½ × ½ and 1 × 2 cells. The 7 boxes without it weigh ½, and its cell's
    # 3 classes cost ln 3 by a softmax, 3 ln 2 each for itself.
    anchors = ((0.5, 0.5), (1.0, 2.0))
    box = 1.875 * (2 * LN2 + LN2**2 / 2)
    for activation, classes in (("softmax", np.log(3)), ("sigmoid", 3 * LN2)):
        decoder = YoloGrid(anchors=anchors, activation=activation)  # type: ignore[arg-type]
        (loss,) = yolo_grid_losses(decoder, 3, box_weight=5.0)
        found = loss_of(loss, [[UPRIGHT]], np.zeros((1, 2, 2, 13), "float32"))
        np.testing.assert_allclose(found, [5 * box + LN2 + 3.5 * LN2 + classes], rtol=1e-6)


def test_a_box_that_overlaps_an_object_of_another_is_ignored() -> None:
    # The second box of the object's cell, 32 × 64: at σ(tx) = ¼, σ(ty) = ¾ and half as wide and high it is the object
    # itself. Whatever its objectness, it costs nothing; the objectness of a box far away does.
    coarse, _ = yolo_v3_losses(SMALL, (32, 16), 3, box_weight=1.0)
    output = np.zeros((1, 2, 2, 16), "float32")
    output[0, 0, 1, 8:12] = [-np.log(3), np.log(3), -LN2, -LN2]
    quiet = loss_of(coarse, [[UPRIGHT]], output)
    box = 1.875 * (2 * LN2 + LN2**2 / 2)
    np.testing.assert_allclose(quiet, [box + 10 * LN2], rtol=1e-6)
    output[0, 0, 1, 12] = 4
    np.testing.assert_array_equal(loss_of(coarse, [[UPRIGHT]], output), quiet)
    # As high as its anchor, 64, cut to 0 … 56: 16 · 32 of 16 · 56 is 0.57; twice as wide, too, 0.29.
    output[0, 0, 1, 11] = 0
    np.testing.assert_array_equal(loss_of(coarse, [[UPRIGHT]], output), quiet)
    output[0, 0, 1, 10] = 0
    np.testing.assert_allclose(loss_of(coarse, [[UPRIGHT]], output), quiet + np.log(1 + np.exp(4)), rtol=1e-5)


def test_boxes_that_lie_by_half_in_a_crowd_cost_nothing() -> None:
    # The crowd is the left half of the picture. Boxes of zeros in the left cells, 16 and 32 wide, lie in it.
    coarse, _ = yolo_v3_losses(SMALL, (32, 16), 3, box_weight=1.0)
    crowd = [[[0.0, 0.0, 0.5, 1.0, CROWD]]]
    output = np.zeros((1, 2, 2, 16), "float32")
    np.testing.assert_allclose(loss_of(coarse, crowd, output), [4 * LN2], rtol=1e-6)
    # Moved to the right by σ(tx) = ½ + ⅙, the first box, 40 / 3 … 88 / 3 pixels, still does; 32 wide it is, too,
    # 5.3 … 37.3: 26.7 of 32 pixels. With its centre at the crowd's border by half alone, and no more.
    output[0, 0, 0, 0] = output[0, 0, 0, 8] = LN2
    np.testing.assert_allclose(loss_of(coarse, crowd, output), [4 * LN2], rtol=1e-6)
    output[0, 0, 1, 8] = -20
    np.testing.assert_allclose(loss_of(coarse, [[[0, 0, 0.51, 1, CROWD]]], output), [3 * LN2], rtol=1e-6)
    np.testing.assert_allclose(loss_of(coarse, [[[0, 0, 0.49, 1, CROWD]]], output), [4 * LN2], rtol=1e-6)


@pytest.mark.parametrize("size", [(64, 96), (128, 64)])
def test_yolo_v3_is_what_the_papers_say_at_any_size(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    decoder = YoloV3(anchors=(((60, 40), (30, 70)), ((20, 30), (24, 12), (10, 10))))
    truth = random_truth(rng, 4, 8, 3)
    anchors = [anchor for scale in decoder.anchors for anchor in scale]
    losses = yolo_v3_losses(decoder, (32, 16), 3, box_weight=2.0)
    for loss, stride, own in zip(losses, (32, 16), ([0, 1], [2, 3, 4]), strict=True):
        shape = (4, size[0] // stride, size[1] // stride, len(own) * 8)
        output = rng.normal(0, 1, shape).astype("float32")
        expected = [
            in_loops(rows.astype("float64"), grid, anchors, own, stride, box_weight=2.0, empty_weight=1.0)
            for rows, grid in zip(truth, output.astype("float64"), strict=True)
        ]
        np.testing.assert_allclose(loss_of(loss, truth, output), expected, rtol=1e-5)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_the_grid_is_what_the_papers_say(activation: Any) -> None:
    rng = np.random.default_rng(1)
    decoder = YoloGrid(anchors=((1, 1), (2.5, 1.5), (1, 3)), activation=activation)
    truth = random_truth(rng, 4, 8, 3)
    (loss,) = yolo_grid_losses(decoder, 3, box_weight=5.0)
    output = rng.normal(0, 1, (4, 3, 5, 18)).astype("float32")
    expected = [
        in_loops(
            rows.astype("float64"),
            grid,
            decoder.anchors,
            [0, 1, 2],
            1.0,
            box_weight=5.0,
            empty_weight=0.5,
            shared=activation,
        )
        for rows, grid in zip(truth, output.astype("float64"), strict=True)
    ]
    np.testing.assert_allclose(loss_of(loss, truth, output), expected, rtol=1e-5)


def test_the_same_object_moves_to_other_anchors_as_the_input_grows() -> None:
    # A quarter of the picture's sides: 16 × 16 of 64 pixels, 8 × 8 of 32; both at the middle of a cell of the scale
    # that has them, so that their boxes of zeros fit but for the entropy of the centre, 2 ln 2.
    losses = yolo_v3_losses(SMALL, (32, 16), 3, box_weight=1.0)
    truth = [[[0.125, 0.125, 0.375, 0.375, 2.0]]]
    weight = 2 - 1 / 16
    for size, costs in (
        (64, [8 * LN2 + weight * 2 * LN2 + 3 * LN2, 16 * LN2]),
        (32, [2 * LN2, 4 * LN2 + weight * 2 * LN2 + 3 * LN2]),
    ):
        outputs = [
            np.zeros((1, size // stride, size // stride, boxes * 8), "float32") for stride, boxes in ((32, 2), (16, 1))
        ]
        found = [loss_of(loss, truth, output) for loss, output in zip(losses, outputs, strict=True)]
        np.testing.assert_allclose(np.concatenate(found), costs, rtol=1e-6)


def test_gradients_are_those_of_darknet() -> None:
    # yolo_layer.c: (2 − w·h) · (σ(tx) − x), (2 − w·h) · (tw − log(w / pw)), σ(objectness) − 1, σ(class) − truth; the
    # numbers are those of the first test.
    coarse, _ = yolo_v3_losses(SMALL, (32, 16), 3, box_weight=1.0)
    output = tf.zeros((1, 2, 2, 16))
    with tf.GradientTape() as tape:
        tape.watch(output)
        loss = coarse(tf.constant([[UPRIGHT]], "float32"), output)
    gradient = tape.gradient(loss, output).numpy().reshape(2, 2, 2, 8)
    expected = np.zeros((2, 2, 2, 8))
    expected[..., 4] = 0.5
    expected[0, 1, 0] = [1.875 * 0.25, 1.875 * -0.25, 0, 1.875 * -LN2, -0.5, 0.5, -0.5, 0.5]
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("objects", [0, 1, 3])
def test_pictures_without_an_object_give_finite_numbers(objects: int) -> None:
    truth = tf.constant(np.tile(np.array(PADDING, "float32"), (2, objects, 1)))
    for loss, shape in (
        (yolo_v3_losses(SMALL, (32, 16), 3, box_weight=1.0)[0], (2, 2, 2, 16)),
        (yolo_grid_losses(YoloGrid(anchors=((1, 1),)), 3, box_weight=1.0)[0], (2, 2, 2, 8)),
    ):
        # Numbers that overflow an exponential, too.
        output = tf.constant(np.random.default_rng(0).choice([-200.0, 0.0, 200.0], shape), "float32")
        with tf.GradientTape() as tape:
            tape.watch(output)
            value = loss(truth, output)
        assert np.isfinite(value.numpy())
        assert np.all(np.isfinite(tape.gradient(value, output).numpy()))


def test_one_graph_serves_all_batches_sizes_and_numbers_of_objects() -> None:
    rng = np.random.default_rng(2)
    loss = yolo_v3_losses(SMALL, (32, 16), 3, box_weight=1.0)[0]
    spec = [tf.TensorSpec((None, None, 5)), tf.TensorSpec((None, None, None, 16))]
    traced = tf.function(loss.call, input_signature=spec)
    for batch, objects, rows, columns in ((1, 3, 2, 2), (3, 5, 4, 3)):
        truth = random_truth(rng, batch, objects, 3)
        output = rng.normal(0, 1, (batch, rows, columns, 16)).astype("float32")
        np.testing.assert_allclose(traced(truth, output), loss_of(loss, truth, output), rtol=1e-6)


def logits_of(decoder: YoloV3, truth: Array, size: int, strides: Sequence[int], classes: int) -> list[Array]:
    """Outputs that say exactly what is true; objects must not share a box."""
    anchors = [anchor for scale in decoder.anchors for anchor in scale]
    scales = [(scale, b) for scale, own in enumerate(decoder.anchors) for b in range(len(own))]
    outputs = []
    for stride, own in zip(strides, decoder.anchors, strict=True):
        outputs.append(np.full((1, size // stride, size // stride, len(own), 5 + classes), -30, "float32"))
        outputs[-1][..., :4] = 0
    for x1, y1, x2, y2, category in truth.astype("float64"):
        width, height = (x2 - x1) * size, (y2 - y1) * size
        best = int(np.argmax([overlap([0, 0, width, height], [0, 0, *anchor]) for anchor in anchors]))
        scale, b = scales[best]
        x, y = (x1 + x2) / 2 * size / strides[scale], (y1 + y2) / 2 * size / strides[scale]
        place = outputs[scale][0, int(y), int(x), b]
        place[:2] = [np.log(part / (1 - part)) for part in (x % 1, y % 1)]
        place[2:5] = np.log(width / anchors[best][0]), np.log(height / anchors[best][1]), 30
        place[5 + int(category)] = 30
    return [output.reshape(*output.shape[:3], -1) for output in outputs]


def test_what_costs_least_decodes_to_the_truth() -> None:
    truth = np.array(
        [UPRIGHT, [0.1, 0.6, 0.2, 0.75, 0], [0.02, 0.05, 0.12, 0.2, 2], [0.55, 0.7, 0.95, 0.97, 0]], "float32"
    )
    outputs = logits_of(SMALL, truth, 64, (32, 16), 3)
    losses = yolo_v3_losses(SMALL, (32, 16), 3, box_weight=1.0)
    total = sum(float(loss_of(loss, truth[None], output)[0]) for loss, output in zip(losses, outputs, strict=True))
    # What is left is the entropy of the centres' places in their cells.
    strides = np.array([32, 16, 16, 32])
    places = (truth[:, :2] + truth[:, 2:4]).astype("float64") / 2 * 64 / strides[:, None] % 1
    weights = 2 - np.prod(truth[:, 2:4] - truth[:, :2], axis=-1)
    least = sum(weight * entropy(part, part) for weight, row in zip(weights, places, strict=True) for part in row)
    assert total == pytest.approx(least, rel=1e-5)
    boxes, scores = (
        np.asarray(each)[0] for each in SMALL.decode(list(map(ops.convert_to_tensor, outputs)), (64, 64), ops)
    )
    found = np.flatnonzero(scores.max(axis=-1) > 0.5)
    rows = np.concatenate([boxes[found], scores[found].argmax(axis=-1)[:, None]], axis=-1)
    np.testing.assert_allclose(rows[np.lexsort(rows.T)], truth[np.lexsort(truth.T)], atol=1e-6)


def test_of_two_objects_that_want_the_same_box_the_later_has_it() -> None:
    coarse, _ = yolo_v3_losses(SMALL, (32, 16), 3, box_weight=1.0)
    other = [0.5, 0.125, 0.75, 0.5, 2.0]
    output = np.random.default_rng(0).normal(0, 1, (1, 2, 2, 16)).astype("float32")
    first, second, both = (loss_of(coarse, [rows], output) for rows in ([UPRIGHT], [other], [UPRIGHT, other]))
    np.testing.assert_array_equal(both, second)
    np.testing.assert_array_equal(loss_of(coarse, [[other, UPRIGHT, PADDING]], output), first)
    assert abs(first - second) > 0.1


def test_what_cannot_be_trained_is_refused() -> None:
    with refused(OptionError, "3 strides do not fit 2 scales of anchors. Give one each."):
        yolo_v3_losses(SMALL, (32, 16, 8), 3, box_weight=1.0)
    message = "decoder 'yolo_grid': activation none cannot be trained. Set it to softmax or sigmoid."
    with refused(OptionError, message):
        yolo_grid_losses(YoloGrid(anchors=((1, 1),), activation="none"), 3, box_weight=1.0)


def test_anchors_go_to_the_scales_by_their_areas() -> None:
    # Areas 100, 120, 600, 900, 5000, 8000; the first output has the largest, and three of them.
    decoder = YoloV3(anchors=(((80, 80), (130, 170), (340, 320)), ((10, 14), (23, 27), (37, 58))), outputs=("a", "b"))
    sizes = [(80, 100), (10, 10), (30, 30), (12, 10), (100, 50), (20, 30)]
    placed = with_anchors(decoder, sizes)
    assert placed.anchors == (((30, 30), (100, 50), (80, 100)), ((10, 10), (12, 10), (20, 30)))
    assert placed.outputs == ("a", "b")
    assert with_anchors(SMALL, [(9, 9), (50, 50), (5, 5)]).anchors == (((9, 9), (50, 50)), ((5, 5),))
    with refused(OptionError, "2 anchors do not fit 2 scales of [2, 1]. Give 3."):
        with_anchors(SMALL, [(9, 9), (5, 5)])


def detector(*channels: int, bias: bool = True) -> Any:
    image = keras.Input((32, 32, 3), name="image")
    heads = [layers.Conv2D(count, 1, 16, use_bias=bias, name=f"head{count}")(image) for count in channels]
    return keras.Model(image, heads, name="net")


def test_fresh_outputs_begin_with_an_objectness_of_one_percent() -> None:
    network = detector(16, 8)
    network.get_layer("head8").bias.assign(np.ones(8))
    start_objectness(network, SMALL)
    # −ln(0.99 / 0.01).
    rest = -4.59512
    np.testing.assert_allclose(network.get_layer("head16").bias, [0, 0, 0, 0, rest, 0, 0, 0] * 2, rtol=1e-5)
    np.testing.assert_allclose(network.get_layer("head8").bias, [0, 0, 0, 0, rest, 0, 0, 0], rtol=1e-5)
    network = detector(13)
    start_objectness(network, YoloGrid(anchors=((1, 1), (2, 2))), probability=0.5**7)
    expected = [0, 0, 0, 0, -np.log(127)] * 2 + [0, 0, 0]
    np.testing.assert_allclose(network.get_layer("head13").bias, expected, rtol=1e-5)


def test_outputs_without_a_bias_are_named() -> None:
    message = "Output 'head13' of 'net' comes from 'head13', which has no bias. Let it end in a convolution with one."
    with refused(ModelError, message):
        start_objectness(detector(13, bias=False), YoloGrid(anchors=((1, 1), (2, 2))))
