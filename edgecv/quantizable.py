"""Which layers of a Deployable may compute in 8 bits; a rule of the network, so the same for every format.

Scaling, decoding and suppression never do: exporters quantise the network's layers alone.
"""

from edgecv.deployable import Deployable
from edgecv.layer_graph import LayerGraph, Step, layer_graph

__all__ = ["joint_layers", "output_layers"]


def joint_layers(deployable: Deployable) -> tuple[str, ...]:
    """Return the paths of the layers that stay float because their output holds boxes and scores in one tensor.

    Boxes span hundreds of pixels and scores 0…1: one scale for both would round every score to 0.
    """
    graph = layer_graph(deployable.network)
    if deployable.detection is None or not deployable.detection.is_joint(len(graph.outputs)):
        return ()
    return tuple(dict.fromkeys(step.path for slot in graph.outputs for step in _last_weights(graph, slot)))


def output_layers(deployable: Deployable) -> tuple[str, ...]:
    """Return the paths of the layers that give the network's outputs: an activation in them stays float.

    A probability with 256 steps would tie classes that the logits tell apart.
    """
    graph = layer_graph(deployable.network)
    steps = [graph.producer(slot) for slot in graph.outputs]
    return tuple(dict.fromkeys(step.path for step in steps if step is not None))


def _last_weights(graph: LayerGraph, slot: int) -> list[Step]:
    """Return the steps from an output back to the first that has weights, that included."""
    step = graph.producer(slot)
    if step is None:
        return []
    if getattr(step.operation, "weights", None):
        return [step]
    return [step, *(each for given in step.inputs for each in _last_weights(graph, given))]
