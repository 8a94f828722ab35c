"""float16: the network's kernels are stored in half, each behind a DEQUANTIZE to float32.

CPUs unpack them once, when the file is opened, and compute in float32; GPU delegates take them as they are. Biases,
scaling, anchors and all that follows the network keep float32: they hardly count in bytes, and boxes would move.

The smallest kernels, a hundredth of all values, keep float32, too: in EfficientNet-Lite0 the depthwise ones of the
first blocks alone made 6/7 of the error of the logits (1.05e-2 of the largest, 1.5e-3 without them). The
first kernel does, too: it holds the picture's scaling, which rounds even weights that were half before.
"""

import math
from typing import TYPE_CHECKING, Any

from edgecv_tflite.operators import names_of

if TYPE_CHECKING:
    from edgecv_tflite.names import Names

__all__ = ["halve"]

_KEPT = 0.01


def halve(model: Any, names: "Names") -> None:
    """Store the kernels of a renamed float model in float16, in place."""
    from tensorflow.lite.python import schema_py_generated as schema

    graph = model.subgraphs[0]
    code = _dequantize(schema, model)
    halves: dict[int, int] = {}
    operators = []
    for index in _large(model, _kernels(schema, model, names)):
        tensor = graph.tensors[index]
        half = schema.TensorT()
        half.shape, half.type, half.name = tensor.shape, schema.TensorType.FLOAT16, tensor.name
        half.buffer = _half_buffer(schema, model, tensor.buffer, halves)
        graph.tensors.append(half)
        # The tensor that the operators read stays where it is, and is computed now.
        tensor.name, tensor.buffer = tensor.name + b"/float32", 0
        operator = schema.OperatorT()
        operator.opcodeIndex = code
        operator.inputs, operator.outputs = [len(graph.tensors) - 1], [index]
        operators.append(operator)
    graph.operators = [*operators, *graph.operators]
    # Equal constants share a buffer: one of them may have been too small to halve, or lie in a loop.
    used = {tensor.buffer for each in model.subgraphs for tensor in each.tensors}
    for buffer in halves.keys() - used:
        model.buffers[buffer].data = None


def _kernels(schema: Any, model: Any, names: "Names") -> list[int]:
    """Return the float32 constants of two dimensions and more that only the network's operators read."""
    graph = model.subgraphs[0]
    inside: set[int] = set()
    outside: set[int] = set(graph.outputs)
    for operator in graph.operators:
        of_network = any(name in names.groups for name in names_of(model, operator.outputs))
        (inside if of_network else outside).update(index for index in operator.inputs if index >= 0)
    outside_buffers = {graph.tensors[index].buffer for index in outside}
    kernels = [index for index in sorted(inside - outside) if _is_kernel(schema, model, index, outside_buffers)]
    read = [index for operator in graph.operators for index in operator.inputs if index in kernels]
    return [index for index in kernels if index != read[0] or len(kernels) == 1]


def _large(model: Any, kernels: list[int]) -> list[int]:
    """Return the kernels without the smallest ones that hold `_KEPT` of all values together."""
    sizes = {index: math.prod(model.subgraphs[0].tensors[index].shape) for index in kernels}
    left = _KEPT * sum(sizes.values())
    large = []
    for index in sorted(kernels, key=lambda index: (sizes[index], index)):
        left -= sizes[index]
        if left < 0:
            large.append(index)
    return sorted(large)


def _is_kernel(schema: Any, model: Any, index: int, outside: set[int]) -> bool:
    import numpy as np

    tensor = model.subgraphs[0].tensors[index]
    data = model.buffers[tensor.buffer].data
    if tensor.type != schema.TensorType.FLOAT32 or len(tensor.shape) < 2 or data is None or tensor.buffer in outside:
        return False
    largest = float(np.abs(_values(data)).max(initial=0.0))
    return largest <= float(np.finfo(np.float16).max)  # beyond it, half is infinite


def _half_buffer(schema: Any, model: Any, buffer: int, halves: dict[int, int]) -> int:
    """Return the buffer with the values of another in half, one for all tensors that share it."""
    import numpy as np

    if buffer not in halves:
        half = schema.BufferT()
        half.data = np.frombuffer(_values(model.buffers[buffer].data).astype("<f2").tobytes(), np.uint8)
        model.buffers.append(half)
        halves[buffer] = len(model.buffers) - 1
    return halves[buffer]


def _values(data: Any) -> Any:
    import numpy as np

    return np.frombuffer(bytes(data), "<f4")


def _dequantize(schema: Any, model: Any) -> int:
    """Return the index of the code of DEQUANTIZE, added where the model has none."""
    wanted = schema.BuiltinOperator.DEQUANTIZE
    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == wanted:
            code.version = max(code.version, 3)  # the first that takes float16
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = wanted
    code.version = 3
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
