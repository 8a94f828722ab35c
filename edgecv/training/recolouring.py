"""Which values pixels get: a recipe's brightness, contrast, saturation and hue as one matrix; erasing."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from edgecv.data.mask_files import IGNORED
from edgecv.training.augmentation import Draw, Recipe

__all__ = ["erase", "recolour"]

# RGB → YIQ (FCC, 1953), in rows; the first is luminance, the same as in `fit_picture`.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


def recolour(recipe: Recipe, images: Any, draws: Any) -> Any:
    """Change the values of a batch; luminance has neither saturation nor hue.

    Args:
        recipe: The ranges.
        images: float32 ``(batch, height, width, channels)`` in [0, 255].
        draws: float32 ``(batch, len(Draw))``.

    Returns:
        The same, cut to [0, 255].
    """
    brightness = _factor(draws[:, Draw.BRIGHTNESS], recipe.brightness)
    contrast = _factor(draws[:, Draw.CONTRAST], recipe.contrast)
    mean = tf.reduce_mean(images, axis=(1, 2))
    if images.shape[-1] == 3:
        mean = tf.reduce_sum(mean * tf.constant(_YIQ[0], tf.float32), axis=-1, keepdims=True)
        if recipe.saturation or recipe.hue:
            images = tf.einsum("nhwc,ndc->nhwd", images, _colour_matrix(recipe, draws))
    grey = ((1.0 - contrast) * brightness)[:, None] * mean
    images = images * (contrast * brightness)[:, None, None, None] + grey[:, None, None, :]
    return tf.clip_by_value(images, 0.0, 255.0)


def erase(recipe: Recipe, images: Any, masks: Any, draws: Any) -> tuple[Any, Any]:
    """Fill a rectangle of some pictures with noise; what is under it is `IGNORED` in masks; boxes stay.

    Zhong et al. draw again where the rectangle does not fit; here its sides are cut to the picture's.

    Args:
        recipe: The ranges.
        images: float32 ``(batch, height, width, channels)`` in [0, 255].
        masks: int32 ``(batch, height, width)`` or None.
        draws: float32 ``(batch, len(Draw))``.

    Returns:
        Images and masks.
    """
    # Only those that are struck: noise for all would take longer than everything else.
    struck = tf.where(draws[:, Draw.ERASE] < recipe.erase)
    draws = tf.gather_nd(draws, struck)
    height, width, channels = images.shape[1:]
    erased = _rectangles(recipe, draws, height, width)
    # The same noise for all, each picture's turned on by a share of its own: even in [0, 255] for each.
    noise = tf.random.stateless_uniform((height, width, channels), (0, 0), alg="philox")
    noise = noise + draws[:, Draw.ERASE_NOISE, None, None, None]
    noise = (noise - tf.floor(noise)) * 255.0
    changed = tf.where(erased[..., None], noise, tf.gather_nd(images, struck))
    images = tf.tensor_scatter_nd_update(images, struck, changed)
    if masks is not None:
        masks = tf.tensor_scatter_nd_update(masks, struck, tf.where(erased, IGNORED, tf.gather_nd(masks, struck)))
    return images, masks


def _rectangles(recipe: Recipe, draws: Any, height: int, width: int) -> Any:
    """Return bool ``(batch, height, width)``: what is erased."""
    low, high = recipe.erase_area
    area = (low + draws[:, Draw.ERASE_AREA] * (high - low)) * (height * width)
    low, high = (math.log(limit) for limit in recipe.erase_aspect)
    aspect = tf.exp(low + draws[:, Draw.ERASE_ASPECT] * (high - low))
    rows = _span(tf.sqrt(area * aspect), draws[:, Draw.ERASE_Y], height)
    columns = _span(tf.sqrt(area / aspect), draws[:, Draw.ERASE_X], width)
    return rows[:, :, None] & columns[:, None, :]


def _colour_matrix(recipe: Recipe, draws: Any) -> Any:
    """Return float32 ``(batch, 3, 3)``: to YIQ, the two colour differences turned and scaled, and back to RGB."""
    angle = (draws[:, Draw.HUE] * 2.0 - 1.0) * math.radians(recipe.hue)
    saturation = _factor(draws[:, Draw.SATURATION], recipe.saturation)
    cosine, sine = tf.cos(angle) * saturation, tf.sin(angle) * saturation
    zero, one = tf.zeros_like(cosine), tf.ones_like(cosine)
    rows = [(one, zero, zero), (zero, cosine, -sine), (zero, sine, cosine)]
    turn = tf.stack([tf.stack(row, -1) for row in rows], -2)
    forth, back = (tf.constant(matrix, tf.float32) for matrix in (_YIQ, np.linalg.inv(_YIQ)))
    return back @ turn @ forth


def _factor(draw: Any, reach: float) -> Any:
    return 1.0 + (draw * 2.0 - 1.0) * reach


def _span(length: Any, draw: Any, size: int) -> Any:
    """Return bool ``(batch, size)``: which pixels of an axis a stretch of this length covers."""
    whole = tf.clip_by_value(tf.round(length), 1.0, size)
    start = tf.floor(draw * (size - whole + 1.0))
    places = tf.range(size, dtype=tf.float32)
    return (places >= start[:, None]) & (places < (start + whole)[:, None])
