"""The main graph of a ``.onnx`` file as a list of nodes, without onnx or protobuf.

Field numbers are those of the messages in onnx.proto.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgecv.protobuf import Field, WireError, fields, integers, text
from edgecv.runtimes.container import Buffer, mapped, unreadable

__all__ = ["OnnxNode", "Shape", "initializers", "read_graph"]

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_TYPE = 1, 2, 3, 4
_TENSOR_DIMENSIONS, _TENSOR_NAME = 1, 8

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class OnnxNode:
    """A node.

    Attributes:
        name: Its name; may be empty.
        operator: Such as ``"Conv"``.
        inputs: Names of its tensors; an empty one was left out.
        outputs: The same.
    """

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_graph(path: Path) -> tuple[list[OnnxNode], dict[str, Shape]]:
    """Return the nodes of the main graph, in their order, and the shapes of its initializers by name.

    Raises:
        ArtifactError: The file cannot be parsed.
    """
    nodes: list[OnnxNode] = []
    with mapped(path) as data:
        try:
            for graph in _messages(data, 0, len(data), _MODEL_GRAPH):
                nodes += [_node(data, part) for part in _messages(data, graph.begin, graph.end, _GRAPH_NODE)]
            shapes = dict(_tensor(data, part) for part in initializers(data))
        except WireError as error:
            raise unreadable(path, "ONNX", error) from error
    return nodes, shapes


def initializers(data: Buffer) -> Iterator[Field]:
    """Yield the messages of the main graph's initializers.

    Raises:
        WireError: The data are no message.
    """
    for graph in _messages(data, 0, len(data), _MODEL_GRAPH):
        yield from _messages(data, graph.begin, graph.end, _GRAPH_INITIALIZER)


def _messages(data: Buffer, begin: int, end: int, number: int) -> Iterator[Field]:
    return (field for field in fields(data, begin, end) if field.number == number and field.is_message)


def _node(data: Buffer, node: Field) -> OnnxNode:
    texts: dict[int, list[str]] = {_NODE_INPUT: [], _NODE_OUTPUT: [], _NODE_NAME: [], _NODE_TYPE: []}
    for field in fields(data, node.begin, node.end):
        if field.number in texts:
            texts[field.number].append(text(data, field))
    return OnnxNode(
        name="".join(texts[_NODE_NAME][-1:]),
        operator="".join(texts[_NODE_TYPE][-1:]),
        inputs=tuple(texts[_NODE_INPUT]),
        outputs=tuple(texts[_NODE_OUTPUT]),
    )


def _tensor(data: Buffer, tensor: Field) -> tuple[str, Shape]:
    name, shape = "", []
    for field in fields(data, tensor.begin, tensor.end):
        if field.number == _TENSOR_NAME:
            name = text(data, field)
        elif field.number == _TENSOR_DIMENSIONS:
            shape += integers(data, field)
    return name, tuple(shape)
