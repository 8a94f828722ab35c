"""What a network takes over from a trained one of the same architecture: all weights of the same path and shape."""

from typing import TYPE_CHECKING

from edgecv.architecture import Architecture
from edgecv.errors import TrainingError

if TYPE_CHECKING:
    import keras

__all__ = ["built"]


def built(
    architecture: Architecture, base: "keras.Model | None", *, input_size: tuple[int, int] | None, classes: int
) -> "keras.Model":
    """Build a detector or segmenter for other classes, with the weights of a trained one where they fit.

    Args:
        architecture: What to build.
        base: The trained network: of this architecture, or of one that has all layers but the heads of it. Its heads
            are taken over, too, where their shapes are the same. None for fresh weights.
        input_size: ``(height, width)`` in pixels; None takes the architecture's.
        classes: Number of classes, without a background that the architecture adds itself.

    Raises:
        TrainingError: A layer that is no head is missing in ``base``, or has another shape there.
        ArchitectureError: It cannot be built so.
    """
    network = architecture.build(input_size=input_size, classes=classes)
    if base is None:
        return network
    known = {variable.path: variable for variable in base.weights}
    for layer in network._flatten_layers(include_self=False, recursive=True):
        for variable in layer._trainable_variables + layer._non_trainable_variables:
            found = known.get(variable.path)
            if found is not None and tuple(found.shape) == tuple(variable.shape):
                variable.assign(found)
            elif not architecture.is_head(layer.name) and "seed_generator" not in variable.path:
                raise TrainingError(
                    f"{base.name!r} is no {architecture.name}: {variable.path!r} is missing there or of another shape. "
                    "Name its own architecture, or start from other weights."
                )
    return network
