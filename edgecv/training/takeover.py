"""What a network takes over from a trained one of the same architecture: all weights of the same path and shape."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgecv.architecture import Architecture
from edgecv.errors import TrainingError

if TYPE_CHECKING:
    import keras

__all__ = ["built", "input_size_of"]


def input_size_of(
    architecture: Architecture, base: "keras.Model | None", wanted: tuple[int, int] | None
) -> tuple[int, int]:
    """Return ``(height, width)`` at which a network learns: the wanted one, that of the trained one, or the default."""
    if wanted is not None:
        return wanted
    fixed: Sequence[Any] = base.inputs[0].shape[1:3] if base is not None else (None, None)
    return architecture.input_shape[:2] if None in fixed else (int(fixed[0]), int(fixed[1]))


def built(
    architecture: Architecture, base: "keras.Model | None", *, input_size: tuple[int, int], classes: int
) -> "keras.Model":
    """Build a detector or segmenter for other classes, with the weights of a trained one where they fit.

    Args:
        architecture: What to build.
        base: The trained network: of this architecture, or of one that has all layers but the heads of it. Its heads
            are taken over, too, where their shapes are the same. None for fresh weights.
        input_size: ``(height, width)`` in pixels.
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
