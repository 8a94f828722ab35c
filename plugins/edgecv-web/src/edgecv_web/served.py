"""The folders of opened pages on an address of this machine, as a static host would serve them."""

import functools
import http.server
import os
import secrets
import socketserver
import threading
import urllib.parse
from pathlib import Path
from typing import Any

__all__ = ["Host", "host"]


class Host(socketserver.ThreadingTCPServer):
    """A static host; each folder lies under a path that nobody can guess."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        # Not HTTPServer, which looks up the machine's name.
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folders: dict[str, Path] = {}
        threading.Thread(target=self.serve_forever, name="edgecv-web-host", daemon=True).start()

    def add(self, folder: Path) -> tuple[str, str]:
        """Serve a folder, or the folder of a file; return the address, and the key by which it is taken away."""
        key = secrets.token_urlsafe(16)
        self.folders[key] = folder
        return f"http://127.0.0.1:{self.server_address[1]}/{key}/", key

    def take(self, key: str) -> None:
        """Serve a folder no longer."""
        self.folders.pop(key, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a browser that goes away is no error."""


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Host

    def translate_path(self, path: str) -> str:
        """Return the file of a request: one that is nowhere for unknown folders, and for ways out of theirs."""
        parts = urllib.parse.unquote(urllib.parse.urlsplit(path).path).split("/")[1:]
        folder = self.server.folders.get(parts[0])
        inside = [part for part in parts[1:] if part]
        if folder is None or any(part in (".", "..") or os.sep in part for part in inside):
            return f"{os.devnull}/none"
        return str(folder.joinpath(*inside)) + ("/" if not parts[-1] else "")

    def end_headers(self) -> None:
        """Isolate the page, so that it may have threads."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name is http.server's
        """Say nothing."""


@functools.cache
def host() -> Host:
    """Return the host of this process."""
    return Host()


os.register_at_fork(after_in_child=host.cache_clear)
