"""How many multiply-adds a ``.tflite`` file needs for a run: those of its convolutions and matrix products."""

import math
from pathlib import Path

from edgecv.errors import ArtifactError
from edgecv.runtimes.tflite_graph import TfliteOperator, read_operators

__all__ = ["multiply_adds"]


def multiply_adds(path: Path) -> int:
    """Count the multiply-adds of one run, subgraphs of loops and branches left out.

    The shapes are those that the file gives its tensors, with one picture where the batch is dynamic.

    Raises:
        ArtifactError: The file cannot be parsed.
    """
    try:
        return sum(map(_count, read_operators(path)))
    except IndexError as error:
        raise ArtifactError(f"{str(path)!r} has an operator that lacks a tensor. Export it again.") from error


def _count(operator: TfliteOperator) -> int:
    inputs, outputs = operator.input_shapes, operator.output_shapes
    match operator.name:
        case "CONV_2D" | "FULLY_CONNECTED":  # a filter or a row of weights, for each value that comes out
            return math.prod(outputs[0]) * math.prod(inputs[1][1:])
        case "DEPTHWISE_CONV_2D":  # weights (1, height, width, channels that come out)
            return math.prod(outputs[0]) * math.prod(inputs[1][1:3])
        case "TRANSPOSE_CONV":  # inputs: shape, weights (channels that come out, height, width, …), data
            return math.prod(inputs[2]) * math.prod(inputs[1][:3])
        case "CONV_3D":  # weights (depth, height, width, channels that go in, channels that come out)
            return math.prod(outputs[0]) * math.prod(inputs[1][:4])
        case "BATCH_MATMUL":  # what is summed over is the other side of the first matrix, transposed or not
            return math.prod(outputs[0]) * (math.prod(inputs[0][-2:]) // max(outputs[0][-2], 1))
    return 0
