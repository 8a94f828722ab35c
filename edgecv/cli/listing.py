"""``edgecv list``: what is installed, by the names that other commands take."""

import shutil
import sys
from typing import Any

import click

from edgecv.cli.common import emit_json, json_option
from edgecv.errors import PluginError

__all__ = ["listing"]

_COLUMNS = {
    "architectures": ["name", "task", "input", "parameters", "weights", "reference"],
    "exporters": ["name", "suffix", "precisions", "from", "summary"],
    "runtimes": ["name", "devices", "suffixes", "summary"],
}


@click.command("list")
@click.argument("kind", required=False, type=click.Choice(list(_COLUMNS)))
@json_option
def listing(kind: str | None, as_json: bool) -> None:
    """List architectures, exporters and runtimes.

    A plugin that cannot be used is shown with the reason.
    """
    collect = {"architectures": _architectures, "exporters": _exporters, "runtimes": _runtimes}
    document = {name: collect[name]() for name in ((kind,) if kind else _COLUMNS)}
    if as_json:
        emit_json(document)
    else:
        _print_tables(document)


def _architectures() -> list[dict[str, Any]]:
    from edgecv import registry

    return [_architecture(name) for name in registry.architecture_names()]


def _architecture(name: str) -> dict[str, Any]:
    from edgecv import registry

    keys = ("task", "input_shape", "parameters", "weights", "reference")
    try:
        found = registry.load_architecture(name)
    except PluginError as error:
        return {"name": name, **dict.fromkeys(keys), "available": False, "reason": str(error)}
    values = (found.task, list(found.input_shape), found.parameters, list(found.weights), found.reference)
    return {"name": name, **dict(zip(keys, values, strict=True)), "available": True, "reason": None}


def _exporters() -> list[dict[str, Any]]:
    from edgecv import registry

    return [_exporter(name) for name in registry.exporter_names()]


def _exporter(name: str) -> dict[str, Any]:
    from edgecv import registry
    from edgecv.extras import why_missing

    distribution, version = registry.distribution("edgecv.exporters", name)
    origin = {"distribution": distribution, "version": version}
    try:
        found = registry.load_exporter(name)
    except PluginError as error:
        entry = dict.fromkeys(("suffix", "precisions", "summary"))
        return {"name": name, **entry, **origin, "available": False, "reason": str(error)}
    reason = why_missing(found)
    entry = {"name": name, "suffix": found.suffix, "precisions": list(found.precisions), "summary": found.summary}
    return {**entry, **origin, "available": reason is None, "reason": reason}


def _runtimes() -> list[dict[str, Any]]:
    from edgecv import registry

    return [_runtime(name) for name in registry.runtime_names()]


def _runtime(name: str) -> dict[str, Any]:
    from edgecv import registry
    from edgecv.extras import why_missing

    try:
        found = registry.load_runtime(name)
    except PluginError as error:
        return {"name": name, "devices": [], "suffixes": [], "summary": None, "available": False, "reason": str(error)}
    reason = why_missing(found)
    devices = list(found.devices()) if reason is None else []
    entry = {"name": name, "devices": devices, "suffixes": list(found.suffixes), "summary": found.summary}
    return {**entry, "available": reason is None, "reason": reason}


def _print_tables(document: dict[str, list[dict[str, Any]]]) -> None:
    for number, (kind, entries) in enumerate(document.items()):
        if number:
            click.echo()
        click.secho(kind, bold=True)
        rows = [_COLUMNS[kind], *(_cells(kind, entry) for entry in entries)]
        # The last column is as long as it is: only the others make the table.
        widths = [max(len(cell) for cell in column) for column in list(zip(*rows, strict=True))[:-1]]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)]
            click.echo(_cut("  ".join([*cells, row[-1]]).rstrip()))


def _cut(line: str) -> str:
    """Cut a line to the terminal's width; in a pipe, names that are cut help nobody."""
    width = shutil.get_terminal_size().columns
    return line[: width - 1] + "…" if sys.stdout.isatty() and len(line) > width else line


def _cells(kind: str, entry: dict[str, Any]) -> list[str]:
    if not entry["available"]:
        return [entry["name"], *[""] * (len(_COLUMNS[kind]) - 2), f"not available: {entry['reason']}"]
    if kind == "architectures":
        shape = "x".join(map(str, entry["input_shape"]))
        parameters, weights = f"{entry['parameters']:>11,}", ", ".join(entry["weights"])
        return [entry["name"], entry["task"], shape, parameters, weights, entry["reference"]]
    if kind == "exporters":
        origin = f"{entry['distribution']} {entry['version']}"
        return [entry["name"], entry["suffix"] or "folder", ", ".join(entry["precisions"]), origin, entry["summary"]]
    return [entry["name"], ", ".join(entry["devices"]), ", ".join(entry["suffixes"]), entry["summary"]]
