"""What made an artifact: the versions of all that took part, and the settings that shaped it.

Both are functions of the command and of what is installed, so the same command writes the same bytes.
"""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any

import edgecv

__all__ = ["settings_of", "versions_of"]


def versions_of(exporter: Any, runtime: Any, *, verified: bool) -> dict[str, Any]:
    """Return the versions for the metadata: edgecv, keras, its backend, the converter, the engine that proved it.

    Args:
        exporter: Names the distributions that it converts with as ``converters``; a plugin need not.
        runtime: Names the distributions of its engine, of which one is installed, as ``engines``; a plugin need not.
        verified: The artifact was run.
    """
    backend = _backend()
    return {
        "edgecv": edgecv.__version__,
        **_installed(("keras",)),
        "backend": {"name": backend, **_version(backend)},
        "converter": _installed(getattr(exporter, "converters", ())),
        "engine": _installed(getattr(runtime, "engines", ())) if verified else {},
    }


def settings_of(exporter: Any, *, devices: Sequence[str], pictures: int) -> dict[str, Any]:
    """Return the settings for the metadata that stand nowhere else in them.

    Args:
        exporter: Its options; what it was calibrated on is not one of them.
        devices: The devices that the artifact was verified on.
        pictures: The number of pictures that it was verified on.
    """
    fields = dataclasses.fields(exporter) if dataclasses.is_dataclass(exporter) else ()
    options = {field.name: getattr(exporter, field.name) for field in fields if field.name != "calibration"}
    plain = {name: value for name, value in options.items() if _is_plain(value)}
    return {**plain, "devices": list(devices), "pictures": pictures}


def _backend() -> str:
    """Return the name of Keras' backend; an artifact can be made without Keras, by a plugin from another artifact."""
    try:
        import keras
    except ImportError:
        return os.environ.get("KERAS_BACKEND", "")
    return str(keras.backend.backend())


def _installed(distributions: Iterable[str]) -> dict[str, str]:
    found = {name: _version(name) for name in distributions}
    return {name: version["version"] for name, version in found.items() if version}


def _version(distribution: str) -> Mapping[str, str]:
    try:
        return {"version": metadata.version(distribution)}
    except (metadata.PackageNotFoundError, ValueError):
        return {}


def _is_plain(value: Any) -> bool:
    """Tell whether JSON knows the value as it is."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)
