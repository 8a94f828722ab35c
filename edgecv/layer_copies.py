"""Copies of a network's layers in another network: same names, same weights; the network itself stays as it is."""

from collections.abc import Collection
from typing import Any

import keras
from keras import layers

from edgecv.layer_graph import LayerGraph, Step

__all__ = ["Names", "copy_part", "copy_weights"]


class Names:
    """Keeps a network's names: of layers inside nested models their own where nobody else has it."""

    def __init__(self, graph: LayerGraph, reserved: Collection[str] = ()) -> None:
        first: dict[str, Step] = {}
        # Layers of the outermost model come first: its outputs are called after them.
        for step in sorted(graph.steps, key=lambda step: step.path.count("/")):
            first.setdefault(step.operation.name, step)
        self.bare = {id(step.operation) for step in first.values()}
        # Outputs keep the first claim on their names.
        makers = [graph.producer(slot) for slot in graph.outputs]
        pairs = zip(graph.output_names, makers, strict=True)
        self.outputs = {name: None if maker is None else id(maker.operation) for name, maker in pairs}
        self.taken: set[str] = set(reserved)

    def of(self, step: Step) -> str:
        """Return the name of the copy of a step's layer, and take it."""
        name = step.operation.name
        own = id(step.operation) in self.bare and self.outputs.get(name, id(step.operation)) == id(step.operation)
        return self.unique(name if own else step.path.replace("/", "_"))

    def unique(self, name: str) -> str:
        """Return the name, with a number where it is taken."""
        candidates = (name, *(f"{name}_{number}" for number in range(1, len(self.taken) + 2)))
        free = next(candidate for candidate in candidates if candidate not in self.taken)
        self.taken.add(free)
        return free


def copy_weights(source: keras.Layer, target: keras.Layer) -> None:
    """Give a built layer the weights of another of the same kind."""
    weights = source.get_weights()
    # The slopes of a PReLU behind the head, (channels,), become (1, 1, channels).
    shapes = [tuple(variable.shape) for variable in target.weights]
    target.set_weights([value.reshape(shape) for value, shape in zip(weights, shapes, strict=True)])
    if isinstance(target, layers.Normalization):
        target.finalize_state()  # mean and variance of the call are made from the weights


def copy_part(network: keras.Model, graph: LayerGraph, slot: int, *, reserved: Collection[str] = ()) -> keras.Model:
    """Copy the part of a network that one of its tensors depends on, without nested models.

    Args:
        network: The network.
        graph: Its steps.
        slot: The tensor that becomes the only output.
        reserved: Names that no layer may have: a number is appended.
    """
    given = network.inputs[0]
    names = Names(graph, reserved)
    name = names.unique(given._keras_history.operation.name)
    image = keras.Input(graph.shapes[graph.input][1:], dtype=given.dtype, name=name)
    tensors: dict[int, Any] = {graph.input: image}
    made: dict[int, Any] = {}
    for step in _behind(graph, slot):
        operation = step.operation
        if id(operation) in made:
            results = step.call(made[id(operation)], tensors)
        else:
            copy = type(operation).from_config({**operation.get_config(), "name": names.of(step)})
            made[id(operation)] = copy
            results = step.call(copy, tensors)
            if isinstance(operation, keras.Layer):
                copy_weights(operation, copy)
        tensors.update(zip(step.outputs, results, strict=True))
    return keras.Model(image, tensors[slot], name=network.name)


def _behind(graph: LayerGraph, slot: int) -> list[Step]:
    """Return the steps that a tensor depends on, in order."""
    wanted, found = {slot}, []
    for step in reversed(graph.steps):
        if wanted.intersection(step.outputs):
            wanted.update(step.inputs)
            found.append(step)
    return found[::-1]
