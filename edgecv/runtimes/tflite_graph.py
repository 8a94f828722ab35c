"""The main graph of a ``.tflite`` file as a list of operators, without a FlatBuffers library."""

from dataclasses import dataclass
from pathlib import Path

from edgecv.flatbuffer import FlatbufferError, root
from edgecv.runtimes.container import mapped, unreadable
from edgecv.tflite_operators import builtin_code, operator_name

__all__ = ["TfliteOperator", "read_operators"]

_IDENTIFIER = b"TFL3"
_MODEL_CODES, _MODEL_SUBGRAPHS = 1, 2
_SUBGRAPH_TENSORS, _SUBGRAPH_OPERATORS = 0, 3
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS = 0, 1, 2
_TENSOR_SHAPE, _TENSOR_NAME = 0, 3

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class TfliteOperator:
    """An operator.

    Attributes:
        name: Such as ``"CONV_2D"``.
        input_shapes: Shapes of its inputs, as the file gives them; empty where one was left out.
        output_shapes: Shapes of its outputs.
        outputs: Names of the tensors that it computes.
    """

    name: str
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]
    outputs: tuple[str, ...]


def read_operators(path: Path) -> list[TfliteOperator]:
    """Return the operators of the main graph, in their order.

    Raises:
        ArtifactError: The file cannot be parsed.
    """
    with mapped(path) as data:
        try:
            model = root(data, _IDENTIFIER)
            codes = [operator_name(builtin_code(table)) for table in model.tables(_MODEL_CODES)]
            main = next(model.tables(_MODEL_SUBGRAPHS))
            tensors = [
                (tensor.text(_TENSOR_NAME), tuple(tensor.integers(_TENSOR_SHAPE)))
                for tensor in main.tables(_SUBGRAPH_TENSORS)
            ]
            operators = []
            for table in main.tables(_SUBGRAPH_OPERATORS):
                outputs = [tensors[index] for index in table.integers(_OPERATOR_OUTPUTS)]
                inputs = [tensors[index][1] if index >= 0 else () for index in table.integers(_OPERATOR_INPUTS)]
                operators.append(
                    TfliteOperator(
                        name=codes[table.integer(_OPERATOR_CODE, "I")],
                        input_shapes=tuple(inputs),
                        output_shapes=tuple(shape for _, shape in outputs),
                        outputs=tuple(name for name, _ in outputs),
                    )
                )
            return operators
        except (FlatbufferError, StopIteration, IndexError) as error:
            raise unreadable(path, "TFLite", error) from error
