"""What SSD learns: which anchors have which object, offsets to them, and class scores among many anchors without any.

Liu et al., "SSD: Single Shot MultiBox Detector", 2016, https://arxiv.org/abs/1512.02325, section 2.2.
"""

import math
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from edgecv.decoders import Ssd
from edgecv.decoders.base import constant
from edgecv.training.truths import CROWD, areas, intersections

__all__ = ["BoxLoss", "ClassLoss", "begin_as_background", "match", "ssd_losses"]

Balance = Literal["hard-negatives", "focal"]

_MATCHING_IOU = 0.5
_NEGATIVES = 3  # for each anchor with an object
# The paper leaves pictures without an object aside; here their surest mistakes count, too.
_FEWEST_NEGATIVES = 8
# Lin et al., 2017, table 1.
_ALPHA, _GAMMA = 0.25, 2.0
_PRIOR = 0.01


def ssd_losses(
    decoder: Ssd, input_size: tuple[int, int], classes: int, *, balance: Balance
) -> tuple["BoxLoss", "ClassLoss"]:
    """Make the losses of box encodings and class scores, in the decoder's order.

    Args:
        decoder: Of the network.
        input_size: ``(height, width)`` of the network's input in pixels.
        classes: Number of classes, without the background.
        balance: How anchors without an object are kept from outweighing the others.
    """
    return BoxLoss(decoder, input_size), ClassLoss(decoder, input_size, classes, balance)


