"""Where the parts of a drawing lie."""

import math

import pytest

from edgecv.html_report.charts import decade, histogram_chart, number, on_decades, readable
from edgecv.html_report.page import Histogram


def _histogram(counts: dict[int, int], tolerance: float | None = 1e-4) -> Histogram:
    """Make one of counts by the bin's place; four bins a decade from 1e-10 to 10."""
    return Histogram(
        output="scores",
        counts=tuple(counts.get(place, 0) for place in range(44)),
        first=-10,
        bins_a_decade=4,
        equal=0,
        total=sum(counts.values()),
        pictures=(("cat", 2e-3), ("rocket", 1e-7)),
        tolerance=tolerance,
    )


def test_numbers_are_written_as_people_read_them() -> None:
    written = {2.04e-6: "2.0 × 10⁻⁶", 1e-4: "10⁻⁴", 0.0: "0", 0.23: "0.23", 12.0: "12", 3.2e5: "3.2 × 10⁵"}
    written |= {99.4: "99", 99.7: "10²", 123.0: "1.2 × 10²", 0.00996: "0.01"}
    assert {value: number(value) for value in written} == written
    assert number(math.inf) == "–"
    assert decade(0) == "1"
    assert readable("relative difference 2.3e-01 is above 1e-04") == "relative difference 0.23 is above 10⁻⁴"
    assert readable("layer conv1e-04x of 0x1e-04f") == "layer conv1e-04x of 0x1e-04f"


def test_the_axis_is_logarithmic_and_ends_at_its_ends() -> None:
    assert [on_decades(value, -4, 0) for value in (1e-4, 1e-2, 1.0, 1e-9, 50.0, 0.0, math.inf)] == [
        *(0, 0.5, 1, 0, 1, 0, 1)
    ]


def test_bars_and_tolerance_share_an_axis() -> None:
    # A bin that ends at the tolerance: -10 + 24/4 = -4.
    chart = histogram_chart(_histogram({23: 10, 24: 99, 8: 1}))
    assert chart.limit is not None
    left, below, above = chart.bars
    step = (chart.right - chart.left) / (4 * (len(chart.x_ticks) - 1))
    assert below.x + below.width == pytest.approx(chart.limit - 0.5, abs=0.02)
    assert above.x == pytest.approx(chart.limit + 0.5, abs=0.02)
    assert below.width == pytest.approx(step - 1, abs=0.02)
    assert above.height == chart.bottom - chart.top  # the tallest fills the height
    # Logarithms: log10 of 11 over log10 of 100.
    assert below.height == pytest.approx(above.height * math.log10(11) / 2, abs=0.02)
    assert chart.left <= left.x
    assert [dot.beyond for dot in chart.dots] == [True, False]
    assert above.text == "99 from 10⁻⁴ to 1.8 × 10⁻⁴"


def test_every_part_lies_inside() -> None:
    for counts, tolerance in (({0: 5}, 5e-3), ({43: 5}, None), ({}, 1e-4), (dict.fromkeys(range(44), 10**6), None)):
        chart = histogram_chart(_histogram(counts, tolerance))
        places = [
            *(tick.place for tick in chart.x_ticks),
            *(dot.x for dot in chart.dots),
            *(bar.x + bar.width for bar in chart.bars),
        ]
        assert all(chart.left <= place <= chart.right for place in places)
        assert all(chart.top <= bar.y <= chart.bottom for bar in chart.bars)
        assert all(chart.top - 1 <= tick.place <= chart.bottom for tick in chart.y_ticks)
