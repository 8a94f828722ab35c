"""The outputs of a Keras network: one order and one name each."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgecv.errors import OptionError

if TYPE_CHECKING:
    import keras

__all__ = ["decoder_order", "flat_tensors", "network_output_names"]


def flat_tensors(tensors: Any) -> list[Any]:
    """Return the tensors of any structure in Keras' order: a dictionary's by its sorted keys."""
    import keras

    return list(keras.tree.flatten(tensors))


def network_output_names(network: "keras.Model") -> tuple[str, ...]:
    """Return one name an output, in the order of `flat_tensors`, each different."""
    graph = getattr(network, "_functional", None) or network  # a Sequential keeps its graph, and names, inside
    given = getattr(graph, "output", None)
    names = sorted(given) if isinstance(given, Mapping) else list(getattr(graph, "output_names", []))
    count = len(flat_tensors(network.outputs))
    if len(names) != count:
        names = [f"output_{index}" for index in range(count)]
    if len(set(names)) != len(names):
        names = [f"{name}_{index}" for index, name in enumerate(names)]
    return tuple(str(name) for name in names)


def decoder_order(network: "keras.Model", names: Sequence[str], owner: str = "decoder") -> list[int]:
    """Return the places of the outputs that a decoder names, in its order; all of them where it names none.

    Args:
        network: The network.
        names: Names of its outputs.
        owner: What names them, for the message.

    Raises:
        OptionError: The network has no such output.
    """
    known = network_output_names(network)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise OptionError(f"The {owner}'s output {unknown[0]!r} is none of the network's: {', '.join(known)}.")
    return [known.index(name) for name in names] if names else list(range(len(known)))
