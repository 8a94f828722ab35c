"""Runs the checks of an exporter, one after the other; none depends on another's verdict."""

import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from edgecv import registry
from edgecv.errors import EdgecvError, UnknownNameError, one_line
from edgecv.testing.bench import Bench
from edgecv.testing.check import Check, FailedError, Outcome, SkippedError, Verdict, by_name
from edgecv.testing.checks import CHECKS

__all__ = ["check_exporter", "known", "run_all", "run_check", "select", "verdict_on"]


def check_exporter(name: str, *, only: Iterable[str] = (), tell: Callable[[Outcome], None] | None = None) -> Verdict:
    """Check an installed exporter.

    Args:
        name: Its name in `edgecv list`.
        only: Names of checks, where not all are to be run.
        tell: Is told every outcome as it comes.

    Raises:
        UnknownNameError: No installed distribution offers it.
        UnknownNameError: There is no such check.
    """
    known(name)
    checks = select(only)
    with tempfile.TemporaryDirectory(prefix="edgecv-conformance-", ignore_cleanup_errors=True) as folder:
        return verdict_on(name, run_all(Bench(name, Path(folder)), checks), tell)


def known(name: str) -> None:
    """Check the name of an exporter.

    Raises:
        UnknownNameError: No installed distribution offers it.
    """
    if name not in registry.exporter_names():
        raise UnknownNameError("exporter", name, registry.exporter_names())


def verdict_on(name: str, outcomes: Iterable[Outcome], tell: Callable[[Outcome], None] | None) -> Verdict:
    """Gather the outcomes of an exporter as they come."""
    begin = time.perf_counter()
    gathered = []
    for outcome in outcomes:
        gathered.append(outcome)
        if tell is not None:
            tell(outcome)
    return Verdict(
        exporter=name,
        distribution=registry.distribution("edgecv.exporters", name),
        outcomes=tuple(gathered),
        seconds=time.perf_counter() - begin,
    )


def select(only: Iterable[str] = ()) -> tuple[Check, ...]:
    """Return the checks of these names, in the kit's order; all where none is named.

    Raises:
        UnknownNameError: There is no such check.
    """
    known, wanted = by_name(CHECKS), list(only)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise UnknownNameError("check", unknown[0], known)
    return tuple(check for check in CHECKS if not wanted or check.name in wanted)


def run_all(bench: Bench, checks: Iterable[Check]) -> Iterator[Outcome]:
    """Run checks; at the end, also an early one, nothing of the bench runs any more."""
    checks = tuple(checks)
    try:
        if any(check.process for check in checks):
            _start_early(bench)
        for check in checks:
            yield run_check(bench, check)
    finally:
        bench.close()


def run_check(bench: Bench, check: Check) -> Outcome:
    """Run one check; whatever it raises is its outcome."""
    begin = time.perf_counter()

    def outcome(state: str, reason: str = "") -> Outcome:
        seconds = time.perf_counter() - begin
        return Outcome(check=check, state=state, reason=reason.rstrip("."), seconds=seconds)  # type: ignore[arg-type]

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of frameworks: a test run may make errors of them
            check.run(bench)
    except FailedError as error:
        return outcome("failed", str(error))
    except SkippedError as error:
        return outcome("skipped", str(error))
    except EdgecvError as error:
        return outcome("failed", one_line(error))
    except (Exception, SystemExit) as error:  # the code of others may raise anything
        return outcome("failed", f"raises {type(error).__name__}: {one_line(error)}")
    return outcome("passed")


def _start_early(bench: Bench) -> None:
    """Start the second process, which takes its time, beside the first checks."""
    try:
        bench.start_second()
    except Exception:  # the checks say what is wrong
        return
