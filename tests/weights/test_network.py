"""Reachability, without leaving this machine."""

import http.server
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from edgecv.weights import network


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(200 if self.path == "/there" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as served:
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


def test_what_answers_is_reachable(server: str) -> None:
    assert network.unreachable(f"{server}/there") is None


def test_a_refusal_is_named(server: str) -> None:
    assert network.unreachable(f"{server}/elsewhere") == "127.0.0.1 cannot be reached (HTTP 404)"


def test_a_closed_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        assert network.unreachable(url) == "127.0.0.1 cannot be reached ([Errno 111] Connection refused)"


def test_a_proxy_is_asked_in_place_of_the_host(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server)
    monkeypatch.delenv("no_proxy", raising=False)
    # The proxy sees the whole address as the path, and this one knows nothing of it.
    assert network.unreachable("http://host.invalid/there") == "host.invalid cannot be reached (HTTP 404)"


def test_a_name_look_up_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(*_: object) -> None:
        release.wait(10)

    monkeypatch.setattr(network, "_ask", hang)
    start = time.monotonic()
    problem = network.unreachable("https://host.invalid/", seconds=0.2)
    release.set()
    assert problem == "host.invalid cannot be reached (no answer within 0.2 seconds)"
    assert time.monotonic() - start < 2
