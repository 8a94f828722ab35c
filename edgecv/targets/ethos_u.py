"""Arm Ethos-U: what Vela places on the NPU, as far as a file shows it. The rest runs on the CPU beside it."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgecv.targets.finding import Finder, Problem
from edgecv.targets.graph import Operator, Tensor
from edgecv.targets.tables import load_table

__all__ = ["ETHOS_U", "check_ethos_u"]

ETHOS_U = (
    "ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256", "ethos-u65-512",
    "ethos-u85-128", "ethos-u85-256", "ethos-u85-512", "ethos-u85-1024", "ethos-u85-2048",
)  # fmt: skip
_QUANTISED = ("int8", "uint8", "int16")
_VALID = 1  # of TFLite's enumeration Padding
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


def check_ethos_u(finder: Finder, target: str) -> Sequence[str]:
    """Look for operators that stay on the CPU."""
    table = load_table("ethos-u")
    family = table["families"]["u85" if "u85" in target else "u55-u65"]
    for operator in finder.graph.operators:
        found = _problem(operator, family, table["constraints"])
        if found is not None:
            finder.operator(operator, found)
    failing = sum(len(each.tensors) for each in finder.obstacles)
    notes = ["what does not go there runs on the CPU beside it, where TensorFlow Lite Micro knows the operator"]
    if failing and failing == len(finder.graph.operators):
        notes.append("no operator is on the NPU")
    return notes


def _problem(operator: Operator, family: Mapping[str, Any], texts: Mapping[str, str]) -> Problem | None:
    if operator.name == "ethos-u":  # compiled already
        return None
    if operator.name == "DEQUANTIZE":
        return Problem(
            problem="the NPU computes in integers: bringing its answers to float32 stays on the CPU",
            remedy="leave it: whoever reads the answers needs it",
        )
    if operator.custom or operator.name not in family["operators"]:
        return Problem(problem="the NPU has no such operator: it stays on the CPU")
    maps = _feature_maps(operator)
    foreign = sorted({tensor.dtype for tensor in maps} - set(family["types"]))
    if foreign:
        return Problem(
            problem=f"the NPU computes in integers, and it is {', '.join(foreign)}: it stays on the CPU",
            in_network="export with --precision int8, without giving the layer back to float32",
        )
    if any(tensor.shape is None or None in tensor.shape[1:] for tensor in maps):
        return Problem(problem="its sizes are not known: it stays on the CPU", remedy="export with a fixed size")
    if any(tensor.shape == () and not tensor.constant for tensor in maps):
        return Problem(problem="the NPU takes no single numbers without a shape: it stays on the CPU")
    if operator.name not in family["by_channel"] and any(len(tensor.scales) > 1 for tensor in maps):
        return Problem(problem="it takes no scales by channel: it stays on the CPU")
    for name in family["operators"][operator.name]:
        if not _CONSTRAINTS[name](operator):
            return Problem(problem=f"on the NPU {texts[name]}: it stays on the CPU")
    return None


def _feature_maps(operator: Operator) -> list[Tensor]:
    """Return the tensors that hold values of pictures: inputs without parameters, and outputs."""
    count = {"CONCATENATION": None, "PACK": None, "ADD": 2, "SUB": 2, "MUL": 2, "MAXIMUM": 2, "MINIMUM": 2}
    first = {"SPLIT": 1, "TRANSPOSE_CONV": 2}.get(operator.name, 0)
    most = count.get(operator.name, 1)
    inputs = operator.inputs[first:] if most is None else operator.inputs[first : first + most]
    return [tensor for tensor in (*inputs, *operator.outputs) if tensor is not None]


def _sides(tensor: Tensor) -> tuple[int, ...]:
    return tuple(side or 1 for side in tensor.shape or ())


def _image(tensor: Tensor) -> tuple[int, int, int]:
    """Return height, width and channels."""
    height, width, channels = (1, 1, 1, *_sides(tensor))[-3:]
    return height, width, channels


def _quantised(operator: Operator) -> bool:
    weights = operator.inputs[1:2] if operator.name in _CONVOLUTIONS else ()
    tensors = (*_feature_maps(operator), *(tensor for tensor in weights if tensor is not None))
    # Vela's report asks it of all tensors; of 32 bits and of bool, Vela does not.
    return all(min(tensor.scales, default=-1) >= 0 for tensor in tensors if tensor.dtype in _QUANTISED)


def _narrow(operator: Operator) -> bool:
    return all(tensor.dtype not in ("int32", "int64") for tensor in _feature_maps(operator))


def _of_types(*types: str) -> Callable[[Operator], bool]:
    return lambda operator: all(tensor.dtype in types for tensor in operator.given[:1])


def _same(operator: Operator) -> bool:
    return all(tensor.dtype == operator.given[0].dtype for tensor in operator.outputs)


def _strides(operator: Operator) -> tuple[int, int]:
    return operator.options.get("stride_h", 1), operator.options.get("stride_w", 1)


def _stride_or_valid(operator: Operator) -> bool:
    dilated = max(operator.options.get("dilation_h", 1), operator.options.get("dilation_w", 1)) > 1
    return max(_strides(operator)) <= 3 or (operator.options.get("padding") == _VALID and not dilated)


def _pool_kernel(operator: Operator) -> bool:
    height, width = int(operator.options.get("filter_h", 1)), int(operator.options.get("filter_w", 1))
    return height <= 256 and height * width <= 256 * 256


def _average_kernel(operator: Operator) -> bool:
    if operator.options.get("padding") == _VALID:
        return _pool_kernel(operator)
    return max(int(operator.options.get(side, 1)) for side in ("filter_h", "filter_w")) <= 8


def _same_scales(operator: Operator) -> bool:
    tensors = _feature_maps(operator)
    return len({(tensor.scales, tensor.zero_points) for tensor in tensors}) == 1


def _axes(operator: Operator) -> tuple[int, ...]:
    """Return the axes of a reduction, counted from the first."""
    rank = len(_sides(operator.given[0]))
    values = operator.given[1].values if len(operator.given) > 1 else None
    return tuple(axis % rank if rank else 0 for axis in values or ())


def _mean_depth(operator: Operator) -> bool:
    rank = len(_sides(operator.given[0]))
    return rank < 3 or rank - 1 not in _axes(operator) or 1 in _image(operator.given[0])


def _enlarging(operator: Operator) -> tuple[float, float]:
    align = 1 if operator.options.get("align_corners") else 0
    before, after = _image(operator.given[0]), _image(operator.outputs[0])
    factors = [(new - align) / max(old - align, 1) for old, new in zip(before[:2], after[:2], strict=True)]
    return factors[0], factors[1]


def _is_plain_resize(operator: Operator) -> bool:
    """Say whether a resize is none, or fills from one pixel."""
    before, after = _image(operator.given[0]), _image(operator.outputs[0])
    return before[:2] == (1, 1) or before == after


def _one_side(operator: Operator, factors: Sequence[float]) -> bool:
    """Say whether sides are enlarged alike, or one of them is 1 and stays."""
    height, width, _ = _image(operator.outputs[0])
    return factors[0] == factors[1] or (height == 1 and factors[0] == 1) or (width == 1 and factors[1] == 1)


def _nearest_scale(operator: Operator) -> bool:
    factors = _enlarging(operator)
    return _is_plain_resize(operator) or (max(factors) in (2, 4, 8) and _one_side(operator, factors))


def _bilinear_scale(operator: Operator) -> bool:
    factors = _enlarging(operator)
    allowed = (2,) if operator.options.get("half_pixel_centers") else (2, 4, 8)
    return _is_plain_resize(operator) or (max(factors) in allowed and _one_side(operator, factors))


def _power_of_two(operator: Operator) -> bool:
    return _is_plain_resize(operator) or all(
        factor >= 1 and math.log2(factor).is_integer() for factor in _enlarging(operator)
    )


def _transposed_stride(operator: Operator) -> bool:
    strides = _strides(operator)
    height, width, _ = _image(operator.inputs[2]) if len(operator.inputs) > 2 and operator.inputs[2] else (0, 0, 0)
    return strides in ((1, 1), (2, 2)) or (strides == (1, 2) and height == 1) or (strides == (2, 1) and width == 1)


def _softmax_area(operator: Operator) -> bool:
    return math.prod(_sides(operator.given[0])[:-1]) < 65536


def _constant(operator: Operator, first: int) -> bool:
    return all(tensor.constant for tensor in operator.given[first:])


_CONSTRAINTS: Mapping[str, Callable[[Operator], bool]] = {
    "narrow": _narrow,
    "quantised": _quantised,
    "weights_of_8_bits": lambda operator: operator.given[1].dtype in ("int8", "uint8"),
    "bias_constant": lambda operator: (
        all(each is None or each.constant for each in operator.inputs[2:3]) or operator.name == "TRANSPOSE_CONV"
    ),
    "stride_of_3": lambda operator: max(_strides(operator)) <= 3,
    "stride_of_3_or_valid": _stride_or_valid,
    "average_kernel": _average_kernel,
    "pool_kernel": _pool_kernel,
    "depth_of_127": lambda operator: _image(operator.given[0])[2] <= 127,
    "depth_axis": lambda operator: set(_axes(operator)) <= {len(_sides(operator.given[0])) - 1},
    "same_8_bits": lambda operator: _of_types("int8", "uint8")(operator) and _same(operator),
    "int8_or_int16": _of_types("int8", "int16"),
    "same_int8": lambda operator: _of_types("int8")(operator) and _same(operator),
    "mean_types": _of_types("int8", "uint8", "int16"),
    "same_shape": lambda operator: _sides(operator.given[0]) == _sides(operator.outputs[0]),
    "same_scales": _same_scales,
    "constant_parameters": lambda operator: _constant(operator, 1),
    "batch_of_1": lambda operator: len(_sides(operator.given[0])) < 4 or _sides(operator.given[0])[0] == 1,
    "mean_depth": _mean_depth,
    "bilinear_scale": _bilinear_scale,
    "nearest_scale": _nearest_scale,
    "power_of_two": _power_of_two,
    "transposed_stride": _transposed_stride,
    "softmax_area": _softmax_area,
    "matmul_int8": lambda operator: (
        operator.given[0].dtype == "int8" or (operator.name == "FULLY_CONNECTED" and operator.given[1].constant)
    ),
    "never": lambda _: False,
    "gather_axis": lambda operator: operator.options.get("axis", 0) == operator.options.get("batch_dims", 0),
}
