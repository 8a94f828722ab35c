"""What the core asks of any exporter: its options, its output's name, its runtime, what it starts from."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv.comparison import TOLERANCES
from edgecv.errors import OptionError, OutputError, PluginError, one_line
from edgecv.exporter import Exporter
from edgecv.registry import load_exporter, load_runtime, runtime_for, runtime_names
from edgecv.runtime import Runtime
from edgecv.runtimes.folder import is_artifact_folder
from edgecv.session import known_suffixes

if TYPE_CHECKING:
    from edgecv.deployable import Deployable

__all__ = [
    "check_path",
    "default_name",
    "make_exporter",
    "own_tolerance",
    "refuse_unsupported",
    "runtime_of_exporter",
    "source_exporter",
    "tolerance_of_exporter",
    "unverified_because",
]


def make_exporter(name: str, options: Mapping[str, Any]) -> Exporter:
    """Load an exporter and give it its options.

    Raises:
        UnknownNameError: No such exporter.
        PluginError: It starts from an exporter that is not installed, or from itself.
        OptionError: It has no such option, or not with this value.
    """
    factory: Any = load_exporter(name)
    _check_sources(name, factory)
    known = {field.name for field in dataclasses.fields(factory)}
    fixed = {"precision"} - known  # a plugin of one precision need not make an option of it
    unknown = sorted(set(options) - known - fixed)
    if unknown:
        raise OptionError(f"{name} has no option {unknown[0]!r}. It has: {', '.join(sorted(known)) or 'none'}.")
    exporter: Exporter = factory(**{option: value for option, value in options.items() if option not in fixed})
    if exporter.precision != options.get("precision", exporter.precision):
        raise OptionError(f"{name} writes {exporter.precision} alone, got {options['precision']}. Name that precision.")
    return exporter


def source_exporter(exporter: Exporter) -> Exporter:
    """Return the exporter whose artifact another one starts from; it writes float32 where that one does not say."""
    return make_exporter(exporter.source, getattr(exporter, "source_options", {}))


def default_name(deployable: "Deployable", exporter: Exporter) -> str:
    """Return ``MODEL[-precision].suffix``."""
    precision = "" if exporter.precision == "float32" else f"-{exporter.precision}"
    return f"{deployable.name}{precision}{exporter.suffix}"


def runtime_of_exporter(exporter: Exporter) -> tuple[str, Runtime] | None:
    """Return name and runtime that open what an exporter writes: the one that it names, else one for its suffix.

    A folder has no suffix that would tell one format from another: an exporter that writes one names its runtime.
    """
    name = getattr(exporter, "runtime", None)
    if name is None:
        return runtime_for(exporter.suffix) if exporter.suffix else None
    return (name, load_runtime(name)) if name in runtime_names() else None


def unverified_because(exporter: Exporter) -> str | None:
    """Return why nothing here can run what an exporter writes; None where something can."""
    reason = getattr(exporter, "unverified", None)
    return one_line(reason) if reason else None


def tolerance_of_exporter(exporter: Exporter) -> float:
    """Return the largest relative difference that its artifacts may have: its own where that is the stricter one."""
    own = getattr(exporter, "tolerances", {}).get(exporter.precision, 1.0)
    return min(TOLERANCES[exporter.precision], float(own))


def own_tolerance(exporter: Exporter) -> dict[str, float]:
    """Return what metadata say of a tolerance that is stricter than the precision's own; nothing of others."""
    if exporter.precision not in TOLERANCES:
        return {}
    tolerance = tolerance_of_exporter(exporter)
    return {"tolerance": tolerance} if tolerance < TOLERANCES[exporter.precision] else {}


def refuse_unsupported(exporter: Exporter, deployable: "Deployable", form: str) -> None:
    """Refuse what an exporter says that it cannot write.

    Raises:
        OptionError: It cannot write ``deployable``.
    """
    unsupported = getattr(exporter, "unsupported", None)
    reason = unsupported(deployable) if unsupported is not None else None
    if reason is not None:
        raise OptionError(f"{form} cannot write {deployable.name}: {one_line(reason)}.")


def check_path(path: Path, form: str, exporter: Exporter) -> None:
    """Check the name of an output.

    Args:
        path: Where it goes.
        form: Name of the format.
        exporter: What writes it.

    Raises:
        OptionError: The suffix is another format's.
        OutputError: There is a folder under this name that edgecv did not write.
    """
    foreign = path.suffix in known_suffixes() if not exporter.suffix else path.suffix != exporter.suffix
    if foreign:
        raise OptionError(f"{form} writes {exporter.suffix or 'a folder'}, so the output cannot be {path.name!r}.")
    if path.is_dir() and not exporter.suffix and not is_artifact_folder(path) and any(path.iterdir()):
        raise OutputError(f"Cannot write {str(path)!r}: this folder is no artifact of edgecv. Name another with -o.")


def _check_sources(name: str, factory: type[Exporter]) -> None:
    """Follow what an exporter starts from to the Deployable."""
    passed = [name]
    while factory.source != "deployable":
        if factory.source in passed:
            raise PluginError(f"Exporter {name!r} starts from itself: {' → '.join((*passed, factory.source))}.")
        passed.append(factory.source)
        factory = load_exporter(factory.source)
