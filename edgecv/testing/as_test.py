"""The conformance kit as a test of pytest: one test for each check."""

from collections.abc import Callable, Iterable
from typing import Any

from edgecv.testing.bench import Bench
from edgecv.testing.check import Check
from edgecv.testing.running import run_check, select

__all__ = ["conformance"]


def conformance(name: str, *, only: Iterable[str] = ()) -> Callable[..., None]:
    """Return a test that holds an exporter to the contract, parametrised by check.

    In a plugin's ``tests/test_conformance.py`` this is all::

        from edgecv.testing import conformance

        test_conformance = conformance("NAME")

    ``pytest -k NAME_OF_CHECK`` runs one check alone. Networks and artifacts are made once for all of them.

    Args:
        name: Name of the installed exporter.
        only: Names of checks, where not all are to be run.
    """
    import pytest

    benches: list[Bench] = []

    def test_conformance(check: Check, tmp_path_factory: Any) -> None:
        if not benches:
            benches.append(Bench(name, tmp_path_factory.mktemp(f"conformance-{name}")))
        outcome = run_check(benches[0], check)
        if outcome.state == "skipped":
            pytest.skip(outcome.reason)
        if outcome.state == "failed":
            pytest.fail(outcome.message(), pytrace=False)

    marked: Callable[..., None] = pytest.mark.parametrize("check", select(only), ids=_name)(test_conformance)
    return marked


def _name(check: Check) -> str:
    return check.name
