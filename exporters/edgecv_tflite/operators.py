"""Small questions to a model object: what an operator is, what it reads, who reads a tensor."""

from collections.abc import Iterable
from typing import Any

from edgecv.tflite_operators import operator_name

__all__ = ["kind", "names_of", "readers"]


def kind(model: Any, operator: Any) -> str:
    """Return an operator's builtin name, such as ``"CONV_2D"``."""
    code = model.operatorCodes[operator.opcodeIndex]
    # Codes above 127 do not fit the older, one-byte field; older files have that field only.
    return operator_name(max(code.builtinCode, code.deprecatedBuiltinCode))


def names_of(model: Any, indices: Iterable[int]) -> list[str]:
    """Return the names of tensors of the main subgraph; -1 is an input that is absent."""
    tensors = model.subgraphs[0].tensors
    return [tensors[index].name.decode() for index in indices if index >= 0]


def readers(model: Any, index: int) -> list[Any]:
    """Return the operators of the main subgraph that read a tensor."""
    return [operator for operator in model.subgraphs[0].operators if index in list(operator.inputs)]
