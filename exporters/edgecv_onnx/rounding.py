"""Round weights to float16 so that the mean of each layer's output stays what it was.

Rounded to the nearest alone, the errors of a filter's weights add up, and behind a ReLU all that they multiply is
positive: EfficientNet-Lite0's logits move by 1 %. Some weights are rounded to their second nearest value instead,
those that lose least by it, until the errors cancel on average over real pictures.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgecv_onnx.graph import Graph, attribute

__all__ = ["round_weights"]

_Array = np.ndarray[Any, np.dtype[Any]]

# So many weights of a filter are enough to cancel the errors of all.
_MOST_CHANGED = 512


def round_weights(graph: Graph, layers: Sequence[Any], means: Mapping[str, _Array]) -> None:
    """Replace the kernels of convolutions and dense layers, in place, by float32 values that float16 holds exactly.

    Args:
        graph: A float graph.
        layers: Its nodes with constant weights.
        means: Name of a tensor → the mean of each of its channels.
    """
    done: set[str] = set()
    for node in layers:
        name = node.input[1]
        if name in done or node.input[0] not in means:
            continue
        done.add(name)
        bias = graph.constants.get(node.input[2]) if len(node.input) > 2 else None
        kernel = graph.constants[name]
        turned = node.op_type == "Gemm" and not attribute(node, "transB", 0)
        filters = (kernel.T if turned else kernel).astype(np.float64)
        flat = filters.reshape(len(filters), -1)
        rounded = _rounded(flat, _factors(node, filters, means[node.input[0]]), _shift(bias, len(flat)))
        rounded = rounded.reshape(filters.shape).astype(np.float32)
        graph.constants[name] = rounded.T if turned else rounded


def _factors(node: Any, filters: _Array, mean: _Array) -> _Array:
    """Return what each weight is multiplied with on average, ``(filters, weights)`` or broadcast to it."""
    if node.op_type == "Gemm":
        return mean[None]
    groups = attribute(node, "group", 1)
    taps = int(np.prod(filters.shape[2:]))
    inputs = np.repeat(mean.reshape(groups, -1), len(filters) // groups, axis=0)
    return np.repeat(inputs, taps, axis=1)


def _shift(bias: _Array | None, filters: int) -> _Array:
    if bias is None or bias.size != filters:
        return np.zeros(filters)
    exact = bias.reshape(-1).astype(np.float64)
    return _nearest(exact) - exact


def _rounded(exact: _Array, factors: _Array, shift: _Array) -> _Array:
    """Return the filters in values of float16 with the errors, and ``shift``, cancelled as far as they can be."""
    rounded = _nearest(exact)
    shift = shift + np.sum((rounded - exact) * factors, axis=1)
    some = slice(0, _MOST_CHANGED)
    near, given, factors = rounded[:, some], exact[:, some], np.broadcast_to(factors, exact.shape)[:, some]
    half = near.astype(np.float16)
    towards = np.where(near > given, -np.inf, np.inf).astype(np.float16)
    second = np.nextafter(half, towards).astype(np.float64)
    with np.errstate(invalid="ignore"):  # beyond the largest of float16
        change = (second - near) * factors
    lost = (second - given) ** 2 - (near - given) ** 2
    steps = np.where(np.isfinite(change), np.abs(change), 0)
    order = np.argsort(np.where(steps > 0, lost / np.where(steps > 0, steps, 1), np.inf), axis=1, kind="stable")
    taken = np.zeros(near.shape, bool)
    filters = np.arange(len(near))
    for places in order.T:  # the cheapest first, as long as it brings the sum nearer to 0
        moved = shift + change[filters, places]
        better = np.abs(moved) < np.abs(shift)
        shift = np.where(better, moved, shift)
        taken[filters, places] = better
    rounded[:, some] = np.where(taken, second, near)
    return rounded


def _nearest(values: _Array) -> _Array:
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float64)
