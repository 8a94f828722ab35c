"""A contact sheet: some pictures of every class on one page, with their labels drawn."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from edgecv.data.mask_files import IGNORED
from edgecv.data.samples import Dataset, Sample
from edgecv.drawing import Font, class_colour, draw_box, font_of, tinted

__all__ = ["choose", "contact_sheet"]

Mask = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

_COLUMNS = 6
_WIDTH = 1600  # pixels, for the pictures of a row
_LARGEST = 512  # pixels, of a cell's side: few pictures are shown larger
_GAP = 12
_TEXT = 15
_TITLE = 20
_LINE = 20
_LINES = 3  # classes named below a picture
_NAMED_BOXES = 6  # with more, the names would cover the picture: colours and the line below tell
_SQUARE = 11


def choose(dataset: Dataset, most: int) -> list[Sample]:
    """Choose pictures for a page: of each class in turn, as far apart in the data set as can be.

    A picture with several classes stands for the rarest of them.
    """
    frequent = Counter(category for sample in dataset.samples for category in set(_categories(sample)))
    by_class: dict[int, list[Sample]] = defaultdict(list)
    for sample in dataset.samples:
        own = _categories(sample)
        by_class[min(own, key=lambda category: (frequent[category], category)) if own else len(dataset.classes)].append(
            sample
        )
    groups = [by_class[category] for category in sorted(by_class)]
    shares = _shares([len(group) for group in groups], most)
    return [
        group[place]
        for group, share in zip(groups, shares, strict=True)
        for place in np.linspace(0, len(group) - 1, share).round().astype(int)
    ]


def contact_sheet(dataset: Dataset, *, most: int = 24) -> Image.Image:
    """Draw one.

    Args:
        dataset: Of any task: boxes are drawn, masks overlaid, classes named below.
        most: How many pictures it has at most.

    Raises:
        PictureError: One of the pictures cannot be read.
    """
    samples = choose(dataset, most)
    # Half as many columns again as rows: a page lies.
    columns = max(1, min(_COLUMNS, len(samples), math.ceil(math.sqrt(1.5 * len(samples)))))
    cell = min(_LARGEST, _WIDTH // columns)
    font, title = font_of(_TEXT), font_of(_TITLE)
    width = columns * (cell + _GAP) + _GAP
    rows = [
        [_Tile.of(sample, dataset.classes, cell, font) for sample in samples[start : start + columns]]
        for start in range(0, len(samples), columns)
    ]
    top = _TITLE + 2 * _GAP
    sheet = Image.new("RGB", (width, top + sum(map(_height, rows))), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _GAP), _cut(_headline(dataset, samples), title, width - 2 * _GAP), fill="black", font=title)
    for row in rows:
        bottom = top + max(tile.image.height for tile in row)  # of the pictures: so the names stand in one line
        for column, tile in enumerate(row):
            left = _GAP + column * (cell + _GAP)
            sheet.paste(tile.image, (left + (cell - tile.image.width) // 2, bottom - tile.image.height))
            _write_names(draw, tile.names, (left, bottom + 3), cell, font)
        top += _height(row)
    return sheet


@dataclass(frozen=True)
class _Tile:
    """A picture with its labels, and what stands below it."""

    image: Image.Image
    names: list[tuple[int, str]]

    @classmethod
    def of(cls, sample: Sample, classes: Sequence[str], cell: int, font: Font) -> "_Tile":
        mask = None if sample.mask is None else sample.mask.read().pixels[:, :, 0]
        return cls(_drawn(sample, mask, classes, cell, font), _names(sample, mask, classes))


def _height(row: Sequence[_Tile]) -> int:
    return max(tile.image.height for tile in row) + max(min(_LINES, len(tile.names)) for tile in row) * _LINE + _GAP


def _categories(sample: Sample) -> list[int]:
    """Return a sample's classes; masks are not decoded for all of a data set."""
    return [sample.category] if sample.category is not None else [box.category for box in sample.boxes]


def _shares(sizes: Sequence[int], most: int) -> list[int]:
    """Deal places out in turn, to each group no more than it can fill."""
    shares = [0] * len(sizes)
    left = min(most, sum(sizes))
    while left:
        for index, size in enumerate(sizes):
            if shares[index] < size and left:
                shares[index] += 1
                left -= 1
    return shares


def _headline(dataset: Dataset, samples: Sequence[Sample]) -> str:
    classes = "class" if len(dataset.classes) == 1 else "classes"
    shown = f"{len(samples)} of {len(dataset.samples):,} pictures" if samples else "no picture"
    return f"{dataset.path}: {shown}, {len(dataset.classes)} {classes} ({dataset.task})"


def _drawn(sample: Sample, mask: Mask | None, classes: Sequence[str], cell: int, font: Font) -> Image.Image:
    """Return a picture with its labels, fitted into a cell."""
    pixels = sample.picture.read().pixels
    height, width = pixels.shape[:2]
    scale = cell / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # Small pictures show their pixels as they are.
    image = Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
    if mask is not None:
        small = Image.fromarray(np.where(mask == IGNORED, 0, mask)).resize(size, Image.Resampling.NEAREST)
        image = Image.fromarray(tinted(np.asarray(image), np.asarray(small)))
    named = len(sample.boxes) <= _NAMED_BOXES
    for box in sorted(sample.boxes, key=lambda box: (box.x1 - box.x2) * (box.y2 - box.y1)):  # small ones on top
        corners = (box.x1 * scale, box.y1 * scale, box.x2 * scale, box.y2 * scale)
        text = _cut(classes[box.category], font, cell // 2) if named else ""
        draw_box(image, corners, box.category, text, font)
    return image


def _names(sample: Sample, mask: Mask | None, classes: Sequence[str]) -> list[tuple[int, str]]:
    """Return the classes in a picture with what to write of them, the most frequent first."""
    if mask is not None:
        numbers, pixels = np.unique(mask, return_counts=True)
        shares = {int(n): count / mask.size for n, count in zip(numbers, pixels, strict=True) if n not in (0, IGNORED)}
        ordered = sorted(shares, key=lambda number: -shares[number])
        named = [(number, f"{classes[number]} {shares[number]:.0%}") for number in ordered]
        return named or [(-1, "background alone")]
    counts = Counter(_categories(sample)).most_common()
    names = [(number, classes[number] + (f" ({amount})" if amount > 1 else "")) for number, amount in counts]
    return names or [(-1, "nothing labelled")]


def _write_names(
    draw: ImageDraw.ImageDraw, names: Sequence[tuple[int, str]], at: tuple[int, int], width: int, font: Font
) -> None:
    shown = list(names[:_LINES])
    if len(names) > _LINES:
        shown[-1] = (-1, f"and {len(names) - _LINES + 1} more classes")
    for index, (number, text) in enumerate(shown):
        x, y = at[0], at[1] + index * _LINE
        if number >= 0:
            draw.rectangle((x, y + 3, x + _SQUARE, y + 3 + _SQUARE), fill=class_colour(number))
            x += _SQUARE + 6
        draw.text((x, y), _cut(text, font, at[0] + width - x), fill="black" if number >= 0 else "grey", font=font)


def _cut(text: str, font: Font, width: float) -> str:
    """Shorten a text until it fits."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
