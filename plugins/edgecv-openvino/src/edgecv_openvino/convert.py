"""From edgecv's ONNX artifact to OpenVINO's graph, with all names, and with states for the optional inputs."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from edgecv.errors import ConversionError

from edgecv_openvino.runtime import engine

__all__ = ["Turned", "read_onnx"]

# Name → name of the tensor that it is the transpose of, and the order of axes.
Turned = dict[str, tuple[str, list[int]]]
Defaults = dict[str, "np.ndarray[Any, np.dtype[Any]]"]


def read_onnx(path: Path) -> tuple[Any, Turned]:
    """Return OpenVINO's graph of an ONNX file, and the transposed tensors that it drops.

    OpenVINO drops what no output needs, so that the scores of a segmenter in the original's order of axes would be
    gone: for such a tensor it is said which one is to be transposed, and how.

    An ONNX input with a default, which OpenVINO would bake in, becomes a state: it starts with the default, and may
    be set before a run.

    Raises:
        ConversionError: OpenVINO cannot convert an operator.
    """
    import onnx

    document = onnx.load(path)
    turned = _unread_transposes(document.graph)
    defaults = _free_optional_inputs(document.graph)
    _replace_thresholds(document.graph)
    del document.metadata_props[:]  # those of the folder are another file's
    try:
        model = engine().Core().read_model(io.BytesIO(document.SerializeToString()))
        _hold(model, defaults)
        _fold(model)
    except RuntimeError as error:
        raise ConversionError(f"OpenVINO cannot convert {path.name}: {_cause(error)}.") from error
    return model, turned


def _unread_transposes(graph: Any) -> Turned:
    """Return name → name of the transposed tensor and order of its axes, of transposed tensors that nothing reads."""
    read = {name for node in graph.node for name in node.input} | {info.name for info in graph.output}
    found: Turned = {}
    for node in graph.node:
        if node.op_type == "Transpose" and node.output[0] not in read:
            order = next(list(each.ints) for each in node.attribute if each.name == "perm")
            found[node.output[0]] = (node.input[0], order)
    return found


def _free_optional_inputs(graph: Any) -> Defaults:
    """Take the defaults from inputs, so that they stay inputs; return them by name."""
    from onnx import numpy_helper

    inputs = {info.name for info in graph.input}
    defaults = {each.name: numpy_helper.to_array(each) for each in graph.initializer if each.name in inputs}
    kept = [each for each in graph.initializer if each.name not in defaults]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return defaults


def _replace_thresholds(graph: Any) -> None:
    """Write a ThresholdedRelu of any number above minus infinity as a choice: OpenVINO 2026.4 refuses that number."""
    from onnx import helper, numpy_helper

    nodes = []
    for node in graph.node:
        alpha = next((each.f for each in node.attribute if each.name == "alpha"), 1.0)
        if node.op_type != "ThresholdedRelu" or np.isfinite(alpha):
            nodes.append(node)
            continue
        least, none, above = (f"{node.name}/{what}" for what in ("least", "zero", "is_above"))
        graph.initializer.append(numpy_helper.from_array(np.float32(alpha), least))
        graph.initializer.append(numpy_helper.from_array(np.float32(0), none))
        nodes.append(helper.make_node("Greater", [node.input[0], least], [above], name=above))
        nodes.append(helper.make_node("Where", [above, node.input[0], none], node.output, name=node.name))
    del graph.node[:]
    graph.node.extend(nodes)


def _hold(model: Any, defaults: Defaults) -> None:
    """Turn the inputs that have a default into states that start with it and never change by themselves."""
    op, opset = engine().op, engine().opset13
    for parameter in model.get_parameters():
        name = parameter.get_friendly_name()
        if name not in defaults:
            continue
        port = parameter.output(0)
        information = op.util.VariableInfo()
        information.variable_id = name
        information.data_shape = port.get_partial_shape()
        information.data_type = port.get_element_type()
        variable = op.util.Variable(information)
        start = opset.constant(defaults[name], name=f"{name}/default")
        state = op.read_value(start.output(0), variable)
        port.replace(state.output(0))
        state.set_friendly_name(name)
        state.output(0).set_names({name})
        kept = opset.assign(state, variable)
        kept.set_friendly_name(f"{name}/keep")
        model.remove_parameter(parameter)
        model.add_sinks([kept])


def _fold(model: Any) -> None:
    """Compute what is the same for every picture, such as the shapes that a bias is brought to."""
    from openvino.passes import ConstantFolding, Manager

    manager = Manager()
    manager.register_pass(ConstantFolding())
    manager.run_passes(model)


def _cause(error: RuntimeError) -> str:
    """Return the line of OpenVINO's report that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "Conversion is failed for" in line or "No conversion rule" in line]
    return (told or lines or [type(error).__name__])[-1].lstrip("- ").rstrip(".")
