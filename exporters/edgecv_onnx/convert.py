"""The converter's call: a lowered graph becomes ONNX structure without the large weights."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from edgecv.deployable import Deployable
from edgecv.errors import ConversionError
from edgecv.lowering import LoweredGraph, scope_indices
from edgecv_onnx import suppress as suppression
from edgecv_onnx.graph import Graph, rename_tensors, with_nested

__all__ = ["convert"]

# Operators that tf2onnx merges with a bias behind them. What follows the network has no layer, and constants
# that TensorFlow shares between equal ones must not give it one.
_MERGED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def convert(lowered: LoweredGraph, deployable: Deployable, *, opsets: Iterable[int]) -> Graph:
    """Convert at the first of ``opsets`` that has every operator.

    Raises:
        ConversionError: None of them has; the message names the operation and its layer.
    """
    graph_def = _optimised(lowered)
    problem = ""
    for opset in opsets:
        model, problem = _converted(graph_def, lowered, opset)
        if model is not None:
            graph = _graph(model, lowered, deployable, opset)
            _restore_origins(graph, graph_def)
            return graph
    raise ConversionError(f"{deployable.name} cannot be written as ONNX: {problem}")


def _optimised(lowered: LoweredGraph) -> Any:
    import tensorflow as tf
    from tf2onnx import tf_loader

    with tf.Graph().as_default():
        return tf_loader.tf_optimize(_inputs(lowered), _outputs(lowered), lowered.graph_def)


def _inputs(lowered: LoweredGraph) -> list[str]:
    return [lowered.input_name, *lowered.thresholds.values(), *lowered.kernels]


def _outputs(lowered: LoweredGraph) -> list[str]:
    return [*lowered.output_names.values(), *lowered.checkpoints.values()]


def _converted(graph_def: Any, lowered: LoweredGraph, opset: int) -> tuple[Any, str]:
    """Return the model, or None and what stood in the way."""
    import tensorflow as tf
    from tf2onnx import optimizer
    from tf2onnx.tfonnx import process_tf_graph

    with _explained() as problems, tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        try:
            converted = process_tf_graph(
                graph,
                opset=opset,
                input_names=_inputs(lowered),
                output_names=_outputs(lowered),
                custom_op_handlers=HANDLERS,
            )
            if problems:
                return None, _named(problems[0], lowered)
            model = optimizer.optimize_graph(converted, catch_errors=False).make_model("edgecv")
            problem = _unknown(model, lowered, opset)
            return (None, problem) if problem else (model, "")
        except Exception as error:  # tf2onnx raises whatever its handlers meet
            return None, _named(problems[0] if problems else " ".join(str(error).split()), lowered)


def _unknown(model: Any, lowered: LoweredGraph, opset: int) -> str:
    """Name an operation that tf2onnx left as TensorFlow has it, inside a loop or branch without a word; else empty."""
    from onnx import defs

    for node in with_nested(model.graph.node):
        if node.domain == "" and not defs.has(node.op_type, opset, ""):
            layers = lowered.paths([node.name])
            where = f" in layer {layers[0]!r}" if layers else ""
            return f"operation {node.op_type!r}{where} has no ONNX form. Replace it in the network."
    return ""


def _convert_where(graph: Any, node: Any, name: str, _: Any) -> None:
    """Write where as Where: tf2onnx 1.17 writes products and a sum, through which NaN and infinity pass."""
    given, outputs = list(node.input), list(node.output)
    shapes, dtypes = [graph.get_shape(outputs[0])], [graph.get_dtype(outputs[0])]
    graph.remove_node(name)
    graph.make_node("Where", given, name=name, outputs=outputs, shapes=shapes, dtypes=dtypes)


def _convert_erfc(graph: Any, node: Any, name: str, _: Any) -> None:
    """Write erfc, which tf2onnx 1.17 does not know and GELU is made of, as 1 − erf."""
    from onnx import helper

    given, outputs = list(node.input), list(node.output)
    shapes, dtypes = [graph.get_shape(outputs[0])], [graph.get_dtype(outputs[0])]
    graph.remove_node(name)
    one = graph.make_const(f"{name}/one", np.ones((), helper.tensor_dtype_to_np_dtype(dtypes[0])))
    erf = graph.make_node("Erf", given, name=f"{name}/Erf")
    operands = [one.output[0], erf.output[0]]
    graph.make_node("Sub", operands, name=name, outputs=outputs, shapes=shapes, dtypes=dtypes)


def _convert_gather(graph: Any, node: Any, name: str, args: Any) -> None:
    """Write gather without what keras.ops.take does to negative indices: ONNX counts those from the end itself."""
    from tf2onnx.onnx_opset.tensor import GatherV2

    plain = _plain_indices(graph, node)
    if plain is not None:
        graph.replace_input(node, node.input[1], plain, 1)
    write = GatherV2.version_12 if graph.opset >= 12 else GatherV2.version_1
    write(graph, node, name=name, args=args)


# What takes a side, known at run time only, out of a shape; before and after tf2onnx has written it.
_PARTS_OF_SHAPE = ("Cast", "Gather", "Slice", "Squeeze", "StridedSlice")


def _plain_indices(graph: Any, node: Any) -> str | None:
    """Return i where the indices are ``where(i < 0, i + rows, i)``, and None otherwise."""
    where, shape, axis = node.inputs[1], graph.get_shape(node.input[0]), node.inputs[2]
    if where.type not in ("SelectV2", "Where") or not axis.is_const() or shape is None:
        return None
    below, moved, plain = where.inputs[0], where.inputs[1], str(where.input[2])
    if below.type != "Less" or moved.type not in ("Add", "AddV2") or moved.input[0] != plain:
        return None
    # tf2onnx casts integers for the comparison.
    given, zero = (each.inputs[0] if each.type == "Cast" else each for each in below.inputs)
    rows = moved.inputs[1]
    if plain not in given.output or not zero.is_const() or np.any(zero.get_tensor_value() != 0):
        return None
    if rows.is_const():
        return plain if np.all(rows.get_tensor_value() == shape[int(axis.get_tensor_value())]) else None
    while rows.type in _PARTS_OF_SHAPE:
        rows = rows.inputs[0]
    return plain if rows.type == "Shape" and rows.input[0] == node.input[0] else None


def _convert_resize(graph: Any, node: Any, name: str, _: Any) -> None:
    """Write a resize by the size that comes out where tf2onnx 1.17's float32 factors would make it one less.

    Resize rounds input × factor down: 352 × float32(288 / 352) is 287.
    """
    from tf2onnx.onnx_opset.nn import Resize

    before = (graph.get_shape(node.input[0]) or [])[1:3]
    after = list(node.inputs[1].get_tensor_value()) if node.inputs[1].is_const() else []
    Resize.version_11(graph, node)
    if len(before) != len(after) or -1 in before or all(map(_is_exact, before, after)):
        return
    resize = graph.get_node_by_name(name).inputs[0]

    def constant(what: str, values: Any, dtype: Any = np.int64) -> str:
        return str(graph.make_const(f"{name}/{what}", np.array(values, dtype)).output[0])

    shape = graph.make_node("Shape", [resize.input[0]], name=f"{name}/Shape").output[0]
    places = constant("batch_and_channels", [0, 1])
    rest = graph.make_node("Gather", [shape, places], name=f"{name}/Gather", attr={"axis": 0}).output[0]
    sizes = graph.make_node("Concat", [rest, constant("size", after)], name=f"{name}/Concat", attr={"axis": 0})
    factors = constant("no_factors", [], np.float32)
    graph.replace_inputs(resize, [*resize.input[:2], factors, sizes.output[0]])


def _is_exact(before: int, after: int) -> bool:
    """Tell whether an engine gets the size from a float32 factor, whether it multiplies in float32 or float64."""
    factor = np.float32(after / before)
    return int(np.float32(before) * factor) == int(before * float(factor)) == after


_RESIZES = ("ResizeArea", "ResizeBicubic", "ResizeBilinear", "ResizeNearestNeighbor")

HANDLERS = {
    "Erfc": (_convert_erfc, []),
    "GatherV2": (_convert_gather, []),
    "SelectV2": (_convert_where, []),
    **dict.fromkeys(_RESIZES, (_convert_resize, [])),
    **suppression.HANDLERS,
}


@contextlib.contextmanager
def _explained() -> Iterator[list[str]]:
    """Collect what tf2onnx logs as errors: it skips an unsupported operation with a log line only."""
    import logging

    problems: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            problems.append(" ".join(record.getMessage().split()))

    handler = Collector(logging.ERROR)
    loggers = [logging.getLogger(name) for name in ("tf2onnx", "tf2onnx.tfonnx")]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
        logger.propagate = False
        logger.addHandler(handler)
    try:
        yield problems
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


def _named(problem: str, lowered: LoweredGraph) -> str:
    """Put the layers' paths in place of scope indices, and keep the message short."""
    import re

    def path(match: re.Match[str]) -> str:
        return lowered.layers.get(int(match[1]), match[0])

    short = problem if len(problem) <= 300 else problem[:300] + "…"
    return re.sub(r"\bL(\d+)(?:_\d+)?(?=/)", path, short)


