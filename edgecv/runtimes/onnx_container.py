"""The container of ONNX: metadata and operators of a ``.onnx`` file, without onnx or protobuf.

Field numbers are those of the messages in onnx.proto.

Reference:
    ONNX, "Open Neural Network Exchange Intermediate Representation", https://onnx.ai/onnx/repo-docs/IR.html.
"""

import mmap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecv import metadata
from edgecv.protobuf import Field, WireError, encode_field, fields, integers, text
from edgecv.runtimes.container import MOST_BYTES, Buffer, mapped, no_metadata, unreadable

__all__ = [
    "check_self_contained",
    "count_operators",
    "custom_operators",
    "exposing",
    "read_metadata",
    "write_metadata",
]

_KEY = "edgecv"
_MODEL_GRAPH, _MODEL_PROPERTIES, _MODEL_FUNCTIONS = 7, 14, 25
_GRAPH_NODE, _GRAPH_OUTPUT, _FUNCTION_NODE = 1, 12, 7
_VALUE_NAME = 1
_NODE_TYPE, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_GRAPHS = (6, 11)
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_DEFAULT_DOMAINS = ("", "ai.onnx")
_MAX_DEPTH = 32
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14
# Message → field → the message in it, on the way to every tensor.
_TO_TENSORS: Mapping[str, Mapping[int, str]] = {
    "model": {_MODEL_GRAPH: "graph", _MODEL_FUNCTIONS: "function"},
    "function": {_FUNCTION_NODE: "node"},
    "graph": {_GRAPH_NODE: "node", 5: "tensor", 15: "sparse"},
    "node": {_NODE_ATTRIBUTE: "attribute"},
    "attribute": {5: "tensor", 10: "tensor", 6: "graph", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}


def read_metadata(path: Path) -> dict[str, Any]:
    """Read the edgecv metadata.

    Raises:
        ArtifactError: The file cannot be parsed or has no edgecv metadata.
    """
    with mapped(path) as data:
        try:
            values = [value for _, value in _entries(data) if value is not None]
            if any(value.end - value.begin > MOST_BYTES for value in values):
                raise WireError("its metadata are too large")
            texts = [text(data, value) for value in values[-1:]]
        except WireError as error:
            raise unreadable(path, "ONNX", error) from error
    if not texts:
        raise no_metadata(path)
    return metadata.load(texts[-1], path)


def write_metadata(path: Path, document: Mapping[str, Any]) -> None:
    """Put the edgecv metadata at the end of the file, in place of those that it has.

    Raises:
        ArtifactError: The file cannot be parsed.
    """
    with mapped(path) as data:
        try:
            old = [field for field, _ in _entries(data)]
        except WireError as error:
            raise unreadable(path, "ONNX", error) from error
    for field in reversed(old):
        _cut(path, field.start, field.end)
    entry = encode_field(_ENTRY_KEY, _KEY.encode()) + encode_field(_ENTRY_VALUE, metadata.dump(document).encode())
    # A message's fields may come in any order: the metadata need not lie beside the others.
    with path.open("ab") as file:
        file.write(encode_field(_MODEL_PROPERTIES, entry))


def count_operators(path: Path) -> dict[str, int]:
    """Count the operators, those of subgraphs and functions included; foreign ones as ``domain.name``.

    Raises:
        ArtifactError: The file cannot be parsed.
    """
    return dict(sorted(Counter(_qualified(*operator) for operator in _operators(path)).items()))


def custom_operators(path: Path) -> list[str]:
    """Name the operators outside ONNX's default domain.

    Raises:
        ArtifactError: The file cannot be parsed.
    """
    return sorted({_qualified(*operator) for operator in _operators(path) if operator[0] not in _DEFAULT_DOMAINS})


def check_self_contained(path: Path) -> None:
    """Refuse a file whose weights lie in others: an artifact is one file, and the name may lead anywhere.

    Raises:
        ArtifactError: It is such a file.
    """
    with mapped(path) as data:
        try:
            outside = any(_lies_outside(data, tensor) for tensor in _tensors(data, 0, len(data), "model", 0))
        except WireError as error:
            raise unreadable(path, "ONNX", error) from error
    if outside:
        raise unreadable(path, "ONNX", "it has weights in other files")


def exposing(path: Path, names: Sequence[str]) -> bytes:
    """Return the file's bytes with tensors inside as further outputs, whose types the engine infers.

    A second record of a message is merged into the first: what is appended adds to the graph's outputs.

    Raises:
        ArtifactError: The file cannot be read.
    """
    if not names:
        with mapped(path) as data:
            return bytes(data)
    outputs = b"".join(encode_field(_GRAPH_OUTPUT, encode_field(_VALUE_NAME, name.encode())) for name in names)
    with mapped(path) as data:
        return bytes(data) + encode_field(_MODEL_GRAPH, outputs)


def _tensors(data: Buffer, begin: int, end: int, message: str, depth: int) -> Iterator[Field]:
    """Yield the tensors in a message, wherever they are."""
    if depth > 3 * _MAX_DEPTH:  # graph, node and attribute for each subgraph
        raise WireError(f"its subgraphs are nested deeper than {_MAX_DEPTH}")
    inside = _TO_TENSORS[message]
    for field in fields(data, begin, end):
        kind = inside.get(field.number) if field.is_message else None
        if kind == "tensor":
            yield field
        elif kind is not None:
            yield from _tensors(data, field.begin, field.end, kind, depth + 1)


def _lies_outside(data: Buffer, tensor: Field) -> bool:
    """Say whether a tensor's values are in another file, or it says so."""
    return any(
        field.number == _TENSOR_EXTERNAL or (field.number == _TENSOR_LOCATION and any(integers(data, field)))
        for field in fields(data, tensor.begin, tensor.end)
    )


def _qualified(domain: str, name: str) -> str:
    return name if domain in _DEFAULT_DOMAINS else f"{domain}.{name}"


def _entries(data: Buffer) -> Iterator[tuple[Field, Field | None]]:
    """Yield the model's ``edgecv`` properties and their values; the file has to have a graph."""
    has_graph = False
    for field in fields(data, 0, len(data)):
        has_graph |= field.number == _MODEL_GRAPH and field.is_message
        if field.number == _MODEL_PROPERTIES and field.is_message:
            entry = {part.number: part for part in fields(data, field.begin, field.end)}
            if _ENTRY_KEY in entry and text(data, entry[_ENTRY_KEY]) == _KEY:
                yield field, entry.get(_ENTRY_VALUE)
    if not has_graph:
        raise WireError("it has no graph")


def _operators(path: Path) -> list[tuple[str, str]]:
    """Return domain and name of every node."""
    with mapped(path) as data:
        try:
            list(_entries(data))
            found: list[tuple[str, str]] = []
            for field in fields(data, 0, len(data)):
                if field.number == _MODEL_GRAPH:
                    found += _nodes(data, field, _GRAPH_NODE, 0)
                elif field.number == _MODEL_FUNCTIONS:
                    found += _nodes(data, field, _FUNCTION_NODE, 0)
        except WireError as error:
            raise unreadable(path, "ONNX", error) from error
    return found


def _nodes(data: Buffer, owner: Field, number: int, depth: int) -> Iterator[tuple[str, str]]:
    if not owner.is_message:
        raise WireError(f"the field at byte {owner.start} is no message")
    if depth > _MAX_DEPTH:
        raise WireError(f"its subgraphs are nested deeper than {_MAX_DEPTH}")
    for field in fields(data, owner.begin, owner.end):
        if field.number == number and field.is_message:
            yield from _node(data, field, depth)


def _node(data: Buffer, node: Field, depth: int) -> Iterator[tuple[str, str]]:
    domain = name = ""
    for field in fields(data, node.begin, node.end):
        if field.number == _NODE_TYPE:
            name = text(data, field)
        elif field.number == _NODE_DOMAIN:
            domain = text(data, field)
        elif field.number == _NODE_ATTRIBUTE and field.is_message:
            for part in fields(data, field.begin, field.end):
                if part.number in _ATTRIBUTE_GRAPHS and part.is_message:
                    yield from _nodes(data, part, _GRAPH_NODE, depth + 1)
    yield domain, name


def _cut(path: Path, start: int, end: int) -> None:
    """Remove a range of bytes in place, without holding the file in memory."""
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        if end < size:
            with mmap.mmap(file.fileno(), 0) as data:
                data.move(start, end, size - end)
        file.truncate(size - (end - start))
