"""What verification saw: the answers of both sides, for those who show them.

A `Report` holds figures alone. Whoever wants to draw the answers gives verification an `Observer`, which is called
with every run; nothing runs twice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgecv.runtime import Arrays

__all__ = ["Observer", "Run"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True)
class Run:
    """An artifact's answers on all pictures, in one runtime, on one device, at one batch size.

    Attributes:
        runtime: Name of the runtime.
        device: The device that really ran it.
        provider: What the engine says it ran on.
        batch: Pictures per run.
        names: Of the pictures, as in `original.Pictures`.
        pictures: uint8 ``(pictures, height, width, channels)``, at the network's size.
        answers: The original's: outputs and checkpoints ``(pictures, …)``; of top-k, all classes.
        given: The artifact's outputs and checkpoints, whole.
        tolerance: Largest relative difference that passes.
        steps: Output → the step at which the original's flattened values were sampled; recorded cases alone are.
    """

    runtime: str
    device: str
    provider: str
    batch: int
    names: tuple[str, ...]
    pictures: Array
    answers: Arrays
    given: Arrays
    tolerance: float
    steps: Mapping[str, int] = field(default_factory=dict)


Observer = Callable[[Run], None]
