"""Pictures with their answers drawn on, for ``predict --save``."""

import colorsys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edgecv.files import replace_whole
from edgecv.pictures import Picture
from edgecv.results import Prediction

__all__ = ["Gallery", "annotate"]

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Pixels = np.ndarray[Any, np.dtype[np.uint8]]

# Smaller pictures are enlarged by a whole number until their labels can be read.
_MIN_SIDE = 320
_MAX_LINES = 5
_GOLDEN = 0.618034


class Gallery:
    """A folder that annotated pictures are written to, each under a name of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: set[str] = set()

    def add(self, picture: Picture, prediction: Prediction) -> Path:
        """Draw and write a picture, whole or not at all; JPEG stays JPEG, all else becomes PNG.

        Raises:
            OutputError: The folder cannot be written, or the disk is full.
        """
        source = Path(picture.source or "picture")
        jpeg = source.suffix.lower() in (".jpg", ".jpeg", ".jpe")
        path = self._folder / self._free_name(source.stem, ".jpg" if jpeg else ".png")
        image = annotate(picture, prediction)
        with replace_whole(path) as temporary:
            image.save(temporary, format="JPEG" if jpeg else "PNG", **({"quality": 92} if jpeg else {}))
        return path

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
    pixels = picture.pixels
    if prediction.mask is not None:
        pixels = _tinted(pixels, prediction.mask)
    # The long side counts: a strip of 20,000 × 1 pixels must not grow.
    scale = max(1, -(-_MIN_SIDE // max(picture.width, picture.height)))
    image = Image.fromarray(pixels).resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
    font = ImageFont.load_default(size=max(12, round(max(min(image.size), max(image.size) / 4) / 28)))
    boxed = [result for result in prediction.results if "box" in result]
    for result in reversed(boxed):  # the best on top
        _draw_box(image, [side * scale for side in result["box"]], result, font)
    lines = [_caption(result) for result in prediction.results if "box" not in result and "output" not in result]
    return _with_strip(image, lines[:_MAX_LINES], font)


def _tinted(pixels: Pixels, mask: np.ndarray[Any, Any]) -> Pixels:
    mixed = pixels.astype(np.float32)
    for number in np.unique(mask[mask > 0]):  # class 0 is the background
        mixed[mask == number] = 0.5 * mixed[mask == number] + 0.5 * np.array(_colour(int(number)), np.float32)
    return mixed.astype(np.uint8)


def _draw_box(image: Image.Image, box: list[float], result: dict[str, Any], font: Font) -> None:
    draw = ImageDraw.Draw(image)
    colour = _colour(result["class"])
    draw.rectangle(box, outline=colour, width=max(2, round(min(image.size) / 200)))
    text = _caption(result)
    left, _, right, bottom = draw.textbbox((0, 0), text, font=font)
    # Above the box where there is room, and never outside the picture.
    x = max(0, min(box[0], image.width - right))
    y = box[1] - bottom if box[1] >= bottom else box[1]
    draw.rectangle((x + left - 2, y, x + right + 2, y + bottom), fill=colour)
    draw.text((x, y), text, fill=_ink(colour), font=font)


def _with_strip(image: Image.Image, lines: list[str], font: Font) -> Image.Image:
    if not lines:
        return image
    text = "\n".join(lines)
    margin = round(ImageDraw.Draw(image).textbbox((0, 0), "x", font=font)[3] / 2)
    box = ImageDraw.Draw(image).multiline_textbbox((0, 0), text, font=font)
    width, height = max(image.width, round(box[2]) + 2 * margin), round(box[3]) + 2 * margin
    whole = Image.new("RGB", (width, image.height + height), "white")
    whole.paste(image, ((width - image.width) // 2, 0))
    ImageDraw.Draw(whole).multiline_text((margin, image.height + margin), text, fill="black", font=font)
    return whole


def _caption(result: dict[str, Any]) -> str:
    name = result["label"] if result["label"] is not None else f"class {result['class']}"
    return f"{name} {result['score']:.2f}" if "score" in result else f"{name}: {result['pixels']:,} pixels"


def _colour(number: int) -> tuple[int, int, int]:
    # Hues a golden section apart stay distinct however many classes there are.
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.75, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _ink(colour: tuple[int, int, int]) -> str:
    """Return black or white, whichever is readable on a colour (luma of ITU-R 601)."""
    return "black" if 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 128 else "white"
