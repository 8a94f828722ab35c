"""Element types and ranks of a graph's tensors, by ONNX's own inference, without the weights."""

from typing import Any

import numpy as np

from edgecv_onnx.graph import Graph

__all__ = ["element_types", "ranks"]

# Constants of up to so many values may be shapes, axes or sizes that inference reads; larger ones are weights.
_LARGEST_READ = 1024


def element_types(graph: Graph) -> dict[str, int]:
    """Return tensor name → ONNX's number of its element type, constants included."""
    return {name: kind.elem_type for name, kind in _types(graph).items() if kind.elem_type}


def ranks(graph: Graph) -> dict[str, int]:
    """Return tensor name → number of dimensions, where inference knows it."""
    return {name: len(kind.shape.dim) for name, kind in _types(graph).items() if kind.HasField("shape")}


def _types(graph: Graph) -> dict[str, Any]:
    from onnx import helper, numpy_helper, shape_inference

    constants = graph.constants
    small = {name for name, value in constants.items() if value.size <= _LARGEST_READ}
    kinds = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in constants.items()}
    infos = [helper.make_tensor_value_info(name, kinds[name], value.shape) for name, value in constants.items()]
    given = [numpy_helper.from_array(np.asarray(constants[name], order="C"), name) for name in sorted(small)]
    inputs = [*graph.inputs, *(info for info in infos if info.name not in small)]
    structure = helper.make_graph(graph.nodes, "structure", inputs, graph.outputs, given)
    model = helper.make_model(structure, opset_imports=[helper.make_opsetid("", graph.opset)])
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    found = (*inferred.value_info, *graph.inputs, *graph.outputs, *infos)
    return {info.name: info.type.tensor_type for info in found}
