"""TensorFlow Lite Micro: its operators and the types that their kernels take."""

from typing import Any

from edgecv.targets.finding import Finder, Problem
from edgecv.targets.graph import Operator
from edgecv.targets.tables import load_table

__all__ = ["check_tflm"]


def check_tflm(finder: Finder) -> None:
    """Look for operators that TensorFlow Lite Micro lacks, types that its kernels do not take, and unknown sizes."""
    operators = load_table("tflm")["operators"]
    for operator in finder.graph.operators:
        found = _problem(operator, operators)
        if found is not None:
            finder.operator(operator, found)
    for tensor in finder.graph.inputs:
        if tensor.shape is not None and None in tensor.shape:
            finder.file(
                f"input {tensor.name!r} has the shape {list(tensor.shape)}, and memory is planned once",
                "export with a fixed batch and size: --batch 1 --input-size HxW",
            )


def _problem(operator: Operator, operators: dict[str, dict[str, Any]]) -> Problem | None:
    if operator.custom:
        return Problem(
            problem=f"custom operators such as {operator.name} are not part of it", remedy="use builtin operators"
        )
    known = operators.get(operator.name)
    if known is None:
        return Problem(problem="there is no such operator in TensorFlow Lite Micro")
    half = [tensor for tensor in (*operator.given, *operator.outputs) if tensor.dtype == "float16"]
    if half:
        return Problem(problem="its kernels take no float16", remedy="export with --precision int8, or float32")
    place = known.get("typed", 0)
    if "types" in known and place < len(operator.given):
        dtype = operator.given[place].dtype
        if dtype not in known["types"]:
            return Problem(problem=f"its kernel takes {', '.join(known['types'])}, not {dtype}")
    return None
