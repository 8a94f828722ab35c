"""Pictures from files to the network's size.

A file becomes uint8 RGB ``(height, width, 3)`` as a person sees it: turned as its EXIF data say, and with
transparent parts on white, as they are shown on paper. 16-bit grey is scaled, not clipped.
"""

import functools
import glob
import math
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from edgecv.errors import OptionError, PictureError
from edgecv.preprocess import LETTERBOX_GREY, Fit

__all__ = [
    "ORIENTATION",
    "PICTURE_SUFFIXES",
    "Picture",
    "Placement",
    "find_pictures",
    "fit_picture",
    "picture_formats",
    "picture_of_array",
    "place",
    "read_picture",
]

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Places = np.ndarray[Any, np.dtype[np.int64]]

# Formats that Pillow decodes by itself; EPS, for one, would start another program.
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
# Of these, Pillow has the decoders at hand without loading all that it has.
_COMMON_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM")
PICTURE_SUFFIXES = frozenset(
    ".avif .bmp .gif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif .tiff .webp".split()  # noqa: SIM905
)
_VIDEO = re.compile(r"camera:\d+|\w+://.*|.*\.(avi|m4v|mkv|mov|mp4|mpe?g|webm)", re.IGNORECASE)
ORIENTATION = 0x0112  # EXIF's tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Picture:
    """A decoded picture.

    What Pillow decoded becomes an array only where somebody asks for its pixels: to fit it to a network, a copy of
    millions of them is not needed.

    Attributes:
        source: Where it comes from, as the user named it; empty for an array.
    """

    def __init__(self, content: "Pixels | Image.Image", source: str = "") -> None:
        """Take what was decoded.

        Args:
            content: uint8 ``(height, width, 3)``, RGB in [0, 255], upright; or the same as Pillow has it.
            source: Where it comes from.
        """
        self._content = content
        self.source = source

    @property
    def content(self) -> "Pixels | Image.Image":
        """The pixels in the form in which they are at hand."""
        return self._content

    @property
    def pixels(self) -> Pixels:
        """uint8 ``(height, width, 3)``, RGB in [0, 255], upright."""
        if isinstance(self._content, Image.Image):
            self._content = np.array(self._content)
        return self._content

    @property
    def width(self) -> int:
        """Width in pixels, upright."""
        return _size(self._content)[1]

    @property
    def height(self) -> int:
        """Height in pixels, upright."""
        return _size(self._content)[0]