def _graph(model: Any, lowered: LoweredGraph, deployable: Deployable, opset: int) -> Graph:
    from onnx import TensorProto, helper, numpy_helper

    domains = {entry.domain for entry in model.opset_import}
    extra = sorted(domains - {"", "ai.onnx"} & {node.domain for node in with_nested(model.graph.node)})
    if extra:
        raise ConversionError(f"{deployable.name} needs operators outside ONNX: domain {extra[0]!r}.")
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    constants.update({name: np.asarray(value) for name, value in lowered.kernels.items()})
    image = deployable.input
    element = helper.np_dtype_to_tensor_dtype(np.dtype(image.dtype))
    graph = Graph(
        nodes=list(model.graph.node),
        constants=constants,
        inputs=[
            helper.make_tensor_value_info("image", element, _dimensions(image.shape)),
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in lowered.thresholds),
        ],
        outputs=list(model.graph.output),
        opset=opset,
    )
    _name_borders(graph, lowered, deployable)
    return graph


def _restore_origins(graph: Graph, graph_def: Any) -> None:
    """Lead nodes back to their layers where tf2onnx 1.17 lost the names on merging them."""
    pads = _padded_convolutions(graph_def)
    kept = {node.name for node in graph.nodes}
    for node in graph.nodes:
        names = [node.name]
        if node.op_type in _MERGED and not scope_indices(node.name):
            # A convolution merged with its bias is called Conv__12; its constants kept their names.
            names += [name for name in node.input[1:] if scope_indices(name)]
        scopes = {_scope(name) for name in names}
        names += [pad for convolution, pad in pads.items() if _scope(convolution) in scopes and pad not in kept]
        if len(names) > 1:
            graph.origins[node.output[0]] = tuple(names)


