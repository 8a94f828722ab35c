"""Pictures made of integers alone, so that every device makes the same ones from a seed.

Neither a decoder nor a random generator of a library takes part: all is 64-bit integer arithmetic, which is the same
in every release of NumPy. They are made to look like photos to a network, with shades on all scales, edges, textures
and colours that go together; noise, which has none of these, gets nearly the same answer whatever its seed is.
"""

from typing import Any

import numpy as np

__all__ = ["pattern"]

Array = np.ndarray[Any, np.dtype[Any]]

# Cells of the noise's first lattice along the shorter side; each further lattice has twice as many and half the weight.
_FIRST_CELLS = 2
_LATTICES = 6
_SHAPES = 7
# What a number is drawn for: no two may share a stream.
_LIGHT, _COLOUR, _SHAPE = 1, 2, 3


def pattern(seed: int, shape: tuple[int, int, int]) -> Array:
    """Return the picture of a seed, uint8 ``(height, width, channels)``, with 1 or 3 channels."""
    height, width, channels = shape
    light = _noise(seed, _LIGHT, (height, width))
    planes = [light + (_noise(seed, _COLOUR + 16 * channel, (height, width)) - 128) // 2 for channel in range(channels)]
    picture = np.stack(planes, axis=-1)
    for number in range(_SHAPES):
        _put_shape(picture, _drawn([seed, _SHAPE, number], 12 + channels))
    return np.asarray(np.clip(picture, 0, 255).astype(np.uint8))


def _noise(seed: int, stream: int, size: tuple[int, int]) -> Array:
    """Return value noise ``(height, width)``, int64, mostly in 0…255: random lattices, interpolated, one on another."""
    total = np.zeros(size, np.int64)
    cell = max(1, min(size) // _FIRST_CELLS)
    weight, weights = 1 << _LATTICES, 0
    for lattice in range(_LATTICES):
        total += weight * _interpolated([seed, stream, lattice], size, cell)
        weights += weight
        cell, weight = max(1, cell // 2), weight // 2
    # Several lattices seldom agree: twice the distance from grey fills the range.
    return 128 + 2 * (total // weights - 128)


def _interpolated(key: list[int], size: tuple[int, int], cell: int) -> Array:
    """Return random values on a lattice of ``cell`` pixels, bilinearly interpolated, int64 ``(height, width)``."""
    rows, columns = (side // cell + 2 for side in size)
    values = _drawn(key, rows * columns).reshape(rows, columns) & 255
    (y, below), (x, right) = (np.divmod(np.arange(side, dtype=np.int64), cell) for side in size)
    left = values[:, x] * (cell - right) + values[:, x + 1] * right
    return np.asarray((left[y] * (cell - below)[:, None] + left[y + 1] * below[:, None]) // (cell * cell))


def _put_shape(picture: Array, numbers: Array) -> None:
    """Lay an ellipse or a rectangle on the picture: of one colour with the shades below it, checkered, or striped."""
    height, width, _ = picture.shape
    kind, texture, across, down, wide, high, period, contrast, *_ = numbers.tolist()
    y = np.arange(height, dtype=np.int64)[:, None] - down % height
    x = np.arange(width, dtype=np.int64)[None] - across % width
    half_width = width // 12 + wide % (width // 4 + 1) + 1
    half_height = height // 12 + high % (height // 4 + 1) + 1
    if kind % 2:
        inside = (np.abs(x) <= half_width) & (np.abs(y) <= half_height)
    else:
        inside = (x * half_height) ** 2 + (y * half_width) ** 2 <= (half_width * half_height) ** 2
    step = 1 + min(height, width) // 40 + period % (1 + min(height, width) // 12)
    marks = (x // step + (y // step if texture % 3 == 1 else 0)) & 1 if texture % 3 else np.zeros_like(x + y)
    shades = np.broadcast_to(marks * (40 + contrast % 120), inside.shape)
    for channel, colour in enumerate(numbers[12:].tolist()):
        plane = picture[..., channel]
        plane[inside] = ((colour & 255) * 3 + plane[inside]) // 4 - shades[inside]


def _drawn(key: list[int], count: int) -> Array:
    """Return numbers in 0…2³¹ − 1, int64, that depend on the key alone.

    Reference:
        Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014: SplitMix64's mixing function.
    """
    state = np.zeros(1, np.uint64)
    for part in key:
        state = _mixed(state + np.uint64(part + 1))
    numbers = _mixed(state + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return (numbers >> np.uint64(33)).astype(np.int64)


def _mixed(values: Array) -> Array:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))
