"""Real pictures for the benchmarks: random crops of the photos that scikit-image and scikit-learn carry.

The photos are held apart by picture, not by crop: `crops` of one part shows nothing of the other.
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgecv.files import replace_whole
from edgecv.photos import shipped_photos

__all__ = ["PARTS", "crops"]

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

PARTS = ("calibration", "held_out")
# Figures are measured on these; calibration sees the others.
_HELD_OUT = ("camera", "cat", "chelsea", "china", "coffee", "ihc", "palace")
_NAMES = (
    "astronaut", "brick", "camera", "chelsea", "china", "coffee", "coins", "flower", "grass", "gravel",
    "hubble_deep_field", "ihc", "moon", "motorcycle_left", "retina", "rocket",
)  # fmt: skip


def crops(folder: Path, count: int, part: str | None = None, *, sides: tuple[int, int] = (160, 512)) -> list[Path]:
    """Write random crops as JPEG files, those that are not there yet, and return them.

    Args:
        folder: Where to; it holds nothing else.
        count: How many.
        part: One of `PARTS`, or None for all photos.
        sides: Smallest and largest side of a crop in pixels; a smaller photo is enlarged first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04d}.jpg" for number in range(count)]
    if all(path.exists() for path in paths):
        return paths
    photos = [pixels for name, pixels in sorted(_photos().items()) if part is None or _part(name) == part]
    draw = np.random.default_rng(0)
    for number, path in enumerate(paths):
        picture = _crop(photos[number % len(photos)], draw, sides)
        if not path.exists():
            with replace_whole(path) as temporary:
                picture.save(temporary, format="JPEG", quality=92)
    return paths


def _part(name: str) -> str:
    return "held_out" if name in _HELD_OUT else "calibration"


def _crop(pixels: Pixels, draw: np.random.Generator, sides: tuple[int, int]) -> Image.Image:
    photo = Image.fromarray(pixels)
    scale = sides[1] / min(photo.size)
    if scale > 1:
        photo = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.BICUBIC)
    width, height = (int(draw.integers(sides[0], sides[1] + 1)) for _ in range(2))
    left, top = (
        int(draw.integers(0, whole - side + 1)) for whole, side in zip(photo.size, (width, height), strict=True)
    )
    crop = photo.crop((left, top, left + width, top + height))
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draw.random() < 0.5 else crop


def _photos() -> dict[str, Pixels]:
    """Return the photos of scikit-image and scikit-learn by name, uint8 ``(height, width, 3)``.

    Where neither is installed, they are the smaller ones that ship with edgecv.
    """
    folders = [_folder("skimage", "data"), _folder("sklearn", "datasets", "images")]
    files = [file for folder in folders if folder is not None for file in sorted(folder.iterdir())]
    photos = {}
    for file in files:
        if file.stem in _NAMES and file.suffix in (".png", ".jpg"):
            with Image.open(file) as picture:
                photos[file.stem] = np.asarray(picture.convert("RGB"))
    return photos or shipped_photos()


def _folder(package: str, *inside: str) -> Path | None:
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent.joinpath(*inside) if found is not None and found.origin else None
