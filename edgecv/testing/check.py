"""The nouns Check and Outcome: what the conformance kit demands of an exporter, and what came of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from edgecv.testing.bench import Bench

__all__ = ["Check", "FailedError", "Outcome", "SkippedError", "Verdict", "demand"]

State = Literal["passed", "failed", "skipped"]


class FailedError(Exception):
    """What a check demands is not so; the message says what was seen, in one line without a full stop."""


class SkippedError(Exception):
    """There is nothing that a check could look at; the message says why, in one line without a full stop."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that every exporter has to do; checks know nothing of each other.

    Attributes:
        name: Short and unique, such as ``same-bytes``.
        group: What it is about, a heading.
        demands: What is so where it passes, in a sentence.
        remedy: What the author of the exporter does where it fails.
        run: Raises `FailedError` or `SkippedError`; any other exception is a failure, too.
        process: It looks at what a second process did, which takes some seconds.
    """

    name: str
    group: str
    demands: str
    remedy: str
    run: "Callable[[Bench], None]"
    process: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a check.

    Attributes:
        check: The check.
        state: ``passed``, ``failed`` or ``skipped``.
        reason: Why it failed or was skipped, in one line.
        seconds: How long it took.
    """

    check: Check
    state: State
    reason: str = ""
    seconds: float = 0.0

    def message(self) -> str:
        """Return what a failure says: what is demanded, what was seen, what to do."""
        return f"{self.check.name}: {self.reason}. Demanded: {self.check.demands} What to do: {self.check.remedy}"

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``check-exporter --json``."""
        failed = self.state == "failed"
        return {
            "name": self.check.name,
            "group": self.check.group,
            "demands": self.check.demands,
            "verdict": self.state,
            "reason": self.reason or None,
            "remedy": self.check.remedy if failed else None,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of all checks of an exporter.

    Attributes:
        exporter: Its name.
        distribution: Who offers it, and in which version.
        outcomes: One a check, in order.
        seconds: How long it took.
    """

    exporter: str
    distribution: tuple[str, str]
    outcomes: tuple[Outcome, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """No check failed, and some passed."""
        return not self.of("failed") and bool(self.of("passed"))

    def of(self, state: State) -> list[Outcome]:
        """Return the outcomes of one kind."""
        return [outcome for outcome in self.outcomes if outcome.state == state]

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``check-exporter --json``."""
        return {
            "exporter": self.exporter,
            "distribution": self.distribution[0],
            "version": self.distribution[1],
            "passed": self.passed,
            "counts": {state: len(self.of(state)) for state in ("passed", "failed", "skipped")},
            "checks": [outcome.to_json() for outcome in self.outcomes],
            "seconds": round(self.seconds, 1),
        }


def demand(truth: object, problem: str) -> None:
    """Fail the check where something is not so.

    Raises:
        FailedError: ``truth`` is false.
    """
    if not truth:
        raise FailedError(problem)


def by_name(checks: Iterable[Check]) -> dict[str, Check]:
    """Return checks by their names."""
    return {check.name: check for check in checks}
