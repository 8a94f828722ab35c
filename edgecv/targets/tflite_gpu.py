"""The GPU delegate of TFLite: which operators it takes, by their inputs, shapes, types and options."""

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from edgecv.targets.finding import Finder, Problem
from edgecv.targets.graph import Operator, Tensor
from edgecv.targets.tables import load_table

__all__ = ["check_tflite_gpu"]

_FLOATS = ("float32", "float16")


def check_tflite_gpu(finder: Finder) -> Sequence[str]:
    """Look for operators that the delegate leaves to the CPU."""
    table = load_table("tflite-gpu")
    for operator in finder.graph.operators:
        found = _problem(operator, table)
        if found is not None:
            finder.operator(operator, found)
    return ("what the delegate does not take runs on the CPU, and the values travel between them",)


def _problem(operator: Operator, table: Mapping[str, Any]) -> Problem | None:
    if operator.custom or operator.name not in table["operators"]:
        return Problem(problem="the delegate has no such operator: it stays on the CPU")
    if operator.inside:
        return Problem(problem="the delegate does not look into bodies of IF and WHILE: it stays on the CPU")
    for name in table["operators"][operator.name]:
        if not _CONSTRAINTS[name](operator):
            return Problem(problem=f"on the GPU {table['constraints'][name]}: it stays on the CPU")
    taken = (*table["types"], *table["more_types"].get(operator.name, ()))
    foreign = sorted({tensor.dtype for tensor in (*operator.fed, *operator.outputs)} - set(taken))
    if foreign:
        return Problem(problem=f"on the GPU it takes no {', '.join(foreign)}: it stays on the CPU")
    return None


def _sides(tensor: Tensor) -> tuple[int, ...]:
    return tuple(side or 1 for side in tensor.shape or ())


def _counts(fed: int, constant: int | None = None) -> Callable[[Operator], bool]:
    def fits(operator: Operator) -> bool:
        constants = sum(tensor.constant for tensor in operator.given)
        return len(operator.fed) == fed and len(operator.outputs) == 1 and constant in (None, constants)

    return fits


def _takes(count: int) -> Callable[[Operator], bool]:
    return lambda operator: len(operator.inputs) >= count if count > 3 else len(operator.inputs) == count


def _broadcast(operator: Operator) -> bool:
    first, second = (_sides(tensor) for tensor in operator.given[:2])
    if len(first) <= 1 or len(second) <= 1 or len(first) == len(second):
        return True
    pairs = zip_longest(reversed(first), reversed(second), fillvalue=1)
    return all(one == other or 1 in (one, other) for one, other in pairs)


def _no_outer_product(operator: Operator) -> bool:
    first, second = (_sides(tensor) for tensor in operator.given[:2])
    if len(first) != len(second):
        return True
    pairs = list(zip(first, second, strict=True))
    return not (any(one < other for one, other in pairs) and any(other < one for one, other in pairs))


def _cast(operator: Operator) -> bool:
    before, after = operator.given[0].dtype, operator.outputs[0].dtype
    if "bool" in (before, after):
        return (before if after == "bool" else after) in _FLOATS
    return {before, after} <= {"float32", "int32"}


def _multiplier(operator: Operator) -> bool:
    channels, given = _sides(operator.given[0])[-1], _sides(operator.outputs[0])[-1]
    return given == channels or channels == 1


def _gather(operator: Operator) -> bool:
    values, indices = operator.given[:2]
    return values.dtype != "int32" and len(_sides(indices)) == 1 and indices.dtype == "int32"


def _select(operator: Operator) -> bool:
    condition, *values = operator.given
    shape = _sides(operator.outputs[0])
    return condition.dtype in ("bool", *_FLOATS) and all(
        tensor.dtype in _FLOATS
        and (not _sides(tensor) or _sides(tensor) == shape or _sides(tensor) == (1,))
        and not (tensor.constant and len(_sides(tensor)) == 2)
        for tensor in values
    )


def _paddings(operator: Operator) -> bool:
    return len(operator.given) > 1 and _sides(operator.given[1]) in ((3, 2), (4, 2))


def _axis_int32(operator: Operator) -> bool:
    return len(operator.given) > 1 and operator.given[1].constant and operator.given[1].dtype == "int32"


def _no_masks(operator: Operator) -> bool:
    return not any(operator.options.get(f"{name}_mask") for name in ("ellipsis", "new_axis", "shrink_axis"))


_CONSTRAINTS: Mapping[str, Callable[[Operator], bool]] = {
    "two_inputs": _takes(2),
    "three_inputs": _takes(3),
    "four_inputs": _takes(4),
    "one_fed": _counts(1),
    "no_constants": _counts(1, 0),
    "one_or_two_fed": lambda operator: _counts(2, 0)(operator) or _counts(1, 1)(operator),
    "at_most_two_fed": lambda operator: len(operator.fed) <= 2 and len(operator.outputs) == 1,
    "broadcast": _broadcast,
    "broadcast_unlike": _broadcast,
    "cast": _cast,
    "rank_4": lambda operator: all(len(_sides(each)) == 4 for each in (*operator.given[:2], *operator.outputs)),
    "multiplier": _multiplier,
    "float_input": lambda operator: operator.given[0].dtype in _FLOATS,
    "axis_constant": lambda operator: len(operator.given) > 1 and operator.given[1].constant,
    "axis_int32": _axis_int32,
    "block": lambda operator: operator.options.get("block_size", 0) > 1,
    "default_weights": lambda operator: not operator.options.get("weights_format"),
    "input_fed": lambda operator: not operator.given[0].constant,
    "gather": _gather,
    "no_outer_product": _no_outer_product,
    "one_hot": lambda operator: operator.given[0].dtype == "int32",
    "select": _select,
    "rank_3_or_4": lambda operator: len(_sides(operator.given[0])) in (3, 4),
    "no_masks": _no_masks,
    "paddings": _paddings,
    "reflect": lambda operator: not operator.options.get("mode"),
}