def begin_as_background(network: keras.Model, decoder: Ssd) -> None:
    """Let a fresh network score objects 0.01, so that its many anchors do not drown the few with one.

    Independent classes score that each, classes that compete in a softmax all together.

    It sets the biases of the layers ``…_class_conv``.

    Reference:
        Lin et al., "Focal Loss for Dense Object Detection", 2017, section 3.3.
    """
    numbers = int(network.outputs[1].shape[-1])
    bias = np.full(numbers, math.log(_PRIOR / (1 - _PRIOR)), np.float32)
    if decoder.activation == "softmax":
        bias[:] = math.log(_PRIOR / (1 - _PRIOR) / (numbers - 1))
        bias[0] = 0.0
    for layer in network.layers:
        if layer.name.endswith("_class_conv"):
            layer.bias.assign(np.tile(bias, int(layer.bias.shape[0]) // numbers))


def match(truths: Any, anchors: Any) -> tuple[Any, Any, Any]:
    """Say which object each anchor is to find.

    Each object gets the anchor that overlaps it best, whatever that overlap is, and all anchors of an IoU above 0.5.
    An anchor that overlaps several objects finds the one that it overlaps best, of those whose best anchor it is if
    there are any; so of two objects with the same best anchor the other has those above 0.5 alone. An object that no
    anchor touches gets none.

    Args:
        truths: float32 ``(batch, objects, 5)``, see `edgecv.training.truths`.
        anchors: float32 ``(anchors, 4)``: x1, y1, x2, y2 in 0…1 of the input.

    Returns:
        ``matched``: float32 ``(batch, anchors, 5)``, the row of each anchor's object; ``positive``: float32
        ``(batch, anchors)``, 1 where it has one; ``counted``: the same, 0 where it lies on a crowd and has none.
    """
    common = intersections(truths[..., :4], anchors)
    objects = ops.cast(truths[..., 4] >= 0, "float32")[..., None]
    own = areas(anchors)
    union = areas(truths[..., :4])[..., None] + own - common
    overlaps = ops.where(objects > 0, common / ops.maximum(union, 1e-12), -1.0)
    best_anchor = ops.one_hot(ops.argmax(overlaps, axis=2), anchors.shape[0]) * objects
    # Its own best anchor counts 2 and more, so that it goes before any overlap.
    wishes = overlaps + 2 * best_anchor * ops.cast(overlaps > 0, "float32")
    chosen = ops.argmax(wishes, axis=1)
    strength = ops.max(wishes, axis=1)
    positive = ops.cast(strength > _MATCHING_IOU, "float32")
    matched = ops.take_along_axis(truths, ops.expand_dims(chosen, -1), axis=1)
    crowds = ops.cast(truths[..., 4] == CROWD, "float32")[..., None]
    on_crowd = ops.max(common / ops.maximum(own, 1e-12) * crowds, axis=1) > _MATCHING_IOU
    counted = ops.maximum(positive, 1 - ops.cast(on_crowd, "float32"))
    return ops.stop_gradient(matched), ops.stop_gradient(positive), ops.stop_gradient(counted)


class _SsdLoss(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """What the two losses share: matching, and division by the number of anchors with an object (equation 1)."""

    def __init__(self, decoder: Ssd, input_size: tuple[int, int], name: str) -> None:
        super().__init__(name=name)
        self.decoder = decoder
        self.input_size = input_size
        centred = decoder.anchor_boxes(input_size)
        halves = centred[:, 2:] / 2
        self.anchors = np.concatenate([centred[:, :2] - halves, centred[:, :2] + halves], axis=1)

    def matched(self, truths: Any) -> tuple[Any, Any, Any]:
        return match(ops.cast(truths, "float32"), constant(self.anchors, ops))

    @staticmethod
    def shares(sums: Any, positive: Any) -> Any:
        """Turn sums ``(batch,)`` over anchors into what has the mean: their sum over the batch's positives."""
        pictures = ops.cast(ops.shape(positive)[0], "float32")
        return sums * pictures / ops.maximum(ops.sum(positive), 1.0)


class BoxLoss(_SsdLoss):
    """Smooth L1 of the encodings of anchors with an object (equation 2 of the paper)."""

    def __init__(self, decoder: Ssd, input_size: tuple[int, int]) -> None:
        super().__init__(decoder, input_size, "box_loss")

    def call(self, truths: Any, encodings: Any) -> Any:
        """Return the loss of each picture, ``(batch,)``; their mean is that of the batch."""
        matched, positive, _ = self.matched(truths)
        # Padding has no area, of which there is no logarithm.
        whole = ops.convert_to_tensor([0.0, 0.0, 1.0, 1.0])
        boxes = ops.where(positive[..., None] > 0, matched[..., :4], whole)
        wanted = self.decoder.encode(boxes, self.input_size, ops)
        off = ops.abs(ops.cast(encodings, "float32") - wanted)
        smooth = ops.sum(ops.where(off < 1, 0.5 * off * off, off - 0.5), axis=-1)
        return self.shares(ops.sum(smooth * positive, axis=-1), positive)


class ClassLoss(_SsdLoss):
    """Cross-entropy of class scores, kept in balance by hard-negative mining or as focal loss.

    Scores that compete in a softmax have the background as their first class. Independent ones (sigmoid) are
    compared class by class, and a background that they have learns nothing: no decoder reads it.
    """

    def __init__(self, decoder: Ssd, input_size: tuple[int, int], classes: int, balance: Balance) -> None:
        super().__init__(decoder, input_size, "class_loss")
        self.classes = classes
        self.balance = balance

    def call(self, truths: Any, scores: Any) -> Any:
        """Return the loss of each picture, ``(batch,)``; their mean is that of the batch."""
        matched, positive, counted = self.matched(truths)
        category = ops.where(positive > 0, matched[..., 4], -1.0)
        losses = self._losses(ops.cast(scores, "float32"), ops.cast(category, "int32"))
        if self.balance == "hard-negatives":
            counted = positive + _hardest(losses, positive, counted)
        return self.shares(ops.sum(losses * counted, axis=-1), positive)

    def _losses(self, scores: Any, category: Any) -> Any:
        """Return the loss of each anchor; category −1 is the background."""
        focal = self.balance == "focal"
        if self.decoder.activation == "softmax":
            wanted = ops.one_hot(category + 1, self.classes + 1)
            logarithms = ops.log_softmax(scores)
            if focal:
                alpha = ops.where(category >= 0, _ALPHA, 1 - _ALPHA)
                sure = ops.sum(wanted * ops.exp(logarithms), axis=-1)
                return -alpha * (1 - sure) ** _GAMMA * ops.sum(wanted * logarithms, axis=-1)
            return -ops.sum(wanted * logarithms, axis=-1)
        logits = scores[..., 1:] if self.decoder.background else scores
        wanted = ops.one_hot(category, self.classes)  # −1 is no class
        entropy = ops.maximum(logits, 0.0) - logits * wanted + ops.log1p(ops.exp(-ops.abs(logits)))
        if focal:
            probability = ops.sigmoid(logits)
            wrong = wanted * (1 - probability) + (1 - wanted) * probability
            entropy = (wanted * _ALPHA + (1 - wanted) * (1 - _ALPHA)) * wrong**_GAMMA * entropy
        return ops.sum(entropy, axis=-1)


def _hardest(losses: Any, positive: Any, counted: Any) -> Any:
    """Return 1 at the anchors without an object whose loss is among the largest of their picture, three a positive."""
    negative = ops.stop_gradient(losses) * (1 - positive) * counted
    ordered = -ops.sort(-negative, axis=-1)
    most = ops.cast(ops.shape(negative)[1], "float32") - 1
    count = ops.minimum(ops.maximum(_NEGATIVES * ops.sum(positive, axis=-1), _FEWEST_NEGATIVES), most)
    last = ops.take_along_axis(ordered, ops.cast(count, "int32")[:, None], axis=-1)
    return ops.stop_gradient(ops.cast(negative > last, "float32"))
