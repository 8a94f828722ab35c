"""A headless Chromium, spoken to through a pipe by its own protocol: no port, no server, no package.

One process serves all runners of this Python process. Any thread may call; one thread reads what Chromium answers.

Reference:
    Chrome DevTools Protocol, https://chromedevtools.github.io/devtools-protocol.
"""

import atexit
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from edgecv.errors import EdgecvError
from edgecv.files import remove

__all__ = ["BrowserError", "Chromium", "Tab", "browser_path", "shared"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
_VARIABLE = "EDGECV_CHROMIUM"
_FLAGS = (
    "--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run", "--no-default-browser-check",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-default-apps", "--disable-dev-shm-usage", "--mute-audio", "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding", "--disable-features=Translate,MediaRouter,OptimizationHints", "--no-pings",
    "--password-store=basic", "--use-mock-keychain", "--disable-breakpad",
    # What a page asks for beside its own files does not exist.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    # Pages of one process share compiled code: the second artifact opens in a third of the time.
    "--renderer-process-limit=1",
)  # fmt: skip
_START_SECONDS = 60.0
_CALL_SECONDS = 60.0
_END_SECONDS = 5.0
# Chromium reads file descriptor 3 and writes 4; a shell can't be relied upon to put pipes there.
_LAUNCHER = (
    "import os, sys\n"
    "reads, writes = (os.dup(int(each)) for each in sys.argv[1:3])\n"
    "high = [os.dup2(each, 60 + index) for index, each in enumerate((reads, writes))]\n"
    "os.dup2(60, 3), os.dup2(61, 4), os.close(60), os.close(61)\n"
    "os.execv(sys.argv[3], sys.argv[3:])\n"
)


class BrowserError(EdgecvError):
    """Chromium does not start, does not answer, or ends."""


def browser_path() -> str | None:
    """Return an installed Chromium: the one that EDGECV_CHROMIUM names, else one on PATH."""
    named = os.environ.get(_VARIABLE)
    if named:
        return shutil.which(named)
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Chromium:
    """A running Chromium."""

    def __init__(self, path: str) -> None:
        """Start it.

        Raises:
            BrowserError: It does not start.
        """
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[str, Future[Any]]] = {}
        self._listeners: dict[str, Callable[[str, dict[str, Any]], None]] = {}
        self._lock = threading.Lock()
        # Tabs that nobody needs: the garbage collector, which may come at any place, only notes them.
        self._discarded: deque[Tab] = deque()
        self._ended = False
        self._owner = os.getpid()
        self._profile = _new_profile()
        # Root may not have the sandbox, and some systems give it to nobody.
        sandboxed = [] if os.geteuid() == 0 else [()]
        problem = ""
        for more in (*sandboxed, ("--no-sandbox",)):
            try:
                self._start(path, more)
                self.call("Browser.getVersion", timeout=_START_SECONDS)
                return
            except BrowserError as error:
                problem = str(error)
                self.close()
                self._ended = False
                self._profile = _new_profile()
        self.close()
        raise BrowserError(f"{path!r} does not start: {problem} Try it by hand, or name another one in {_VARIABLE}.")

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return not self._ended

    def call(self, method: str, *, session: str = "", timeout: float = _CALL_SECONDS, **parameters: Any) -> Any:
        """Send a command and return its answer.

        Raises:
            BrowserError: It is refused, takes too long, or Chromium ends.
        """
        answer = self.send(method, session=session, **parameters)
        try:
            return answer.result(timeout)
        except TimeoutError as error:
            raise BrowserError(f"Chromium does not answer within {timeout:.0f} s ({method}).") from error

    def send(self, method: str, *, session: str = "", **parameters: Any) -> "Future[Any]":
        """Send a command; the answer comes later."""
        answer: Future[Any] = Future()
        with self._lock:
            number = next(self._numbers)
            if self._ended:
                answer.set_exception(BrowserError("Chromium has ended."))
                return answer
            self._waiting[number] = (session, answer)
            message = {
                "id": number,
                "method": method,
                "params": parameters,
                **({"sessionId": session} if session else {}),
            }
            try:
                self._to.write(json.dumps(message).encode() + b"\0")
                self._to.flush()
            except (OSError, ValueError):
                self._waiting.pop(number, None)
                answer.set_exception(BrowserError("Chromium has ended."))
        return answer

    def listen(self, session: str, listener: Callable[[str, dict[str, Any]], None] | None) -> None:
        """Tell what happens in a session to a listener, in the reading thread; None ends that."""
        if listener is None:
            self._listeners.pop(session, None)
        else:
            self._listeners[session] = listener

    def fail(self, session: str, problem: str) -> None:
        """Let what waits for a session's answers fail."""
        with self._lock:
            lost = [number for number, (owner, _) in self._waiting.items() if owner == session]
            answers = [self._waiting.pop(number)[1] for number in lost]
        for answer in answers:
            answer.set_exception(BrowserError(problem))

    def discard(self, tab: "Tab") -> None:
        """Close a tab later."""
        self._discarded.append(tab)

    def sweep(self) -> None:
        """Close the tabs that were discarded: behind the opening of another, which so finds its engine compiled."""
        with contextlib.suppress(IndexError):
            while True:
                self._discarded.popleft().close()

    def close(self) -> None:
        """End it, and remove what it wrote."""
        if os.getpid() != self._owner:  # a forked process ends, and this is its parent's
            return
        process = getattr(self, "_process", None)
        if process is not None:
            with contextlib.suppress(OSError, ValueError):
                self._to.close()  # at the pipe's end it leaves by itself
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._reader.join(_END_SECONDS)
        remove(self._profile)

    def _start(self, path: str, more: Sequence[str]) -> None:
        here_reads, there_writes = os.pipe()
        there_reads, here_writes = os.pipe()
        command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(there_reads), str(there_writes)]
        command += [path, *_FLAGS, *more, f"--user-data-dir={self._profile}", "about:blank"]
        self._to, self._from = os.fdopen(here_writes, "wb"), os.fdopen(here_reads, "rb")
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(there_reads, there_writes),
                # Its own temporary files go where its profile is.
                env={**os.environ, "TMPDIR": str(self._profile)},
                # Ctrl-C is for Python, which closes it.
                start_new_session=True,
            )
        except OSError as error:
            self._to.close()
            self._from.close()
            raise BrowserError(f"{error.strerror}.") from error
        finally:
            os.close(there_reads)
            os.close(there_writes)
        self._reader = threading.Thread(target=self._read, name="edgecv-chromium", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        rest = bytearray()
        with contextlib.suppress(OSError, ValueError), self._from:
            while piece := self._from.read1(1 << 20):
                begin = len(rest)
                rest += piece
                while (end := rest.find(b"\0", begin)) >= 0:
                    message = json.loads(rest[:end])
                    del rest[: end + 1]
                    begin = 0
                    self._take(message)
        with self._lock:
            self._ended = True
            answers = [answer for _, answer in self._waiting.values()]
            self._waiting.clear()
        for answer in answers:
            answer.set_exception(BrowserError("Chromium has ended."))
        for session, listener in list(self._listeners.items()):
            del self._listeners[session]
            listener("Inspector.detached", {})

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            with self._lock:
                _, answer = self._waiting.pop(message["id"], ("", None))
            if answer is None:
                return
            if "error" in message:
                answer.set_exception(BrowserError(f"Chromium refuses: {message['error'].get('message')}."))
            else:
                answer.set_result(message.get("result", {}))
            return
        listener = self._listeners.get(message.get("sessionId", ""))
        if listener is not None:
            listener(message["method"], message.get("params", {}))


class Tab:
    """A page in a Chromium."""

    def __init__(self, chromium: Chromium) -> None:
        self.chromium = chromium
        self._loaded = threading.Event()
        self._problem = ""
        self.target: str = chromium.call("Target.createTarget", url="about:blank")["targetId"]
        self.session: str = chromium.call("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        chromium.listen(self.session, self._happened)
        for domain in ("Page", "Inspector", "Runtime"):
            chromium.call(f"{domain}.enable", session=self.session)

    def open(self, address: str, *, before: str = "", timeout: float) -> None:
        """Go to an address, and wait until it is loaded; ``before`` runs before all scripts of the page.

        Raises:
            BrowserError: It cannot be loaded.
        """
        call = self.chromium.call
        if before:
            call("Page.addScriptToEvaluateOnNewDocument", session=self.session, source=before)
        self._loaded.clear()
        answer = call("Page.navigate", session=self.session, url=address, timeout=timeout)
        if answer.get("errorText"):
            raise BrowserError(f"The page cannot be loaded: {answer['errorText']}.")
        if not self._loaded.wait(timeout) or self._problem:
            raise BrowserError(self._problem or f"The page is not loaded within {timeout:.0f} s.")

    def evaluate(self, function: str, *arguments: Any, timeout: float) -> Any:
        """Call a function of JavaScript with plain values, and return what its promise gives.

        Raises:
            BrowserError: It throws, takes too long, or the page crashes.
        """
        if self._problem:
            raise BrowserError(self._problem)
        told = ", ".join(json.dumps(each) for each in arguments)
        answer = self.chromium.call(
            "Runtime.evaluate",
            session=self.session,
            expression=f"({function})({told})",
            awaitPromise=True,
            returnByValue=True,
            timeout=timeout,
        )
        if "exceptionDetails" in answer:
            raise BrowserError(_told(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def close(self) -> None:
        """Close it, without waiting."""
        self.chromium.listen(self.session, None)
        if self.chromium.alive:
            self.chromium.send("Target.closeTarget", targetId=self.target)

    def _happened(self, method: str, _: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method in ("Inspector.targetCrashed", "Inspector.detached"):
            self._problem = "The page crashed: the browser has no more memory for it, or was ended."
            self.chromium.fail(self.session, self._problem)
            self._loaded.set()


def _told(details: dict[str, Any]) -> str:
    """Return what was thrown, without where."""
    thrown = details.get("exception", {})
    text = str(thrown.get("description") or thrown.get("value") or details.get("text") or "an error")
    return text.split("\n    at ")[0].removeprefix("Error: ")


_shared: Chromium | None = None
_shared_lock = threading.Lock()


def shared(path: str) -> Chromium:
    """Return the Chromium of this process; it is started where none runs.

    Raises:
        BrowserError: It does not start.
    """
    global _shared
    with _shared_lock:
        if _shared is None or not _shared.alive:
            if _shared is not None:
                _shared.close()
            _shared = Chromium(path)
            atexit.register(_shared.close)
        return _shared


def _forget() -> None:
    """In a forked process: the browser is the parent's."""
    global _shared, _shared_lock
    _shared, _shared_lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)


def _new_profile() -> Path:
    """Return a new folder for what Chromium writes, in the user's cache; those of dead processes are removed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgecv-web"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for old in cache.glob("profile-*-*"):
            if not _runs(old.name.split("-")[1]):
                remove(old)
        return Path(tempfile.mkdtemp(prefix=f"profile-{os.getpid()}-", dir=cache))
    except OSError:  # no home, or a read-only one
        return Path(tempfile.mkdtemp(prefix=f"edgecv-web-{os.getpid()}-"))


def _runs(number: str) -> bool:
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except OSError:  # as another user
        return True
    return True
