"""The converter's call: a lowered graph becomes a TFLite model object."""

import re
from typing import Any

from edgecv.deployable import Deployable
from edgecv.errors import ConversionError
from edgecv.lowering import LoweredGraph

__all__ = ["convert"]


def convert(lowered: LoweredGraph, deployable: Deployable) -> Any:
    """Convert to a ``ModelT`` of builtin operators.

    Raises:
        ConversionError: An operation has no builtin form; the message names it and its layer.
    """
    import tensorflow as tf
    from tensorflow.lite.tools import flatbuffer_utils

    converter = tf.lite.TFLiteConverter.from_concrete_functions([lowered.function], lowered.function)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    try:
        content = converter.convert()
    except Exception as error:  # the converter raises whatever its passes meet
        raise ConversionError(f"{deployable.name} cannot be written as TFLite: {_problem(error, lowered)}") from error
    model = flatbuffer_utils.convert_bytearray_to_object(content)
    _refuse_custom(model, deployable)
    return model


def _problem(error: Exception, lowered: LoweredGraph) -> str:
    """Return the operation that the converter's long text names, and the layer that has it."""
    text = str(error)
    wanted = re.search(r"'tf\.(\w+)' op is neither a custom op nor a flex op", text)
    if wanted:
        layers = lowered.paths(node.name for node in lowered.graph_def.node if node.op == wanted[1])
        where = f" in layer {layers[0]!r}" if layers else ""
        return f"operation {wanted[1]!r}{where} has no builtin TFLite form. Replace it in the network."
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def _refuse_custom(model: Any, deployable: Deployable) -> None:
    custom = sorted(code.customCode.decode() for code in model.operatorCodes if code.customCode)
    if custom:
        raise ConversionError(
            f"{deployable.name} needs the operator {custom[0]!r}, which is not builtin in TFLite. "
            "Replace it in the network."
        )
