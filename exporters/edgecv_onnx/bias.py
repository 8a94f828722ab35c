"""Correct the biases of int8 for the rounding of the weights, as `edgecv.bias_correction` says.

With 7 bits half of the error of EfficientNet-Lite0's logits is what rounding adds on average.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from edgecv.bias_correction import correct_biases
from edgecv_onnx.graph import Graph, attribute

__all__ = ["add_biases", "correct", "maps", "weighted"]

_Array = np.ndarray[Any, np.dtype[Any]]


def weighted(graph: Graph) -> list[Any]:
    """Return the nodes whose rounding can be corrected: convolutions and dense layers with constant weights."""
    return [node for node in graph.nodes if node.op_type in ("Conv", "Gemm") and node.input[1] in graph.constants]


def maps(layers: Iterable[Any]) -> dict[str, str]:
    """Return the inputs of such nodes, and the operator that gives a picture's mean of each channel."""
    return {node.input[0]: "GlobalAveragePool" if node.op_type == "Conv" else "Flatten" for node in layers}


def add_biases(graph: Graph) -> None:
    """Give every such node a bias, so that there is one to correct."""
    for node in weighted(graph):
        if len(node.input) == 2:
            name = f"{node.output[0]}/bias"
            graph.constants[name] = np.zeros(graph.constants[node.input[1]].shape[_output_axis(node)], np.float32)
            node.input.append(name)


def correct(graph: Graph, weights: Mapping[str, _Array], means: Mapping[str, _Array]) -> None:
    """Correct the biases of a quantised graph in place.

    Args:
        graph: Every quantised weight and bias is a constant behind DequantizeLinear.
        weights: Name of a node → its weights before rounding.
        means: Name of a node → the mean of its input, one value a channel.
    """
    producers = graph.producers()
    for node in graph.nodes:
        if node.name not in means or len(node.input) < 3:
            continue
        kernel, bias = (producers.get(name) for name in node.input[1:3])
        if kernel is None or bias is None:  # it stays float
            continue
        lost = np.asarray(weights[node.name], np.float64) - _dequantized(graph, kernel)
        biases, scales = (graph.constants[name] for name in bias.input[:2])
        graph.constants[bias.input[0]] = correct_biases(biases, scales, _by_group(node, lost), means[node.name])


def _output_axis(node: Any) -> int:
    return 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1


def _dequantized(graph: Graph, pair: Any) -> _Array:
    values, scale = (graph.constants[name].astype(np.float64) for name in pair.input[:2])
    axis = attribute(pair, "axis", 1)
    shape = [-1 if side == axis and scale.ndim else 1 for side in range(values.ndim)]
    zero = graph.constants[pair.input[2]].astype(np.float64) if len(pair.input) > 2 else np.zeros_like(scale)
    return (values - zero.reshape(shape)) * scale.reshape(shape)


def _by_group(node: Any, weights: _Array) -> _Array:
    """Return a node's weights ``(groups, filters, inputs)``, summed over the places of a window."""
    if node.op_type == "Gemm":
        return (weights if attribute(node, "transB", 0) else weights.T)[None]
    split = weights.reshape(attribute(node, "group", 1), -1, *weights.shape[1:])
    return np.asarray(split.sum(axis=tuple(range(3, split.ndim))))
