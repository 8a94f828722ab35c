"""What the tests share: pages of small networks, and a browser in people's hands. Without one, all of it is skipped."""

import functools
import http.server
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import edgecv
import pytest
from edgecv.testing.cases import CASES

from edgecv_web.browser import browser_path

# The first is refused where no page may use the camera; its frames move.
_FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--use-fake-device-for-media-stream")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what runs in a browser where there is none."""
    if browser_path() is not None:
        return
    skip = pytest.mark.skip(reason="no Chromium or Chrome on this machine: see `apt install chromium`")
    for item in items:
        if "test_build" not in item.nodeid:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Export a case of the conformance kit as a page, once."""
    folder = tmp_path_factory.mktemp("pages")

    @functools.cache
    def made(case: str, **options: Any) -> Path:
        name = f"{case}-{len(list(folder.iterdir()))}{'.html' if options.get('single_file') else ''}"
        return edgecv.export(CASES[case].deploy(), to="web", path=folder / name, verify=False, **options).path

    return made


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is in the extra [test]")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=browser_path(), args=list(_FLAGS))
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def host() -> Iterator[Callable[[Path], str]]:
    """Serve a folder as `python -m http.server` does, and return its address; a file is opened from disk."""
    servers = []

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
            pass

    def serve(path: Path) -> str:
        if path.is_file():
            return path.as_uri()
        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(path)))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def show(browser: Any, host: Callable[[Path], str]) -> Iterator[Callable[..., Any]]:
    """Open a page as people do, and wait until it can be used."""
    contexts = []

    def opened(path: Path, *, before: str = "", asked: list[str] | None = None, works: bool = True, **how: Any) -> Any:
        context = browser.new_context(**how)
        contexts.append(context)
        tab = context.new_page()
        if asked is not None:
            tab.on("request", lambda request: asked.append(request.url))
        if before:
            tab.add_init_script(before)
        tab.goto(host(path))
        tab.wait_for_selector("#choose:enabled" if works else "#problem:visible", timeout=60_000)
        return tab

    yield opened
    for context in contexts:
        context.close()
