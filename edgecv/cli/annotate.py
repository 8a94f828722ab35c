"""Pictures with their answers drawn on, for ``predict --save``."""

from pathlib import Path
from typing import Any

from PIL import Image

from edgecv.drawing import draw_box, font_of, shown_larger, tinted, with_strip
from edgecv.files import replace_whole
from edgecv.pictures import Picture
from edgecv.results import Prediction

__all__ = ["Gallery", "annotate"]

_MAX_LINES = 5


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
    pixels = picture.pixels if prediction.mask is None else tinted(picture.pixels, prediction.mask)
    image, scale = shown_larger(pixels)
    font = font_of(max(12, round(max(min(image.size), max(image.size) / 4) / 28)))
    boxed = [result for result in prediction.results if "box" in result]
    for result in reversed(boxed):  # the best on top
        draw_box(image, [side * scale for side in result["box"]], result["class"], _caption(result), font)
    lines = [_caption(result) for result in prediction.results if "box" not in result and "output" not in result]
    return with_strip(image, lines[:_MAX_LINES], font)


def _caption(result: dict[str, Any]) -> str:
    name = result["label"] if result["label"] is not None else f"class {result['class']}"
    there = f" ({result['objectness']:.2f})" if "objectness" in result else ""
    return f"{name} {result['score']:.2f}{there}" if "score" in result else f"{name}: {result['pixels']:,} pixels"
