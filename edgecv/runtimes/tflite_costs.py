"""How many multiply-adds a ``.tflite`` file needs for a run: those of its convolutions and matrix products."""

import math
from pathlib import Path

from edgecv.flatbuffer import FlatbufferError, Table, root
from edgecv.runtimes.container import mapped, unreadable
from edgecv.tflite_operators import operator_name

__all__ = ["multiply_adds"]

_IDENTIFIER = b"TFL3"
_MODEL_CODES, _MODEL_SUBGRAPHS = 1, 2
_CODE_DEPRECATED, _CODE_BUILTIN = 0, 3
_SUBGRAPH_TENSORS, _SUBGRAPH_OPERATORS = 0, 3
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS = 0, 1, 2
_TENSOR_SHAPE = 0


def multiply_adds(path: Path) -> int:
    """Count the multiply-adds of one picture, subgraphs of loops and branches left out.

    The shapes are those that the file gives its tensors, with one picture where the batch is dynamic.

    Raises:
        ArtifactError: The file cannot be parsed.
    """
    with mapped(path) as data:
        try:
            model = root(data, _IDENTIFIER)
            # Codes above 127 do not fit the older, one-byte field; older files have that field only.
            codes = [
                operator_name(max(table.integer(_CODE_DEPRECATED, "b"), table.integer(_CODE_BUILTIN)))
                for table in model.tables(_MODEL_CODES)
            ]
            main = next(model.tables(_MODEL_SUBGRAPHS))
            shapes = [tensor.integers(_TENSOR_SHAPE) for tensor in main.tables(_SUBGRAPH_TENSORS)]
            return sum(_count(operator, codes, shapes) for operator in main.tables(_SUBGRAPH_OPERATORS))
        except (FlatbufferError, StopIteration, IndexError) as error:
            raise unreadable(path, "TFLite", error) from error


def _count(operator: Table, codes: list[str], shapes: list[list[int]]) -> int:
    name = codes[operator.integer(_OPERATOR_CODE, "I")]
    inputs, outputs = operator.integers(_OPERATOR_INPUTS), operator.integers(_OPERATOR_OUTPUTS)
    match name:
        case "CONV_2D" | "FULLY_CONNECTED":  # a filter or a row of weights, for each value that comes out
            return math.prod(shapes[outputs[0]]) * math.prod(shapes[inputs[1]][1:])
        case "DEPTHWISE_CONV_2D":  # weights (1, height, width, channels that come out)
            return math.prod(shapes[outputs[0]]) * math.prod(shapes[inputs[1]][1:3])
        case "TRANSPOSE_CONV":  # inputs: shape, weights (channels that come out, height, width, …), data
            return math.prod(shapes[inputs[2]]) * math.prod(shapes[inputs[1]][:3])
        case "BATCH_MATMUL":
            return math.prod(shapes[outputs[0]]) * shapes[inputs[0]][-1]
    return 0
