"""Packages that only an extra brings: found, or named with the command that installs them."""

import importlib.util
import os
from collections.abc import Iterable

from edgecv.errors import MissingExtraError, OptionError

__all__ = ["import_keras", "missing_any", "require"]


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


def import_keras() -> None:
    """Import Keras, quietly; with no backend at hand say so in one line.

    Raises:
        MissingExtraError: Keras or its backend is not installed.
        OptionError: ``KERAS_BACKEND`` names a backend that is not installed.
    """
    require("keras", extra="export", purpose="Working with networks")
    from edgecv.quiet import quiet_frameworks

    try:
        with quiet_frameworks():
            importlib.import_module("keras")
    except ImportError as error:
        # Without KERAS_BACKEND Keras imports TensorFlow and fails inside.
        backend = error.name or "a backend"
        chosen = os.environ.get("KERAS_BACKEND")
        if chosen and chosen != "tensorflow":
            raise OptionError(
                f"KERAS_BACKEND is {chosen!r}, but Keras cannot import {backend}. Install it, or unset KERAS_BACKEND."
            ) from error
        raise MissingExtraError("Keras", backend, "export") from error
