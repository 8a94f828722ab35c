"""Settings as plain Python: what NumPy and JSON give becomes tuples and numbers that can be compared and hashed."""

from typing import Any

__all__ = ["plain"]


def plain(value: Any) -> Any:
    """Return a value with lists and NumPy's arrays as tuples, and NumPy's numbers as Python's."""
    if hasattr(value, "tolist"):  # NumPy's arrays and numbers
        value = value.tolist()
    if isinstance(value, list | tuple):
        return tuple(plain(item) for item in value)
    return value
