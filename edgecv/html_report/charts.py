"""Where the parts of a drawing lie: logarithmic axes turned into coordinates, for the templates to draw."""

import math
import re
from dataclasses import dataclass

from edgecv.html_report.page import Histogram

__all__ = [
    "Dot",
    "HistogramChart",
    "Rectangle",
    "Tick",
    "decade",
    "histogram_chart",
    "number",
    "on_decades",
    "readable",
]

_WIDTH, _HEIGHT = 420.0, 214.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 42.0, 400.0, 24.0, 152.0
_FEWEST_DECADES = 4
_MOST_LABELS = 6
_NUMBER = re.compile(r"\b\d(?:\.\d+)?e[+-]\d{2}\b")
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, kw_only=True)
class Rectangle:
    """A bar, with what it says."""

    x: float
    y: float
    width: float
    height: float
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A place on an axis, with its label; empty where only the line is drawn."""

    place: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A picture on the axis, with what it says; ``beyond`` the tolerance or not."""

    x: float
    text: str
    beyond: bool


@dataclass(frozen=True, kw_only=True)
class HistogramChart:
    """A histogram in coordinates; ``limit`` is where the tolerance lies."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    bars: tuple[Rectangle, ...]
    dots: tuple[Dot, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    limit: float | None


def decade(exponent: int) -> str:
    """Return a power of ten as it is read: 10⁻⁶, and 1 for 10⁰."""
    return "1" if exponent == 0 else f"10{str(exponent).translate(_SUPERSCRIPTS)}"


def number(value: float) -> str:
    """Return a number as it is read: 2.0 × 10⁻⁶."""
    if not math.isfinite(value):
        return "–"
    digits, _, exponent = f"{value:.1e}".partition("e")
    power = int(exponent)
    if value == 0 or -3 < power < 2:  # two digits tell no hundreds
        return f"{value:.2g}"
    return decade(power) if digits == "1.0" else f"{digits} × {decade(power)}"


def readable(text: str) -> str:
    """Return a message with its numbers as they are read: 1e-04 becomes 10⁻⁴."""
    return _NUMBER.sub(lambda match: number(float(match[0])), text)


def on_decades(value: float, low: int, high: int) -> float:
    """Return the place of a value on a logarithmic axis from ``10**low`` to ``10**high``: 0…1, cut at both ends."""
    if not value > 0:
        return 0.0
    if math.isinf(value):
        return 1.0
    return min(1.0, max(0.0, (math.log10(value) - low) / (high - low)))


def histogram_chart(histogram: Histogram) -> HistogramChart:
    """Return where the parts of a histogram lie."""
    low, high = _decades(histogram)

    def x(value: float) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * on_decades(value, low, high), 2)

    tallest = max(histogram.counts, default=0)
    limit = histogram.tolerance
    return HistogramChart(
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        right=_RIGHT,
        top=_TOP,
        bottom=_BOTTOM,
        bars=_bars(histogram, low, high, tallest),
        dots=tuple(
            Dot(x=x(value), text=f"{name}: {number(value)}", beyond=limit is not None and value > limit)
            for name, value in histogram.pictures
        ),
        x_ticks=_x_ticks(low, high),
        y_ticks=_y_ticks(tallest),
        limit=None if limit is None else x(limit),
    )


def _decades(histogram: Histogram) -> tuple[int, int]:
    """Return the ends of the axis: all bins, all pictures and the tolerance lie between them."""
    used = [place for place, count in enumerate(histogram.counts) if count]
    shown = [histogram.first + place / histogram.bins_a_decade for place in used]
    ends = [*shown, *(place + 1 / histogram.bins_a_decade for place in shown)]
    last = histogram.first + len(histogram.counts) // histogram.bins_a_decade
    if histogram.tolerance is not None:
        ends += [math.log10(histogram.tolerance) + 0.5]
    ends = ends or [-8.0, -3.0]
    low, high = math.floor(min(ends) + 1e-9), min(last, math.ceil(max(ends) - 1e-9))
    return min(low, high - _FEWEST_DECADES), high


def _bars(histogram: Histogram, low: int, high: int, tallest: int) -> tuple[Rectangle, ...]:
    step = (_RIGHT - _LEFT) / ((high - low) * histogram.bins_a_decade)
    skipped = (low - histogram.first) * histogram.bins_a_decade
    bars = []
    for place, count in enumerate(histogram.counts):
        if not count:
            continue
        height = (_BOTTOM - _TOP) * math.log10(count + 1) / math.log10(tallest + 1)
        begin = histogram.first + place / histogram.bins_a_decade
        text = f"{count:,} from {number(10**begin)} to {number(10 ** (begin + 1 / histogram.bins_a_decade))}"
        left = _LEFT + (place - skipped) * step
        bars.append(
            Rectangle(
                x=round(left + 0.5, 2),
                y=round(_BOTTOM - height, 2),
                width=round(step - 1, 2),
                height=round(height, 2),
                text=text,
            )
        )
    return tuple(bars)


def _x_ticks(low: int, high: int) -> tuple[Tick, ...]:
    every = max(1, math.ceil((high - low) / _MOST_LABELS))
    return tuple(
        Tick(
            place=round(_LEFT + (_RIGHT - _LEFT) * (exponent - low) / (high - low), 2),
            label=decade(exponent) if (exponent - high) % every == 0 else "",
        )
        for exponent in range(low, high + 1)
    )


def _y_ticks(tallest: int) -> tuple[Tick, ...]:
    if tallest < 1:
        return ()
    exponents = range(len(str(tallest)))
    every = 1 if len(exponents) <= 4 else 2
    return tuple(
        Tick(
            place=round(_BOTTOM - (_BOTTOM - _TOP) * math.log10(10**exponent + 1) / math.log10(tallest + 1), 2),
            label=f"{10**exponent:,}" if exponent < 4 else decade(exponent),
        )
        for exponent in exponents[::every]
    )
