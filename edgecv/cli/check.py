"""``edgecv check``: whether artifacts go on targets, operator by operator, without having the targets."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecv.cli.common import emit, emit_json, json_option
from edgecv.printable import short

if TYPE_CHECKING:
    from edgecv.targets import Checked, Obstacle

__all__ = ["check"]

_MOST_LAYERS = 6


@click.command()
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="ARTIFACT…")
@click.option(
    "--target",
    "targets",
    multiple=True,
    required=True,
    metavar="TARGET",
    help="tflm, ethos-u55-128 (and the other Ethos-U), tflite-gpu, onnxruntime==X.Y, mediapipe or browser; repeatable.",
)
@json_option
def check(artifacts: tuple[Path, ...], targets: tuple[str, ...], as_json: bool) -> None:
    """Look whether every operator, type and version of ARTIFACT goes on the targets; exit 1 where one does not."""
    from edgecv.targets import check as run

    # All at once: nothing is printed where an artifact cannot be read or a target is unknown.
    found = [(artifact, run(artifact, target)) for artifact in artifacts for target in dict.fromkeys(targets)]
    if as_json:
        emit_json([_document(artifact, checked) for artifact, checked in found])
    else:
        for artifact, checked in found:
            _print(artifact, checked)
    if not all(checked.passed for _, checked in found):
        raise click.exceptions.Exit(1)


def _document(artifact: Path, checked: "Checked") -> dict[str, Any]:
    return {
        "artifact": str(artifact),
        "target": checked.target,
        "passed": checked.passed,
        "obstacles": [obstacle.to_json() for obstacle in checked.obstacles],
        "title": checked.title,
        "operators": checked.operators,
        "failing": checked.failing,
        "notes": list(checked.notes),
        "source": checked.source,
    }


def _print(artifact: Path, checked: "Checked") -> None:
    emit(f"{'✓' if checked.passed else '✗'} {artifact} on {checked.target}: {checked.summary}")
    for (problem, remedy), alike in _grouped(checked).items():
        emit(f"    {_named(alike)}{problem}")
        layers = list(dict.fromkeys(obstacle.layer for obstacle in alike if obstacle.layer))
        if layers:
            more = f" and {len(layers) - _MOST_LAYERS} more" if len(layers) > _MOST_LAYERS else ""
            emit(f"        from  {'; '.join(short(layer) for layer in layers[:_MOST_LAYERS])}{more}")
        emit(f"        do    {remedy}")
    for note in checked.notes:
        emit(f"    {note}")


def _grouped(checked: "Checked") -> "dict[tuple[str, str], list[Obstacle]]":
    """Return the obstacles by what is wrong and what helps, in their order."""
    groups: dict[tuple[str, str], list[Obstacle]] = {}
    for obstacle in checked.obstacles:
        groups.setdefault((obstacle.problem, obstacle.remedy), []).append(obstacle)
    return groups


def _named(alike: "list[Obstacle]") -> str:
    """Return the operators of some obstacles with their numbers, and a colon."""
    counts: dict[str, int] = {}
    for obstacle in alike:
        if obstacle.op:
            counts[obstacle.op] = counts.get(obstacle.op, 0) + max(len(obstacle.tensors), 1)
    names = ", ".join(f"{short(name)} × {count}" if count > 1 else short(name) for name, count in counts.items())
    return f"{names}: " if names else ""
