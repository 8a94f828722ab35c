"""`edgecv verify --bisect`: its options, and how it tells where an artifact begins to answer differently."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgecv.errors import ModelError

if TYPE_CHECKING:
    from edgecv.bisect import Bisection
    from edgecv.deployable import Deployable
    from edgecv.layer_errors import LayerError
    from edgecv.report import Report

__all__ = ["bisect_options", "check_bisect_options", "print_bisection", "run_bisect"]

Command = TypeVar("Command", bound=Callable[..., Any])

# Layers that are shown around the one that was found.
_BEFORE, _AFTER = 3, 4


def bisect_options(command: Command) -> Command:
    """Add ``--bisect``, ``--baseline`` and ``--save-tensors``."""
    options = (
        click.option("--bisect", is_flag=True, help="Find the first layer that answers differently; needs --against."),
        click.option(
            "--baseline",
            type=click.Path(path_type=Path),
            metavar="ARTIFACT",
            help="With --bisect: a sound artifact of the same network and precision; int8 is judged by it.",
        ),
        click.option(
            "--save-tensors",
            "tensors",
            type=click.Path(path_type=Path, file_okay=False),
            metavar="DIR",
            help="With --bisect: write both sides' values of the layer, as .npz.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def check_bisect_options(artifact: Path, against: str | None, options: Mapping[str, Any]) -> None:
    """Refuse what cannot be bisected, before anything runs.

    Raises:
        UsageError: Options do not go together.
        ModelError: The original has no layers.
        ArtifactError: The baseline is no artifact.
    """
    lacking = [f"--{name}" for name, key in (("baseline", "baseline"), ("save-tensors", "tensors")) if options[key]]
    if not options["bisect"]:
        if lacking:
            raise click.UsageError(f"{lacking[0]} has no meaning without --bisect. Add it, or leave {lacking[0]} out.")
        return
    if artifact.suffix == ".keras":
        raise click.UsageError(f"--bisect is for artifacts; {str(artifact)!r} is a network. Leave it out.")
    if against is None:
        raise click.UsageError("--bisect needs --against MODEL: only the original has layers to compare with.")
    if (Path(against) / "saved_model.pb").exists():
        raise ModelError(f"{against!r} is a SavedModel, which has no layers to compare with. Give a .keras file.")
    if options["baseline"] is not None:
        from edgecv.session import runtime_of

        runtime_of(options["baseline"])[1].read_metadata(options["baseline"])
    if options["tensors"] is not None:
        from edgecv.files import writable_folder

        writable_folder(options["tensors"])


def run_bisect(
    artifact: Path,
    original: "Deployable",
    report: "Report",
    images: Sequence[Path | str] | None,
    device: str,
    options: Mapping[str, Any],
) -> "Bisection | None":
    """Find where an artifact diverges; None where its inputs or outputs are others, so that nothing was run."""
    from edgecv.bisect import bisect

    if not any(check.images for check in report.checks):
        return None
    return bisect(
        artifact,
        original,
        report,
        images=images,
        baseline=options["baseline"],
        device=device,
        tensors=options["tensors"],
    )


def print_bisection(bisection: "Bisection") -> None:
    """Print where it begins, with the layers around it."""
    found = bisection.found
    click.echo(bisection.text)
    if found is None:
        return
    click.echo(f"     tensor: {found.tensor}")
    click.echo(f"     group: {', '.join(found.group)}")
    click.echo(f"     worst on: {bisection.worst}")
    if bisection.saved is not None:
        click.echo(f"     saved: {bisection.saved}")
    place = bisection.layers.index(found)
    shown = bisection.layers[max(place - _BEFORE, 0) : place + _AFTER + 1]
    for line in _table(bisection, shown):
        click.echo(line)


def _table(bisection: "Bisection", shown: "Sequence[LayerError]") -> list[str]:
    """Return one line a layer, in columns."""
    rows = [("", "layer", "op", "before", "after", "at most")]
    for error in shown:
        limit = bisection.limits.get(error.tensor)
        verdict = "" if limit is None else "FAIL" if error.tensor in bisection.wrong else "ok"
        numbers = (f"{error.before:.1e}", f"{error.after:.1e}", "" if limit is None else f"{limit:.1e}")
        rows.append((verdict, error.layer, error.op, *numbers))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    marks = [" ", *(">" if error is bisection.found else " " for error in shown)]
    return [f"{mark} {line}" for mark, line in zip(marks, lines, strict=True)]
