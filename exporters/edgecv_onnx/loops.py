"""Put loops into an order that depends on what they compute: the same network gives the same bytes.

tf2onnx 1.17 collects a loop's variables and its body's nodes in sets of objects, whose order is that of their
addresses: it differs between processes.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from edgecv_onnx.graph import Graph, bodies, reads, walked

__all__ = ["settle_loops"]

# Constants of up to so many values are told apart by them, larger ones by type and shape.
_LARGEST_READ = 4096

Labels = dict[str, str]


def settle_loops(graph: Graph) -> None:
    """Order the variables of every loop, and the nodes of its body, in place."""
    if not any(bodies(node) for node in graph.nodes):
        return
    labels: Labels = {info.name: f"input {info.name}" for info in graph.inputs}
    labels |= {name: _of_array(value) for name, value in graph.constants.items()}
    _settle(graph.nodes, labels)
    graph.prune()


def _settle(nodes: Iterable[Any], labels: Labels) -> None:
    """Settle the loops among nodes in topological order, and add the labels of what the nodes give."""
    for node in nodes:
        for body in bodies(node):
            body.doc_string = ""  # tf2onnx numbers it by how many nodes it made on the way, which varies
            if node.op_type == "Loop":
                _order_variables(node, body, labels)
            _replace(body.node, walked(body.node, [info.name for info in body.output]))
            _settle(body.node, {**labels, **_within(body, ["within"] * len(body.input))})
        _label(node, labels)


def _order_variables(loop: Any, body: Any, labels: Labels) -> None:
    """Sort a loop's variables by what they start from, what a turn makes of them, and what reads them."""
    count = len(body.input) - 2
    keys = [labels.get(name, "") for name in loop.input[2:]]
    inside: Labels = {}
    # Each round tells variables apart whose difference lies one turn further on.
    for _ in range(count):
        inside = {**labels, **_within(body, ["turn", "condition", *keys])}
        for node in body.node:
            _label(node, inside)
        turned = [inside[info.name] for info in body.output[1 : 1 + count]]
        keys = [_digest(before, after) for before, after in zip(keys, turned, strict=True)]
    readers = _readers(body, inside)
    order = sorted(range(count), key=lambda place: (keys[place], readers[body.input[2 + place].name]))
    for values, first in ((loop.input, 2), (loop.output, 0), (body.input, 2), (body.output, 1)):
        _reorder(values, first, order)


def _readers(body: Any, labels: Labels) -> dict[str, list[str]]:
    """Return for each input of a body what reads it, and at which place: equal variables may differ in that."""
    found: dict[str, list[str]] = {info.name: [] for info in body.input}
    for node in body.node:
        for place, name in enumerate(reads(node)):
            if name in found:
                found[name].append(f"{place} {labels[node.output[0]]}")
    return {name: sorted(each) for name, each in found.items()}


def _reorder(values: Any, first: int, order: Sequence[int]) -> None:
    """Put part of a protobuf's list into another order."""
    whole = list(values)
    whole[first : first + len(order)] = [whole[first + place] for place in order]
    _replace(values, whole)


def _replace(values: Any, wanted: Sequence[Any]) -> None:
    """Put messages or texts that a protobuf's list holds in the place of the list."""
    copies = [each if isinstance(each, str) else type(each).FromString(each.SerializeToString()) for each in wanted]
    del values[:]
    values.extend(copies)


def _within(body: Any, inputs: Sequence[str]) -> Labels:
    """Return the labels of what a body starts from."""
    from onnx import numpy_helper

    labels = {tensor.name: _of_array(numpy_helper.to_array(tensor)) for tensor in body.initializer}
    return labels | {info.name: label for info, label in zip(body.input, inputs, strict=True)}


def _label(node: Any, labels: Labels) -> None:
    """Label a node's outputs by its operator, its attributes and the labels of what it reads; by no name."""
    given = [labels.get(name, "") for name in reads(node)]
    if bodies(node):  # an inner loop, which is not in order yet
        given.sort()
    whole = _digest(node.op_type, *sorted(map(_of_attribute, node.attribute)), *given)
    labels.update({name: f"{whole}:{index}" for index, name in enumerate(node.output)})


def _of_attribute(attribute: Any) -> str:
    from onnx import AttributeProto

    copy = AttributeProto()
    copy.CopyFrom(attribute)
    copy.ClearField("g")
    copy.t.ClearField("name")
    return bytes(copy.SerializeToString(deterministic=True)).hex()


def _of_array(value: np.ndarray[Any, Any]) -> str:
    content = value.tobytes().hex() if value.size <= _LARGEST_READ else ""
    return _digest(value.dtype.str, str(value.shape), content)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
