"""SSD's targets and losses against cases worked by hand and a loop written from the paper."""

import math
from typing import Any

import numpy as np
import pytest
from keras import ops

from edgecv.decoders import Ssd
from edgecv.registry import load_architecture
from edgecv.training.ssd import begin_as_background, match, ssd_losses
from edgecv.training.truths import truths

_NOTHING = (0.0, 0.0, 0.0, 0.0, -1.0)
# Four anchors, the quarters of the picture, and a fifth in its middle.
_QUARTERS = ((0.25, 0.25, 0.5, 0.5), (0.75, 0.25, 0.5, 0.5), (0.25, 0.75, 0.5, 0.5), (0.75, 0.75, 0.5, 0.5))
_DECODER = Ssd(anchors=(*_QUARTERS, (0.5, 0.5, 0.5, 0.5)), order="xywh", activation="softmax")
_SIZE = (100, 200)
_CORNERS = np.array(
    [(0, 0, 0.5, 0.5), (0.5, 0, 1, 0.5), (0, 0.5, 0.5, 1), (0.5, 0.5, 1, 1), (0.25, 0.25, 0.75, 0.75)], np.float32
)


def matched(*objects: tuple[float, ...]) -> tuple[Any, Any, Any]:
    batch = np.array([[*objects, _NOTHING]], np.float32)
    return tuple(np.asarray(each)[0] for each in match(ops.convert_to_tensor(batch), ops.convert_to_tensor(_CORNERS)))


def test_an_object_gets_every_anchor_above_half_and_its_best_one_in_any_case() -> None:
    # The first is anchor 0 but for a strip: IoU 0.4 · 0.5 / 0.25 = 0.8. The second overlaps anchor 3 best, by
    # 0.1 · 0.1 / 0.25 = 0.04, which is far below a half: it gets that one all the same.
    rows, positive, counted = matched((0.1, 0, 0.5, 0.5, 7), (0.85, 0.85, 0.95, 0.95, 2))
    assert positive.tolist() == [1, 0, 0, 1, 0]
    assert counted.tolist() == [1, 1, 1, 1, 1]
    assert rows[0, 4] == 7
    assert rows[3, 4] == 2


def test_the_object_whose_best_anchor_it_is_goes_before_a_larger_overlap() -> None:
    # The first object overlaps the second anchor by 0.48 / 0.52 and the first by 0.42 / 0.58, above a half; but
    # that one is all that the second, small object has.
    anchors = ops.convert_to_tensor([(0, 0, 0.5, 0.5), (0.1, 0, 0.6, 0.5)])
    batch = ops.convert_to_tensor([[(0.08, 0, 0.58, 0.5, 1), (0, 0, 0.09, 0.1, 3)]])
    rows, positive, _ = match(batch, anchors)
    assert np.asarray(positive).tolist() == [[1, 1]]
    assert np.asarray(rows)[0, :, 4].tolist() == [3, 1]


def test_padding_gets_no_anchor() -> None:
    _, positive, counted = matched()
    assert positive.sum() == 0
    assert counted.tolist() == [1] * 5


def test_anchors_on_a_crowd_do_not_count_unless_they_have_an_object() -> None:
    # The crowd covers the left half: all of anchors 0 and 2, half of 4 (not more than a half, so it counts).
    rows, positive, counted = matched((0, 0, 0.5, 1, -2), (0, 0, 0.5, 0.5, 4))
    assert positive.tolist() == [1, 0, 0, 0, 0]
    assert rows[0, 4] == 4
    assert counted.tolist() == [1, 1, 0, 1, 1]


@pytest.mark.parametrize("order", ["xywh", "yxhw"])
def test_what_is_encoded_is_decoded(order: Any) -> None:
    decoder = Ssd(anchors=_DECODER.anchors, order=order, activation="softmax", variances=(0.1, 0.3, 0.2, 0.4))
    boxes = np.random.default_rng(0).uniform(0.05, 0.4, (2, 5, 4)).astype(np.float32)
    boxes[..., 2:] += boxes[..., :2]
    encoded = decoder.encode(ops.convert_to_tensor(boxes), _SIZE, ops)
    decoded, _ = decoder.decode([encoded, ops.zeros((2, 5, 3))], _SIZE, ops)
    np.testing.assert_allclose(np.asarray(decoded), boxes, atol=1e-6)


def test_encodings_are_those_of_equation_2() -> None:
    # Anchor 0 (0.25, 0.25, 0.5, 0.5) and the box 0.1 … 0.5 by 0 … 0.25: centre (0.3, 0.125), size (0.4, 0.25).
    boxes = np.tile(np.array([0.1, 0, 0.5, 0.25], np.float32), (1, 5, 1))
    encoded = np.asarray(_DECODER.encode(ops.convert_to_tensor(boxes), _SIZE, ops))[0, 0]
    wanted = [(0.3 - 0.25) / 0.5 / 0.1, (0.125 - 0.25) / 0.5 / 0.1, math.log(0.4 / 0.5) / 0.2, math.log(0.5) / 0.2]
    np.testing.assert_allclose(encoded, wanted, rtol=1e-5)


def test_smooth_l1_over_the_number_of_anchors_with_an_object() -> None:
    box, _ = ssd_losses(_DECODER, _SIZE, 3, balance="hard-negatives")
    # Two pictures: an object exactly on anchor 0, and two on anchors 1 and 2: three anchors in all.
    batch = np.array(
        [[(*_CORNERS[0], 0), _NOTHING], [(*_CORNERS[1], 1), (*_CORNERS[2], 2)]],
        np.float32,
    )
    answers = np.zeros((2, 5, 4), np.float32)
    answers[0, 0] = (0.5, 0, 0, 0)  # 0.5 · 0.5²
    answers[1, 1] = (0, -3, 0, 0)  # 3 − 0.5
    answers[1, 4] = (9, 9, 9, 9)  # has no object
    loss = float(box(batch, answers))
    assert loss == pytest.approx((0.125 + 2.5) / 3, rel=1e-6)