def _padded_convolutions(graph_def: Any) -> dict[str, str]:
    """Return TensorFlow's name of a convolution → of the padding in front of it, which tf2onnx merges into it."""
    pads = {node.name for node in graph_def.node if node.op == "Pad"}
    return {
        node.name: node.input[0]
        for node in graph_def.node
        if node.op in ("Conv2D", "DepthwiseConv2dNative") and node.input[0] in pads
    }


def _scope(name: str) -> str:
    return name.rpartition("/")[0]


def _dimensions(shape: Iterable[int | None]) -> list[int | str]:
    names = ("N", "H", "W", "C")
    return [name if side is None else side for name, side in zip(names, shape, strict=True)]


def _name_borders(graph: Graph, lowered: LoweredGraph, deployable: Deployable) -> None:
    """Give the picture input and the outputs their contract names; the outputs in the contract's order."""
    from onnx import helper

    by_name = {output.name: output for output in graph.outputs}
    renamed = {lowered.input_name: "image", **{tensor: name for name, tensor in lowered.thresholds.items()}}
    graph.outputs = []
    for name, tensor in {**lowered.output_names, **lowered.checkpoints}.items():
        info = by_name[tensor]
        renamed[tensor] = name
        shape = [side.dim_value if side.HasField("dim_value") else None for side in info.type.tensor_type.shape.dim]
        if shape:
            # Every output's first dimension is the batch; tf2onnx calls a dynamic one by an internal name.
            shape[0] = deployable.batch
        graph.outputs.append(
            helper.make_tensor_value_info(
                name, info.type.tensor_type.elem_type, [_side(side, index) for index, side in enumerate(shape)]
            )
        )
    rename_tensors(graph.nodes, renamed)
    # An output that is the same for every picture is a constant by now.
    graph.constants = {renamed.get(name, name): value for name, value in graph.constants.items()}


def _side(side: int | None, index: int) -> int | str:
    if side is None or side < 0:
        return "N" if index == 0 else f"dim_{index}"
    return side
