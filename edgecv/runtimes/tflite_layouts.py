"""How edgecv reads TFLite files whose outputs another reader wants otherwise; their signature's name says which.

MediaPipe Tasks want float32 alone, and a score for each class of a pixel in place of the mask.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecv.runtime import TensorInfo

__all__ = ["MEDIAPIPE", "SCORES", "as_contract", "value_as_contract"]

# Name of the signature.
MEDIAPIPE = "mediapipe"
# The output ``(1, height, width, classes)`` that stands for the mask: the best class is the pixel's, of equal ones
# the lowest.
SCORES = "class_scores"
_MASK = "mask"
_WHOLE = ("classes", "count")


def as_contract(info: "TensorInfo") -> "TensorInfo":
    """Return an output as edgecv's contract has it."""
    if info.name == SCORES:
        return replace(info, name=_MASK, shape=info.shape[:-1], dtype="int32")
    return replace(info, dtype="int32") if info.name in _WHOLE else info


def value_as_contract(name: str, value: Any) -> Any:
    """Return the value of an output, of the contract's name ``name``, as the contract has it."""
    if name == _MASK:
        return value.argmax(axis=-1).astype("int32")
    return value.astype("int32") if name in _WHOLE else value
