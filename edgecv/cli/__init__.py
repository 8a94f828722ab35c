"""The command line: one group that finds its commands by name and turns every error into one line.

A command's module is imported when the command runs, so that ``edgecv --help`` imports nothing heavy.
"""

import contextlib
import difflib
import gc
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn, cast

import click

from edgecv.errors import EdgecvError
from edgecv.printable import printable

__all__ = ["cli", "main"]

# Command → where it is, and what it does in one line.
_COMMANDS = {
    "benchmark": ("edgecv.cli.benchmark:benchmark", "Time artifacts and networks in turn: latency, memory, profile."),
    "build": ("edgecv.cli.build:build", "Build a network by name and save it as a .keras file."),
    "check": ("edgecv.cli.check:check", "Look whether every operator of an artifact goes on a target, by its tables."),
    "check-exporter": ("edgecv.cli.check_exporter:check_exporter", "Hold an exporter plugin to the contract."),
    "data": ("edgecv.cli.data:data", "Look at labelled data, convert them, and find anchors in them."),
    "doctor": ("edgecv.cli.doctor:doctor", "Say what is installed, what clashes, which devices work, what to do."),
    "evaluate": ("edgecv.cli.evaluate:evaluate", "Measure a network or an artifact on labelled pictures."),
    "export": ("edgecv.cli.export:export", "Export a network to device formats, verified on pictures."),
    "fcn": ("edgecv.cli.fcn:fcn", "Rewrite a classifier into a fully convolutional network for any picture size."),
    "inspect": ("edgecv.cli.inspect:inspect", "Show an artifact's metadata and operators."),
    "list": ("edgecv.cli.listing:listing", "List architectures, exporters and runtimes."),
    "new-exporter": ("edgecv.cli.new_exporter:new_exporter", "Write a new exporter plugin that works as it is."),
    "predict": ("edgecv.cli.predict:predict", "Run an artifact on pictures, videos or a camera."),
    "train": ("edgecv.cli.train:train", "Train a classifier or localiser on labelled pictures, evaluate and draw it."),
    "verify": ("edgecv.cli.verify:verify", "Check that an artifact answers like the original."),
}
_WRONG_INPUT = 2
_INTERRUPTED = 130
_BROKEN_PIPE = 141  # what a shell reports for a program that SIGPIPE ended


class _Group(click.Group):
    """Imports commands lazily; shows errors as one line on stderr."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        return cast("click.Command", getattr(importlib.import_module(module), name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_) for name, (_, help_) in sorted(_COMMANDS.items())])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(_COMMANDS))}."
            ctx.fail(f"Unknown command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)

    def main(  # type: ignore[override]  # click types it twice, for each standalone_mode
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        """Run a command and exit, as `click.Group.main` does; ``standalone_mode=False`` raises instead."""
        if not extra.pop("standalone_mode", True):
            return super().main(args, prog_name, standalone_mode=False, **extra)
        with _errors_as_lines():
            code = super().main(args, prog_name, standalone_mode=False, **extra)
            sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        # Before click's own handler, which would exit with 1: the code of a check that failed.
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            _leave_broken_pipe()


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"edgecv {version('edgecv')}")
        ctx.exit()


@click.group(cls=_Group, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Say which.")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Take a CNN from training to a device: verified ONNX and TFLite files, with the whole pipeline inside."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Run the command line; the entry point of ``edgecv``."""
    _open_closed_streams()
    # Commands show what they have to say; the library's log would say it twice.
    logging.getLogger("edgecv").addHandler(logging.NullHandler())
    try:
        cli.main(prog_name="edgecv")
    finally:
        # The interpreter would look for garbage among TensorFlow's objects on its way out: most of a second.
        gc.freeze()


def _open_closed_streams() -> None:
    """Lead standard streams that the caller closed to nowhere; the next file opened would take their place."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != descriptor:
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(descriptor, mode))


@contextlib.contextmanager
def _errors_as_lines() -> Iterator[None]:
    """Show any error as one line on stderr and exit; ``EDGECV_DEBUG=1`` shows where it came from, too."""
    try:
        yield
    except (click.Abort, KeyboardInterrupt):
        _fail("Interrupted.", _INTERRUPTED)
    except click.ClickException as error:
        _fail(error.format_message(), _WRONG_INPUT)
    except EdgecvError as error:
        _fail(str(error), _WRONG_INPUT)
    except BrokenPipeError:
        _leave_broken_pipe()
    except SystemExit as error:  # commands end by click's Exit: a plugin or converter has called sys.exit
        if error.code == _BROKEN_PIPE:
            raise
        where = "Set EDGECV_DEBUG=1 to see where it comes from."
        _fail(f"A plugin or package would have ended the program: exit {error.code!r}. {where}", _WRONG_INPUT)
    except Exception as error:  # the last resort: a fault of edgecv or of what it calls
        if isinstance(error, OSError) and error.strerror:  # such as a full disk behind stdout
            where = f"{error.filename!r}: " if error.filename is not None else ""
            _fail(f"The system refuses: {where}{error.strerror}. Free or allow what it names.", _WRONG_INPUT)
        problem = f"{type(error).__name__}: {error}".rstrip(": .")
        _fail(f"Unexpected {problem}. Set EDGECV_DEBUG=1 to see where it comes from.", _WRONG_INPUT)


def _fail(message: str, code: int) -> NoReturn:
    if os.environ.get("EDGECV_DEBUG") == "1":
        traceback.print_exc()
    click.echo(f"Error: {printable(' '.join(message.split()))}", err=True)
    sys.exit(code)


def _leave_broken_pipe() -> NoReturn:
    """Exit without a word: who read stdout has had enough."""
    # Python flushes stdout once more on its way out; that must not fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(_BROKEN_PIPE)
