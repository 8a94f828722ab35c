"""Pictures and frames with their answers drawn on, for ``predict --save``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgecv.drawing import (
    Font,
    class_colour,
    draw_box,
    font_of,
    overlaid,
    shown_larger,
    tinted,
    with_legend,
    with_strip,
)
from edgecv.files import replace_whole
from edgecv.pictures import Picture
from edgecv.printable import short
from edgecv.results import Prediction

__all__ = ["Gallery", "annotate", "annotate_frame", "background_of", "numbered"]

_MAX_LINES = 5
_MAX_CLASSES = 12
# In the mask that is written: what the network did not see.
_UNSEEN = 255
_BACKGROUNDS = ("background", "bg", "none", "unlabeled", "unlabelled", "void")


class Gallery:
    """A folder that annotated pictures are written to, each under a name of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: set[str] = set()

    def add(self, picture: Picture, prediction: Prediction) -> dict[str, str]:
        """Draw and write a picture, whole or not at all, and its mask; JPEG stays JPEG, all else becomes PNG.

        Returns:
            The paths of the picture, ``saved``, and of a segmenter's mask, ``saved_mask``.

        Raises:
            OutputError: The folder cannot be written, or the disk is full.
        """
        source = Path(picture.source or "picture")
        jpeg = source.suffix.lower() in (".jpg", ".jpeg", ".jpe")
        path = self._folder / self._free_name(source.stem, ".jpg" if jpeg else ".png")
        image = annotate(picture, prediction)
        with replace_whole(path) as temporary:
            image.save(temporary, format="JPEG" if jpeg else "PNG", **({"quality": 92} if jpeg else {}))
        if prediction.mask is None:
            return {"saved": str(path)}
        mask = self._folder / self._free_name(f"{path.stem}.mask", ".png")
        with replace_whole(mask) as temporary:
            numbered(prediction.mask).save(temporary, format="PNG")
        return {"saved": str(path), "saved_mask": str(mask)}

    def video(self, source: str) -> Path:
        """Return the path of a video or camera's annotated video: always an MP4."""
        stem = source.replace(":", "-") if source.startswith("camera:") else Path(source).stem
        return self._folder / self._free_name(stem, ".mp4")

    def _free_name(self, stem: str, suffix: str) -> str:
        # Two folders may hold pictures of the same name; one run must not overwrite its own.
        name, number = stem + suffix, 1
        while name in self._names:
            number += 1
            name = f"{stem}-{number}{suffix}"
        self._names.add(name)
        return name


def annotate(picture: Picture, prediction: Prediction) -> Image.Image:
    """Draw the answers: boxes and masks on the picture, classes in a strip below it."""
    if prediction.mask is not None:
        return _coloured(picture, prediction, prediction.mask)
    image, font = _with_boxes(picture, prediction)
    return with_strip(image, _captions(prediction), font)


def annotate_frame(picture: Picture, prediction: Prediction) -> Image.Image:
    """Draw the answers all inside the picture: the frames of a video have one size."""
    if prediction.mask is None:
        image, font = _with_boxes(picture, prediction)
        return overlaid(image, [(None, caption) for caption in _captions(prediction)], font)
    image, entries = _with_colours(picture, prediction, prediction.mask)
    return overlaid(image, entries, _font(image))


def numbered(mask: np.ndarray[Any, Any]) -> Image.Image:
    """Return a mask as a picture of class numbers: a PNG with the classes' colours as its palette.

    Pixels that the network did not see have the highest number, as pixels of no class have in data sets; where there
    are more than 255 classes, numbers have 16 bits and no colours.
    """
    if int(mask.max(initial=0)) >= _UNSEEN:
        return Image.fromarray(np.where(mask < 0, 65535, mask).astype(np.uint16))
    image = Image.fromarray(np.where(mask < 0, _UNSEEN, mask).astype(np.uint8)).convert("P")
    colours = [(0, 0, 0), *(class_colour(number) for number in range(1, _UNSEEN)), (224, 224, 192)]
    image.putpalette([part for colour in colours for part in colour])
    return image


def background_of(results: Sequence[dict[str, Any]]) -> int | None:
    """Return the class whose pixels stay as they are: 0, unless its label is no background's (Cityscapes: road)."""
    labels = [result["label"] for result in results if result["class"] == 0 and result["label"] is not None]
    return 0 if all(label.strip(" _").casefold() in _BACKGROUNDS for label in labels) else None


def _with_boxes(picture: Picture, prediction: Prediction) -> tuple[Image.Image, Font]:
    image, scale = shown_larger(picture.pixels)
    font = _font(image)
    boxed = [result for result in prediction.results if "box" in result]
    for result in reversed(boxed):  # the best on top
        draw_box(image, [side * scale for side in result["box"]], result["class"], _caption(result), font)
    return image, font


def _captions(prediction: Prediction) -> list[str]:
    """Return what is said of the whole picture."""
    whole = (result for result in prediction.results if "box" not in result and "output" not in result)
    return [_caption(result) for result in whole][:_MAX_LINES]


def _coloured(picture: Picture, prediction: Prediction, mask: np.ndarray[Any, Any]) -> Image.Image:
    """Lay the classes' colours over the picture, with a legend below."""
    image, entries = _with_colours(picture, prediction, mask)
    return with_legend(image, entries, _font(image))


def _with_colours(
    picture: Picture, prediction: Prediction, mask: np.ndarray[Any, Any]
) -> tuple[Image.Image, list[tuple[int | None, str]]]:
    """Return the picture with the classes' colours, the background left as it is, and the entries of its legend."""
    plain = background_of(prediction.results)
    image, _ = shown_larger(tinted(picture.pixels, mask, plain=plain))
    shown = [(None if each["class"] == plain else each["class"], _caption(each)) for each in prediction.results]
    more = len(shown) - _MAX_CLASSES
    return image, shown if more <= 0 else [*shown[:_MAX_CLASSES], (None, f"and {more} more")]


def _font(image: Image.Image) -> Font:
    return font_of(max(12, round(max(min(image.size), max(image.size) / 4) / 28)))


def _caption(result: dict[str, Any]) -> str:
    name = short(str(result["label"])) if result["label"] is not None else f"class {result['class']}"
    there = f" ({result['objectness']:.2f})" if "objectness" in result else ""
    return f"{name} {result['score']:.2f}{there}" if "score" in result else f"{name}: {result['pixels']:,} pixels"
