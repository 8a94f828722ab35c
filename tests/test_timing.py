"""Timing in turn: the order, the interval, and when it ends. Times are injected, never taken."""

from collections.abc import Callable
from itertools import count, cycle
from statistics import NormalDist

import pytest

from edgecv.timing import burst, interval_ranks, measure_in_turn, rotated, time_in_turn


class Clock:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def taking(self, *seconds: float) -> Callable[[], object]:
        """Return a call that takes these seconds, one after the other, again and again."""
        times = cycle(seconds)

        def call() -> None:
            self.now += next(times)

        return call


def test_calls_take_turns_and_each_turn_begins_with_another() -> None:
    order: list[str] = []

    def turn(name: str) -> Callable[[int], list[float]]:
        return lambda _: order.append(name) or [1.0]  # type: ignore[func-returns-value]

    measure_in_turn({name: turn(name) for name in "abc"}, seconds=100, fewest=6)
    assert "".join(order) == "abc" + "abcbcacab" * 2


def test_rotated_keeps_who_follows_whom() -> None:
    assert [rotated(["a", "b", "c"], number) for number in (0, 1, 5)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
    ]
    assert rotated([], 3) == []


def test_it_ends_when_every_interval_is_narrow_enough() -> None:
    clock = Clock()
    timings = time_in_turn({"even": clock.taking(0.1), "odd": clock.taking(0.5)}, seconds=1000, clock=clock)
    assert all(timing.converged for timing in timings.values())
    assert [timing.runs for timing in timings.values()] == [10, 10]
    assert list(timings) == ["even", "odd"]
    assert timings["even"].p50_ms == pytest.approx(100)
    assert timings["odd"].interval == pytest.approx(0, abs=1e-9)


def test_one_that_never_settles_ends_with_the_time_and_says_so() -> None:
    clock = Clock()
    calls = {"calm": clock.taking(0.1), "wild": clock.taking(*(0.1 * place for place in range(1, 12)))}
    timings = time_in_turn(calls, seconds=60, clock=clock)
    assert timings["calm"].converged
    assert not timings["wild"].converged
    assert timings["wild"].interval > 0.02
    assert 60 <= clock.now < 63
    assert timings["calm"].runs == timings["wild"].runs  # the others go on while one has not settled


def test_time_that_is_over_at_once_still_gives_three_turns() -> None:
    clock = Clock()
    timing = time_in_turn({"slow": clock.taking(30.0)}, seconds=1, clock=clock)["slow"]
    assert timing.runs == 3
    assert not timing.converged


def test_the_first_run_of_a_turn_does_not_count() -> None:
    clock = Clock()
    assert burst(clock.taking(9.0, 0.015, 0.016), 2, clock=clock) == pytest.approx([0.015, 0.016])


@pytest.mark.parametrize(("seconds", "runs"), [(1e-6, 100), (0.0011, 19), (0.008, 3), (0.5, 1)])
def test_every_turn_of_a_call_has_as_many_runs(seconds: float, runs: int) -> None:
    asked: list[int] = []

    def turn(wanted: int) -> list[float]:
        asked.append(wanted)
        return [seconds * len(asked)] * wanted  # slower with every turn

    measure_in_turn({"a": turn}, seconds=0, clock=count().__next__)
    assert asked == [3, runs, runs, runs]


def test_percentiles_are_those_of_the_runs() -> None:
    turns = iter([[1.0], *([float(value)] for value in range(1, 11))])
    timing = measure_in_turn({"a": lambda _: next(turns)}, seconds=10, clock=count().__next__)["a"]
    assert timing.runs == 10
    assert (timing.p50_ms, timing.p90_ms) == (5500, 9000)
    # Of ten values the second and the ninth: 97.9 %, the third and the eighth would be 89.1 %.
    assert (timing.low_ms, timing.high_ms) == (2000, 9000)


@pytest.mark.parametrize(
    ("values", "ranks"),
    # By hand for 10: P(at most 1 of 10 below) = 11/1024 < 0.025 < 56/1024 = P(at most 2 of 10 below).
    [(1, (0, 0)), (5, (0, 4)), (6, (0, 5)), (10, (1, 8)), (20, (5, 14)), (100, (39, 60))],
)
def test_ranks_of_the_interval_are_those_of_the_binomial_distribution(values: int, ranks: tuple[int, int]) -> None:
    assert interval_ranks(values) == ranks


def test_ranks_of_many_values_go_over_into_the_normal_approximation() -> None:
    assert interval_ranks(1000)[0] <= interval_ranks(1001)[0] <= interval_ranks(1000)[0] + 1
    low, high = interval_ranks(100_000)
    assert (high - low) / 100_000**0.5 == pytest.approx(2 * NormalDist().inv_cdf(0.975) / 2, rel=0.01)
