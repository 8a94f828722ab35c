"""What all tests share."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _little_timing() -> Iterator[None]:
    """Export in int8 without waiting for times that say nothing beside other tests."""
    from edgecv.budget import timed_within

    with timed_within(0.05):
        yield