def reference_softmax(batch: Any, scores: Any, categories: Any) -> float:
    """Return the confidence loss of the paper's equation 3 with its hard-negative mining, in a loop over anchors."""
    total, positives = 0.0, 0
    for picture in range(len(batch)):
        logs = scores[picture] - np.log(np.exp(scores[picture]).sum(axis=-1, keepdims=True))
        negatives = []
        for anchor, category in enumerate(categories[picture]):
            if category >= 0:
                total -= logs[anchor, category + 1]
                positives += 1
            else:
                negatives.append(-logs[anchor, 0])
        own = sum(category >= 0 for category in categories[picture])
        total += sum(sorted(negatives, reverse=True)[: max(3 * own, 8)])
    return float(total / positives)


def test_the_hardest_negatives_count_three_to_one() -> None:
    # 40 anchors in a row; objects exactly on anchors 3, 4 and 30 of the first picture, 7 of the second.
    anchors = tuple(((index + 0.5) / 40, 0.5, 1 / 40, 1.0) for index in range(40))
    decoder = Ssd(anchors=anchors, order="xywh", activation="softmax")
    categories = np.full((2, 40), -1)
    categories[0, [3, 4, 30]] = (0, 2, 1)
    categories[1, 7] = 2
    rows = [
        [(index / 40, 0, (index + 1) / 40, 1, category) for index, category in enumerate(of) if category >= 0]
        for of in categories
    ]
    batch = np.array([(each + [_NOTHING] * 3)[:3] for each in rows], np.float32)
    scores = np.random.default_rng(1).normal(0, 2, (2, 40, 4)).astype(np.float32)
    _, loss = ssd_losses(decoder, _SIZE, 3, balance="hard-negatives")
    assert float(loss(batch, scores)) == pytest.approx(reference_softmax(batch, scores, categories), rel=1e-5)


def test_focal_loss_is_that_of_equation_5() -> None:
    decoder = Ssd(anchors=_DECODER.anchors, order="xywh", activation="sigmoid", background=True)
    _, loss = ssd_losses(decoder, _SIZE, 2, balance="focal")
    batch = np.array([[(*_CORNERS[0], 1), _NOTHING]], np.float32)
    scores = np.random.default_rng(2).normal(0, 2, (1, 5, 3)).astype(np.float32)
    total = 0.0
    for anchor in range(5):
        for category in range(2):
            probability = 1 / (1 + math.exp(-scores[0, anchor, category + 1]))  # the background learns nothing
            wanted = anchor == 0 and category == 1
            right = probability if wanted else 1 - probability
            total -= (0.25 if wanted else 0.75) * (1 - right) ** 2 * math.log(right)
    assert float(loss(batch, scores)) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("balance", ["focal", "hard-negatives"])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_pictures_without_objects_have_a_finite_loss_and_gradient(balance: Any, activation: Any) -> None:
    import tensorflow as tf

    decoder = Ssd(anchors=_DECODER.anchors, order="xywh", activation=activation)
    box, classes = ssd_losses(decoder, _SIZE, 3, balance=balance)
    batch = np.array([[_NOTHING], [_NOTHING]], np.float32)
    encodings, scores = tf.Variable(tf.zeros((2, 5, 4))), tf.Variable(tf.fill((2, 5, 4), 50.0))
    with tf.GradientTape() as tape:
        loss = box(batch, encodings) + classes(batch, scores)
    assert math.isfinite(float(loss))
    for gradient in tape.gradient(loss, [encodings, scores]):
        assert np.isfinite(np.asarray(gradient)).all()


def test_boxes_lost_to_augmentation_become_padding_and_pixels_shares() -> None:
    boxes = np.array([[(10, 20, 30, 40), (0, 0, 0, 0), (10, 20, 10.9, 40)]], np.float32)
    found = truths(ops.convert_to_tensor(boxes), ops.convert_to_tensor([[3, 4, 5]]), (100, 200))
    assert np.asarray(found)[0, :, 4].tolist() == [3, -1, -1]  # the last is less than a pixel wide
    np.testing.assert_allclose(np.asarray(found)[0, 0, :4], (0.05, 0.2, 0.15, 0.4), rtol=1e-6)


def test_a_fresh_softmax_scores_all_classes_together_a_hundredth() -> None:
    network = load_architecture("ssd_tiny").build(input_size=(96, 96), classes=4)
    decoder = load_architecture("ssd_tiny").decoder
    assert isinstance(decoder, Ssd)
    begin_as_background(network, decoder)
    bias = np.asarray(network.get_layer("map2_class_conv").bias).reshape(-1, 5)
    scores = np.exp(bias) / np.exp(bias).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores[:, 1:].sum(axis=1), 0.01, rtol=1e-5)


def test_a_fresh_network_scores_every_class_a_hundredth() -> None:
    network = load_architecture("ssd_mobilenet_v2").build(input_size=(96, 96), classes=4)
    decoder = load_architecture("ssd_mobilenet_v2").decoder
    assert isinstance(decoder, Ssd)
    begin_as_background(network, decoder)
    for layer in network.layers:
        if layer.name.endswith("_class_conv"):
            np.testing.assert_allclose(1 / (1 + np.exp(-np.asarray(layer.bias))), 0.01, rtol=1e-5)
