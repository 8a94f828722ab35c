"""Recipes of augmentation: by how much a picture may be changed each time that it is shown in training.

A recipe is nothing but ranges. What they do stands in `edgecv.training.warping` (where pixels go) and
`edgecv.training.recolouring` (which values they get); both work on whole batches in TensorFlow.

Each picture's share of chance is a row of numbers in [0, 1), one for each thing that a recipe may vary. The rows of
an epoch are drawn at once, by a generator without state, so a row depends on the run's seed, the epoch and the
picture's number alone: batches, order, threads and interruptions change nothing.
"""

import enum
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from edgecv.errors import OptionError, one_line

__all__ = ["RECIPES", "Draw", "Recipe", "read_recipe"]

Range = tuple[float, float]


class Draw(enum.IntEnum):
    """The columns of the table of draws; new ones go to the end, so that old runs stay repeatable."""

    FLIP_HORIZONTAL = 0
    FLIP_VERTICAL = enum.auto()
    SHIFT_X = enum.auto()
    SHIFT_Y = enum.auto()
    ROTATE = enum.auto()
    ZOOM = enum.auto()
    CROP_AREA = enum.auto()
    CROP_ASPECT = enum.auto()
    CROP_X = enum.auto()
    CROP_Y = enum.auto()
    BRIGHTNESS = enum.auto()
    CONTRAST = enum.auto()
    SATURATION = enum.auto()
    HUE = enum.auto()
    ERASE = enum.auto()
    ERASE_AREA = enum.auto()
    ERASE_ASPECT = enum.auto()
    ERASE_X = enum.auto()
    ERASE_Y = enum.auto()
    ERASE_NOISE = enum.auto()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Ranges of random changes; the defaults change nothing.

    Order: flip, rotate, zoom, shift, crop (one affine map, so that pixels are resampled once); then brightness,
    saturation, hue, contrast; then erasing. Parts of the input that the picture does not cover repeat the nearest
    border pixel; in masks they are 255, pixels of no class.

    Attributes:
        flip_horizontal: Probability of exchanging left and right.
        flip_vertical: Probability of exchanging top and bottom.
        shift: Largest shift each way, as a share of the width and of the height, in [0, 1].
        rotate: Largest turn each way about the centre, in degrees, in [0, 180].
        zoom: Least and largest factor of size, about the centre; evenly in its logarithm.
        crop: Least and largest share of the area that is cut out and brought to the full size, in (0, 1].
        crop_aspect: Least and largest factor of the cut-out's width ÷ height; evenly in its logarithm.
        brightness: b: the values are multiplied by 1 − b … 1 + b, in [0, 1].
        contrast: c: their distance from the picture's mean luminance is multiplied by 1 − c … 1 + c, in [0, 1].
        saturation: s: their distance from their own luminance is multiplied by 1 − s … 1 + s, in [0, 1].
        hue: Largest turn of the colours each way in YIQ, in degrees, in [0, 180]; luminance stays.
        erase: Probability of random erasing: a rectangle is filled with noise.
        erase_area: Least and largest share of the picture's area that is erased, in (0, 1].
        erase_aspect: Least and largest height ÷ width of what is erased; evenly in its logarithm.
        keep: A box is dropped when less than this share of its area stays inside the input, in [0, 1].

    Raises:
        OptionError: A value is out of range.

    Reference:
        Erasing: Zhong et al., "Random Erasing Data Augmentation", 2017, https://arxiv.org/abs/1708.04896, variant
        RE-R; its defaults are the paper's s_l, s_h and r_1. Cropping: Szegedy et al., "Going Deeper with
        Convolutions", 2014, section 6.
    """

    flip_horizontal: float = 0.0
    flip_vertical: float = 0.0
    shift: float = 0.0
    rotate: float = 0.0
    zoom: Range = (1.0, 1.0)
    crop: Range = (1.0, 1.0)
    crop_aspect: Range = (1.0, 1.0)
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    erase: float = 0.0
    erase_area: Range = (0.02, 0.4)
    erase_aspect: Range = (0.3, 1 / 0.3)
    keep: float = 0.25

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _RANGES:
                object.__setattr__(self, field.name, _checked_range(field.name, value, _RANGES[field.name]))
            else:
                _check_number(field.name, value, 180 if field.name in ("rotate", "hue") else 1)

    @property
    def moves(self) -> bool:
        """Whether pixels may change their places."""
        still = self.zoom == self.crop == self.crop_aspect == (1.0, 1.0)
        return not still or any((self.flip_horizontal, self.flip_vertical, self.shift, self.rotate))

    @property
    def recolours(self) -> bool:
        """Whether pixels may change their values."""
        return any((self.brightness, self.contrast, self.saturation, self.hue))

    @property
    def changes(self) -> bool:
        """Whether anything may change at all."""
        return self.moves or self.recolours or self.erase > 0

    def draws(self, count: int, *, seed: int, epoch: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Draw what chance says to each picture of an epoch.

        Args:
            count: Number of pictures.
            seed: The run's.
            epoch: Number of the epoch.

        Returns:
            float32 ``(count, len(Draw))`` in [0, 1): row i belongs to picture i, whatever ``count`` is.
        """
        import tensorflow as tf

        # The one algorithm whose numbers are the same on every device and version.
        with tf.device("CPU:0"):
            table = tf.random.stateless_uniform((count, len(Draw)), (seed, epoch), alg="philox")
        return np.asarray(table.numpy(), np.float32)

    def apply(
        self, images: Any, *, draws: Any, boxes: Any = None, masks: Any = None, keep_all: bool = False
    ) -> tuple[Any, Any, Any]:
        """Change a batch as its draws say; TensorFlow tensors in and out, inside tf.data as well as outside.

        Args:
            images: uint8 or float32 ``(batch, height, width, channels)`` in [0, 255]; 1 = luminance, 3 = RGB.
            draws: float32 ``(batch, len(Draw))``: the pictures' rows of `draws`.
            boxes: float32 ``(batch, boxes, 4)`` as x1, y1, x2, y2 in pixels of the input; rows without an area are
                padding. None where there are none.
            masks: ``(batch, height, width)``, integer class numbers, 255 of no class, or None.
            keep_all: Where a box would be dropped, only flip this picture: for tasks that need each box.

        Returns:
            float32 images; the boxes, cut at the border, with zeros in rows that are padding or dropped; int32
            masks. None for what is not given.
        """
        import tensorflow as tf

        if self.changes:  # TensorFlow's modules, and so only when they are called
            from edgecv.training.recolouring import erase, recolour
            from edgecv.training.warping import warp

        images = tf.cast(images, tf.float32)
        masks = None if masks is None else tf.cast(masks, tf.int32)
        if self.moves:
            images, boxes, masks = warp(self, images, boxes, masks, draws, keep_all=keep_all)
        if self.recolours:
            images = recolour(self, images, draws)
        if self.erase:
            images, masks = erase(self, images, masks, draws)
        return images, boxes, masks

    def to_json(self) -> dict[str, Any]:
        """Return the form that ``run.json`` keeps and that `from_json` reads."""
        return {name: list(value) if name in _RANGES else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Recipe":
        """Read what `to_json` writes; missing keys change nothing.

        Raises:
            OptionError: A key is unknown or a value is out of range.
        """
        if not isinstance(document, Mapping):
            raise OptionError(f"augmentation must be a JSON object, got {type(document).__name__}")
        known = sorted(field.name for field in fields(cls))
        unknown = sorted(set(document) - set(known))
        if unknown:
            raise OptionError(f"augmentation has the unknown key {unknown[0]!r}. Known: {', '.join(known)}.")
        return cls(**document)


# The largest value of each range; none reaches 0.
_RANGES: Mapping[str, float] = {"zoom": 100, "crop": 1, "crop_aspect": 100, "erase_area": 1, "erase_aspect": 100}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_number(name: str, value: Any, high: float) -> None:
    if not _is_number(value) or not 0 <= value <= high:
        raise OptionError(f"augmentation key {name!r} must be a number in [0, {high}], got {value!r}")


def _checked_range(name: str, value: Any, high: float) -> Range:
    pair = isinstance(value, tuple | list) and len(value) == 2 and all(_is_number(each) for each in value)
    if not pair or not 0 < value[0] <= value[1] <= high:
        raise OptionError(f"augmentation key {name!r} must be two rising numbers in (0, {high}], got {value!r}")
    return float(value[0]), float(value[1])


RECIPES: Mapping[str, Recipe] = {
    "none": Recipe(),
    # For small grey pictures, digits and letters: as if written a little elsewhere and a little askew. Nothing is
    # mirrored (a mirrored 2 is no 2), nothing is cut off, no colour changes.
    "light": Recipe(shift=0.08, rotate=8.0, zoom=(0.92, 1.08), brightness=0.1, contrast=0.1),
    # For photos, of things that look alike in a mirror. Not for text, traffic signs or left and right hands.
    "standard": Recipe(
        flip_horizontal=0.5,
        shift=0.05,
        rotate=10.0,
        zoom=(0.9, 1.1),
        crop=(0.6, 1.0),
        crop_aspect=(0.8, 1.25),
        brightness=0.2,
        contrast=0.2,
        saturation=0.2,
        hue=10.0,
        erase=0.25,
        erase_area=(0.02, 0.2),
    ),
}


def read_recipe(name: str) -> Recipe:
    """Return a recipe by its name, or read a JSON file of one.

    Raises:
        OptionError: There is no such recipe, or the file cannot be read or holds none.
    """
    if name in RECIPES:
        return RECIPES[name]
    if not name.endswith(".json"):
        raise OptionError(f"augment must be one of {', '.join(RECIPES)} or a FILE.json, got {name!r}")
    try:
        return Recipe.from_json(json.loads(Path(name).read_text(encoding="utf-8")))
    except OptionError:
        raise
    except OSError as error:
        raise OptionError(f"augment {name!r} cannot be read: {error.strerror}. Name another file.") from error
    except (ValueError, RecursionError) as error:
        raise OptionError(f"augment {name!r} is no JSON: {one_line(error)}. Mend it.") from error
