"""Mask files: pictures whose pixels are class numbers, as grey levels or as indices of a palette."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from edgecv.errors import PictureError, one_line
from edgecv.pictures import Picture

__all__ = ["IGNORED", "MASK_SUFFIXES", "MaskSource", "read_mask"]

# Pixels of no class: borders between objects in Pascal VOC, unlabelled ones in Cityscapes.
IGNORED = 255

# JPEG and its kin blur class numbers.
MASK_SUFFIXES = (".png", ".bmp", ".gif", ".tif", ".tiff")
_FORMATS = ("BMP", "GIF", "PNG", "TIFF")
# Pillow spreads grey of few bits over 0…255.
_STEPS = {"L;2": 85, "L;4": 17}


@dataclass(frozen=True)
class MaskSource:
    """A mask file; reading it gives class numbers in each of the picture's three channels."""

    path: Path

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    def read(self) -> Picture:
        """Read it; see `read_mask`."""
        return Picture(np.repeat(read_mask(self.path)[:, :, None], 3, axis=2), source=self.name)


def read_mask(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Read class numbers, uint8 ``(height, width)``, as they are stored: not turned, a palette's colours left aside.

    Raises:
        PictureError: It cannot be read, or its pixels are no class numbers: colours, or numbers above 255.
    """
    source = str(path)
    try:
        with Image.open(path, formats=_FORMATS) as image:
            raw = image.tile[0][3] if getattr(image, "tile", None) else None
            pixels, mode = np.asarray(image), image.mode
    except UnidentifiedImageError as error:
        raise PictureError(f"Mask {source!r} is damaged or no picture that keeps numbers. Save it as PNG.") from error
    except Exception as error:  # Pillow's decoders raise a dozen types on damaged bytes
        raise PictureError(f"Mask {source!r} cannot be read: {one_line(error)}. Save it again as PNG.") from error
    if pixels.ndim != 2:
        raise PictureError(
            f"Mask {source!r} has colours (mode {mode}). Save class numbers, as grey levels or with a palette."
        )
    if pixels.dtype == np.uint8:
        return pixels // np.uint8(_STEPS.get(str(raw), 1))
    if pixels.min() < 0 or pixels.max() > IGNORED or pixels.dtype.kind == "f":
        raise PictureError(
            f"Mask {source!r} has numbers of {pixels.min()}…{pixels.max()}. Class numbers are whole, from 0 to 254, "
            "and 255 for pixels of no class."
        )
    return pixels.astype(np.uint8)
