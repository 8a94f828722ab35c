"""``edgecv data``: look at labelled data, convert them, and find anchors in them."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from edgecv.cli.common import emit_json, json_option, progress, say, warn
from edgecv.cli.data_anchors import anchors
from edgecv.cli.opening import opened

if TYPE_CHECKING:
    from edgecv.data.converting import Conversion
    from edgecv.data.samples import Dataset
    from edgecv.data.statistics import Quantiles, Statistics

__all__ = ["data"]

_SHEET = "contact_sheet.png"
_MOST_LISTED = 12  # classes and sizes; the document has all


@click.group()
def data() -> None:
    """Look at labelled data, convert them, and find anchors in them."""


data.add_command(anchors)


@data.command()
@click.argument("path")
@click.option("--format", "format_", metavar="NAME", help="The format, where it is not recognised.")
@click.option("--skip-broken", is_flag=True, help="Go on without broken labels and pictures.")
@click.option(
    "--save",
    metavar="FILE.png",
    type=click.Path(path_type=Path),
    default=_SHEET,
    show_default=True,
    help="The contact sheet.",
)
@json_option
def inspect(path: str, format_: str | None, skip_broken: bool, save: Path, as_json: bool) -> None:
    """Check all labels and pictures of PATH, count what is there, and draw a contact sheet."""
    from edgecv.data.contact_sheet import contact_sheet
    from edgecv.data.statistics import count
    from edgecv.errors import OptionError
    from edgecv.files import replace_whole, writable_folder

    if save.suffix.lower() != ".png":
        raise OptionError(f"--save {str(save)!r} is no PNG. Name a file that ends in .png.")
    writable_folder(save)
    dataset = _decoded(opened(path, format_, skip_broken), skip_broken)
    statistics = count(dataset)
    with replace_whole(save) as temporary:
        contact_sheet(dataset).save(temporary, format="PNG")
    if as_json:
        emit_json({"path": path, **statistics.to_json(), "contact_sheet": str(save)})
        return
    _print(path, statistics)
    click.echo(f"contact sheet    {save}")


@data.command()
@click.argument("path")
@click.option("--to", required=True, metavar="coco|voc|yolo", help="The format to write.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@click.option("--format", "format_", metavar="NAME", help="The format of PATH, where it is not recognised.")
@click.option("--pictures", default="copy", show_default=True, metavar="copy|link|none", help="What becomes of them.")
@click.option("--split", "ratios", metavar="75/15/10", help="Draw the parts that PATH does not have.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of --split.")
@click.option("--skip-broken", is_flag=True, help="Go on without broken labels.")
@click.option("--force", is_flag=True, help="Replace an earlier conversion.")
@json_option
def convert(
    path: str,
    to: str,
    output: Path,
    format_: str | None,
    pictures: str,
    ratios: str | None,
    seed: int,
    skip_broken: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Write the boxes of PATH as COCO, Pascal VOC or YOLO."""
    from edgecv.data import converting

    dataset = opened(path, format_, skip_broken)
    if ratios is not None:
        dataset = _split(dataset, ratios, seed)
    with progress("Writing", len(dataset.samples)) as step:
        conversion = converting.convert(
            dataset,
            output,
            to=to,
            pictures=cast("converting.Pictures", pictures),
            force=force,
            progress=step,
        )
    _warn_of_losses(conversion)
    if as_json:
        emit_json({"source": path, "source_format": dataset.format, "skipped": dataset.skipped, **conversion.to_json()})
        return
    parts = ", ".join(f"{part} {number:,}" for part, number in conversion.parts.items() if part != "none")
    click.echo(
        f"{conversion.path}  {conversion.format}, {conversion.pictures:,} pictures{f' ({parts})' if parts else ''}, "
        f"{conversion.boxes:,} boxes"
    )


def _decoded(dataset: "Dataset", skip_broken: bool) -> "Dataset":
    """Decode every picture once; go on without the broken ones, or name them."""
    from edgecv.data.checking import check_pictures, without
    from edgecv.data.problems import BrokenDataError
    from edgecv.errors import DataError

    with progress("Checking pictures", len(dataset.samples)) as step:
        problems = check_pictures(dataset, progress=step)
    if problems and not skip_broken:
        for problem in problems:
            say(str(problem))
        raise BrokenDataError(dataset.path, problems)
    kept = without(dataset, problems)
    if not kept.samples:
        raise DataError(f"{dataset.path!r} holds no picture that can be read: {problems[0]}. Name data with some.")
    return kept


