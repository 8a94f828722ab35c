"""The same network for pictures of another size: convolutions do not care."""

from typing import TYPE_CHECKING, Any

from edgecv.errors import OptionError, one_line

if TYPE_CHECKING:
    import keras

__all__ = ["at_size"]


def at_size(network: "keras.Model", size: tuple[int | None, int | None]) -> "keras.Model":
    """Return a copy of a network, with the same weights, that takes pictures of another size.

    Args:
        network: A functional model of one picture ``(batch, height, width, channels)``; it stays as it is.
        size: ``(height, width)`` in pixels, None for any.

    Returns:
        A functional model of copies of the layers under their own names. It has no ``edgecv_info``.

    Raises:
        OptionError: A layer is bound to the old size, or cannot work at the new one.
    """
    import keras

    image: Any = network.inputs[0]
    try:
        copy = keras.models.clone_model(network, input_tensors=keras.Input((*size, image.shape[3]), name=image.name))
        copy.set_weights(network.get_weights())
    except Exception as error:  # layers of all kinds raise what they like
        what = "any size" if None in size else f"{size[0]}x{size[1]} pixels"
        raise OptionError(
            f"Model {network.name!r} cannot take pictures of {what}: {one_line(error)}. Choose another size."
        ) from error
    return copy
