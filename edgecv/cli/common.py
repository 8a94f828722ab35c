"""What several commands share: their options, and how they speak."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from edgecv.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from edgecv.html_report.report_file import ReportFile

__all__ = [
    "Advance",
    "device_option",
    "emit",
    "emit_json",
    "json_option",
    "progress",
    "report_file",
    "report_option",
    "say",
    "status",
    "threads_option",
    "warn",
]

Command = TypeVar("Command", bound=Callable[..., Any])

# Terminals that show a bar or a spinner now, the latest last.
_CONSOLES: "list[Console]" = []


class Advance(Protocol):
    """Moves a progress bar by one; ``what`` is what it says from now on, where that changes."""

    def __call__(self, what: str | None = None) -> None: ...  # noqa: D102


def json_option(command: Command) -> Command:
    """Add ``--json``, given to the command as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")(command)


def report_option(command: Command) -> Command:
    """Add ``--report``, given to the command as ``report_path``."""
    text = "Draw what was measured as one page for a browser."
    kind = click.Path(path_type=Path)
    return click.option("--report", "report_path", type=kind, metavar="FILE.html", help=text)(command)


def report_file(path: Path | None) -> "ReportFile | None":
    """Return the page that ``--report`` asks for, before the long work starts.

    Raises:
        EdgecvError: It cannot be written there, or what draws it is not installed.
    """
    if path is None:
        return None
    from edgecv.html_report.report_file import ReportFile

    return ReportFile(path)


def device_option(command: Command) -> Command:
    """Add ``--device``."""
    return click.option("--device", default="cpu", show_default=True, help="Where to run it: cpu or cuda.")(command)


def threads_option(command: Command) -> Command:
    """Add ``--threads``."""
    kind = click.IntRange(min=1)
    return click.option("--threads", type=kind, help="Threads of the engine; the default is its own.")(command)


def emit_json(document: Any) -> None:
    """Print a result as the one JSON document on stdout.

    Raises:
        ValueError: A number is infinite or not a number.
    """
    click.echo(json.dumps(document, indent=2, allow_nan=False))


def emit(line: str) -> None:
    """Print a line of results on stdout, at once; what is no visible sign is replaced."""
    line = printable(line)
    if _CONSOLES and sys.stdout.isatty():
        # Above the bar that is shown on the same terminal.
        _CONSOLES[-1].print(line, markup=False, highlight=False, soft_wrap=True)
    else:
        click.echo(line)


def say(message: str) -> None:
    """Tell the user something that is no result, on stderr; what is no visible sign is replaced."""
    message = printable(message)
    if _CONSOLES:
        # Above the bar that is shown; click would write behind it, on its line.
        _CONSOLES[-1].print(message, markup=False, highlight=False, soft_wrap=True)
    else:
        click.echo(message, err=True)


def warn(message: str) -> None:
    """Warn the user, on one line of stderr."""
    say(f"Warning: {' '.join(message.split())}")


@contextlib.contextmanager
def status(what: str) -> Iterator[Callable[[str], None]]:
    """Show a spinner on stderr while it is a terminal; nothing in a pipe. What is yielded says what goes on now.

    Args:
        what: What is going on, such as ``"verifying"``.
    """
    with _terminal() as console:
        if console is None:
            yield _nothing
        else:
            from rich.live import Live
            from rich.spinner import Spinner
            from rich.text import Text

            spinner = Spinner("dots", Text(what))
            # Redirected, results that go into a pipe would go to the terminal.
            with Live(spinner, console=console, transient=True, redirect_stdout=False):
                yield lambda text: spinner.update(text=Text(text))


@contextlib.contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Advance]:
    """Show a progress bar with the time that is left on stderr while it is a terminal; what is yielded moves it.

    Args:
        what: What is going on, such as ``"predicting"``.
        total: Number of steps; None where unknown.
    """
    with _terminal() as console:
        if console is None:
            yield _nothing
            return
        from rich import progress as rich

        times = (rich.TimeElapsedColumn(), rich.TextColumn("left"), rich.TimeRemainingColumn())
        columns = (rich.TextColumn("{task.description}"), rich.BarColumn(), rich.MofNCompleteColumn(), *times)
        with rich.Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
            task = bar.add_task(what, total=total)

            def advance(what: str | None = None) -> None:
                bar.update(task, advance=1, description=what)

            yield advance


def _nothing(what: str | None = None) -> None:
    """Move no bar."""


@contextlib.contextmanager
def _terminal() -> "Iterator[Console | None]":
    """Yield a console on stderr, None where that is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    # A descriptor of its own: frameworks are silenced by turning the usual one away.
    with os.fdopen(os.dup(sys.stderr.fileno()), "w") as terminal:
        _CONSOLES.append(Console(file=terminal))
        try:
            yield _CONSOLES[-1]
        finally:
            _CONSOLES.pop()
