"""Samples to arrays: decoding, resizing, collating, and keeping what fits into memory. NumPy and Pillow only."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgecv.data.samples import Sample
from edgecv.pictures import Placement, fit_picture, place
from edgecv.preprocess import Fit

__all__ = ["BOXES", "BOX_CATEGORIES", "IMAGES", "MASK", "Loader", "Targets"]

Array = np.ndarray[Any, Any]
Targets = Callable[[Sample, Placement], Mapping[str, Array]]

# Keys of a batch that mean something to the stream; all others only pass through.
IMAGES = "images"
BOXES = "boxes"
BOX_CATEGORIES = "box_categories"
MASK = "mask"


class Loader:
    """Brings samples to the network's size, batch by batch; safe to call from several threads.

    Args:
        samples: What to load.
        size: ``(height, width)`` of the network's input, in pixels.
        channels: 3 = RGB, 1 = luminance.
        fit: How pictures become this size.
        targets: What the task wants to know of a sample, as arrays of the same keys, types and shapes for each.
            Reserved keys: ``boxes``, float32 ``(boxes, 4)`` as x1, y1, x2, y2 in pixels of the input, and with them
            ``box_categories``, integers ``(boxes,)``; ``mask``, uint8 ``(height, width)``, 255 of no class.
        cache_bytes: Pictures (and masks) are kept as they were loaded when all of them take no more than this.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        size: tuple[int, int],
        channels: int,
        fit: Fit,
        targets: Targets,
        cache_bytes: int,
    ) -> None:
        self._samples = tuple(samples)
        self._size = size
        self._channels = channels
        self._fit = fit
        self._targets = targets
        self._most_boxes = max(1, *(len(sample.boxes) for sample in self._samples), 1)
        self.caches = self._bytes_needed() <= cache_bytes
        self._pictures = np.empty((len(self._samples) if self.caches else 0, *size, channels), np.uint8)
        self._known: list[Mapping[str, Array] | None] = [None] * (len(self._samples) if self.caches else 0)

    def __len__(self) -> int:
        return len(self._samples)

    def load(self, indices: Sequence[int] | Array) -> dict[str, Array]:
        """Load a batch.

        Args:
            indices: Numbers of the samples.

        Returns:
            ``images``, uint8 ``(batch, height, width, channels)`` in [0, 255], and the targets, stacked. Boxes have
            as many rows as the sample with the most; missing ones are zeros, their categories −1.

        Raises:
            PictureError: A picture cannot be read.
        """
        images = np.empty((len(indices), *self._size, self._channels), np.uint8)
        targets = [self._load_one(int(index), images[row]) for row, index in enumerate(indices)]
        return {IMAGES: images} | {key: self._stack(key, targets) for key in targets[0]}

    def _load_one(self, index: int, out: Array) -> Mapping[str, Array]:
        known = self._known[index] if self.caches else None
        if known is not None:
            out[...] = self._pictures[index]
            return known
        sample = self._samples[index]
        picture = sample.picture.read()
        out[...] = fit_picture(picture.pixels, self._fit, self._size, self._channels)
        targets = self._targets(sample, place(self._fit, (picture.height, picture.width), self._size))
        if self.caches:
            self._pictures[index] = out
            self._known[index] = targets  # last: it says that the picture is there
        return targets

    def _stack(self, key: str, targets: Sequence[Mapping[str, Array]]) -> Array:
        arrays = [each[key] for each in targets]
        if key == BOXES:
            return self._padded(arrays, np.zeros((self._most_boxes, 4), np.float32))
        if key == BOX_CATEGORIES:
            return self._padded(arrays, np.full(self._most_boxes, -1, np.int32))
        return np.stack(arrays)

    def _padded(self, arrays: Sequence[Array], empty: Array) -> Array:
        stacked = np.repeat(empty[None], len(arrays), axis=0)
        for row, array in zip(stacked, arrays, strict=True):
            row[: len(array)] = array
        return stacked

    def _bytes_needed(self) -> int:
        masks = any(sample.mask is not None for sample in self._samples)
        return len(self._samples) * self._size[0] * self._size[1] * (self._channels + masks)
