"""Which tensor of an artifact carries the output of which Keras layers, and which groups read from which.

A converter folds several layers into one operator; the layers that the metadata's map leads to one tensor are a
group, whose output is that of its last layer. Layers without a tensor (dropout, a padding inside a convolution)
are looked through.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from edgecv.layer_graph import LayerGraph, Step, layer_graph
from edgecv.lowering import layer_paths

__all__ = ["Group", "Groups"]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Layers that became one tensor of an artifact.

    Attributes:
        layers: Their paths, in the network's order.
        tensor: Name of the tensor.
        steps: All their calls.
        last: The calls of the last layer: more than one where it is shared.
    """

    layers: tuple[str, ...]
    tensor: str
    steps: tuple[Step, ...]
    last: tuple[Step, ...]

    @property
    def layer(self) -> str:
        """Path of the last layer."""
        return self.layers[-1]

    @property
    def op(self) -> str:
        """Class of the last layer."""
        return type(self.last[0].operation).__name__


class Groups:
    """The groups of a network in an artifact.

    Attributes:
        graph: The network's calls.
        all: The groups, in the order of their last layers in the network.
    """

    def __init__(self, network: Any, layers: Mapping[str, str]) -> None:
        self.graph: LayerGraph = layer_graph(network)
        paths = _paths(network, self.graph)
        self._makers = {slot: step for step in self.graph.steps for slot in step.outputs}
        by_tensor: dict[str, list[Step]] = {}
        for step in self.graph.steps:
            tensor = layers.get(paths[step.index])
            if tensor is not None:
                by_tensor.setdefault(tensor, []).append(step)
        groups = [_group(tensor, steps, paths) for tensor, steps in by_tensor.items() if not self._in_front(steps)]
        self.all: tuple[Group, ...] = tuple(sorted(groups, key=lambda group: group.last[0].index))

    def sources(self, group: Group, known: Collection[str]) -> list[str]:
        """Return the tensors of the groups that a group reads from, of those whose tensors are ``known``."""
        owners = {step.index: each.tensor for each in self.all if each.tensor in known for step in each.steps}
        found: dict[str, None] = {}
        seen: set[int] = set()
        waiting = list(group.steps)
        while waiting:
            step = waiting.pop()
            if step.index in seen:
                continue
            seen.add(step.index)
            owner = owners.get(step.index)
            if owner is not None and owner != group.tensor:
                found[owner] = None
            else:
                waiting += [self._makers[slot] for slot in step.inputs if slot in self._makers]
        return list(found)

    def _in_front(self, steps: Sequence[Step]) -> bool:
        """Tell whether steps only pad the picture: their tensor is not scaled yet, the first convolution does that."""
        paddings = all(isinstance(step.operation, keras.layers.ZeroPadding2D) for step in steps)
        own = {slot for step in steps for slot in step.outputs} | {self.graph.input}
        return paddings and all(slot in own for step in steps for slot in step.inputs)


def _group(tensor: str, steps: Sequence[Step], paths: Mapping[int, str]) -> Group:
    # A shared layer is called several times: its place is that of its first call.
    layers = tuple(dict.fromkeys(paths[step.index] for step in steps))
    last = tuple(step for step in steps if paths[step.index] == layers[-1])
    return Group(layers=layers, tensor=tensor, steps=tuple(steps), last=last)


def _paths(network: Any, graph: LayerGraph) -> dict[int, str]:
    """Return call → the path that exporters give its layer: that of its first place where it has several."""
    by_layer = {id(layer): path for path, layer in layer_paths(network)}
    return {step.index: by_layer.get(id(step.operation), step.path) for step in graph.steps}
