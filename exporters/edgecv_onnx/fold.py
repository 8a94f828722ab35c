"""Fold what is constant: transposed kernels, BatchNorm and other per-channel arithmetic, zero padding.

tf2onnx saw the kernels as inputs, so all that reads only weights is still in the graph. It is computed
here, and what is then a per-channel multiplication or addition behind a convolution goes into its weights.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgecv_onnx.graph import Graph, attribute, rename_tensors, set_attribute

__all__ = ["fold"]

_Array = np.ndarray[Any, Any]
# Computing these on constants makes a file larger than the operator does.
_GROWS = {"Tile", "Expand", "ConstantOfShape", "Range", "RandomUniform", "RandomNormal"}
_LARGEST_GROWN = 65536
# Values from which on sharing a constant saves bytes worth looking for, and how many tell arrays apart.
_SHARED_FROM, _SAMPLE = 256, 16


def fold(graph: Graph) -> None:
    """Fold until nothing changes; the graph is changed in place, and ends pruned and in canonical order."""
    graph.prune()
    _evaluate_constants(graph)
    _fold_padding(graph)
    while _fold_arithmetic(graph):
        pass
    graph.prune()
    _share_constants(graph)


def _share_constants(graph: Graph) -> None:
    """Keep one of equal large constants: a network that runs at several scales has its weights once."""
    kept: dict[object, list[str]] = {}
    renamed: dict[str, str] = {}
    for name, value in graph.constants.items():
        if value.size < _SHARED_FROM:
            continue
        # Few arrays of one shape begin alike; only those are compared whole.
        key = (value.dtype.str, value.shape, np.array(value.flat[:_SAMPLE]).tobytes())
        twins = kept.setdefault(key, [])
        twin = next((other for other in twins if np.array_equal(graph.constants[other], value)), None)
        if twin is None:
            twins.append(name)
        else:
            renamed[name] = twin
    rename_tensors(graph.nodes, renamed)
    graph.constants = {name: value for name, value in graph.constants.items() if name not in renamed}


def _evaluate_constants(graph: Graph) -> None:
    """Compute every node whose inputs are all constant."""
    kept = []
    for node in graph.nodes:
        if node.op_type == "Constant" or (
            node.input and all(name in graph.constants or not name for name in node.input)
        ):
            values = _evaluate(node, [graph.constants.get(name) for name in node.input], graph.opset)
            if values is not None:
                graph.constants.update(zip(node.output, values, strict=False))
                continue
        kept.append(node)
    graph.nodes = kept


def _evaluate(node: Any, inputs: Sequence[_Array | None], opset: int) -> list[_Array] | None:
    if node.op_type == "Transpose" and inputs[0] is not None:
        # A view: no copy before the file is written.
        return [inputs[0].transpose(attribute(node, "perm", None))]
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    if any(attr.HasField("g") for attr in node.attribute):
        return None
    feeds = {name: value for name, value in zip(node.input, inputs, strict=True) if value is not None}
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in feeds.items()
    ]
    results = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    # A bare node would be taken for one of the newest operator set (onnx 1.23), whatever set is named.
    evaluator = ReferenceEvaluator(helper.make_graph([node], "constant", given, results), opsets={"": opset})
    values = [np.asarray(value) for value in evaluator.run(None, feeds)]
    largest = max((value.size for value in inputs if value is not None), default=0)
    if node.op_type in _GROWS and max(value.size for value in values) > max(_LARGEST_GROWN, largest):
        return None
    return values


def _fold_padding(graph: Graph) -> None:
    """Put a constant zero Pad of height and width into the convolution that alone reads it."""
    readers = graph.readers()
    producers = graph.producers()
    gone = []
    for conv in graph.nodes:
        pad = producers.get(conv.input[0]) if conv.op_type == "Conv" else None
        if pad is None or pad.op_type != "Pad" or readers[pad.output[0]] != [conv]:
            continue
        pads = _zero_pads(graph, pad)
        if pads is None or attribute(conv, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
            continue
        own = attribute(conv, "pads", [0, 0, 0, 0])
        set_attribute(conv, "pads", [int(a + b) for a, b in zip(own, pads, strict=True)])
        set_attribute(conv, "auto_pad", "NOTSET")
        conv.input[0] = pad.input[0]
        graph.origins[conv.output[0]] = (*graph.origin(pad), *graph.origin(conv))
        gone.append(pad)
    graph.remove(gone)


def _zero_pads(graph: Graph, pad: Any) -> list[int] | None:
    """Return [top, left, bottom, right] of an NCHW zero padding of height and width only, else None."""
    if attribute(pad, "mode", b"constant") != b"constant" or len(pad.input) < 2 or len(pad.input) > 3:
        return None
    pads = graph.constants.get(pad.input[1])
    value = graph.constants.get(pad.input[2]) if len(pad.input) == 3 and pad.input[2] else np.zeros(1)
    if pads is None or value is None or pads.size != 8 or np.any(value) or np.any(pads < 0):
        return None
    if np.any(pads[[0, 1, 4, 5]]):
        return None
    return [int(side) for side in pads[[2, 3, 6, 7]]]


def _fold_arithmetic(graph: Graph) -> bool:
    """Fold one layer of per-channel Mul, Add, Sub or Div behind convolutions; say whether any was."""
    readers = graph.readers()
    gone: list[Any] = []
    touched: set[int] = set()
    for node in list(graph.nodes):
        if node.op_type not in ("Conv", "ConvTranspose") or id(node) in touched:
            continue
        following = readers.get(node.output[0], [])
        if len(following) != 1 or following[0] is None or id(following[0]) in touched:
            continue
        step = following[0]
        if _absorb_step(graph, node, step):
            touched |= {id(node), id(step)}
            gone.append(step)
    graph.remove(gone)
    return bool(gone)


def _absorb_step(graph: Graph, conv: Any, step: Any) -> bool:
    if step.op_type not in ("Mul", "Add", "Sub", "Div") or len(step.input) != 2:
        return False
    place = list(step.input).index(conv.output[0])
    constant = graph.constants.get(step.input[1 - place])
    weight = graph.constants.get(conv.input[1])
    if constant is None or weight is None or constant.dtype != np.float32:
        return False
    if place == 1 and step.op_type in ("Sub", "Div"):
        return False
    axis = 0 if conv.op_type == "Conv" else 1
    filters = weight.shape[axis] * (attribute(conv, "group", 1) if axis else 1)
    values = _per_channel(constant, filters)
    if values is None or (axis and attribute(conv, "group", 1) != 1):
        return False
    scale, offset = _scale_and_offset(step.op_type, values)
    shape = [1] * weight.ndim
    shape[axis] = -1
    if scale is not None:
        _replace(graph, conv, 1, weight * scale.reshape(shape))
    bias = graph.constants.get(conv.input[2]) if len(conv.input) > 2 else None
    if bias is not None or offset is not None:
        total = np.zeros(filters, np.float32) if bias is None else bias
        total = total if scale is None else total * scale
        total = total if offset is None else total + offset
        _replace(graph, conv, 2, total.astype(np.float32))
    graph.absorb(conv, step)
    return True


def _per_channel(constant: _Array, filters: int) -> _Array | None:
    """Return one value a channel where ``constant`` broadcasts over an NCHW tensor that way, else None."""
    if constant.size == 1 and constant.ndim <= 4:
        return np.full(filters, constant.reshape(()), np.float32)
    if constant.size == filters and constant.ndim in (3, 4) and constant.shape[-3] == filters:
        return constant.reshape(filters)
    return None


def _scale_and_offset(op_type: str, values: _Array) -> tuple[_Array | None, _Array | None]:
    if op_type == "Mul":
        return values, None
    if op_type == "Div":
        return 1 / values, None
    return None, values if op_type == "Add" else -values


def _replace(graph: Graph, node: Any, index: int, value: _Array) -> None:
    """Give an input of a node a new value under a name of its own; other readers keep the old one."""
    name = f"{node.name}:folded_{index}"
    graph.constants[name] = value
    if index < len(node.input):
        node.input[index] = name
    else:
        node.input.append(name)
