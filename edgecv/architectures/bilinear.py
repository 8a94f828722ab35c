"""Bilinear interpolation as the kernel of a transposed convolution, where upsampling that is learnt starts.

Importing this module registers the initializer under ``edgecv>BilinearKernel``, so that files which hold it open.
"""

from typing import Any

import keras
import numpy as np
from keras import layers

from edgecv.errors import ArchitectureError

__all__ = ["BilinearKernel", "bilinear_upsampling"]


@keras.saving.register_keras_serializable(package="edgecv")
class BilinearKernel(keras.initializers.Initializer):  # type: ignore[misc]  # Keras has no types
    """Initial kernel of a ``Conv2DTranspose`` that enlarges every channel for itself by bilinear interpolation.

    For kernels ``(2 · factor, 2 · factor, channels, channels)``: tap i of a side has the weight
    1 − |i − (factor − ½)| / factor, the triangle around the centre of the cell that is spread.

    Reference:
        Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", 2015, section 3.3,
        https://arxiv.org/abs/1411.4038.
    """

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Return the kernel.

        Raises:
            ArchitectureError: The shape is of no such kernel.
        """
        rows, columns, channels, inputs = shape
        if rows != columns or rows % 2 or channels != inputs:
            raise ArchitectureError(
                "BilinearKernel needs a square kernel of an even side from as many channels to as many, got "
                f"{rows}x{columns} from {inputs} to {channels}."
            )
        factor = rows // 2
        taps = 1 - np.abs(np.arange(rows) - (factor - 0.5)) / factor
        kernel = np.outer(taps, taps)[:, :, None, None] * np.eye(channels)
        return keras.ops.convert_to_tensor(kernel.astype("float32"), dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments: none."""
        return {}


def bilinear_upsampling(x: Any, factor: int, *, trainable: bool, name: str) -> Any:
    """Enlarge a map by a transposed convolution that starts as bilinear interpolation.

    While untrained it equals ``keras.ops.image.resize`` (bilinear, centres of pixels at halves) of the map with a
    border of zeros around it: exact inside, and within half a cell of the border the values fade, by the same factor in
    all channels, so that the class of the largest one stays.

    Args:
        x: Tensor ``(batch, height, width, channels)``.
        factor: An even number.
        trainable: Whether the kernel learns.
        name: Name of the layer.

    Returns:
        Float32 tensor ``(batch, factor · height, factor · width, channels)``.
    """
    return layers.Conv2DTranspose(
        x.shape[-1],
        2 * factor,
        strides=factor,
        padding="same",
        use_bias=False,
        kernel_initializer=BilinearKernel(),
        trainable=trainable,
        dtype="float32",
        name=name,
    )(x)
