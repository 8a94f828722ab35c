"""Packages that only an extra brings: found, or named with the command that installs them."""

import contextlib
import gc
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from edgecv.errors import EdgecvError, MissingExtraError, OptionError, one_line

__all__ = ["import_keras", "missing_any", "require", "why_missing"]


def require(package: str, *, extra: str, purpose: str) -> None:
    """Check that ``package`` (an import name) can be imported, without importing it.

    Raises:
        MissingExtraError: It is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(purpose, package, extra)


def missing_any(packages: Iterable[str], *, extra: str) -> str | None:
    """Say in one line which of ``packages`` (import names) is not installed; None where all are."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed. Run: pip install 'edgecv[{extra}]'"
    return None


def why_missing(plugin: Any) -> str | None:
    """Say in one line why an exporter or a runtime cannot run here; None where it can.

    A plugin that cannot answer cannot run: it breaks only itself.
    """
    try:
        missing = getattr(plugin, "missing", None)
        reason = missing() if missing is not None else None
        # Engines are looked for when they are asked for their devices.
        if reason is None and hasattr(plugin, "devices"):
            plugin.devices()
    except Exception as error:  # the code of others may raise anything
        name = getattr(plugin, "__name__", type(plugin).__name__)
        return f"{name} fails with {type(error).__name__}: {one_line(error)}. Update or uninstall it."
    return None if reason is None else str(reason)


def import_keras() -> None:
    """Import Keras, quietly; with no backend at hand say so in one line.

    Raises:
        MissingExtraError: Keras or its backend is not installed.
        OptionError: ``KERAS_BACKEND`` names a backend that is not installed or that Keras does not know.
        EdgecvError: What is installed is broken.
    """
    require("keras", extra="export", purpose="Working with networks")
    from edgecv.quiet import quiet_frameworks

    chosen = os.environ.get("KERAS_BACKEND")
    other = chosen if chosen != "tensorflow" else None
    try:
        with quiet_frameworks(), _uncollected():
            importlib.import_module("keras")
    except ModuleNotFoundError as error:
        # Without KERAS_BACKEND Keras imports TensorFlow and fails inside.
        backend = error.name or "a backend"
        if other:
            raise OptionError(
                f"KERAS_BACKEND is {other!r}, but Keras cannot import {backend}. Install it, or unset KERAS_BACKEND."
            ) from error
        raise MissingExtraError("Keras", backend, "export") from error
    except Exception as error:  # what half an installation raises, or Keras on a backend that it does not know
        _pass_on_interruption(error)
        if other:
            raise OptionError(
                f"KERAS_BACKEND is {other!r}, but Keras says: {one_line(error)}. Unset KERAS_BACKEND."
            ) from error
        raise EdgecvError(
            f"Keras is installed but cannot be imported: {type(error).__name__}: {one_line(error)}. "
            "Run: pip install --force-reinstall 'edgecv[export]'"
        ) from error


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Keep all that an import makes from the garbage collector: it stays, and would be looked through many times.

    With TensorFlow these are 270,000 objects, an eighth of a second for each full collection afterwards.
    """
    if "keras" in sys.modules:
        yield
        return
    enabled = gc.isenabled()
    gc.collect()  # what is garbage already must not be kept with it
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def _pass_on_interruption(error: BaseException) -> None:
    """Raise the interruption that an error stands for: compiled modules turn ctrl-C into an ImportError.

    Raises:
        KeyboardInterrupt: It was one.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        cause = cause.__cause__ or cause.__context__
