"""What a recipe does to the pictures of a data set: a sheet of them, as the first epochs will show them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from edgecv.data.mask_files import IGNORED
from edgecv.drawing import draw_box, font_of, tinted
from edgecv.files import replace_whole
from edgecv.training.loading import BOX_CATEGORIES, BOXES, MASK
from edgecv.training.stream import Stream

__all__ = ["preview", "save_preview"]

Array = np.ndarray[Any, Any]

_PICTURES = 6
_EPOCHS = 6
# Smaller pictures are enlarged by a whole number; the sheet's own font and gaps do not grow with them.
_LEAST_SIDE = 128
_GAP = 4
_FONT_SIZE = 13
_STRIP = 20


def save_preview(stream: Stream, path: Path, *, classes: Sequence[str] = ()) -> None:
    """Write what `preview` draws, as PNG.

    Raises:
        OutputError: The file cannot be written.
        PictureError: A picture cannot be read.
    """
    sheet = preview(stream, classes=classes)
    with replace_whole(path) as temporary:
        sheet.save(temporary, format="PNG")


def preview(
    stream: Stream, *, classes: Sequence[str] = (), pictures: int = _PICTURES, epochs: int = _EPOCHS
) -> Image.Image:
    """Draw a sheet: a row for each picture, first as it is loaded, then as each epoch will show it.

    Boxes and masks are drawn as the task gets them; pixels of a mask that have no class are dimmed.

    Args:
        stream: What the run would train on. The pictures are spread evenly over its samples.
        classes: Names by class number, to call the pictures by.
        pictures: Rows.
        epochs: Columns after the first, from epoch 0.

    Returns:
        RGB.

    Raises:
        PictureError: A picture cannot be read.
    """
    count = min(pictures, len(stream.samples))
    indices = [round(place) for place in np.linspace(0, len(stream.samples) - 1, count)]
    columns = [("as loaded", None), *((f"epoch {number + 1}", number) for number in range(epochs))]
    shown = [(title, _tiles(*stream.look(indices, epoch=epoch), classes=classes)) for title, epoch in columns]
    return _sheet(shown, [_caption(stream, index, classes) for index in indices])


def _caption(stream: Stream, index: int, classes: Sequence[str]) -> str:
    sample = stream.samples[index]
    name = Path(sample.name).name
    return name if sample.category is None else f"{name}  {_class_name(sample.category, classes)}"


def _class_name(number: int, classes: Sequence[str]) -> str:
    return classes[number] if number < len(classes) else str(number)


def _tiles(images: Array, targets: Mapping[str, Array], *, classes: Sequence[str]) -> list[Image.Image]:
    tiles = []
    for row, image in enumerate(images):
        pixels = np.broadcast_to(np.round(image), (*image.shape[:2], 3)).astype(np.uint8)
        if MASK in targets:
            pixels = _masked(pixels, targets[MASK][row])
        scale = max(1, -(-_LEAST_SIDE // max(pixels.shape[:2])))
        tile = Image.fromarray(pixels.repeat(scale, axis=0).repeat(scale, axis=1))
        if BOXES in targets:
            categories = (
                targets[BOX_CATEGORIES][row] if BOX_CATEGORIES in targets else np.zeros(len(targets[BOXES][row]))
            )
            _draw_boxes(tile, targets[BOXES][row] * scale, categories, classes)
        tiles.append(tile)
    return tiles


def _masked(pixels: Array, mask: Array) -> Array:
    coloured = tinted(pixels, np.where(mask == IGNORED, 0, mask))
    return np.where((mask == IGNORED)[..., None], coloured // 3, coloured).astype(np.uint8)


def _draw_boxes(tile: Image.Image, boxes: Array, categories: Array, classes: Sequence[str]) -> None:
    for box, category in zip(boxes, categories, strict=True):
        if box[2] > box[0]:  # padding and dropped boxes are zeros
            name = _class_name(int(category), classes) if classes else ""
            # Borders lie between pixels, lines on them.
            draw_box(tile, (box[0], box[1], box[2] - 1, box[3] - 1), int(category), name, font_of(_FONT_SIZE))


def _sheet(columns: Sequence[tuple[str, list[Image.Image]]], captions: Sequence[str]) -> Image.Image:
    width, height = columns[0][1][0].size
    step_x, step_y = width + _GAP, height + _STRIP + _GAP
    sheet = Image.new("RGB", (_GAP + step_x * len(columns), _STRIP + step_y * len(captions)), "white")
    draw, font = ImageDraw.Draw(sheet), font_of(_FONT_SIZE)
    for column, (title, tiles) in enumerate(columns):
        left = _GAP + column * step_x
        draw.text((left, 2), title, fill="black", font=font)
        for row, tile in enumerate(tiles):
            sheet.paste(tile, (left, _STRIP + row * step_y))
    for row, caption in enumerate(captions):
        draw.text((_GAP, _STRIP + row * step_y + height + 1), caption, fill="black", font=font)
    return sheet
