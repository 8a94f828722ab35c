"""Take out of int8 biases what rounding the weights adds to a layer's output on average; one rule for every format.

A filter's rounded weights sum up to something else than its weights did, and behind a ReLU all that they multiply is
positive: every output of the filter moves the same way, layer after layer. The mean of the input over real pictures
tells by how much.

Reference:
    Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019,
    https://arxiv.org/abs/1906.04721, section 4.2.
"""

from typing import Any

import numpy as np

__all__ = ["correct_biases"]

_Array = np.ndarray[Any, np.dtype[Any]]
_INT32 = 2**31 - 1


def correct_biases(biases: _Array, scales: _Array, lost: _Array, means: _Array, *, most: int = _INT32) -> _Array:
    """Return the corrected biases, int32.

    Args:
        biases: In 8-bit arithmetic's int32, one a filter.
        scales: What a step of each stands for; one, or one a filter.
        lost: The weights minus the rounded ones, summed over the places of a window, ``(groups, filters, inputs)``.
        means: The mean of each of the input's channels over real pictures.
        most: The largest bias that is allowed, in steps.
    """
    shifts = np.einsum("gfi,gi->gf", lost, means.reshape(len(lost), -1)).reshape(-1)
    corrected: _Array = np.clip(biases + np.rint(shifts / scales), -most, most).astype(np.int32)
    return corrected
