"""``edgecv doctor``: is this installation well?"""

from typing import Any

import click

from edgecv.cli.common import emit_json, json_option

__all__ = ["doctor"]


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Say what is installed, what clashes, which devices work, and what to do.

    The exit is 1 where something is broken; what is only missing is no fault.
    """
    from edgecv.doctor import examine
    from edgecv.quiet import quiet_frameworks

    with quiet_frameworks():
        document = examine().to_json()
    if as_json:
        emit_json(document)
    else:
        _print(document)
    ctx.exit(0 if document["healthy"] else 1)


def _print(document: dict[str, Any]) -> None:
    click.echo(f"Python {document['python']} on {document['platform']}")
    for name, version in document["packages"].items():
        if version is not None:
            click.echo(f"  {name} {version}")
    for kind in ("runtimes", "exporters"):
        click.echo(kind.capitalize())
        for plugin in document[kind]:
            click.echo(f"  {plugin['name']}: {_state(plugin)}")
    _section("Problems", document["problems"])
    _section("What to do", document["advice"])
    if document["healthy"]:
        click.echo("Nothing is broken.")


def _state(plugin: dict[str, Any]) -> str:
    if not plugin["available"]:
        return f"not available: {plugin['reason']}"
    devices = [f"{tried['device']} {'works' if tried['works'] else 'fails'}" for tried in plugin.get("devices", [])]
    return ", ".join(devices) or "available"


def _section(title: str, lines: list[str]) -> None:
    if lines:
        click.echo(title)
    for line in lines:
        click.echo(f"  {line}")
