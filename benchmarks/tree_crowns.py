"""Real objects to find: 951 crowns of trees, drawn by hand into four aerial pictures of forests.

    python benchmarks/tree_crowns.py FOLDER

writes ``FOLDER/labels.csv`` and the tiles into which the pictures are cut: 417 for training with 1,818 boxes (their
overlap shows most crowns several times), 22 for validation with 95, and 30 for the test with 276. Dead or alive, a
crown is a ``tree``. One of which a tile has less than half is not labelled there.

Four pictures are few, so this is how they are divided:

train   most of one picture of Yellowstone, and the small ones of a forest in Florida and one in California
val     a band along the lower border of that picture of Yellowstone. A strip wider than any crown lies between them
        and belongs to neither, but light, camera and kind of trees are those of the training part.
test    another picture of Yellowstone, taken 13 km away: no part of it is ever learnt from. It is of the same survey
        and kind of forest, so its figures say nothing of other forests.

The pictures and boxes are those of the package deepforest (MIT), whose pictures come from the National Ecological
Observatory Network: pip install deepforest --no-deps

Reference:
    Weinstein, Marconi, Bohlman, Zare, White, "Individual Tree-Crown Detection in RGB Imagery Using Semi-Supervised
    Deep Learning Neural Networks", 2019, https://doi.org/10.3390/rs11111309.
"""

import csv
import importlib.util
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from edgecv.data.reading import open_data
from edgecv.data.samples import Box, Sample
from edgecv.files import replace_whole

__all__ = ["TILE", "kept_boxes", "load_pictures", "tiles_of", "write_tree_crowns"]

Array = np.ndarray[Any, Any]
Area = tuple[int, int, int, int]

# Pixels of 0.1 m. With it some anchor of ssd_mobilenet_v2 has an IoU of 0.5 or more with 82 % of the test part's
# crowns; in tiles of 300, its own size, with 68 %.
TILE = 200
_LEAST_SHARE = 0.5  # of a crown's box that must lie in a tile
_CROWNS = 951
_TRAINED, _TESTED = "2019_YELL_2_528000_4978000_image_crop2", "2019_YELL_2_541000_4977000_image_crop"
_OTHERS = ("OSBS_029", "SOAP_061")
_BAND = 400  # height of the validation band
_GAP = 112  # the largest crown is 108 pixels long


@dataclass(frozen=True)
class Region:
    """A part of a picture, all of whose tiles go to one part of the data.

    Attributes:
        picture: Its name, without suffix.
        part: train, val or test.
        area: x1, y1, x2, y2 in pixels.
    """

    picture: str
    part: str
    area: Area


def load_pictures() -> dict[str, Sample]:
    """Return the pictures with their crowns, by their names without suffix."""
    spec = importlib.util.find_spec("deepforest")
    if spec is None or spec.origin is None:
        raise click.ClickException("The pictures are missing. Run: pip install deepforest --no-deps")
    samples = open_data(str(Path(spec.origin).parent / "data"), format="voc").samples
    crowns = sum(len(sample.boxes) for sample in samples)
    if crowns != _CROWNS:
        raise click.ClickException(
            f"deepforest has {crowns} crowns, not {_CROWNS}. Run: pip install deepforest==2.1.0 --no-deps"
        )
    return {Path(sample.name).stem: sample for sample in samples}


def regions(sizes: dict[str, tuple[int, int]]) -> list[Region]:
    """Divide the pictures.

    Args:
        sizes: Of each picture, ``(height, width)``.
    """
    height, width = sizes[_TRAINED]
    parts = dict.fromkeys(_OTHERS, "train") | {_TESTED: "test"}
    return [
        Region(_TRAINED, "train", (0, 0, width, height - _BAND - _GAP)),
        Region(_TRAINED, "val", (0, height - _BAND, width, height)),
        *(Region(name, part, (0, 0, *sizes[name][::-1])) for name, part in parts.items()),
    ]


def tiles_of(area: Area, *, side: int, overlapping: bool) -> Iterator[Area]:
    """Divide an area evenly, without a rest.

    Args:
        area: x1, y1, x2, y2 in pixels.
        side: Of a tile, nearly: as many are taken as fit best.
        overlapping: Also give the tiles that lie half a tile further, so that what one border cuts is whole in
            another tile.
    """
    columns, rows = (_intervals(area[i], area[i + 2], side, overlapping) for i in (0, 1))
    for (y1, y2), (x1, x2) in itertools.product(rows, columns):
        yield x1, y1, x2, y2


def kept_boxes(boxes: Sequence[Box], tile: Area) -> list[tuple[float, float, float, float]]:
    """Return the boxes of which at least half lies in a tile, cut at its border, in pixels of the tile."""
    kept = []
    for box in boxes:
        x1, y1 = max(box.x1, tile[0]), max(box.y1, tile[1])
        x2, y2 = min(box.x2, tile[2]), min(box.y2, tile[3])
        inside = max(x2 - x1, 0) * max(y2 - y1, 0)
        if inside >= _LEAST_SHARE * (box.x2 - box.x1) * (box.y2 - box.y1):
            kept.append((x1 - tile[0], y1 - tile[1], x2 - tile[0], y2 - tile[1]))
    return kept


def write_tree_crowns(folder: Path, *, tile: int = TILE) -> Path:
    """Write the tiles; return the file of labels.

    Training tiles overlap by half. Those of the other parts don't, so that nothing is measured twice.
    """
    samples = load_pictures()
    pixels = {name: sample.picture.read().pixels for name, sample in samples.items()}
    rows: list[Sequence[object]] = []
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for region in regions({name: each.shape[:2] for name, each in pixels.items()}):
        for place in tiles_of(region.area, side=tile, overlapping=region.part == "train"):
            x1, y1, x2, y2 = place
            name = f"pictures/{region.part}_{region.picture}_{x1:04d}_{y1:04d}.png"
            Image.fromarray(pixels[region.picture][y1:y2, x1:x2]).save(folder / name)
            boxes = kept_boxes(samples[region.picture].boxes, place)
            rows += [(name, "tree", *box, region.part) for box in boxes]
            if not boxes:
                rows.append((name, "", "", "", "", "", region.part))
    return _write(folder / "labels.csv", rows)


def _intervals(first: int, last: int, side: int, overlapping: bool) -> list[tuple[int, int]]:
    count = max(round((last - first) / side), 1)
    # Borders in steps of half a tile: a tile reaches from each to the next but one.
    borders = np.rint(np.linspace(first, last, 2 * count + 1)).astype(int).tolist()
    step = 1 if overlapping else 2
    return [(borders[i], borders[i + 2]) for i in range(0, 2 * count - 1, step)]


def _write(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    with replace_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("picture", "class", "x1", "y1", "x2", "y2", "split"))
        writer.writerows(rows)
    return path


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--tile", default=TILE, show_default=True, type=click.IntRange(min=50), help="Side of a tile in pixels.")
def main(folder: Path, tile: int) -> None:
    """Write tiles with crowns of trees into FOLDER."""
    click.echo(write_tree_crowns(folder, tile=tile))


if __name__ == "__main__":
    main()
