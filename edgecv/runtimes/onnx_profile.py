"""What ONNX Runtime's profiler wrote, brought back to the nodes of the file.

The engine fuses nodes and names the fused one after any of them or after a tensor, with endings of its own. Nodes
that do not appear in its profile were fused into one that does: products, padding and changes of layout into what
comes after them, anything else into what comes before it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

from edgecv.runtime import NodeTime
from edgecv.runtimes.onnx_graph import OnnxNode

__all__ = ["node_times"]

_ENDING = "_kernel_time"
_LEADERS = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul", "Pad", "Transpose"))
_CHANGES = ("Transpose", "QuantizeLinear", "DequantizeLinear", "Cast")


def node_times(profile: Path, nodes: Sequence[OnnxNode]) -> list[NodeTime]:
    """Return the median time of each node that the engine ran, in its order.

    Args:
        profile: The engine's file.
        nodes: Those of the artifact.
    """
    events = [event for event in json.loads(profile.read_text()) if event.get("cat") == "Node"]
    taken: dict[str, list[float]] = {}
    operators: dict[str, str] = {}
    for event in events:
        name = str(event["name"])
        if name.endswith(_ENDING):  # others tell of what surrounds the kernel
            name = name.removesuffix(_ENDING)
            taken.setdefault(name, []).append(event["dur"] / 1e3)
            operators[name] = str(event["args"].get("op_name", ""))
    known = {key: node for place, node in enumerate(nodes) for key in (_given_name(node, place), *node.outputs) if key}
    ran = {name: _node_of(name, known) for name in taken}
    computed = _computed(nodes, {node for node in ran.values() if node is not None})
    runs = len(next(iter(taken.values()), ()))
    times = []
    for name, milliseconds in taken.items():
        node = ran[name]
        tensors = computed[node] if node is not None and _is_it(operators[name], node) else ()
        middle = _of_a_run(milliseconds, runs)
        times.append(NodeTime(name=name, op=operators[name], milliseconds=middle, tensors=tuple(tensors)))
    return times


def _of_a_run(milliseconds: Sequence[float], runs: int) -> float:
    """Return the median over the runs; the body of a loop may run several times in each."""
    times = max(len(milliseconds) // runs, 1)
    return median(sum(milliseconds[first : first + times]) for first in range(0, len(milliseconds), times))


def _given_name(node: OnnxNode, place: int) -> str:
    """Return a node's name, or what the engine calls it where it has none."""
    return node.name or f"{node.operator}_{place}"


def _node_of(name: str, known: Mapping[str, OnnxNode]) -> OnnxNode | None:
    """Return the node that a name of the engine begins with."""
    name = name.removeprefix("fused ")
    while name:
        if name in known:
            return known[name]
        name = name[: max(name.rfind("_"), name.rfind("/"), 0)]
    return None


def _is_it(operator: str, node: OnnxNode) -> bool:
    """Tell whether a node of the engine does a file's node's work, rather than change layout or type for it."""
    return not operator.startswith("Reorder") and (operator == node.operator or operator not in _CHANGES)


def _computed(nodes: Sequence[OnnxNode], ran: Iterable[OnnxNode]) -> dict[OnnxNode, list[str]]:
    """Return the tensors that each node which ran computes, those fused into it included."""
    makers = {name: node for node in nodes for name in node.outputs}
    users: dict[str, OnnxNode] = {}
    for node in nodes:
        for name in node.inputs:
            users.setdefault(name, node)
    places = {node: place for place, node in enumerate(nodes)}
    hosts = {node: node for node in ran}
    for node in nodes:  # those before a node have their hosts by now
        if node not in hosts and node.operator not in _LEADERS:
            before = [hosts[makers[name]] for name in node.inputs if name in makers and makers[name] in hosts]
            if before:  # a sum goes into the later of the two
                hosts[node] = max(before, key=places.__getitem__)
        if node not in hosts:
            after = _next(node, hosts, users)
            if after is not None:
                hosts[node] = after
    computed: dict[OnnxNode, list[str]] = {}
    for node in nodes:
        if node in hosts:
            computed.setdefault(hosts[node], []).extend(node.outputs)
    return computed


def _next(node: OnnxNode, ran: Mapping[OnnxNode, OnnxNode], users: Mapping[str, OnnxNode]) -> OnnxNode | None:
    """Follow the tensors of nodes that did not run until one that did."""
    seen: OnnxNode | None = node
    while seen is not None and ran.get(seen) is not seen:
        seen = next((users[name] for name in seen.outputs if name in users), None)
    return seen
