"""Full-integer int8: the network's operators are quantised, one by one named in a recipe; all others stay float.

AI Edge Quantizer quantises what its recipe names and puts QUANTIZE and DEQUANTIZE at the borders. Ranges are the
smallest and largest values over all pictures: a moving average, its default, would clip what a single picture needs,
and the black and white pictures that fix the input's scale would be averaged away.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgecv.calibration import is_blank
from edgecv.errors import ConversionError, EdgecvError, OptionError, one_line
from edgecv.quantizable import joint_layers, output_layers
from edgecv.quiet import quiet_frameworks
from edgecv_tflite.bias_correction import add_biases, correct
from edgecv_tflite.biases import mend_biases
from edgecv_tflite.fuse import drop_unused, fuse_elementwise
from edgecv_tflite.head import fuse_input, head_operators, sharpen_constants
from edgecv_tflite.means import Means, add_means
from edgecv_tflite.operators import kind, names_of

if TYPE_CHECKING:
    import numpy as np

    from edgecv.calibration import Calibration
    from edgecv.deployable import Deployable
    from edgecv_tflite.names import Names

__all__ = ["Quantised", "quantise"]

_SIGNATURE = "serving_default"
_THREADS = 2
# Probabilities of 256 steps tie classes that the logits tell apart; a hidden softmax loses small weights altogether.
_SOFTMAX = ("SOFTMAX", "LOG_SOFTMAX")
_ACTIVATIONS = (*_SOFTMAX, "LOGISTIC", "TANH")


@dataclass(frozen=True, kw_only=True)
class Quantised:
    """A quantised model.

    Attributes:
        model: The ``ModelT``.
        float_operators: Kind of operator → layers, of what should be int8 but has no such form here.
    """

    model: Any
    float_operators: Mapping[str, Sequence[str]] = field(default_factory=dict)


def quantise(
    model: Any, names: "Names", deployable: "Deployable", calibration: "Calibration", float_layers: Sequence[str]
) -> Quantised:
    """Quantise the network's operators of a renamed float model.

    Raises:
        OptionError: ``float_layers`` names a layer that the network has not.
        ConversionError: The network gives NaN or infinity, the quantizer failed, or the input would lose levels.
    """
    from tensorflow.lite.tools import flatbuffer_utils

    chosen = _chosen(model, names, deployable, float_layers)
    head = head_operators(model, chosen)
    add_biases(model)
    content = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    try:
        with quiet_frameworks():  # it draws progress bars
            ranges, means = _observe(content, _feeds(deployable, calibration))
            _check_finite(ranges, names, deployable)
            quantised = _run_quantizer(content, [*head, *chosen], ranges)
    except EdgecvError:
        raise
    except Exception as error:  # the quantizer raises whatever its passes meet
        raise ConversionError(f"{deployable.name} cannot be quantised to int8: {one_line(error)}.") from error
    result = _object(quantised)
    sharpen_constants(result, model, head)
    mend_biases(result, model)
    correct(result, model, means)
    fuse_input(result, deployable.name)
    fuse_elementwise(result)
    drop_unused(result)
    _name_outputs(result, model)
    return Quantised(model=result, float_operators=_left_float(result, chosen))


def _chosen(
    model: Any, names: "Names", deployable: "Deployable", float_layers: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Return the scope of every operator to quantise → the layers that it computes."""
    _known(float_layers, names, deployable)
    floats = {*float_layers, *joint_layers(deployable)}
    ends = set(output_layers(deployable))
    chosen: dict[str, tuple[str, ...]] = {}
    for operator in model.subgraphs[0].operators:
        outputs = names_of(model, operator.outputs)
        layers = names.groups.get(outputs[0], ()) if outputs else ()
        what = kind(model, operator)
        gives_output = what in _ACTIVATIONS and not ends.isdisjoint(layers)
        if layers and floats.isdisjoint(layers) and what not in _SOFTMAX and not gives_output:
            chosen["".join(f"{name};" for name in outputs)] = layers
    return chosen


