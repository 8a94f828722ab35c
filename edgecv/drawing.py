"""Boxes, masks and captions drawn on pictures: the same for answers of networks and for labels."""

import colorsys
import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["class_colour", "draw_box", "font_of", "overlaid", "shown_larger", "tinted", "with_legend", "with_strip"]

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Pixels = np.ndarray[Any, np.dtype[np.uint8]]

# Smaller pictures are enlarged by a whole number until their labels can be read.
_MIN_SIDE = 320
_GOLDEN = 0.618034
# What a panel leaves of what it covers.
_DARK = [value * 35 // 100 for value in range(256)] * 3


def class_colour(number: int) -> tuple[int, int, int]:
    """Return the colour of a class, RGB in 0…255."""
    # Hues a golden section apart stay distinct however many classes there are.
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.75, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


@functools.cache
def font_of(size: float) -> Font:
    """Return the font, in a size in pixels.

    Pillow's own has no letters beyond ASCII: names of classes want one that has, where there is one.
    """
    for name in _fonts():
        try:
            return ImageFont.truetype(name, size=size)
        except OSError:  # it is not there
            continue
    return ImageFont.load_default(size=size)


def _fonts() -> list[str]:
    """Return fonts with the letters of many languages: the system's, and the one that matplotlib brings."""
    names = ["DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf"]
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        return names
    return [*names, str(Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / names[0])]


def shown_larger(pixels: Pixels) -> tuple[Image.Image, int]:
    """Enlarge a small picture until labels on it can be read.

    Args:
        pixels: uint8 ``(height, width, 3)`` RGB.

    Returns:
        The picture, and how many times larger it is: a whole number, so that each pixel stays a square.
    """
    height, width = pixels.shape[:2]
    # The long side counts: a strip of 20,000 × 1 pixels must not grow.
    scale = max(1, -(-_MIN_SIDE // max(width, height)))
    image = Image.fromarray(pixels)
    return image.resize((width * scale, height * scale), Image.Resampling.NEAREST), scale


def tinted(pixels: Pixels, mask: np.ndarray[Any, Any], *, plain: int | None = 0) -> Pixels:
    """Lay the colours of a mask's classes over a picture.

    Args:
        pixels: uint8 ``(height, width, 3)`` RGB.
        mask: Class numbers ``(height, width)``; pixels of numbers below 0 stay as they are.
        plain: Pixels of this class stay as they are, too: the background; None where there is none.
    """
    numbers, places = np.unique(mask, return_inverse=True)
    coloured = np.array([number >= 0 and number != plain for number in numbers.tolist()])
    colours = np.array([class_colour(max(0, number)) for number in numbers.tolist()], np.uint16)
    places = places.reshape(mask.shape)
    mixed = (pixels.astype(np.uint16) + colours[places]) // 2
    return np.where(coloured[places][..., None], mixed, pixels).astype(np.uint8)


def draw_box(image: Image.Image, box: Sequence[float], category: int, text: str, font: Font) -> None:
    """Draw a box with its text into a picture.

    Args:
        image: RGB; changed.
        box: x1, y1, x2, y2 in its pixels.
        category: Class number, which gives the colour.
        text: What stands above the box, or in it where there is no room above; nothing where empty.
        font: Of the text.
    """
    draw = ImageDraw.Draw(image)
    colour = class_colour(category)
    draw.rectangle(tuple(box), outline=colour, width=max(2, round(min(image.size) / 200)))
    if not text:
        return
    left, _, right, bottom = draw.textbbox((0, 0), text, font=font)
    # Above the box where there is room, and never outside the picture.
    x = max(0, min(box[0], image.width - right))
    y = box[1] - bottom if box[1] >= bottom else box[1]
    draw.rectangle((x + left - 2, y, x + right + 2, y + bottom), fill=colour)
    draw.text((x, y), text, fill=_ink(colour), font=font)


def with_strip(image: Image.Image, lines: Sequence[str], font: Font) -> Image.Image:
    """Return a picture with lines of text in a white strip below it; as it is where there are none."""
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


def with_legend(image: Image.Image, entries: Sequence[tuple[int | None, str]], font: Font) -> Image.Image:
    """Return a picture with a legend in a white strip below it: a square in a class's colour, and its text.

    Args:
        image: RGB.
        entries: Class number and text, one a line; None for a class that is drawn in no colour.
        font: Of the texts.
    """
    if not entries:
        return image
    measure = ImageDraw.Draw(image)
    boxes = [measure.textbbox((0, 0), text, font=font) for _, text in entries]
    line = round(max(box[3] for box in boxes) * 1.3)
    margin, side = max(2, line // 3), max(4, round(line * 0.7))
    width = max(image.width, 3 * margin + side + round(max(box[2] for box in boxes)))
    whole = Image.new("RGB", (width, image.height + 2 * margin + line * len(entries)), "white")
    whole.paste(image, ((width - image.width) // 2, 0))
    draw = ImageDraw.Draw(whole)
    for row, (number, text) in enumerate(entries):
        top = image.height + margin + row * line
        square = (margin, top, margin + side, top + side)
        draw.rectangle(square, fill="white" if number is None else class_colour(number), outline="black")
        draw.text((2 * margin + side, top), text, fill="black", font=font)
    return whole


def overlaid(image: Image.Image, entries: Sequence[tuple[int | None, str]], font: Font) -> Image.Image:
    """Return a picture with lines of text on a dark panel in its upper left corner; its size stays.

    Args:
        image: RGB.
        entries: As for `with_legend`.
        font: Of the texts.
    """
    if not entries:
        return image
    measure = ImageDraw.Draw(image)
    boxes = [measure.textbbox((0, 0), text, font=font) for _, text in entries]
    line = round(max(box[3] for box in boxes) * 1.3)
    margin = max(2, line // 3)
    side = max(4, round(line * 0.7)) if any(number is not None for number, _ in entries) else 0
    indent = margin + (side + margin if side else 0)
    size = (indent + round(max(box[2] for box in boxes)) + margin, line * len(entries) + 2 * margin)
    panel = (0, 0, min(size[0], image.width), min(size[1], image.height))
    image = image.copy()
    image.paste(image.crop(panel).point(_DARK), panel)
    draw = ImageDraw.Draw(image)
    for row, (number, text) in enumerate(entries):
        top = margin + row * line
        if number is not None:
            draw.rectangle((margin, top, margin + side, top + side), fill=class_colour(number), outline="white")
        draw.text((indent, top), text, fill="white", font=font)
    return image


def _ink(colour: tuple[int, int, int]) -> str:
    """Return black or white, whichever is readable on a colour (luma of ITU-R 601)."""
    return "black" if 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 128 else "white"
