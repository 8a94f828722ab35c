"""Write the network's nodes in 8 bits: QuantizeLinear and DequantizeLinear, placed by ONNX Runtime's quantizer.

Weights have a scale a channel and 7 bits of 8: products of two neighbours with full weights overflow 16 bits on
x86 without VNNI (255 x 127 x 2 > 32,767), whatever the device's ONNX Runtime is set to; with 7 bits they fit.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from edgecv.calibration import Calibration
from edgecv.deployable import Deployable
from edgecv.errors import ConversionError, OptionError
from edgecv.lowering import LoweredGraph
from edgecv.quantizable import joint_layers
from edgecv_onnx.bias import add_biases, correct, maps, weighted
from edgecv_onnx.dense import join_dense
from edgecv_onnx.elements import element_types
from edgecv_onnx.graph import Graph, reads, rename_tensors
from edgecv_onnx.parts import float_nodes
from edgecv_onnx.ranges import observe

__all__ = ["quantize"]


_OPERATORS = (
    "Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "Flatten", "Gemm", "GlobalAveragePool",
    "LeakyRelu", "MatMul", "MaxPool", "Mul", "Pad", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Split",
    "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
# ONNX Runtime runs these in 8 bits also where their output is float.
_FLOAT_OUTPUT = ("Gemm", "MatMul")

Ranges = Mapping[str, tuple[float, float]]
Origins = dict[str, tuple[str, ...]]


def quantize(
    graph: Graph, lowered: LoweredGraph, deployable: Deployable, calibration: Calibration, float_layers: Sequence[str]
) -> None:
    """Quantise in place.

    Raises:
        OptionError: One of ``float_layers`` is no layer of the network.
        ConversionError: The network gives NaN or infinity.
        PictureError: A picture cannot be read.
    """
    unknown = [path for path in float_layers if path not in lowered.layers.values()]
    if unknown:
        raise OptionError(f"float_layers names {unknown[0]!r}, which is no layer of {deployable.name!r}.")
    join_dense(graph)
    outputs = _part_outputs(graph)
    origins = _number(graph)
    floating = float_nodes(graph, lowered, {*float_layers, *joint_layers(deployable)})
    add_biases(graph)
    layers = weighted(graph)
    tensors = _float_tensors(graph, lowered)
    feeds = calibration.feeds(deployable)
    observed = observe(graph, tensors, maps(layers), feeds, batch=deployable.batch, key=calibration.sha256)
    _check_finite(observed.ranges, lambda name: "+".join(lowered.paths(origins.get(name, ()))), deployable)
    weights = {node.name: graph.constants[node.input[1]] for node in layers}
    means = {node.name: observed.means[node.input[0]] for node in layers if node.input[0] in observed.means}
    _part_constants(graph, floating)
    _insert_quantization(graph, observed.ranges, floating)
    correct(graph, weights, means)
    _read_float(graph, floating)
    _join_outputs(graph, outputs)
    graph.prune()
    _trace(graph, lowered, origins)


def _check_finite(ranges: Ranges, layer: Callable[[str], str], deployable: Deployable) -> None:
    for name, limits in ranges.items():
        if not np.all(np.isfinite(limits)):
            where = layer(name) or "the scaling"
            raise ConversionError(
                f"{deployable.name} cannot be written as int8: {where} gives NaN or infinity on a calibration picture."
            )


def _part_outputs(graph: Graph) -> list[str]:
    """Put an Identity in front of every output, so that outputs are read like other tensors; return their names."""
    from onnx import helper

    produced = graph.producers()
    outputs = [info.name for info in graph.outputs if info.name in produced]
    rename_tensors(graph.nodes, {name: f"{name}/inside" for name in outputs})
    for name in outputs:
        if name in graph.origins:
            graph.origins[f"{name}/inside"] = graph.origins.pop(name)
        graph.nodes.append(helper.make_node("Identity", [f"{name}/inside"], [name], name="output"))
    return outputs


def _number(graph: Graph) -> Origins:
    """Number nodes and tensors in the graph's order; return what the converter called a node, and what made a tensor.

    The converter's names differ from run to run.
    """
    origins: Origins = {}
    borders = {info.name for info in (*graph.inputs, *graph.outputs)}
    renamed: dict[str, str] = {}
    for place, node in enumerate(graph.nodes):
        for name in (*reads(node), *node.output):
            if name and name not in borders and name not in renamed:
                renamed[name] = f"tensor_{len(renamed)}"
        origins[f"node_{place}"] = graph.origin(node)
    rename_tensors(graph.nodes, renamed)
    graph.constants = {renamed.get(name, name): value for name, value in graph.constants.items()}
    graph.origins = {}
    for place, node in enumerate(graph.nodes):
        node.name = f"node_{place}"
        for name in node.output:
            origins[name] = graph.origins[name] = origins[node.name]
    return origins


def _join_outputs(graph: Graph, outputs: Collection[str]) -> None:
    """Take the Identities out again."""
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.nodes:
        if node.op_type == "Identity" and node.output[0] in outputs and node.input[0] not in renamed:
            renamed[node.input[0]] = node.output[0]
        else:
            kept.append(node)
    graph.nodes = kept
    rename_tensors(graph.nodes, renamed)


def _part_constants(graph: Graph, floating: Collection[str]) -> None:
    """Give nodes that stay float constants of their own: the quantizer replaces one for all that read it."""
    for node in graph.nodes:
        if node.name in floating:
            continue
        for place, name in enumerate(node.input):
            if name in graph.constants and graph.constants[name].dtype == np.float32:
                own = f"{name}/int8"
                graph.constants[own] = graph.constants[name]
                node.input[place] = own


def _float_tensors(graph: Graph, lowered: LoweredGraph) -> list[str]:
    """Return the float tensors that nodes of the network read and write, in the graph's order."""
    from onnx import TensorProto

    kinds = element_types(graph)
    # Those around nodes that stay float, too: the ranges serve whatever layers are given back to float.
    nodes = [node for node in graph.nodes if node.op_type in _OPERATORS and lowered.paths(graph.origin(node))]
    names = [name for node in nodes for name in (*node.input, *node.output)]
    return [
        name for name in dict.fromkeys(names) if kinds.get(name) == TensorProto.FLOAT and name not in graph.constants
    ]


