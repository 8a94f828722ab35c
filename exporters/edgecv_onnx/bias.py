"""Take out of the biases what rounding the weights adds to a layer's output on average.

With 7 bits a channel's rounded weights sum up to something else than its weights did, and behind a ReLU all that they
multiply is positive: every output of the channel moves the same way, layer after layer. The mean of the input over
real pictures tells by how much (EfficientNet-Lite0: half of the error of the logits is that).

Reference:
    Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019,
    https://arxiv.org/abs/1906.04721, section 4.2.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

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
        steps = np.round(_response(node, lost, means[node.name]) / graph.constants[bias.input[1]])
        limits = np.iinfo(np.int32)
        corrected = np.clip(graph.constants[bias.input[0]] + steps, limits.min, limits.max)
        graph.constants[bias.input[0]] = corrected.astype(np.int32)


def _output_axis(node: Any) -> int:
    return 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1


def _dequantized(graph: Graph, pair: Any) -> _Array:
    values, scale = (graph.constants[name].astype(np.float64) for name in pair.input[:2])
    axis = attribute(pair, "axis", 1)
    shape = [-1 if side == axis and scale.ndim else 1 for side in range(values.ndim)]
    zero = graph.constants[pair.input[2]].astype(np.float64) if len(pair.input) > 2 else np.zeros_like(scale)
    return (values - zero.reshape(shape)) * scale.reshape(shape)


def _response(node: Any, weights: _Array, mean: _Array) -> _Array:
    """Return what a node with these weights gives for an input that is its mean everywhere, one value a channel."""
    if node.op_type == "Gemm":
        return np.asarray(weights @ mean if attribute(node, "transB", 0) else mean @ weights)
    groups = attribute(node, "group", 1)
    taps = weights.reshape(groups, -1, *weights.shape[1:]).sum(axis=(3, 4))  # groups, filters, inputs
    return np.asarray(np.einsum("gfi,gi->gf", taps, mean.reshape(groups, -1)).reshape(-1))
