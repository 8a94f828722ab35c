"""Plugins by entry point: names are read from metadata without importing anything.

Built-in exporters, runtimes, architectures and weights are found here too, and in no other way.
"""

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

from edgecv.architecture import Architecture
from edgecv.errors import PluginError, UnknownNameError, one_line
from edgecv.exporter import API_VERSION, Exporter
from edgecv.runtime import Runtime

__all__ = [
    "architecture_names",
    "distribution",
    "exporter_names",
    "load_architecture",
    "load_exporter",
    "load_runtime",
    "load_weights_provider",
    "names",
    "runtime_for",
    "runtime_names",
]

_KINDS = {
    "edgecv.architectures": "architecture",
    "edgecv.exporters": "exporter",
    "edgecv.runtimes": "runtime",
    "edgecv.weights": "weights provider",
}


_OF_RUNTIMES = (
    "summary", "suffixes", "extra", "missing", "devices", "open",
    "read_metadata", "write_metadata", "operators", "custom_operators",
)  # fmt: skip


def exporter_names() -> list[str]:
    """Return the names of the installed exporters, sorted."""
    return names("edgecv.exporters")


def runtime_names() -> list[str]:
    """Return the names of the installed runtimes, sorted."""
    return names("edgecv.runtimes")


def architecture_names() -> list[str]:
    """Return the names of the installed architectures, sorted."""
    return names("edgecv.architectures")


def load_exporter(name: str) -> type[Exporter]:
    """Import an exporter's class; call it with its options.

    Raises:
        UnknownNameError: No installed distribution offers it.
        PluginError: It is offered twice, cannot be imported, or was written for another contract.
    """
    exporter = _load("edgecv.exporters", name)
    _check_attributes("exporter", name, exporter, ("summary", "suffix", "precisions", "source", "export"))
    if not dataclasses.is_dataclass(exporter):
        raise PluginError(f"Exporter {name!r} is no dataclass, as the contract demands.")
    return cast("type[Exporter]", exporter)


def load_runtime(name: str) -> Runtime:
    """Import a runtime and make it.

    Raises:
        UnknownNameError: No installed distribution offers it.
        PluginError: It is offered twice, cannot be imported, or was written for another contract.
    """
    runtime = _load("edgecv.runtimes", name)
    _check_attributes("runtime", name, runtime, _OF_RUNTIMES)
    try:
        return cast("Runtime", runtime())
    except Exception as error:  # the code of others may raise anything
        offered, version = distribution("edgecv.runtimes", name)
        raise PluginError(
            f"Runtime {name!r} of {offered} {version} cannot be made: {type(error).__name__}: {one_line(error)}. "
            f"Update or uninstall {offered}."
        ) from error


def load_architecture(name: str) -> Architecture:
    """Import an architecture's description.

    Raises:
        UnknownNameError: No installed distribution offers it.
        PluginError: It is offered twice, cannot be imported, or is no Architecture.
    """
    architecture = _load("edgecv.architectures", name)
    if not isinstance(architecture, Architecture):
        kind = type(architecture).__name__
        raise PluginError(f"Architecture {name!r} must be an edgecv Architecture, its entry point gives {kind!r}.")
    return architecture


def load_weights_provider(architecture: str) -> Any | None:
    """Import the provider of an architecture's published weights (`edgecv.weights.WeightsProvider`), if any.

    Raises:
        PluginError: It is offered twice or cannot be imported.
    """
    if architecture not in names("edgecv.weights"):
        return None
    return _load("edgecv.weights", architecture)


def runtime_for(suffix: str, path: Path | None = None) -> tuple[str, Runtime] | None:
    """Return name and runtime that open files with this suffix; one that can run here goes first.

    Args:
        suffix: With its dot; empty for folders.
        path: The artifact: a runtime that says that it cannot open it is left out.
    """
    found: list[tuple[str, Runtime]] = []
    for name in runtime_names():
        try:
            runtime = load_runtime(name)
        except PluginError:  # a broken plugin breaks itself only; `edgecv list runtimes` shows it
            continue
        if suffix in runtime.suffixes and (path is None or _opens(runtime, path)):
            found.append((name, runtime))
    ready = [pair for pair in found if _ready(pair[1])]
    return next(iter(ready + found), None)


def _opens(runtime: Runtime, path: Path) -> bool:
    opens = getattr(runtime, "opens", None)
    try:
        return opens is None or bool(opens(path))
    except Exception:  # the code of others may raise anything
        return False


def _ready(runtime: Runtime) -> bool:
    try:
        return runtime.missing() is None
    except Exception:  # the code of others may raise anything; `edgecv list runtimes` shows it
        return False


def names(group: str) -> list[str]:
    """Return the names in an entry-point group, sorted, without importing what they stand for."""
    return sorted(_by_name(group))


def distribution(group: str, name: str) -> tuple[str, str]:
    """Return name and version of the distributions that offer an entry point."""
    # By name: the order of the entry points follows sys.path.
    found = sorted(
        (entry.dist for entry in _by_name(group)[name] if entry.dist is not None), key=lambda dist: dist.name
    )
    return " and ".join(dist.name for dist in found), " and ".join(dist.version for dist in found)


@functools.cache
def _by_name(group: str) -> dict[str, list[EntryPoint]]:
    table: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=group):
        known = table.setdefault(entry.name, [])
        # An editable install beside a build folder can list one distribution twice.
        if not any(_same(entry, other) for other in known):
            known.append(entry)
    return table


def _same(one: EntryPoint, other: EntryPoint) -> bool:
    one_name, other_name = (entry.dist.name if entry.dist else "" for entry in (one, other))
    return one.value == other.value and one_name == other_name


def _load(group: str, name: str) -> Any:
    kind = _KINDS[group]
    entries = _by_name(group).get(name, [])
    if not entries:
        raise UnknownNameError(kind, name, names(group))
    if len(entries) > 1:
        raise PluginError(
            f"{kind.capitalize()} {name!r} is offered by {distribution(group, name)[0]}. Uninstall one of them."
        )
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout belongs to results
            return entries[0].load()
    except (Exception, SystemExit) as error:  # the code of others may raise anything
        offered, version = distribution(group, name)
        problem = " ".join(str(error).split()) or type(error).__name__
        raise PluginError(
            f"{kind.capitalize()} {name!r} of {offered} {version} cannot be loaded: "
            f"{type(error).__name__}: {problem}. Update or uninstall {offered}."
        ) from error


def _check_attributes(kind: str, name: str, plugin: Any, wanted: Iterable[str]) -> None:
    version = getattr(plugin, "api_version", None)
    if version != API_VERSION:
        raise PluginError(
            f"{kind.capitalize()} {name!r} states api_version {version!r}; this edgecv needs {API_VERSION}."
        )
    lacking = [attribute for attribute in wanted if not hasattr(plugin, attribute)]
    if lacking:
        raise PluginError(f"{kind.capitalize()} {name!r} lacks the attribute {lacking[0]!r} of the contract.")