def _insert_quantization(graph: Graph, ranges: Ranges, floating: Collection[str]) -> None:
    """Let ONNX Runtime's quantizer place the pairs and quantise the weights."""
    from onnx import numpy_helper
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
    from onnxruntime.quantization.calibrate import TensorsData

    pairs = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    quantizer = QDQQuantizer(
        _model(graph),
        per_channel=True,
        reduce_range=True,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, pairs),
        nodes_to_quantize=[],
        nodes_to_exclude=sorted(floating),
        op_types_to_quantize=list(_OPERATORS),
        extra_options={"ActivationSymmetric": False},
    )
    model = quantizer.quantize_model()
    graph.nodes = list(model.graph.node)
    graph.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _model(graph: Graph) -> Any:
    from onnx import helper, numpy_helper

    weights = [numpy_helper.from_array(np.asarray(value, order="C"), name) for name, value in graph.constants.items()]
    kinds = element_types(graph)
    whole = helper.make_graph(graph.nodes, "float", graph.inputs, graph.outputs, weights)
    whole.value_info.extend(
        helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items() if name not in graph.constants
    )
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", graph.opset)])
    # Says that the types are there: the quantizer would write the model to a file and read it again.
    helper.set_model_props(model, {"onnx.infer": "onnxruntime.quant"})
    return model


def _read_float(graph: Graph, floating: Collection[str]) -> None:
    """Let what stays float read a tensor before its rounding, where that costs no 8-bit operator its place."""
    producers, readers = graph.producers(), graph.readers()
    rounded = {name for name, node in producers.items() if node.op_type == "DequantizeLinear"}
    for pair in [node for node in graph.nodes if node.op_type == "DequantizeLinear"]:
        quantized = producers.get(pair.input[0])
        if quantized is None:  # a weight
            continue
        tensor, after = quantized.input[0], readers.get(pair.output[0], [])
        producer = producers.get(tensor)
        is_float = producer is None or producer.name in floating or not rounded & set(producer.input)
        all_float = all(reader.name in floating for reader in after)
        if producer is not None and not is_float and not (producer.op_type in _FLOAT_OUTPUT and all_float):
            continue
        for reader in after:
            if reader.name in floating:
                _read_instead(reader, pair.output[0], tensor)


def _read_instead(node: Any, old: str, new: str) -> None:
    """Let one node read another tensor."""
    for place, name in enumerate(node.input):
        if name == old:
            node.input[place] = new


def _trace(graph: Graph, lowered: LoweredGraph, origins: Origins) -> None:
    """Lead every node back to its layers: one with an activation merged into it, and the pairs to their neighbour."""
    producers, readers = graph.producers(), graph.readers()
    graph.origins = {}
    for node in graph.nodes:
        if node.name in origins:
            merged = origins.get(node.output[0], ())
            graph.origins[node.output[0]] = tuple(dict.fromkeys((*origins[node.name], *merged)))

    def origin(node: Any) -> tuple[str, ...]:
        return graph.origins.get(node.output[0], ())

    for node in graph.nodes:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        made = producers.get(node.input[0])
        if made is not None and lowered.paths(origin(made)):
            graph.origins[node.output[0]] = origin(made)
            continue
        reader: Any = node
        while reader is not None and reader.op_type in ("QuantizeLinear", "DequantizeLinear"):
            reader = next(iter(readers.get(reader.output[0], [])), None)
        graph.origins[node.output[0]] = () if reader is None else origin(reader)
