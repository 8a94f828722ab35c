"""How long calls take: timed in turn, until the intervals of the medians are narrow.

Whatever disturbs the machine for a while then disturbs all alike. In each turn a call runs once without being
counted, which brings back to the caches what the others pushed out, and then a few times counted: as often in every
turn, for otherwise the turns in which it is quick would have more runs than the others. Runs of one turn resemble
each other, so the interval is taken over the medians of the turns, by their ranks: it assumes nothing of how times
are distributed.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Timing", "burst", "interval_ranks", "measure_in_turn", "rotated", "seconds_of", "time_in_turn"]

Call = Callable[[], object]
# Does one turn of so many runs that count, and returns the seconds of each.
Turn = Callable[[int], Sequence[float]]
Clock = Callable[[], float]

_MOMENT = 0.02  # seconds that the runs of a turn take about
_MOST_RUNS = 100  # of a turn
_WARM_RUNS = 3  # of the turn that warms up and tells how long a run takes
_FEWEST_TURNS = 3  # however long they take
_FEWEST_RANKS = 6  # the first number of values whose range holds their median in 95 % of cases
_CONFIDENCE = 0.95
_MOST_EXACT = 1000  # values; the numbers of more would leave the range of floats


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long a call took.

    Attributes:
        runs: Runs that were counted.
        p50_ms: Median of the runs, in milliseconds.
        p90_ms: What nine of ten runs stayed within, in milliseconds.
        low_ms: Lower end of the median's 95 % interval.
        high_ms: Upper end.
        converged: Whether the interval is as narrow as was asked for.
    """

    runs: int
    p50_ms: float
    p90_ms: float
    low_ms: float
    high_ms: float
    converged: bool = True

    @property
    def interval(self) -> float:
        """How far the interval reaches from the median, as a share of it."""
        return max(self.high_ms - self.p50_ms, self.p50_ms - self.low_ms) / self.p50_ms


def time_in_turn(
    calls: Mapping[str, Call],
    *,
    seconds: float = 10.0,
    precision: float = 0.02,
    fewest: int = 10,
    clock: Clock = time.perf_counter,
) -> dict[str, Timing]:
    """Time calls in turn, warmed up, until each median is known well enough or the time is over.

    Args:
        calls: What to time, by name.
        seconds: About how long to take in all.
        precision: Half of the width, as a share of the median, that each 95 % interval has to come within.
        fewest: Turns before an interval is believed; fewer where the time is over, but three.
        clock: Gives the time in seconds.

    Returns:
        Name → timing, in the order of ``calls``.
    """
    turns = {name: _turn(call, clock) for name, call in calls.items()}
    return measure_in_turn(turns, seconds=seconds, precision=precision, fewest=fewest, clock=clock)


def measure_in_turn(
    turns: Mapping[str, Turn],
    *,
    seconds: float = 10.0,
    precision: float = 0.02,
    fewest: int = 10,
    clock: Clock = time.perf_counter,
    progress: Callable[[], object] | None = None,
) -> dict[str, Timing]:
    """Do what `time_in_turn` does with what times itself, such as a process of its own.

    Args:
        turns: What to do in a turn, given how many runs count: it returns the seconds of each.
        seconds: About how long to take in all.
        precision: As for `time_in_turn`.
        fewest: As for `time_in_turn`.
        clock: Gives the time in seconds.
        progress: Called after each turn of all.
    """
    end = clock() + seconds
    runs = {name: _runs_of(turn(_WARM_RUNS)) for name, turn in turns.items()}
    taken: dict[str, list[Sequence[float]]] = {name: [] for name in turns}
    number = 0
    while True:
        for name in rotated(list(turns), number):
            taken[name].append(turns[name](runs[name]))
        number += 1
        if progress is not None:
            progress()
        timings = {name: _timing(values, precision, fewest) for name, values in taken.items()}
        if all(timing.converged for timing in timings.values()):
            return timings
        if clock() >= end and number >= _FEWEST_TURNS:
            return timings


def rotated(names: Sequence[str], number: int) -> list[str]:
    """Return names in the order of turn ``number``: another one begins each turn, for who follows whom matters."""
    shift = number % len(names) if names else 0
    return [*names[shift:], *names[:shift]]


def seconds_of(call: Call, clock: Clock = time.perf_counter) -> float:
    """Run a call once and return the seconds that it took."""
    start = clock()
    call()
    return clock() - start


def burst(call: Call, runs: int, *, clock: Clock = time.perf_counter) -> list[float]:
    """Run a call once uncounted and then so many times; return the seconds of each run that counts."""
    seconds_of(call, clock)
    return [seconds_of(call, clock) for _ in range(runs)]


def interval_ranks(count: int) -> tuple[int, int]:
    """Return the ranks, from 0, of the sorted values between which their median lies in 95 % of cases.

    They come from the binomial distribution of the number of values below it; of fewer than six values the first
    and the last are as much as can be had.

    Reference:
        Hahn and Meeker, "Statistical Intervals", 1991, chapter 5.
    """
    if count > _MOST_EXACT:
        rank = math.floor(count / 2 - 0.98 * math.sqrt(count)) - 1
    else:
        # From rank r to its mirror, it misses the median when at most r values lie on one side of it.
        allowed = (1 - _CONFIDENCE) / 2 * 2.0**count
        rank, missed = -1, 1
        while missed <= allowed:
            rank += 1
            missed += math.comb(count, rank + 1)
    first = max(rank, 0)
    return first, count - 1 - first


def _turn(call: Call, clock: Clock) -> Turn:
    return lambda runs: burst(call, runs, clock=clock)


def _runs_of(warm: Sequence[float]) -> int:
    """Return how many runs a turn has: about a moment of them."""
    return max(1, min(_MOST_RUNS, math.ceil(_MOMENT / max(median(warm), 1e-9))))


def _timing(turns: Sequence[Sequence[float]], precision: float, fewest: int) -> Timing:
    runs = sorted(1e3 * each for turn in turns for each in turn)
    middles = sorted(1e3 * median(turn) for turn in turns)
    first, last = interval_ranks(len(middles))
    p50 = median(runs)
    low, high = min(middles[first], p50), max(middles[last], p50)
    believed = len(middles) >= max(fewest, _FEWEST_RANKS)
    return Timing(
        runs=len(runs),
        p50_ms=p50,
        p90_ms=runs[math.ceil(0.9 * len(runs)) - 1],
        low_ms=low,
        high_ms=high,
        converged=believed and max(high - p50, p50 - low) <= precision * p50,
    )
