"""The noun Calibration: real pictures from which an exporter learns the ranges of activations for int8."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.artifact import hash_file
from edgecv.pictures import fit_picture, read_picture

if TYPE_CHECKING:
    from pathlib import Path

    from edgecv.deployable import Deployable

__all__ = ["Calibration", "is_blank"]

Array = np.ndarray[Any, np.dtype[Any]]


def is_blank(feed: Array) -> bool:
    """Say whether a feed is of one colour, as those are that always come along: it tells nothing of what is usual."""
    return not np.any(np.ptp(feed, axis=(1, 2)))


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Pictures to calibrate on; they are read one at a time, as often as they are asked for.

    An all-black and an all-white picture always come with them: without the ends of 0…255 the input's scale would
    follow the pictures, and others would be clipped.

    Attributes:
        paths: The pictures, in a fixed order.
    """

    paths: "tuple[Path, ...]"

    def feeds(self, deployable: "Deployable") -> Iterator[Array]:
        """Yield what the input of ``deployable`` takes, ``(1, height, width, channels)``, one a picture.

        Raises:
            PictureError: A picture cannot be read.
        """
        size, channels = deployable.input_size, deployable.channels
        for value in (0, 255):
            yield deployable.feed(np.full((1, *size, channels), value, np.uint8))
        for path in self.paths:
            pixels = read_picture(path).pixels
            yield deployable.feed(fit_picture(pixels, deployable.preprocess.fit, size, channels)[None])

    @property
    def sha256(self) -> str:
        """Hexadecimal sha256 of the pictures' contents, in their order; names and folders do not count."""
        digest = hashlib.sha256()
        for path in self.paths:
            digest.update(f"{hash_file(path)}\n".encode())
        return digest.hexdigest()
