"""`edgecv check-exporter NAME`: does an installed exporter keep the contract?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from edgecv.cli.common import emit_json, json_option, progress

if TYPE_CHECKING:
    from edgecv.testing import Outcome, Verdict

__all__ = ["check_exporter"]

_MARKS = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}


@click.command("check-exporter")
@click.argument("exporter", metavar="NAME")
@click.option("--only", multiple=True, metavar="CHECK", help="Run this check alone; repeatable.")
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    default=900.0,
    show_default=True,
    metavar="SECONDS",
    help="A check that takes longer has failed.",
)
@json_option
def check_exporter(exporter: str, only: Sequence[str], time_limit: float, as_json: bool) -> None:
    """Hold the installed exporter NAME to the contract, on small networks of every kind.

    Each check that fails says what to do; the exit is 1 then. They run in a process of their own, which an exporter may
    end: that has failed, too. docs/writing-an-exporter.md tells the whole way.
    """
    from edgecv.testing.apart import check_apart
    from edgecv.testing.running import select

    with progress(f"checking {exporter}", total=len(select(only))) as advance:
        verdict = check_apart(
            exporter, only=only, tell=lambda outcome: advance(outcome.check.name), time_limit=time_limit
        )
    if as_json:
        emit_json(verdict.to_json())
    else:
        _print(verdict)
    if not verdict.passed:
        raise click.exceptions.Exit(1)


def _print(verdict: "Verdict") -> None:
    distribution, version = verdict.distribution
    click.echo(f"{verdict.exporter}, exporter of {distribution} {version}")
    for group in dict.fromkeys(outcome.check.group for outcome in verdict.outcomes):
        click.echo(f"\n{group}")
        for outcome in verdict.outcomes:
            if outcome.check.group == group:
                _print_outcome(outcome)
    counts = {state: len(verdict.of(state)) for state in ("passed", "failed", "skipped")}
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    click.echo(f"\n{told}, in {verdict.seconds:.0f} s. {_end(verdict)}")


def _print_outcome(outcome: "Outcome") -> None:
    check = outcome.check
    click.echo(f"  {_MARKS[outcome.state]}  {check.name:<29} {outcome.reason or check.demands}")
    if outcome.state == "failed":
        for title, text in (("demanded", check.demands), ("to do", check.remedy)):
            click.echo(f"        {title}: {text}")


def _end(verdict: "Verdict") -> str:
    if verdict.passed:
        return f"{verdict.exporter} keeps the contract."
    failed = verdict.of("failed")
    return f"Run one again: edgecv check-exporter {verdict.exporter} --only {failed[0].check.name}" if failed else ""