@dataclass(frozen=True)
class Placement:
    """Which part of a picture lies where in the network's input; both parts as left, top, width, height in pixels.

    Attributes:
        picture: The part of the picture that is taken.
        input: The part of the input that it fills.
        size: ``(height, width)`` of the input.
        picture_size: ``(height, width)`` of the picture.
    """

    picture: tuple[float, float, float, float]
    input: tuple[int, int, int, int]
    size: tuple[int, int]
    picture_size: tuple[int, int]

    def boxes_in_picture(self, boxes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Map boxes back to the picture.

        Args:
            boxes: ``(count, 4)`` as x1, y1, x2, y2 in 0…1 of the input.

        Returns:
            The same in pixels of the picture, cut at its borders; float64.
        """
        height, width = self.size
        left, top, taken_width, taken_height = self.picture
        x, y, filled_width, filled_height = self.input
        pixels = np.asarray(boxes, np.float64) * (width, height, width, height) - (x, y, x, y)
        scale = (taken_width / filled_width, taken_height / filled_height) * 2
        high = (self.picture_size[1], self.picture_size[0]) * 2
        return np.clip(pixels * scale + (left, top, left, top), 0, high)

    def boxes_in_input(self, boxes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Map boxes of the picture to where they lie in the input.

        Args:
            boxes: ``(count, 4)`` as x1, y1, x2, y2 in pixels of the picture.

        Returns:
            The same in pixels of the input, cut at the borders of what is seen; float64.
        """
        left, top, taken_width, taken_height = self.picture
        x, y, filled_width, filled_height = self.input
        scale = (filled_width / taken_width, filled_height / taken_height) * 2
        moved = (np.asarray(boxes, np.float64).reshape(-1, 4) - (left, top, left, top)) * scale + (x, y, x, y)
        return np.clip(moved, (x, y, x, y), (x + filled_width, y + filled_height) * 2)

    def mask_in_picture(self, mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Map a mask of classes back to the picture.

        Args:
            mask: int32 ``(height, width)`` at the input's size.

        Returns:
            int32 at the picture's size, by nearest neighbour; −1 where the input does not see the picture.
        """
        left, top, width, height = self.picture
        x, y, filled_width, filled_height = self.input
        rows, from_rows = _seen(top, height, filled_height, self.picture_size[0])
        columns, from_columns = _seen(left, width, filled_width, self.picture_size[1])
        whole = np.full(self.picture_size, -1, np.int32)
        whole[np.ix_(rows, columns)] = mask[np.ix_(y + from_rows, x + from_columns)]
        return whole

    def mask_in_input(self, mask: np.ndarray[Any, Any], fill: int = 255) -> np.ndarray[Any, Any]:
        """Map a mask of the picture to where it lies in the input.

        Args:
            mask: Integers ``(height, width)`` at the picture's size.
            fill: For letterbox bars, and wherever else the picture does not reach.

        Returns:
            The same type at the input's size: of each pixel's centre, the pixel of the picture that it lies in.
        """
        left, top, width, height = self.picture
        x, y, filled_width, filled_height = self.input
        rows, from_rows = _reached(top, height, filled_height, self.picture_size[0])
        columns, from_columns = _reached(left, width, filled_width, self.picture_size[1])
        whole = np.full(self.size, fill, mask.dtype)
        whole[np.ix_(y + rows, x + columns)] = mask[np.ix_(from_rows, from_columns)]
        return whole


def find_pictures(sources: Iterable[str | Path]) -> list[str]:
    """Return the pictures that files, folders and globs name, in a fixed order.

    A file is taken as it is, whether it can be read or not; a folder gives its pictures by name, a glob
    its matches by name.

    Raises:
        PictureError: A folder or glob holds no picture.
        OptionError: A source is a video or a camera.
    """
    return [picture for source in sources for picture in _pictures_of(str(source))]


@functools.cache
def picture_formats() -> tuple[str, ...]:
    """Return the formats, by Pillow's names, that edgecv reads and this Pillow can decode."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def read_picture(path: str | Path) -> Picture:
    """Read a picture; of an animation, the first frame.

    Raises:
        PictureError: It is missing, damaged, no picture, too large, or of a kind that has no certain colours.
    """
    source = str(path)
    try:
        if not Path(path).is_file():
            problem = "is not a file" if Path(path).exists() else "does not exist"
            raise PictureError(f"Picture {source!r} {problem}. Name a picture, a folder or a glob.")
        # Pillow warns of damaged EXIF data and of large pictures that it opens all the same.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _opened(path) as image:
                _mend_transparency(image, source)
                image.load()
                return Picture(_rgb(_upright(image), source), source)
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise PictureError(f"Picture {source!r} has more than {limit:,} pixels. Make it smaller.") from error
    except UnidentifiedImageError as error:
        raise PictureError(
            f"Picture {source!r} is damaged or no picture that edgecv reads. Use JPEG, PNG, WebP, TIFF, BMP or GIF."
        ) from error
    except Exception as error:  # Pillow's decoders raise a dozen types on damaged bytes
        if isinstance(error, OSError) and error.strerror:  # from the system, not from a decoder
            raise PictureError(f"Picture {source!r} cannot be read: {error.strerror}. Name another one.") from error
        problem = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise PictureError(f"Picture {source!r} cannot be read: {problem}. Save it again as PNG or JPEG.") from error


def picture_of_array(array: np.ndarray[Any, Any]) -> Picture:
    """Take an array as a picture.

    Args:
        array: uint8 ``(height, width, 3)`` RGB, or ``(height, width)`` or ``(height, width, 1)`` luminance.

    Raises:
        PictureError: Its shape or type is another one.
    """
    grey = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1)
    if array.dtype != np.uint8 or not (grey or (array.ndim == 3 and array.shape[2] == 3)) or 0 in array.shape:
        raise PictureError(
            f"An array of {array.dtype} {list(array.shape)} is no picture. Give uint8 (height, width, 3) in RGB."
        )
    if grey:
        array = np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    return Picture(array)


def place(fit: Fit, picture_size: tuple[int, int], size: tuple[int, int]) -> Placement:
    """Say which part of a picture goes where.

    Args:
        fit: How pictures become the network's size.
        picture_size: ``(height, width)`` of the picture, in pixels.
        size: ``(height, width)`` of the network's input.
    """
    height, width = picture_size
    taken: tuple[float, float, float, float] = (0, 0, width, height)
    filled = (0, 0, size[1], size[0])
    if fit.mode == "crop":
        taken = _centre(picture_size, size, fit.fraction)
    elif fit.mode == "letterbox":
        scale = min(size[0] / height, size[1] / width)
        new = [max(1, min(limit, round(side * scale))) for side, limit in zip(picture_size, size, strict=True)]
        filled = ((size[1] - new[1]) // 2, (size[0] - new[0]) // 2, new[1], new[0])
    return Placement(picture=taken, input=filled, size=size, picture_size=picture_size)


def fit_picture(pixels: "Pixels | Image.Image", fit: Fit, size: tuple[int, int], channels: int = 3) -> Pixels:
    """Bring a picture to the network's size.

    Args:
        pixels: uint8 ``(height, width, 3)`` RGB, or the same as Pillow has it.
        fit: How.
        size: ``(height, width)`` of the network's input, in pixels.
        channels: 3 = RGB, 1 = luminance (ITU-R 601).

    Returns:
        uint8 ``(height, width, channels)``; smoothed where it becomes smaller.
    """
    placement = place(fit, _size(pixels), size)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    if channels == 1:
        image = image.convert("L")
    left, top, width, height = placement.picture
    x, y, filled_width, filled_height = placement.input
    box = (left, top, left + width, top + height)
    part = image.resize((filled_width, filled_height), _FILTERS[fit.filter], box)
    whole = np.full((*size, channels), LETTERBOX_GREY, np.uint8)
    whole[y : y + filled_height, x : x + filled_width] = np.asarray(part).reshape(filled_height, filled_width, channels)
    return whole


def _size(pixels: "Pixels | Image.Image") -> tuple[int, int]:
    """Return ``(height, width)``."""
    if isinstance(pixels, Image.Image):
        return pixels.height, pixels.width
    return int(pixels.shape[0]), int(pixels.shape[1])


def _seen(start: float, length: float, filled: int, side: int) -> tuple[Places, Places]:
    """Return, along one axis, the picture's pixels whose centres the input sees, and where in the filled part they lie.

    A part so small that it holds no centre is seen by the pixel around its middle.
    """
    first, end = (math.ceil(place - 0.5) for place in (start, start + length))
    if end <= first:
        first = math.floor(start + length / 2)
        end = first + 1
    pixels = np.arange(max(0, first), min(side, end))
    # Multiplied first: where a centre lies on a border of two pixels, the quotient is a whole number.
    places = np.floor((pixels + 0.5 - start) * filled / length).astype(np.int64)
    return pixels, np.clip(places, 0, filled - 1)


def _reached(start: float, length: float, filled: int, side: int) -> tuple[Places, Places]:
    """Return, along one axis, the pixels of the filled part that the picture reaches, and its own pixel in each."""
    pixels = np.arange(filled)
    places = np.floor(start + (pixels + 0.5) * length / filled).astype(np.int64)
    there = (places >= 0) & (places < side)
    return pixels[there], places[there]


def _pictures_of(source: str) -> list[str]:
    path = Path(source)
    if not source:
        raise OptionError("A source has an empty name. Name pictures, folders or globs; this folder is '.'.")
    try:
        if path.is_dir():
            return _pictures_in(path, source)
        if path.exists():
            return [source]
    except OSError:  # behind a folder that may not be entered, or a name that is too long: reading it says so
        return [source]
    if _VIDEO.fullmatch(source) and not glob.has_magic(source):
        raise OptionError(f"{source!r} is no picture. Name pictures, folders or globs; edgecv predict takes the rest.")
    if not glob.has_magic(source):
        return [source]
    # Sorted: the order of a folder's entries depends on its history. Path.glob takes no absolute patterns.
    found = sorted(each for each in glob.glob(source, recursive=True) if Path(each).is_file())  # noqa: PTH207
    if not found:
        raise PictureError(f"Glob {source!r} matches no file. Check its folder and suffix.")
    return found


def _pictures_in(folder: Path, source: str) -> list[str]:
    try:
        found = sorted(
            str(file) for file in folder.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES and _visible(file)
        )
    except OSError as error:
        raise PictureError(f"Folder {source!r} cannot be read: {error.strerror}. Name another one.") from error
    if not found:
        raise PictureError(f"Folder {source!r} holds no picture. Name one with JPEG, PNG or WebP files.")
    return found


def _visible(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".")


def _opened(path: str | Path) -> Image.Image:
    """Open a picture by its content; the seldom formats are looked at, and loaded, only where no common one fits."""
    # Of the common formats Pillow loads only the one that the suffix names, and then all that it has for the others.
    Image.preinit()
    try:
        return Image.open(path, formats=_COMMON_FORMATS)
    except UnidentifiedImageError:
        return Image.open(path, formats=picture_formats())


def _mend_transparency(image: Image.Image, source: str) -> None:
    """Bring a PNG's transparent colour to the pixels' scale: Pillow widens grey of 2 and 4 bits, but not this."""
    tile = getattr(image, "tile", None)
    raw = tile[0][3] if tile and image.format == "PNG" and "transparency" in image.info else None
    if raw in ("L;2", "L;4"):
        image.info["transparency"] *= 85 if raw == "L;2" else 17
    elif raw == "RGB;16B":  # of the pixels it keeps 8 bits
        raise PictureError(f"Picture {source!r} has a transparent colour of 16 bits. Save it again with 8 bits.")


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # viewers, too, show a picture with damaged EXIF data as it lies
        return image
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image, source: str) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and _has_16_bits(image)):
        # 65535 is white: 257 steps a grey level.
        wide = np.asarray(image).astype(np.uint32)
        grey = ((wide + 128) // 257).astype(np.uint8)
        # The one value that a PNG may call transparent is white on paper.
        image = Image.fromarray(np.where(wide == image.info.get("transparency", -1), 255, grey).astype(np.uint8))
    elif image.mode in ("I", "F"):
        kind = "integers" if image.mode == "I" else "floating-point numbers"
        raise PictureError(f"Picture {source!r} has 32-bit {kind}, whose white is unknown. Save it with 8 or 16 bits.")
    if _is_transparent(image):
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    # Converting copies; of a JPEG file all is in memory, whatever happens to the file.
    return image if image.mode == "RGB" and image.format == "JPEG" else image.convert("RGB")


def _is_transparent(image: Image.Image) -> bool:
    known = getattr(image, "has_transparency_data", None)  # Debian 12 has a Pillow before it
    return bool("A" in image.getbands() or "transparency" in image.info) if known is None else bool(known)


def _has_16_bits(image: Image.Image) -> bool:
    """Tell whether mode ``I`` stands for 16 bits; Pillow opens such PGM, and older versions such PNG, files so."""
    return getattr(image, "format", None) in ("PNG", "PPM")


def _centre(picture_size: tuple[int, int], size: tuple[int, int], fraction: float) -> tuple[float, float, float, float]:
    # Not rounded to pixels: the resize takes fractions of them, and a pixel's shift moves a probability by 0.05.
    scale = min(has / wants for has, wants in zip(picture_size, size, strict=True)) * fraction
    height, width = (side * scale for side in size)
    return (picture_size[1] - width) / 2, (picture_size[0] - height) / 2, width, height
