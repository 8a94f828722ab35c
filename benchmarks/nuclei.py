"""Real masks to learn: 125 nuclei of cells in a fluorescence picture of 512 × 512 pixels, outlined one by one.

    python benchmarks/nuclei.py FOLDER

writes ``images/`` and ``masks/`` of tiles, in both a folder for each part, and ``classes.txt``: background and nucleus.
Training tiles overlap, so that each nucleus stands at several places of a tile; those of the other parts don't, so that
no pixel is measured twice.

One picture is little, so this is how it is divided, with strips of 32 pixels between the parts that belong to none. No
nucleus lies in two parts.

train   the left part, 288 × 512 pixels
val     the upper right corner, 192 × 192
test    what is below it, 192 × 288: of the same cells, stain and microscope, so its figures say nothing of others

The picture is the one that the package stardist (BSD-3-Clause, Copyright (c) 2018-2025, Uwe Schmidt, Martin Weigert)
carries, of the Data Science Bowl of 2018: pip install stardist --no-deps

Reference:
    Caicedo et al., "Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl", 2019,
    https://doi.org/10.1038/s41592-019-0612-7.
"""

import importlib.util
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from edgecv.files import replace_whole

__all__ = ["TILE", "load_nuclei", "regions", "tiles_of", "write_nuclei"]

Array = np.ndarray[Any, Any]
Area = tuple[int, int, int, int]

TILE = 96  # pixels: a multiple of 32, and the width of three nuclei
_TRAINING_STEP = 32
_NUCLEI = 125
# The picture has 16 bits and grey values up to 235. Half of its pixels are below 24.
_WHITE = 235


@dataclass(frozen=True)
class Region:
    """A part of the picture, all of whose tiles go to one part of the data.

    Attributes:
        part: train, val or test.
        area: x1, y1, x2, y2 in pixels.
    """

    part: str
    area: Area


def load_nuclei() -> tuple[Array, Array]:
    """Return the picture, uint8 ``(512, 512)``, and the number of the nucleus at each pixel, 0 where there is none."""
    spec = importlib.util.find_spec("stardist")
    if spec is None or spec.origin is None:
        raise click.ClickException("The picture is missing. Run: pip install stardist --no-deps")
    folder = Path(spec.origin).parent / "data" / "images"
    picture, nuclei = (np.asarray(Image.open(folder / name)) for name in ("img2d.tif", "mask2d.tif"))
    count = len(np.unique(nuclei)) - 1
    if picture.shape != nuclei.shape or count != _NUCLEI:
        raise click.ClickException(
            f"stardist has {count} nuclei, not {_NUCLEI}. Run: pip install stardist==0.9.2 --no-deps"
        )
    return np.minimum(picture * (255 / _WHITE), 255).round().astype(np.uint8), nuclei


def regions() -> list[Region]:
    """Divide the picture."""
    return [
        Region("train", (0, 0, 288, 512)),
        Region("val", (320, 0, 512, 192)),
        Region("test", (320, 224, 512, 512)),
    ]


def tiles_of(area: Area, *, side: int, step: int) -> Iterator[Area]:
    """Give tiles of one size from border to border of an area.

    Args:
        area: x1, y1, x2, y2 in pixels, at least a tile wide and high.
        side: Of a tile.
        step: From one tile to the next, at most: they are spread evenly, and overlap where they do not fit exactly.
    """
    columns, rows = (_starts(area[i], area[i + 2] - side, step) for i in (0, 1))
    for y, x in itertools.product(rows, columns):
        yield x, y, x + side, y + side


def write_nuclei(folder: Path, *, tile: int = TILE) -> Path:
    """Write tiles of the picture and of its masks; return the folder."""
    picture, nuclei = load_nuclei()
    with replace_whole(folder) as temporary:
        for region in regions():
            step = _TRAINING_STEP if region.part == "train" else tile
            for x1, y1, x2, y2 in tiles_of(region.area, side=tile, step=step):
                for kind, pixels in (("images", picture), ("masks", (nuclei > 0).astype(np.uint8))):
                    target = temporary / kind / region.part
                    target.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels[y1:y2, x1:x2]).save(target / f"{x1:03d}_{y1:03d}.png")
        (temporary / "classes.txt").write_text("background\nnucleus\n", encoding="utf-8")
    return folder


def _starts(first: int, last: int, step: int) -> list[int]:
    count = -(-(last - first) // step) + 1
    starts: list[int] = np.rint(np.linspace(first, last, count)).astype(int).tolist()
    return starts


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--tile", default=TILE, show_default=True, type=click.IntRange(32, 192), help="Side of a tile in pixels.")
def main(folder: Path, tile: int) -> None:
    """Write tiles with nuclei of cells into FOLDER, which is replaced."""
    click.echo(write_nuclei(folder, tile=tile))


if __name__ == "__main__":
    main()
