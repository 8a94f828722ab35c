"""``edgecv doctor``: is this installation well?"""

from typing import Any

import click

from edgecv.cli.common import emit, emit_json, json_option

__all__ = ["doctor"]


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Say what is installed, what clashes, which devices work, and what to do.

    Each engine runs a tiny graph. What is printed can be pasted into a bug report: it names neither folders nor users.
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
    emit(f"Python {document['python']} on {document['platform']}")
    for line in (*_machine(document["machine"]), *_surroundings(document["surroundings"])):
        emit(f"  {line}")
    emit("Packages")
    for name, version in document["packages"].items():
        if version is not None:
            emit(f"  {name} {version}")
    emit("Extras")
    for name, extra in document["extras"].items():
        emit(f"  {name}: {'there' if extra['installed'] else 'lacks ' + ', '.join(extra['missing'])}")
    _section("Plugins", [_plugin(plugin) for plugin in document["plugins"]])
    for kind in ("runtimes", "exporters"):
        emit(kind.capitalize())
        for plugin in document[kind]:
            emit(f"  {plugin['name']}{_origin(plugin)}: {_state(plugin)}")
    _section("Problems", document["problems"])
    _section("What to do", document["advice"])
    if document["healthy"]:
        emit("Nothing is broken.")


def _machine(machine: dict[str, Any]) -> list[str]:
    sets = machine["instruction_sets"]
    memory, free = machine["memory_mb"], machine["memory_available_mb"]
    lines = [
        machine["distribution"],
        f"{machine['architecture']}, {machine['bits']} bits: {machine['processor']}, {machine['cores']} cores",
        f"instruction sets: {', '.join(sets) or 'none of those that matter'}" if sets is not None else None,
        f"memory: {memory:,} MB, {free:,} MB available" if memory and free else None,
    ]
    return [line for line in lines if line]


def _surroundings(found: dict[str, Any]) -> list[str]:
    cameras = [
        f"{each['source']} {each['name']}{'' if each['readable'] else ' (may not be opened)'}"
        for each in found["cameras"]
    ]
    encodings = ", ".join(f"{name} {value}" for name, value in found["encodings"].items())
    closed = [name for name, writable in found["writable"].items() if not writable]
    variables = [f"{name}={value}" for name, value in found["variables"].items()]
    return [
        f"cameras: {', '.join(cameras) or 'none'}",
        f"locale {found['locale']}; encodings: {encodings}",
        f"folders that cannot be written: {', '.join(closed) or 'none'}",
        *([f"variables: {', '.join(variables)}"] if variables else []),
    ]


def _plugin(plugin: dict[str, Any]) -> str:
    offers = "; ".join(f"{kind} {', '.join(names)}" for kind, names in plugin["offers"].items())
    return f"{plugin['name']} {plugin['version']}: {offers}"


def _origin(plugin: dict[str, Any]) -> str:
    if plugin["distribution"] in (None, "edgecv"):
        return ""
    return f" ({plugin['distribution']} {plugin['version']}, api_version {plugin['api_version']})"


def _state(plugin: dict[str, Any]) -> str:
    if not plugin["available"]:
        return f"not available: {plugin['reason']}"
    devices = [f"{tried['device']} {'works' if tried['works'] else 'fails'}" for tried in plugin.get("devices", [])]
    return ", ".join(devices) or "available"


def _section(title: str, lines: list[str]) -> None:
    if lines:
        emit(title)
    for line in lines:
        emit(f"  {line}")
