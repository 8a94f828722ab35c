"""``edgecv data anchors``: the sizes of boxes that a detector of these data should begin with."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from edgecv.cli.common import emit_json, json_option
from edgecv.cli.model_options import parse_size
from edgecv.cli.opening import opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgecv.data.anchors import Anchors
    from edgecv.data.samples import Dataset, Sample
    from edgecv.evaluation.selection import ChosenPart
    from edgecv.preprocess import FitMode

__all__ = ["anchors"]


@click.command()
@click.argument("path")
@click.option("--format", "format_", metavar="NAME", help="The format, where it is not recognised.")
@click.option("--count", type=click.IntRange(min=1), default=9, show_default=True, help="Number of anchors.")
@click.option(
    "--input-size", type=parse_size, default="416x416", show_default=True, metavar="HxW", help="Of the network."
)
@click.option(
    "--fit",
    type=click.Choice(["stretch", "letterbox"]),
    default="stretch",
    show_default=True,
    help="How pictures become that size, as the network has it.",
)
@click.option(
    "--part",
    type=click.Choice(["train", "val", "test", "all"]),
    default="train",
    show_default=True,
    help="Of the data's own split, else of the one that `edgecv train` draws.",
)
@click.option("--split", "ratios", metavar="75/15/10", help="The split where the data have none of their own.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the search and of the split."
)
@click.option("--save", metavar="FILE.png", type=click.Path(path_type=Path), help="Draw them over the boxes' sizes.")
@click.option(
    "--output", metavar="FILE.json", type=click.Path(path_type=Path), help="Write them for `edgecv train --anchors`."
)
@click.option("--skip-broken", is_flag=True, help="Go on without broken labels.")
@json_option
def anchors(
    path: str,
    format_: str | None,
    count: int,
    input_size: tuple[int, int],
    fit: str,
    part: str,
    ratios: str | None,
    seed: int,
    save: Path | None,
    output: Path | None,
    skip_broken: bool,
    as_json: bool,
) -> None:
    """Find sizes of anchors in the boxes of PATH, by k-means with the distance 1 − IoU."""
    from edgecv.data.anchors import anchors_of
    from edgecv.preprocess import Fit

    _check_files(save, output)
    samples = _samples(opened(path, format_, skip_broken), part, ratios, seed)
    found = anchors_of(samples, input_size=input_size, fit=Fit(mode=cast("FitMode", fit)), count=count, seed=seed)
    document = {"path": path, "part": part, "seed": seed, **found.to_json()}
    _write(found, document, save, output)
    files = {key: str(file) for key, file in (("plot", save), ("output", output)) if file is not None}
    if as_json:
        emit_json({**document, **files})
    else:
        _print(f"{path} ({part})", found, files)


def _check_files(save: Path | None, output: Path | None) -> None:
    """Refuse files that cannot be written, before anything is read."""
    from edgecv.errors import OptionError
    from edgecv.extras import require
    from edgecv.files import writable_folder

    if save is not None and save.suffix.lower() != ".png":
        raise OptionError(f"--save {str(save)!r} is no PNG. Name a file that ends in .png.")
    if save is not None:
        require("matplotlib", extra="eval", purpose="Drawing plots")
    if save is not None and output is not None and save.absolute() == output.absolute():
        raise OptionError(f"--save and --output are both {str(save)!r}. Name two files.")
    for file in (save, output):
        if file is not None:
            writable_folder(file)


def _samples(dataset: "Dataset", part: str, ratios: str | None, seed: int) -> "Sequence[Sample]":
    from edgecv.data.splitting import parse_ratios
    from edgecv.errors import DataError
    from edgecv.evaluation.selection import select

    if dataset.task not in ("localisation", "detection"):
        raise DataError(f"{dataset.path!r} ({dataset.format}) holds labels for {dataset.task}, and anchors need boxes.")
    shares = None if ratios is None else parse_ratios(ratios)
    return select(dataset, part=cast("ChosenPart", part), ratios=shares, seed=seed)[1]


def _write(found: "Anchors", document: dict[str, object], save: Path | None, output: Path | None) -> None:
    from edgecv.evaluation.anchor_plot import draw_anchors
    from edgecv.files import replace_whole

    if save is not None:
        draw_anchors(save, found.boxes, found.sizes, mean_iou=found.mean_iou)
    if output is not None:
        with replace_whole(output) as temporary:
            temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _print(data: str, found: "Anchors", files: dict[str, str]) -> None:
    height, width = found.input_size
    rows = {
        "data": data,
        "boxes": f"{len(found.boxes):,}",
        "left out": f"{found.small:,} smaller than a pixel, {found.crowds:,} crowds",
        "input": f"{height}x{width}, {found.fit.mode}",
        "mean IoU": f"{found.mean_iou:.4f}",
        "anchors": "  ".join(f"{width:.1f}x{height:.1f}" for width, height in found.sizes),
        **files,
    }
    for name, value in rows.items():
        click.echo(f"{name:<16} {value}")
