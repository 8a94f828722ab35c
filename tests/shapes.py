"""Labelled pictures of shapes on clutter, as data sets of several formats; the fixture `shapes` gives this module."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["KINDS", "SCENE", "draw", "folders", "located_csv", "scenes_csv"]

KINDS = ("cross", "ring", "square")
_SIDE = 32
SCENE = 96  # pixels, of a scene's side

Array = np.ndarray[Any, Any]


def draw(rng: np.random.Generator, kind: str) -> tuple[Array, tuple[int, int, int, int]]:
    """Draw a bright shape on dark clutter: uint8 ``(32, 32)``, and its box."""
    pixels = rng.integers(30, 110, (_SIDE, _SIDE), dtype=np.uint8)
    half = int(rng.integers(5, 11))
    row, column = rng.integers(half + 1, _SIDE - half - 1, 2)
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    down, right = abs(rows - row), abs(columns - column)
    far = np.maximum(down, right)
    inside = {
        "cross": ((down <= 1) | (right <= 1)) & (far <= half),
        "ring": (far <= half) & (far >= half - 1),
        "square": far <= half,
    }[kind]
    pixels[inside] = rng.integers(200, 255)
    return pixels, (column - half, row - half, column + half + 1, row + half + 1)


def folders(path: Path, count: int, *, kinds: Sequence[str] = KINDS, seed: int = 0) -> Path:
    """Write a folder per class, with so many pictures each."""
    for kind, number, pixels, _ in _pictures(count, kinds, seed):
        (path / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path / kind / f"{number:03}.png")
    return path


def located_csv(path: Path, count: int, *, kinds: Sequence[str] = KINDS, empty: int = 0, seed: int = 0) -> Path:
    """Write a CSV with a box a picture, and so many pictures of clutter alone."""
    path.mkdir(parents=True)
    lines = ["picture,class,x1,y1,x2,y2"]
    for kind, number, pixels, box in _pictures(count, kinds, seed):
        name = f"{kind}{number:03}.png"
        Image.fromarray(pixels).save(path / name)
        lines.append(",".join([name, kind, *map(str, box)]))
    rng = np.random.default_rng([seed, 1])
    for number in range(empty):
        Image.fromarray(rng.integers(30, 110, (_SIDE, _SIDE), dtype=np.uint8)).save(path / f"empty{number:03}.png")
        lines.append(f"empty{number:03}.png,,,,,")
    (path / "labels.csv").write_text("\n".join(lines) + "\n")
    return path


def scenes_csv(path: Path, count: int, *, kind: str, seed: int = 0) -> Path:
    """Write a CSV of scenes, clutter with three shapes that do not touch, as `SCENE` squares; return the file."""
    path.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    lines = ["picture,class,x1,y1,x2,y2"]
    for number in range(count):
        canvas = rng.integers(30, 110, (SCENE, SCENE), dtype=np.uint8)
        for about in ((0, 0), (0, 60), (60, 30)):
            top, left = (int(side) for side in np.add(about, rng.integers(0, 5, 2)))
            pixels, (x1, y1, x2, y2) = draw(rng, kind)
            canvas[top : top + _SIDE, left : left + _SIDE] = pixels
            lines.append(f"{number:03}.png,{kind},{left + x1},{top + y1},{left + x2},{top + y2}")
        Image.fromarray(canvas).save(path / f"{number:03}.png")
    (path / "labels.csv").write_text("\n".join(lines) + "\n")
    return path / "labels.csv"


def _pictures(
    count: int, kinds: Sequence[str], seed: int
) -> Iterator[tuple[str, int, Array, tuple[int, int, int, int]]]:
    rng = np.random.default_rng(seed)
    for number in range(count):
        for kind in kinds:
            yield kind, number, *draw(rng, kind)
