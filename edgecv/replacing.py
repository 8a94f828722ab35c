"""Attributes of layers, set for a while."""

import contextlib
from collections.abc import Iterator
from typing import Any

__all__ = ["replaced"]


@contextlib.contextmanager
def replaced(target: Any, attribute: str, value: Any) -> Iterator[None]:
    """Set an attribute for a while; one that the class provides is uncovered again."""
    own = attribute in vars(target)
    before = getattr(target, attribute)
    setattr(target, attribute, value)
    try:
        yield
    finally:
        if own:
            setattr(target, attribute, before)
        else:
            delattr(target, attribute)
