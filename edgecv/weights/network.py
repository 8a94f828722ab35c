"""Whether a web address answers, decided within a time limit that includes the look-up of the name."""

import queue
import threading
import urllib.error
import urllib.parse
import urllib.request

__all__ = ["unreachable"]


def unreachable(url: str, *, seconds: float = 5.0) -> str | None:
    """Ask for a file's header; say why it cannot be had, or None where it can.

    Honours the proxies of the environment.

    Args:
        url: Its ``https`` address.
        seconds: Limit for everything. A socket's timeout leaves out the name look-up, which can hang for
            minutes, so that the request runs in a thread that is left behind when it is late.
    """
    answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(_ask(url, seconds)), daemon=True).start()
    try:
        problem = answers.get(timeout=seconds)
    except queue.Empty:
        problem = f"no answer within {seconds:g} seconds"
    return problem and f"{urllib.parse.urlsplit(url).hostname} cannot be reached ({problem})"


def _ask(url: str, seconds: float) -> str | None:
    request = urllib.request.Request(url, method="HEAD")
    try:
        # Not urlopen(): it keeps the proxies of its first call.
        with urllib.request.build_opener().open(request, timeout=seconds):
            return None
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}"
    except urllib.error.URLError as error:
        return " ".join(str(error.reason).split())
    except (OSError, ValueError) as error:  # a connection that breaks off, an address that is none
        return " ".join(str(error).split()) or type(error).__name__