def _split(dataset: "Dataset", ratios: str, seed: int) -> "Dataset":
    import dataclasses

    from edgecv.data.splitting import parse_ratios, split

    parts = split(dataset, ratios=parse_ratios(ratios), seed=seed)
    if parts.left_out:
        number = _number(len(parts.left_out), "picture is", "pictures are")
        warn(f"{number} left out, such as {parts.left_out[0].name!r}: a copy is in another part of the data's own.")
    samples = [dataclasses.replace(sample, part=part) for part, chosen in parts.items() for sample in chosen]
    return dataclasses.replace(dataset, samples=tuple(samples))


def _warn_of_losses(conversion: "Conversion") -> None:
    lost = [f"{key} of {_number(number, 'box', 'boxes')}" for key, number in conversion.lost.items()]
    lost += [
        f"{key} of {_number(number, 'picture', 'pictures')}" for key, number in conversion.lost_of_pictures.items()
    ]
    if lost:
        warn(f"{conversion.format} has no place for these, which are left out: {', '.join(lost)}.")
    if conversion.format == "yolo" and not {"train", "val"} <= set(conversion.parts):
        warn("Ultralytics wants pictures to train and to validate; --split 75/15/10 draws them.")


def _number(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _print(path: str, statistics: "Statistics") -> None:
    parts = ", ".join(f"{part} {number:,}" for part, number in statistics.parts.items() if part != "none")
    rows = {
        "data": f"{path} ({statistics.format}, {statistics.task})",
        "pictures": f"{statistics.pictures:,}",
        "parts": parts or "none of its own",
        "broken": f"{statistics.skipped:,} left out" if statistics.skipped else "none",
        "width": _spread(statistics.sizes["width"]),
        "height": _spread(statistics.sizes["height"]),
        "distinct sizes": _sizes(statistics),
    }
    if statistics.task != "classification":
        rows["without label"] = _number(statistics.without, "picture", "pictures")
    if statistics.boxes is not None:
        crowds = f", {statistics.crowds:,} of them crowds" if statistics.crowds else ""
        rows["boxes"] = f"{statistics.boxes:,}{crowds}"
    for name, value in rows.items():
        click.echo(f"{name:<16} {value}")
    _print_spreads(statistics)
    _print_classes(statistics)


def _spread(spread: "Quantiles | None") -> str:
    return "none" if spread is None else f"{spread.min:g} … {spread.max:g}, median {spread.median:g}"


def _sizes(statistics: "Statistics") -> str:
    sizes = list(statistics.distinct_sizes.items())
    shown = ", ".join(f"{width}x{height} ({number:,})" for (width, height), number in sizes[:3])
    return f"{len(sizes):,}: {shown}{', …' if len(sizes) > 3 else ''}"


def _print_spreads(statistics: "Statistics") -> None:
    from dataclasses import asdict

    spreads = {name: spread for name, spread in statistics.box_statistics.items() if spread is not None}
    if not spreads:
        return
    click.echo(f"\n{'boxes':<16}" + "".join(f"{name:>10}" for name in asdict(next(iter(spreads.values())))))
    for name, spread in spreads.items():
        click.echo(f"{name.replace('_', ' '):<16}" + "".join(f"{value:>10.4g}" for value in asdict(spread).values()))


def _print_classes(statistics: "Statistics") -> None:
    classes = list(statistics.classes.items())
    columns = list(classes[0][1]) if classes else []
    width = max([16, *(len(name) for name, _ in classes[:_MOST_LISTED])])
    click.echo(f"\n{f'{len(classes)} classes':<{width}}" + "".join(f"{column:>14}" for column in columns))
    shown = classes if len(classes) <= _MOST_LISTED else classes[: _MOST_LISTED - 1]
    for name, counts in shown:
        click.echo(f"{name:<{width}}" + "".join(f"{number:>14,}" for number in counts.values()))
    if len(shown) < len(classes):
        click.echo(f"… and {len(classes) - len(shown):,} more: --json has all")
    click.echo()
