"""A browser is needed for all of it but the files themselves."""

import pytest

from edgecv_web.browser import browser_path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what runs in a browser where there is none."""
    if browser_path() is not None:
        return
    skip = pytest.mark.skip(reason="no Chromium or Chrome on this machine: see `apt install chromium`")
    for item in items:
        if "test_build" not in item.nodeid:
            item.add_marker(skip)
