"""ONNX Runtime by release: opset, IR version, operators, and the types that their CPU kernels take."""

from collections.abc import Mapping, Sequence
from typing import Any

from edgecv.targets.finding import Finder, Problem
from edgecv.targets.graph import Operator
from edgecv.targets.tables import load_table

__all__ = ["check_onnxruntime", "releases"]

_UNKNOWN = "unknown"


def releases() -> list[str]:
    """Return the releases that the table knows, the oldest first."""
    return list(load_table("onnxruntime")["releases"])


def check_onnxruntime(finder: Finder, release: str) -> Sequence[str]:
    """Look for what a release of ONNX Runtime cannot load or has no CPU kernel for.

    Args:
        finder: The artifact.
        release: Such as ``"1.17"``.

    Returns:
        What the table cannot say.
    """
    table = load_table("onnxruntime")
    known = table["releases"][release]
    graph = finder.graph
    if graph.ir_version > known["ir"]:
        finder.file(
            f"it has IR version {graph.ir_version}, and {release} reads {known['ir']} at most",
            f"export with a lower --opset, whose IR version is lower, or use {_first(table, 'ir', graph.ir_version)}",
        )
    opset = graph.opsets.get("", 0)
    if opset > known["opset"]:
        finder.file(
            f"it has opset {opset}, and {release} knows {known['opset']} at most",
            f"export with --opset {known['opset']}, or use {_first(table, 'opset', opset)}",
        )
    elif opset < table["least_opset"]:
        finder.file(
            f"it has opset {opset}, and {release} knows {table['least_opset']} at least",
            f"export with --opset {table['least_opset']} or more",
        )
    measured = _older(table["measured_from"], release)
    for operator in graph.operators:
        found = _problem(operator, opset, release if measured else table["measured_from"], table)
        if found is not None:
            finder.operator(operator, found)
    if measured:
        return ()
    return (
        f"kernels are known from {table['measured_from']} on: of {release} opset and IR version alone were checked",
    )


def _problem(operator: Operator, opset: int, release: str, table: Mapping[str, Any]) -> Problem | None:
    if operator.custom:
        domain = operator.name.rpartition(".")[0]
        return Problem(
            problem=f"it is of the domain {domain!r}, not one of ONNX's own", remedy="use operators of ONNX alone"
        )
    if operator.name in table["unmeasured"]:
        return None
    since = [version for version in table["kernels"].get(operator.name, {}) if int(version) <= opset]
    if not since:
        return Problem(problem=f"opset {opset} has no such operator", remedy="export with another --opset")
    kernels = table["kernels"][operator.name][max(since, key=int)]
    if not kernels:
        return Problem(
            problem=f"it has no CPU kernel for what opset {opset} says of it", remedy="export with a lower --opset"
        )
    dtype = operator.inputs[0].dtype if operator.inputs and operator.inputs[0] is not None else _UNKNOWN
    if dtype == _UNKNOWN:
        return None
    for first, types in kernels.items():
        if dtype in types:
            if first == _UNKNOWN or _older(first, release):
                return None
            return Problem(problem=f"its CPU kernel takes {dtype} from {first} on", remedy=f"use onnxruntime>={first}")
    taken = sorted({dtype for types in kernels.values() for dtype in types})
    return Problem(problem=f"its CPU kernel takes {', '.join(taken) or 'nothing'}, not {dtype}")


def _first(table: Mapping[str, Any], what: str, wanted: int) -> str:
    """Return the oldest release that has something, as a requirement."""
    for release, known in table["releases"].items():
        if known[what] >= wanted:
            return f"onnxruntime>={release}"
    return "a newer onnxruntime than the table knows"


def _older(one: str, other: str) -> bool:
    """Say whether a release is another, or older."""
    return _number(one) <= _number(other)


def _number(release: str) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")))
