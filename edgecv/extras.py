"""Packages that only an extra brings: found, or named with the command that installs them."""

import importlib.util

from edgecv.errors import MissingExtraError

__all__ = ["require"]


def require(package: str, *, extra: str, purpose: str) -> None:
    """Check that ``package`` (an import name) can be imported, without importing it.

    Raises:
        MissingExtraError: It is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(purpose, package, extra)
