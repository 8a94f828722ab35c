"""Correct the biases of int8 for the rounding of the kernels, as `edgecv.bias_correction` says.

Rounding the kernels makes most of EfficientNet-Lite0's error: correcting the biases takes the rms error of the logits
from 0.17 to 0.10 of what they vary by. Ranges that clip what is rare would take next to nothing more off.
"""

import copy
from typing import Any

import numpy as np

from edgecv.bias_correction import correct_biases
from edgecv_tflite.biases import MOST, has_int_bias
from edgecv_tflite.means import Means
from edgecv_tflite.operators import WEIGHTED, kernel_of, kind, names_of, readers
from edgecv_tflite.tensors import add_constant, put, read_floats

__all__ = ["add_biases", "correct"]

_Array = np.ndarray[Any, np.dtype[Any]]

# Layers that the converter writes without a bias where it would be 0 → the operator's version that takes one.
_BIAS_OPTIONAL = {"FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 3}


def add_biases(model: Any) -> None:
    """Give every layer of a float model a bias, in place, so that there is one to correct."""
    for operator in model.subgraphs[0].operators:
        kernel = kernel_of(model, operator)
        what = kind(model, operator)
        if kernel is None or what not in _BIAS_OPTIONAL:
            continue
        place = WEIGHTED[what][2]
        inputs = list(operator.inputs)
        if len(inputs) == place or inputs[place] < 0:
            name = f"{names_of(model, operator.outputs)[0]}/bias"
            operator.inputs = [
                *inputs[:place],
                add_constant(model, name, np.zeros(kernel.shape[0], "<f4"), kernel.type),
            ]
            code = model.operatorCodes[operator.opcodeIndex]
            code.version = max(code.version, _BIAS_OPTIONAL[what])


def correct(model: Any, floats: Any, means: Means) -> None:
    """Correct the biases of a quantised model in place.

    Args:
        model: The quantised model; its operators give tensors of the float model's names.
        floats: The float model that it was made from.
        means: Of the inputs of the float model's layers.
    """
    exact = {tuple(names_of(floats, operator.outputs)): operator for operator in floats.subgraphs[0].operators}
    for operator in model.subgraphs[0].operators:
        original = exact.get(tuple(names_of(model, operator.outputs)))
        kernel = None if original is None else kernel_of(floats, original)
        if original is None or kernel is None or not has_int_bias(model, operator, operator.inputs[1]):
            continue
        (given,) = names_of(floats, [original.inputs[WEIGHTED[kind(floats, original)][0]]])
        mean = means.of(given)
        if mean is not None:
            _correct(model, operator, read_floats(floats, kernel) - _dequantised(model, operator.inputs[1]), mean)


def _correct(model: Any, operator: Any, lost: _Array, mean: _Array) -> None:
    grouped = _by_group(model, operator, lost, len(mean))
    if grouped is not None:
        bias = _own(model, operator, WEIGHTED[kind(model, operator)][2])
        scales = bias.quantization.scale
        before = np.frombuffer(bytes(model.buffers[bias.buffer].data), "<i4")
        put(model, bias, correct_biases(before, np.asarray(scales), grouped, mean, most=MOST).astype("<i4"), scales)


def _by_group(model: Any, operator: Any, weights: Any, channels: int) -> Any | None:
    """Return a layer's weights ``(groups, filters, inputs)``, summed over the places of a window.

    None where the input has not a channel for each of them, as maps that a dense layer reads flat.
    """
    what = kind(model, operator)
    if what == "DEPTHWISE_CONV_2D":
        return weights.sum(axis=(0, 1, 2)).reshape(channels, -1, 1)
    summed = weights.reshape(len(weights), -1, weights.shape[-1]).sum(axis=1)
    if what == "FULLY_CONNECTED":
        return summed[None] if summed.shape[1] == channels else None
    if what == "TRANSPOSE_CONV":  # a pixel sees one of so many places of the window
        summed = summed / (operator.builtinOptions.strideH * operator.builtinOptions.strideW)
    return summed.reshape(channels // summed.shape[1], -1, summed.shape[1])


def _dequantised(model: Any, index: int) -> _Array:
    kernel = model.subgraphs[0].tensors[index]
    sides = [1] * len(kernel.shape)
    sides[kernel.quantization.quantizedDimension] = -1
    values = np.frombuffer(bytes(model.buffers[kernel.buffer].data), np.int8).reshape(kernel.shape)
    return values * np.asarray(kernel.quantization.scale, np.float64).reshape(sides)


def _own(model: Any, operator: Any, place: int) -> Any:
    """Return a constant that an operator reads, which no other one reads as well."""
    tensors = model.subgraphs[0].tensors
    index = operator.inputs[place]
    if len(readers(model, index)) > 1:
        own = copy.deepcopy(tensors[index])
        own.name = f"{names_of(model, operator.outputs)[0]}/bias/own".encode()
        tensors.append(own)
        operator.inputs = [len(tensors) - 1 if at == place else each for at, each in enumerate(operator.inputs)]
    return tensors[operator.inputs[place]]
