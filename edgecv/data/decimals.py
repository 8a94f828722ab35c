"""Numbers of labels added as they are written, so that what a conversion writes reads back the same."""

from decimal import Decimal

__all__ = ["plus", "plus_text"]


def plus(first: float | str, second: float | str) -> float:
    """Add two finite numbers, or their texts, in decimal: 0.1 and 0.2 make 0.3, which float64 misses.

    COCO's widths and VOC's counting from 1 add on the way in and subtract on the way out; in decimal the one undoes
    the other exactly, as long as float64 has room for the sum's digits.
    """
    return float(_decimal(first) + _decimal(second))


def plus_text(first: float | str, second: float | str) -> str:
    """Return the same sum as text with all of its digits; whole numbers without a point."""
    total = _decimal(first) + _decimal(second)
    return str(int(total)) if total == int(total) else f"{total:f}"


def _decimal(value: float | str) -> Decimal:
    return Decimal(value if isinstance(value, str) else repr(value))
