"""How many multiply-adds OpenVINO IR needs for a run: those of its convolutions and matrix products."""

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["multiply_adds"]

_CONVOLUTIONS = ("Convolution", "GroupConvolution")
_TRANSPOSED = ("ConvolutionBackpropData", "GroupConvolutionBackpropData")


def multiply_adds(model: Any, feeds: Mapping[str, Any]) -> int | None:
    """Count the multiply-adds of a run on ``feeds``, those inside loops left out.

    Args:
        model: The engine's graph; its inputs get the shapes of ``feeds``.
        feeds: Arrays by input name.

    Returns:
        Their number; None where a shape is not known before the run.
    """
    model.reshape({name: list(array.shape) for name, array in feeds.items()})
    counts = [_count(operator) for operator in model.get_ops()]
    return None if None in counts else sum(count for count in counts if count is not None)


def _count(operator: Any) -> int | None:
    kind = operator.get_type_name()
    if kind not in (*_CONVOLUTIONS, *_TRANSPOSED, "MatMul"):
        return 0
    shapes = [operator.get_input_partial_shape(place) for place in (0, 1)] + [operator.get_output_partial_shape(0)]
    if any(shape.is_dynamic for shape in shapes):
        return None
    given, weights, made = (tuple(int(side) for side in shape.to_shape()) for shape in shapes)
    if kind == "MatMul":
        turned = operator.get_attributes().get("transpose_a", False)
        return math.prod(made) * given[-2 if turned and len(given) > 1 else -1]
    # Each value that comes out (of a transposed convolution: that goes in) takes one filter. Groups stand first.
    filters = weights[2:] if kind.startswith("Group") else weights[1:]
    return math.prod(given if kind in _TRANSPOSED else made) * math.prod(filters)
