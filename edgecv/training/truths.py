"""What the outputs of every detector learn from: one tensor of a batch's objects, whatever the anchors are.

Truths are float32 ``(batch, objects, 5)``: x1, y1, x2, y2 in 0…1 of the input, and the category. Rows whose category is
negative are no objects: −1 is padding, −2 a crowd, a region in which nothing is demanded nor punished.
"""

from typing import Any

from edgecv.data.anchors import LEAST_SIDE

__all__ = ["CROWD", "PADDING", "areas", "intersections", "truths"]

PADDING = -1
CROWD = -2


def truths(boxes: Any, categories: Any, size: tuple[Any, Any]) -> Any:
    """Make the tensor of a batch.

    Args:
        boxes: float32 ``(batch, objects, 4)``: x1, y1, x2, y2 in pixels of the input; those of less than a pixel in one
            direction, such as those that augmentation has dropped, become padding.
        categories: int32 ``(batch, objects)``.
        size: ``(height, width)`` of the input in pixels, numbers or tensors.
    """
    from keras import ops

    height, width = (ops.cast(side, "float32") for side in size)
    kept = ops.min(boxes[..., 2:] - boxes[..., :2], axis=-1) >= LEAST_SIDE
    category = ops.where(kept, ops.cast(categories, "float32"), float(PADDING))
    return ops.concatenate([boxes / ops.stack([width, height, width, height]), category[..., None]], axis=-1)


def areas(boxes: Any) -> Any:
    """Return the areas ``(…)`` of boxes ``(…, 4)``."""
    from keras import ops

    return ops.prod(boxes[..., 2:4] - boxes[..., :2], axis=-1)


def intersections(boxes: Any, others: Any) -> Any:
    """Return the areas ``(batch, objects, others)`` that boxes share with others.

    Args:
        boxes: ``(batch, objects, 4)``.
        others: ``(others, 4)``, or ``(batch, others, 4)``.
    """
    from keras import ops

    first = boxes[:, :, None]
    second = others[None, None] if len(others.shape) == 2 else others[:, None]
    width = ops.minimum(first[..., 2], second[..., 2]) - ops.maximum(first[..., 0], second[..., 0])
    height = ops.minimum(first[..., 3], second[..., 3]) - ops.maximum(first[..., 1], second[..., 1])
    return ops.maximum(width, 0.0) * ops.maximum(height, 0.0)
