"""What formats of data ask of picture files before anything decodes them: which files are pictures, and their sizes."""

import warnings
from pathlib import Path

from PIL import Image

from edgecv.pictures import ORIENTATION, PICTURE_SUFFIXES, picture_formats, read_picture

__all__ = ["is_picture_name", "picture_size", "visible"]

# Remains of file managers and archivers that nobody put there on purpose.
_CLUTTER = frozenset({"thumbs.db", "desktop.ini", "__macosx", "icon\r"})
# Where Pillow finds a PNG's orientation.
_EXIF = ("exif", "xmp", "Raw profile type exif", "XML:com.adobe.xmp")
_LYING = range(5, 9)  # orientations that swap width and height


def is_picture_name(name: str) -> bool:
    """Tell from a file's suffix whether it should be a picture that edgecv reads."""
    return name[name.rfind(".") :].lower() in PICTURE_SUFFIXES if "." in name else False


def visible(name: str) -> bool:
    """Tell whether a file or folder counts: hidden ones and the clutter of file managers do not."""
    return not name.startswith(".") and name.lower() not in _CLUTTER


def picture_size(path: Path) -> tuple[int, int]:
    """Return ``(height, width)`` of a picture file in pixels, upright, from its header.

    Raises:
        PictureError: It is no picture, or cannot be read.
    """
    try:
        # Pillow warns of damaged EXIF data and of large pictures; those who decode them say what is wrong.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=picture_formats()) as image:
                width, height = image.size
                lying = any(key in image.info for key in _EXIF) and image.getexif().get(ORIENTATION) in _LYING
    except (
        Exception
    ):  # Pillow raises a dozen types on damaged headers; decoding gives the message of the one that it is
        pixels = read_picture(path).pixels
        return pixels.shape[0], pixels.shape[1]
    return (width, height) if lying else (height, width)
