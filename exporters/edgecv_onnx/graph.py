"""A small mutable view of an ONNX graph: nodes, and constants as NumPy arrays that are never copied into protos."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Graph", "attribute", "bodies", "reads", "rename_tensors", "set_attribute", "walked", "with_nested"]


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
            for name in reads(node):
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

    def hide(self, names: Collection[str]) -> None:
        """Make outputs ordinary tensors inside the graph, under the same names."""
        self.outputs = [output for output in self.outputs if output.name not in names]

    def bake(self, defaults: Mapping[str, float]) -> None:
        """Give scalar inputs defaults, so that callers may leave them out; those that nothing reads are dropped."""
        read = self.readers()
        self.inputs = [info for info in self.inputs if info.name not in defaults or info.name in read]
        for info in self.inputs:
            if info.name in defaults:
                self.constants[info.name] = np.array(defaults[info.name], np.float32)

    def prune(self) -> None:
        """Order the nodes as a walk from the outputs meets them, and drop what no output needs.

        tf2onnx' order differs between processes; this one depends on the structure alone.
        """
        self.nodes = walked(self.nodes, [output.name for output in self.outputs])
        used = Counter(name for node in self.nodes for name in reads(node)) + Counter(o.name for o in self.outputs)
        self.constants = {name: self.constants[name] for name in self.constants if used[name]}


def walked(nodes: Iterable[Any], outputs: Sequence[str]) -> list[Any]:
    """Return the nodes that some outputs need, as a walk from these meets them: each after those that it reads."""
    producers = {name: node for node in nodes for name in node.output}
    ordered: list[Any] = []
    done: set[int] = set()
    stack = [(producers[name], False) for name in reversed(outputs) if name in producers]
    while stack:
        node, ready = stack.pop()
        if ready:
            ordered.append(node)
            continue
        if id(node) in done:
            continue
        done.add(id(node))
        stack.append((node, True))
        stack += [(producers[name], False) for name in reversed(reads(node)) if name in producers]
    return ordered


def reads(node: Any) -> list[str]:
    """Return the tensors that a node reads: its inputs, and what its subgraphs take from outside."""
    return [*node.input, *(name for body in bodies(node) for name in _captured(body))]


def with_nested(nodes: Iterable[Any]) -> Iterator[Any]:
    """Yield nodes, and those of their subgraphs."""
    for node in nodes:
        yield node
        for body in bodies(node):
            yield from with_nested(body.node)


def rename_tensors(nodes: Iterable[Any], renamed: Mapping[str, str]) -> None:
    """Rename tensors in place, where subgraphs take them from outside, too."""
    for node in nodes:
        for tensors in (node.input, node.output):
            for index, tensor in enumerate(tensors):
                tensors[index] = renamed.get(tensor, tensor)
        for body in bodies(node):
            captured = set(_captured(body))
            inside = {name: new for name, new in renamed.items() if name in captured}
            if inside:
                rename_tensors(body.node, inside)


def bodies(node: Any) -> list[Any]:
    """Return the subgraphs of a node, such as a loop's body."""
    return [attr.g for attr in node.attribute if attr.HasField("g")]


def _captured(body: Any) -> list[str]:
    own = {info.name for info in body.input} | {tensor.name for tensor in body.initializer}
    own |= {name for node in body.node for name in node.output}
    names = [name for node in body.node for name in reads(node)] + [output.name for output in body.output]
    return [name for name in dict.fromkeys(names) if name and name not in own]


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
