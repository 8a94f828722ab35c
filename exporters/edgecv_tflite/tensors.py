"""Read, replace and add tensors of a model object."""

import copy
from collections.abc import Sequence
from typing import Any

__all__ = ["add_constant", "add_tensor", "put", "read_floats"]


def read_floats(model: Any, tensor: Any) -> Any:
    """Return a float32 constant's values as float64."""
    import numpy as np

    return np.frombuffer(bytes(model.buffers[tensor.buffer].data), "<f4").astype(np.float64).reshape(tensor.shape)


def put(model: Any, tensor: Any, values: Any, scales: Any) -> None:
    """Give a quantised constant other values, in a buffer of its own: equal constants share one."""
    import numpy as np

    if sum(each.buffer == tensor.buffer for graph in model.subgraphs for each in graph.tensors) > 1:
        model.buffers.append(copy.copy(model.buffers[tensor.buffer]))
        tensor.buffer = len(model.buffers) - 1
    model.buffers[tensor.buffer].data = np.frombuffer(values.tobytes(), np.uint8)
    tensor.quantization.scale = [float(scale) for scale in scales]


def add_constant(model: Any, name: str, values: Any, kind: int) -> int:
    """Add a constant of the type ``kind`` of the schema to the main subgraph; return its place."""
    import numpy as np
    from tensorflow.lite.python import schema_py_generated as schema

    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    place = add_tensor(model, name, values.shape, kind)
    model.subgraphs[0].tensors[place].buffer = len(model.buffers) - 1
    return place


def add_tensor(model: Any, name: str, shape: Sequence[int], kind: int) -> int:
    """Add a tensor that an operator gives to the main subgraph; return its place."""
    from tensorflow.lite.python import schema_py_generated as schema

    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = name.encode(), list(shape), kind
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1
