"""Where pixels go: a recipe's flips, turns, zooms, shifts and cuts as one affine map for picture, boxes and mask.

Coordinates are those of boxes: x grows to the right, y downwards, borders lie between pixels, so the centre of the
first pixel is (0.5, 0.5) and the last border is the width.
"""

import math
from typing import Any

import tensorflow as tf

from edgecv.data.mask_files import IGNORED
from edgecv.training.augmentation import Draw, Recipe

__all__ = ["affine", "warp", "warp_boxes", "warp_pixels"]

# Keras 3.15's layers (RandomRotation, RandomZoom …) resample once each, and draw with one seed for a whole batch, so a
# picture's draw depends on its neighbours; RandomCrop moves boxes by x where it cuts by y.


def warp(recipe: Recipe, images: Any, boxes: Any, masks: Any, draws: Any, *, keep_all: bool) -> tuple[Any, Any, Any]:
    """Move the pixels of a batch, and its boxes and masks with them; arguments and results as of `Recipe.apply`."""
    height, width = images.shape[1:3]
    linear, offset = affine(recipe, draws, height, width)
    if boxes is not None:
        warped, lost = warp_boxes(boxes, linear, offset, height, width, keep=recipe.keep)
        if keep_all:
            # Mirrored as drawn, but neither turned nor moved: so each box stays whole.
            flipped = _flips(recipe, tf.cast(draws, tf.float64))
            centre = tf.constant([width / 2, height / 2], tf.float64)
            lost = lost[:, None]
            offset = tf.where(lost, centre - flipped * centre, offset)
            linear = tf.where(lost[..., None], tf.linalg.diag(flipped), linear)
            warped, _ = warp_boxes(boxes, linear, offset, height, width, keep=0.0)
        boxes = warped
    images = warp_pixels(images, linear, offset, interpolation="BILINEAR", fill_mode="NEAREST")
    if masks is not None:
        masks = warp_pixels(
            masks[..., None], linear, offset, interpolation="NEAREST", fill_mode="CONSTANT", fill_value=IGNORED
        )[..., 0]
    return images, boxes, masks


def affine(recipe: Recipe, draws: Any, height: int, width: int) -> tuple[Any, Any]:
    """Compose what the draws say into one map of points, ``p → linear · p + offset``, per picture.

    Args:
        recipe: The ranges.
        draws: float32 ``(batch, len(Draw))``.
        height: Of the input, in pixels.
        width: Of the input, in pixels.

    Returns:
        float64 ``(batch, 2, 2)`` and ``(batch, 2)``, for points (x, y).
    """
    draws = tf.cast(draws, tf.float64)
    size = tf.constant([width, height], tf.float64)
    angle = _signed(draws[:, Draw.ROTATE]) * math.radians(recipe.rotate)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    turn = tf.stack([tf.stack([cosine, -sine], -1), tf.stack([sine, cosine], -1)], -2)
    zoom = _logarithmic(draws[:, Draw.ZOOM], recipe.zoom)[:, None]
    shift = _signed(draws[:, Draw.SHIFT_X : Draw.SHIFT_Y + 1]) * recipe.shift * size
    corner, share = _cut(recipe, draws)

    # Columns are scaled before, rows after the turn.
    linear = turn * (_flips(recipe, draws) * zoom)[:, None, :] / share[:, :, None]
    centre = size / 2
    offset = (centre + shift - corner * size) / share - tf.linalg.matvec(linear, centre)
    return linear, offset


def warp_boxes(boxes: Any, linear: Any, offset: Any, height: int, width: int, *, keep: float) -> tuple[Any, Any]:
    """Move boxes: around the four moved corners, cut at the border.

    Args:
        boxes: float32 ``(batch, boxes, 4)``, see `Recipe.apply`.
        linear: See `affine`.
        offset: See `affine`.
        height: Of the input, in pixels.
        width: Of the input, in pixels.
        keep: Least share of a moved box's area that is left after the cut.

    Returns:
        float32 boxes, zeros where a row is padding or less is left; and bool ``(batch,)``: whether a box was lost.
    """
    corners = tf.cast(tf.gather(boxes, [[0, 1], [2, 1], [2, 3], [0, 3]], axis=-1), tf.float64)
    moved = tf.einsum("nij,nbcj->nbci", linear, corners) + offset[:, None, None, :]
    whole = tf.concat([tf.reduce_min(moved, axis=2), tf.reduce_max(moved, axis=2)], axis=-1)
    cut = tf.clip_by_value(whole, 0.0, tf.constant([width, height, width, height], tf.float64))
    real = (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])
    left = _area(cut)
    kept = real & (left > 0) & (left >= keep * _area(whole))
    return tf.cast(tf.where(kept[..., None], cut, 0.0), tf.float32), tf.reduce_any(real & ~kept, axis=1)


def warp_pixels(
    images: Any, linear: Any, offset: Any, *, interpolation: str, fill_mode: str, fill_value: float = 0.0
) -> Any:
    """Resample pictures, each along its map; see `affine` and `tf.raw_ops.ImageProjectiveTransformV3`."""
    # The operator asks where each output pixel comes from, and counts from the centre of the first one.
    inverse = tf.linalg.inv(linear)
    back = tf.linalg.matvec(inverse, 0.5 - offset) - 0.5
    rows = tf.concat([inverse, back[..., None]], axis=-1)
    eight = tf.concat([tf.reshape(rows, (-1, 6)), tf.zeros((tf.shape(rows)[0], 2), tf.float64)], axis=-1)
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.cast(eight, tf.float32),
        output_shape=tf.shape(images)[1:3],
        fill_value=fill_value,
        interpolation=interpolation,
        fill_mode=fill_mode,
    )
    return tf.ensure_shape(warped, images.shape)


def _flips(recipe: Recipe, draws: Any) -> Any:
    """Return the sign of each axis, float64 ``(batch, 2)`` as x, y."""
    chance = tf.constant([recipe.flip_horizontal, recipe.flip_vertical], draws.dtype)
    flipped = draws[:, Draw.FLIP_HORIZONTAL : Draw.FLIP_VERTICAL + 1] < chance
    return 1.0 - 2.0 * tf.cast(flipped, draws.dtype)


def _cut(recipe: Recipe, draws: Any) -> tuple[Any, Any]:
    """Return upper left corner and size of what is cut out, float64 ``(batch, 2)``, as shares of width and height."""
    area = recipe.crop[0] + draws[:, Draw.CROP_AREA] * (recipe.crop[1] - recipe.crop[0])
    aspect = _logarithmic(draws[:, Draw.CROP_ASPECT], recipe.crop_aspect)
    share = tf.minimum(tf.stack([tf.sqrt(area * aspect), tf.sqrt(area / aspect)], -1), 1.0)
    return draws[:, Draw.CROP_X : Draw.CROP_Y + 1] * (1.0 - share), share


def _signed(draw: Any) -> Any:
    return draw * 2.0 - 1.0


def _logarithmic(draw: Any, limits: tuple[float, float]) -> Any:
    low, high = (math.log(limit) for limit in limits)
    return tf.exp(low + draw * (high - low))


def _area(boxes: Any) -> Any:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
