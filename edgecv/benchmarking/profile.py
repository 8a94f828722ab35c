"""The noun Profile: where the time of a run goes, by operator, by node, and by layer of the Keras network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgecv.runtime import NodeTime

__all__ = ["Profile", "ProfiledNode", "make_profile"]

_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class ProfiledNode:
    """A node of the artifact as its engine ran it.

    Attributes:
        name: The engine's name of it.
        op: Its operator.
        layers: Paths of the Keras layers that became it, or that it is a part of, in the network's order; none for the
            pipeline around the network and for what the engine put in.
        milliseconds: In one run.
        share: Of the sum over all nodes.
    """

    name: str
    op: str
    layers: tuple[str, ...]
    milliseconds: float
    share: float


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Where the time goes.

    Attributes:
        nodes: In the order in which they run.
    """

    nodes: tuple[ProfiledNode, ...]

    @property
    def operators(self) -> dict[str, float]:
        """Operator → its share, largest first."""
        shares: dict[str, float] = {}
        for node in self.nodes:
            shares[node.op] = shares.get(node.op, 0.0) + node.share
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    @property
    def top(self) -> list[ProfiledNode]:
        """The ten nodes that take longest."""
        return sorted(self.nodes, key=lambda node: -node.share)[:_SHOWN]

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``benchmark --profile --json``."""
        return {
            "operators": {name: round(share, 5) for name, share in self.operators.items()},
            "top": [
                {
                    "name": node.name,
                    "op": node.op,
                    "layers": list(node.layers),
                    "milliseconds": round(node.milliseconds, 4),
                    "share": round(node.share, 5),
                }
                for node in self.top
            ],
            "nodes": len(self.nodes),
        }


def make_profile(times: Sequence[NodeTime], layers: Mapping[str, str]) -> Profile:
    """Map the times of nodes back to layers.

    Args:
        times: What the runtime measured.
        layers: The metadata's map: path of a Keras layer → tensor in the artifact.
    """
    by_tensor: dict[str, list[str]] = {}
    for layer, tensor in layers.items():
        by_tensor.setdefault(tensor, []).append(layer)
    whole = sum(each.milliseconds for each in times) or 1.0
    return Profile(
        nodes=tuple(
            ProfiledNode(
                name=each.name,
                op=each.op,
                layers=_layers_of(each, by_tensor, layers),
                milliseconds=each.milliseconds,
                share=each.milliseconds / whole,
            )
            for each in times
        )
    )


def _layers_of(node: NodeTime, by_tensor: Mapping[str, Sequence[str]], layers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the layers whose tensors a node computes, else those within which its tensors' names lie."""
    found = [layer for tensor in node.tensors for layer in by_tensor.get(tensor, ())]
    if not found:
        # Such as "dense/Gemm:0", where the layer's tensor is that of its activation.
        owners = [tensor.rpartition("/")[0].split("+") for tensor in node.tensors]
        found = [layer for names in owners for layer in names if layer in layers]
    return tuple(dict.fromkeys(found))
