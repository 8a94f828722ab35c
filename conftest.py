"""What all tests share: edgecv's own and those of the plugins in this repository."""

import random
import sys
import zlib
from collections.abc import Iterator

import numpy as np
import pytest


def _draw_from(name: str) -> None:
    """Seed what draws without a seed of its own.

    Most networks of the tests have random weights. Drawn anew in each run, a few filters can by chance be dead, or a
    difference end at a limit, and then a test fails that says nothing of the change before it. Keras draws its seeds
    from Python's generator, so that it need not be imported for this.
    """
    seed = zlib.crc32(name.encode())
    if "keras" in sys.modules:
        import keras

        keras.utils.set_random_seed(seed)
    else:
        random.seed(seed)
        np.random.seed(seed)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Let each test draw by its own name, whatever ran before it."""
    _draw_from(item.nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> None:
    """Let fixtures do so as well: the first of many tests makes those that are shared."""
    _draw_from(f"{fixturedef.baseid}::{fixturedef.argname}")


@pytest.fixture(scope="session", autouse=True)
def _little_timing() -> Iterator[None]:
    """Export in int8 without waiting for times that say nothing beside other tests."""
    from edgecv.budget import timed_within

    with timed_within(0.05):
        yield
