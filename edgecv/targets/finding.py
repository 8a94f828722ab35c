"""How obstacles are gathered: operators of one layer that fail alike are one obstacle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgecv.targets.checked import Obstacle
from edgecv.targets.graph import Graph, Operator
from edgecv.targets.layers import Layers

__all__ = ["Finder", "Problem"]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong with an operator.

    Attributes:
        problem: What does not go.
        remedy: What to change; where empty, one is found by where the operator is.
        in_network: What to change where it is of a layer, not of the pipeline around the network.
    """

    problem: str
    remedy: str = ""
    in_network: str = "use another layer in its place"


@dataclass(kw_only=True)
class Finder:
    """Gathers the obstacles of one artifact on one target.

    Attributes:
        graph: The artifact's operators.
        metadata: What edgecv wrote into it.
        obstacles: What was found.
    """

    graph: Graph
    metadata: Mapping[str, Any]
    obstacles: list[Obstacle] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._layers = Layers(self.graph.operators, self.metadata)
        self._places: dict[tuple[str, str, str, str], int] = {}

    def file(self, problem: str, remedy: str) -> None:
        """Something is wrong with the whole file."""
        self.obstacles.append(Obstacle(op="", layer="", problem=problem, remedy=remedy))

    def operator(self, operator: Operator, found: Problem) -> None:
        """Something is wrong with an operator."""
        layer = self._layers.of(operator)
        remedy = found.remedy or _by_place(layer) or found.in_network
        key = (operator.name, layer, found.problem, remedy)
        tensors: Sequence[str] = [tensor.name for tensor in operator.outputs[:1]]
        if key not in self._places:
            self._places[key] = len(self.obstacles)
            self.obstacles.append(
                Obstacle(op=operator.name, layer=layer, problem=found.problem, remedy=remedy, tensors=tuple(tensors))
            )
            return
        place = self._places[key]
        known = self.obstacles[place]
        self.obstacles[place] = replace(known, tensors=(*known.tensors, *tensors))


def _by_place(layer: str) -> str:
    """Return what to change where an operator is of the pipeline around the network."""
    return {
        "pipeline: NMS": "export with --no-nms: suppression then runs on the host",
        "pipeline: scaling": "export with --input float32: scaling is then up to the caller",
        "pipeline: decoding": "leave it on the host: with the network alone, it decodes there",
        "pipeline: activation": "export with --activation none, or leave it on the host",
    }.get(layer, "")