def _known(float_layers: Sequence[str], names: "Names", deployable: "Deployable") -> None:
    unknown = [layer for layer in float_layers if layer not in names.known]
    if unknown:
        raise OptionError(
            f"{deployable.name} has no layer {unknown[0]!r} to leave in float. Give a layer's path in the network."
        )


def _feeds(deployable: "Deployable", calibration: "Calibration") -> "Iterator[np.ndarray[Any, Any]]":
    import numpy as np

    for feed in calibration.feeds(deployable):
        yield np.repeat(feed, deployable.batch or 1, axis=0)


def _observe(content: bytes, feeds: "Iterator[np.ndarray[Any, Any]]") -> tuple[dict[str, Any], Means]:
    """Return the ranges of all tensors, and the mean inputs of the layers."""
    from ai_edge_quantizer import calibrator, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils
    from tensorflow.lite.tools import flatbuffer_utils

    observed = _object(content)
    add_means(observed)
    # Reading ranges off inside the engine takes a quarter of the time of copying every tensor out of it.
    engine = calibrator.Calibrator(
        bytes(flatbuffer_utils.convert_object_to_bytearray(observed)),
        num_threads=_THREADS,
        mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
        qsv_update_func=qsv_utils.min_max_update,
    )
    unused, means = recipe_manager.RecipeManager(), Means()
    for feed in feeds:  # one call a picture: a call reads its pictures into memory, to count them
        engine.calibrate({_SIGNATURE: [{"image": feed}]}, unused, cache_output=True)
        if not is_blank(feed):
            means.add(engine.get_cached_output()[0])
        engine.clear_cached_output()
    return engine.get_model_qsvs(), means


def _check_finite(ranges: Mapping[str, Any], names: "Names", deployable: "Deployable") -> None:
    import numpy as np

    for name, layers in names.groups.items():
        if name in ranges and not np.all(np.isfinite([ranges[name]["min"], ranges[name]["max"]])):
            raise ConversionError(
                f"{deployable.name} cannot be written as int8: {'+'.join(layers)} gives NaN or infinity "
                "on a calibration picture."
            )


def _run_quantizer(content: bytes, scopes: Sequence[str], ranges: dict[str, Any]) -> bytes:
    from ai_edge_quantizer import qtyping, quantizer, recipe_manager

    manager = recipe_manager.RecipeManager()
    regex = f"^(?:{'|'.join(map(re.escape, scopes))})$"
    manager.add_static_config(regex, "*", activation_num_bits=8, weight_num_bits=8)
    # An output goes by the name of the operator that gives it, which would make it int8, too.
    manager.add_quantization_config(".*", qtyping.TFLOperationName.OUTPUT, algorithm_key="no_quantize")
    run = quantizer.Quantizer(content, manager.get_quantization_recipe())
    result = run.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def _object(content: bytes) -> Any:
    """Parse what the quantizer wrote; it puts large buffers behind the flatbuffer, where other readers miss them."""
    import numpy as np
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for buffer in model.buffers:
        if buffer.data is not None:  # an array is packed at once, anything else byte by byte
            buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)
    return model


def _name_outputs(result: Any, model: Any) -> None:
    """Give the outputs their contract names back: of a quantised one, the int8 tensor has kept it."""
    before = names_of(model, model.subgraphs[0].outputs)
    graph = result.subgraphs[0]
    tensors = {tensor.name.decode(): tensor for tensor in graph.tensors}
    for name, index in zip(before, graph.outputs, strict=True):
        tensor = graph.tensors[index]
        if tensor is not tensors[name]:
            tensors[name].name, tensor.name = f"{name}/int8".encode(), name.encode()


def _left_float(result: Any, chosen: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return kind of operator → layers, of the chosen operators that give a float tensor all the same."""
    from tensorflow.lite.python import schema_py_generated as schema

    left: dict[str, list[str]] = {}
    graph = result.subgraphs[0]
    for operator in graph.operators:
        scope = "".join(f"{name};" for name in names_of(result, operator.outputs))
        if scope in chosen and graph.tensors[operator.outputs[0]].type == schema.TensorType.FLOAT32:
            left.setdefault(kind(result, operator), []).extend(chosen[scope])
    return {what: sorted(layers) for what, layers in sorted(left.items()) if what != "DEQUANTIZE"}
