"""Building without drawing: kernels whose values are about to be replaced stay zero."""

import contextlib
from collections.abc import Iterator
from typing import Any

from edgecv.replacing import replaced

__all__ = ["undrawn"]


@contextlib.contextmanager
def undrawn() -> Iterator[None]:
    """Let Glorot's, He's and LeCun's initialisers give zeros for a while.

    `random.randomize` draws all kernels anew, from numbers that no backend changes.
    """
    import keras

    def zeros(_self: Any, shape: Any, dtype: Any = None) -> Any:
        return keras.ops.zeros(shape, dtype)

    with replaced(keras.initializers.VarianceScaling, "__call__", zeros):
        yield
