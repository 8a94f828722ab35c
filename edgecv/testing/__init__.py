"""The conformance kit: what every exporter is held to, for tests and for ``edgecv check-exporter``.

In a plugin's ``tests/test_conformance.py``::

    from edgecv.testing import conformance

    test_conformance = conformance("NAME")

Checks are data (`edgecv.testing.checks`), run one by one on a `Bench`, which holds the networks and artifacts that they
share. Only `conformance` needs pytest.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecv.testing.as_test import conformance
    from edgecv.testing.bench import Bench
    from edgecv.testing.check import Check, Outcome, Verdict
    from edgecv.testing.checks import CHECKS
    from edgecv.testing.running import check_exporter

__all__ = ["CHECKS", "Bench", "Check", "Outcome", "Verdict", "check_exporter", "conformance"]

# Looked up on first use: the small processes of the kit import nothing heavy.
_HOMES = {
    "CHECKS": "checks",
    "Bench": "bench",
    "Check": "check",
    "Outcome": "check",
    "Verdict": "check",
    "check_exporter": "running",
    "conformance": "as_test",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgecv.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(f"edgecv.testing.{_HOMES[name]}"), name)
