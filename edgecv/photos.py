"""The photos that ship with edgecv, for calibration and verification.

Their origins and licences stand in ``edgecv/data/photos/LICENSES.md``.
"""

import functools
from importlib import resources
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["shipped_photos"]

Photo = np.ndarray[Any, np.dtype[np.uint8]]


def shipped_photos() -> dict[str, Photo]:
    """Return the photos by name, sorted; each uint8 ``(height, width, 3)`` RGB, read-only.

    They are PNG files, so that every machine decodes the same pixels.
    """
    return dict(_decoded())


@functools.cache
def _decoded() -> dict[str, Photo]:
    folder = resources.files("edgecv") / "data" / "photos"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".png"))
    photos = {}
    for name in names:
        with (folder / name).open("rb") as file, Image.open(file) as picture:
            pixels = np.array(picture.convert("RGB"), dtype=np.uint8)
        pixels.flags.writeable = False
        photos[name.removesuffix(".png")] = pixels
    return photos
