"""Biases that do not fit into 32 bits: channels whose kernel is nearly zero get a coarser scale.

A bias is counted in steps of input scale × kernel scale. Where training has left a channel nothing but its bias, the
kernel's own scale is so fine that the quantizer's bias overflows, and the channel answers with some other constant.
"""

from typing import Any

from edgecv_tflite.operators import WEIGHTED, kind, readers
from edgecv_tflite.tensors import put, read_floats

__all__ = ["MOST", "has_int_bias", "mend_biases"]

# Half of the accumulator's range: the products need room, too.
MOST = 2**30


def mend_biases(model: Any, floats: Any) -> None:
    """Quantise kernels and biases again, in place, where a bias would take more than `MOST` steps.

    Args:
        model: The quantised model.
        floats: The float model that it was made from.
    """
    graph = model.subgraphs[0]
    exact = {tensor.name: tensor for tensor in floats.subgraphs[0].tensors}
    for index in sorted({operator.inputs[1] for operator in graph.operators if kind(model, operator) in WEIGHTED}):
        users = [each for each in readers(model, index) if has_int_bias(model, each, index)]
        if users and graph.tensors[index].name in exact:
            _mend(model, floats, exact, index, users)


def has_int_bias(model: Any, operator: Any, kernel: int) -> bool:
    """Say whether an operator is a layer with this kernel and a quantised bias."""
    places = WEIGHTED.get(kind(model, operator))
    if places is None or len(operator.inputs) <= places[2] or operator.inputs[places[1]] != kernel:
        return False
    bias = operator.inputs[places[2]]
    return bias >= 0 and model.subgraphs[0].tensors[bias].quantization.scale is not None


def _mend(model: Any, floats: Any, exact: dict[bytes, Any], index: int, users: list[Any]) -> None:
    import numpy as np

    tensors = model.subgraphs[0].tensors
    kernel = tensors[index]
    scales = np.asarray(kernel.quantization.scale, np.float64)
    needed = scales.copy()
    biases = []
    for operator in users:
        given, _, bias = (tensors[operator.inputs[place]] for place in WEIGHTED[kind(model, operator)])
        if bias.name not in exact:
            return
        step = float(given.quantization.scale[0])
        values = read_floats(floats, exact[bias.name]).ravel()
        # One scale for all channels must serve the largest bias.
        least = np.abs(values) / (step * MOST)
        needed = np.maximum(needed, least if len(scales) > 1 else least.max())
        biases.append((bias, values, step))
    if np.array_equal(needed, scales):
        return
    needed = needed.astype(np.float32).astype(np.float64)
    values = read_floats(floats, exact[kernel.name])
    sides = [1] * values.ndim
    sides[kernel.quantization.quantizedDimension] = len(needed)
    put(model, kernel, np.clip(np.rint(values / needed.reshape(sides)), -127, 127).astype(np.int8), needed)
    for bias, values, step in biases:
        put(model, bias, np.rint(values / (needed * step)).astype("<i4"), needed * step)
