"""Element types of a graph's tensors, by ONNX's own inference, without the weights."""

from typing import Any

import numpy as np

from edgecv_onnx.graph import Graph

__all__ = ["element_types"]

# Constants of up to so many values may be shapes, axes or sizes that inference reads; larger ones are weights.
_LARGEST_READ = 1024


def element_types(graph: Graph) -> dict[str, int]:
    """Return tensor name → ONNX's number of its element type, constants included."""
    from onnx import helper, numpy_helper, shape_inference

    kinds = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in graph.constants.items()}
    small = {name for name, value in graph.constants.items() if value.size <= _LARGEST_READ}
    weights = [
        helper.make_tensor_value_info(name, kinds[name], value.shape)
        for name, value in graph.constants.items()
        if name not in small
    ]
    given = [numpy_helper.from_array(np.ascontiguousarray(graph.constants[name]), name) for name in sorted(small)]
    structure = helper.make_graph(graph.nodes, "structure", [*graph.inputs, *weights], graph.outputs, given)
    model = helper.make_model(structure, opset_imports=[helper.make_opsetid("", graph.opset)])
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    found: dict[str, int] = {
        info.name: _element(info) for info in (*inferred.value_info, *graph.inputs, *graph.outputs)
    }
    return {**{name: kind for name, kind in found.items() if kind}, **kinds}


def _element(info: Any) -> int:
    return int(info.type.tensor_type.elem_type)
