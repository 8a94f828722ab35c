"""Options of `export` that exporters bring: those of the formats that ``--to`` names, and of no others."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from edgecv.errors import OptionError, PluginError, UnknownNameError

if TYPE_CHECKING:
    from edgecv.plugin_options import PluginOption

__all__ = ["ExportCommand", "take_exporter_options"]

_FORMATS = "edgecv.formats"
# In front of the names of parameters, which those of the command itself cannot have.
_PREFIX = "exporter_option_"


class ExportCommand(click.Command):
    """A command with ``--to`` that knows the options of the exporters that it is given.

    ``edgecv export --to NAME --help`` shows them.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look for the formats first: they say which options there are."""
        ctx.meta[_FORMATS] = _formats(args)
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters and those of the formats."""
        params = super().get_params(ctx)
        own = {name for param in params for name in (*param.opts, *param.secondary_opts)}
        added: dict[str, click.Option] = {}
        for form in ctx.meta.get(_FORMATS, ()):
            for option in _options(form):
                flag = f"--{option.flag}"
                if flag in own:
                    raise PluginError(f"Exporter {form!r} has an option {flag} that `edgecv export` has already.")
                shown = _as_click(option)
                if flag in added and not _alike(added[flag], shown):
                    raise OptionError(f"{flag} means different things in {', '.join(ctx.meta[_FORMATS])}. Export one.")
                added.setdefault(flag, shown)
        return [*params[:-1], *added.values(), *params[-1:]]  # --help stays last

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the options of each format below those of the command."""
        own = [record for param in super().get_params(ctx) if (record := param.get_help_record(ctx)) is not None]
        with formatter.section("Options"):
            formatter.write_dl(own)
        for form in ctx.meta.get(_FORMATS, ()):
            records = [record for each in _options(form) if (record := _as_click(each).get_help_record(ctx))]
            if records:
                with formatter.section(f"Options of {form}"):
                    formatter.write_dl(records)


def take_exporter_options(formats: Sequence[str], options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Take the given options of exporters out of a command's options.

    Args:
        formats: Names of the exporters.
        options: All that the command was given; those of exporters are removed.

    Returns:
        Name of the exporter → its options that were given.
    """
    given = {name.removeprefix(_PREFIX): options.pop(name) for name in list(options) if name.startswith(_PREFIX)}
    used = {name: value for name, value in given.items() if value is not None and value != ()}
    return {
        form: {option.name: used[option.name] for option in _options(form) if option.name in used} for form in formats
    }


def _formats(args: Sequence[str]) -> tuple[str, ...]:
    """Return the values of ``--to``; what is wrong with them is said when the command runs."""
    found = [value for flag, value in itertools.pairwise(args) if flag == "--to"]
    found += [arg.removeprefix("--to=") for arg in args if arg.startswith("--to=")]
    return tuple(dict.fromkeys(found))


def _options(form: str) -> "list[PluginOption]":
    from edgecv.plugin_options import plugin_options
    from edgecv.registry import load_exporter

    try:
        return plugin_options(load_exporter(form))
    except (UnknownNameError, PluginError):  # the command says so
        return []


def _as_click(option: "PluginOption") -> click.Option:
    flag = f"--{option.flag}"
    default = f"Default: {_shown(option.default)}." if option.default not in (None, (), "") else ""
    return click.Option(
        [f"{flag}/--no-{flag[2:]}" if option.kind is bool else flag, f"{_PREFIX}{option.name}"],
        type=click.Choice(option.choices) if option.choices else option.kind,
        multiple=option.many,
        default=None,
        help=" ".join(part for part in (option.help, default) if part),
    )


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _alike(one: click.Option, other: click.Option) -> bool:
    return (one.opts, one.secondary_opts, one.multiple, repr(one.type)) == (
        other.opts,
        other.secondary_opts,
        other.multiple,
        repr(other.type),
    )
