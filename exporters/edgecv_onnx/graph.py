"""A small mutable view of an ONNX graph: nodes, and constants as NumPy arrays that are never copied into protos."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Graph", "attribute", "set_attribute"]


@dataclass
class Graph:
    """An ONNX graph with its weights beside it.

    Attributes:
        nodes: ``NodeProto`` in topological order.
        constants: Tensor name → value.
        inputs: ``ValueInfoProto`` of the inputs.
        outputs: ``ValueInfoProto`` of the outputs, in the artifact's order.
        opset: Version of the default operator set.
    """

    nodes: list[Any]
    constants: dict[str, np.ndarray[Any, Any]]
    inputs: list[Any]
    outputs: list[Any]
    opset: int
    origins: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def readers(self) -> dict[str, list[Any]]:
        """Return tensor name → the nodes that read it; an output of the graph counts as None."""
        table: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                table.setdefault(name, []).append(node)
        for output in self.outputs:
            table.setdefault(output.name, []).append(None)
        return table

    def producers(self) -> dict[str, Any]:
        """Return tensor name → the node that makes it."""
        return {name: node for node in self.nodes for name in node.output}

    def origin(self, node: Any) -> tuple[str, ...]:
        """Return the converter's names of all nodes that were folded into ``node``, its own first."""
        return self.origins.get(node.output[0], (node.name,))

    def absorb(self, keeper: Any, folded: Any) -> None:
        """Record that ``folded`` became part of ``keeper``, which takes over its output."""
        names = (*self.origin(keeper), *self.origin(folded))
        self.origins.pop(keeper.output[0], None)
        keeper.output[0] = folded.output[0]
        self.origins[keeper.output[0]] = names

    def remove(self, nodes: Iterable[Any]) -> None:
        """Drop nodes."""
        gone = {id(node) for node in nodes}
        self.nodes = [node for node in self.nodes if id(node) not in gone]

    def prune(self) -> None:
        """Order the nodes as a walk from the outputs meets them, and drop what no output needs.

        tf2onnx' order differs between processes; this one depends on the structure alone.
        """
        producers = self.producers()
        ordered: list[Any] = []
        done: set[int] = set()
        stack: list[tuple[Any, bool]] = [
            (producers[output.name], False) for output in reversed(self.outputs) if output.name in producers
        ]
        while stack:
            node, ready = stack.pop()
            if ready:
                ordered.append(node)
                continue
            if id(node) in done:
                continue
            done.add(id(node))
            stack.append((node, True))
            stack += [(producers[name], False) for name in reversed(node.input) if name in producers]
        self.nodes = ordered
        used = Counter(name for node in ordered for name in node.input) + Counter(o.name for o in self.outputs)
        self.constants = {name: self.constants[name] for name in self.constants if used[name]}


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """Return an attribute's value, or ``default``."""
    from onnx import helper

    for candidate in node.attribute:
        if candidate.name == name:
            return helper.get_attribute_value(candidate)
    return default


def set_attribute(node: Any, name: str, value: Any) -> None:
    """Set or replace an attribute."""
    from onnx import helper

    kept = [candidate for candidate in node.attribute if candidate.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])
