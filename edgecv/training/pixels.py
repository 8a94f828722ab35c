"""Loss and accuracy of class scores at every pixel; pixels of no class do not count."""

from typing import Any

import keras
from keras import ops

from edgecv.data.mask_files import IGNORED

__all__ = ["PixelAccuracy", "PixelCrossEntropy"]


class PixelCrossEntropy(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """Softmax cross-entropy, averaged over all pixels of the batch that have a class.

    Truths are class numbers ``(batch, height, width)``, 255 where there is none; outputs are logits ``(batch, height,
    width, classes)``, or with one channel of class 1 against class 0. A batch without counted pixels has the loss 0.

    Reference:
        Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", 2015, section 4.3 (per-pixel
        multinomial logistic loss, pixels that are masked out are left out), https://arxiv.org/abs/1411.4038.
    """

    def __init__(self, name: str = "pixel_cross_entropy", **options: Any) -> None:
        super().__init__(name=name, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return ``(batch,)``, whose mean is the loss."""
        classes, counted = _truth(y_true)
        losses = ops.sparse_categorical_crossentropy(classes, _scores(y_pred), from_logits=True)
        sums = ops.sum(losses * counted, axis=(1, 2))
        # A picture counts by its pixels, not as one of the batch.
        share = ops.cast(ops.shape(sums)[0], sums.dtype) / ops.maximum(ops.sum(counted), 1.0)
        return sums * share


class PixelAccuracy(keras.metrics.Mean):  # type: ignore[misc]  # Keras has no types
    """Share of the pixels with a class whose largest score is that class; truths and outputs as the loss has them."""

    def __init__(self, name: str = "pixel_accuracy", **options: Any) -> None:
        super().__init__(name=name, **options)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count a batch; ``sample_weight`` ``(batch,)`` weighs its pictures."""
        classes, counted = _truth(y_true)
        if sample_weight is not None:
            counted = counted * ops.reshape(ops.cast(sample_weight, counted.dtype), (-1, 1, 1))
        right = ops.equal(ops.cast(ops.argmax(_scores(y_pred), axis=-1), "int32"), classes)
        super().update_state(ops.cast(right, counted.dtype), sample_weight=counted)


def _truth(mask: Any) -> tuple[Any, Any]:
    """Return class numbers, 0 where there is none, and which pixels count, as 0 or 1."""
    mask = ops.cast(mask, "int32")
    counted = ops.not_equal(mask, IGNORED)
    return ops.where(counted, mask, 0), ops.cast(counted, "float32")


def _scores(logits: Any) -> Any:
    """Return a logit for every class: one of class 1 against class 0 means that class 0 has 0."""
    logits = ops.cast(logits, "float32")
    return ops.concatenate([ops.zeros_like(logits), logits], axis=-1) if logits.shape[-1] == 1 else logits
