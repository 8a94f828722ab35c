"""Which nodes of a graph compute in float32 in a file of fewer bits: all but the network's own, and its last ones."""

from collections.abc import Collection
from typing import Any

from edgecv.lowering import LoweredGraph
from edgecv_onnx.graph import Graph, attribute

__all__ = ["MOVES", "float_nodes"]

# These give the values that they take, in another order or shape.
MOVES = ("Concat", "Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")
# What these give at the end are probabilities, or sizes of boxes: fewer bits would tie what the logits tell apart.
_ACTIVATIONS = ("Exp", "HardSigmoid", "Sigmoid", "Softplus", "Tanh")
_SOFTMAX = ("LogSoftmax", "Softmax")


def float_nodes(graph: Graph, lowered: LoweredGraph, layers: Collection[str] = ()) -> set[str]:
    """Return the names of the nodes that stay float32.

    These are what belongs to no layer (scaling, decoding, suppression), nodes of ``layers``, every softmax, and
    between the network's last computation and its outputs the activations and what moves values.

    Args:
        graph: Its nodes have names of their own.
        lowered: Leads the nodes back to layers.
        layers: Paths of layers that stay float32.
    """
    found: set[str] = set()
    for node in graph.nodes:
        paths = lowered.paths(graph.origin(node))
        if not paths or set(paths) & set(layers) or node.op_type in _SOFTMAX or _only_float(node):
            found.add(node.name)
    # Each node after those that it reads: from the end, a node's readers are known before itself.
    readers = graph.readers()
    for node in reversed(graph.nodes):
        after = [reader for name in node.output for reader in readers.get(name, [])]
        is_last = all(reader is None or reader.name in found for reader in after)
        if is_last and node.op_type in (*MOVES, *_ACTIVATIONS):
            found.add(node.name)
    return found


def _only_float(node: Any) -> bool:
    """Tell whether engines have the operator for float32 only, in this mode."""
    return node.op_type == "Resize" and bool(attribute(node, "mode", b"nearest") == b"cubic")
