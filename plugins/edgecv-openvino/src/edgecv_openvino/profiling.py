"""The times of OpenVINO's nodes, brought back to the tensors of the artifact."""

from collections.abc import Iterable
from statistics import median
from typing import Any

from edgecv.runtime import NodeTime

__all__ = ["NodeTimes"]


class NodeTimes:
    """Collects what the engine says after each run.

    Attributes:
        runs: How many runs it knows.
    """

    def __init__(self, model: Any, compiled: Any) -> None:
        """Look up which operators of the artifact each node of the engine stands for.

        Args:
            model: The artifact's graph.
            compiled: What the engine made of it.
        """
        tensors = {
            operator.get_friendly_name(): [name for port in operator.outputs() for name in sorted(port.get_names())]
            for operator in model.get_ops()
        }
        self._tensors = {
            node.get_friendly_name(): tuple(
                tensor for original in _originals(node, tensors) for tensor in tensors[original]
            )
            for node in compiled.get_runtime_model().get_ops()
        }
        self._taken: dict[str, list[float]] = {}
        self._operators: dict[str, str] = {}
        self.runs = 0

    def add(self, counters: Iterable[Any]) -> None:
        """Take the counters of one run."""
        self.runs += 1
        for each in counters:
            if each.status == type(each).Status.EXECUTED and each.node_type not in ("Parameter", "Result"):
                self._taken.setdefault(each.node_name, []).append(each.real_time.total_seconds() * 1e3)
                self._operators[each.node_name] = each.node_type

    def result(self) -> list[NodeTime]:
        """Return the median time of each node, in the engine's order."""
        return [
            NodeTime(
                name=name, op=self._operators[name], milliseconds=median(taken), tensors=self._tensors.get(name, ())
            )
            for name, taken in self._taken.items()
        ]


def _originals(node: Any, known: Iterable[str]) -> list[str]:
    """Return the artifact's operators that a node of the engine computes."""
    information = node.get_rt_info()
    text = information["originalLayersNames"].value if "originalLayersNames" in information else ""
    return [name for name in str(text).split(",") if name in known]
