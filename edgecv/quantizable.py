"""Which layers of a Deployable may compute in 8 bits; a rule of the network, so the same for every format.

Scaling, decoding and suppression never do: exporters quantise the network's layers alone.
"""

from edgecv.deployable import Deployable
from edgecv.errors import OptionError
from edgecv.layer_graph import LayerGraph, Step, layer_graph
from edgecv.lowering import layer_paths

__all__ = ["joint_layers", "output_layers", "refuse_quantised"]


def joint_layers(deployable: Deployable) -> tuple[str, ...]:
    """Return the paths of the layers that stay float because their output holds boxes and scores in one tensor.

    Boxes span hundreds of pixels and scores 0…1: one scale for both would round every score to 0.
    """
    if deployable.detection is None:
        return ()
    graph = layer_graph(deployable.network)
    if not deployable.detection.is_joint(len(graph.outputs)):
        return ()
    return tuple(dict.fromkeys(step.path for slot in graph.outputs for step in _last_weights(graph, slot)))


def output_layers(deployable: Deployable) -> tuple[str, ...]:
    """Return the paths of the layers that give the network's outputs: an activation in them stays float.

    A probability with 256 steps would tie classes that the logits tell apart.
    """
    graph = layer_graph(deployable.network)
    steps = [graph.producer(slot) for slot in graph.outputs]
    return tuple(dict.fromkeys(step.path for step in steps if step is not None))


def refuse_quantised(deployable: Deployable) -> None:
    """Refuse a network that Keras has quantised: its weights have lost their digits already.

    Raises:
        OptionError: It is one; the message names the first such layer.
    """
    for path, layer in layer_paths(deployable.network):
        mode = getattr(getattr(layer, "dtype_policy", None), "quantization_mode", None)
        if mode is not None:
            raise OptionError(
                f"{deployable.name!r} is already quantised: its layer {path!r} holds {mode} weights. "
                "Give the network from before quantize()."
            )


def _last_weights(graph: LayerGraph, slot: int) -> list[Step]:
    """Return the steps from an output back to the first that has weights, that included."""
    step = graph.producer(slot)
    if step is None:
        return []
    if getattr(step.operation, "weights", None):
        return [step]
    return [step, *(each for given in step.inputs for each in _last_weights(graph, given))]
