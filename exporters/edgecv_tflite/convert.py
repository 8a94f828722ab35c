"""The converter's call: a lowered graph becomes a TFLite model object."""

import re
from typing import Any

from edgecv.deployable import Deployable
from edgecv.errors import ConversionError
from edgecv.lowering import LoweredGraph, scope_indices

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
    """Return the operation and the layer that the converter's long text names."""
    text = str(error)
    wanted = re.search(r"'tf\.(\w+)' op is neither a custom op nor a flex op", text)
    layers = [lowered.layers[index] for index in scope_indices(" ".join(text.split())) if index in lowered.layers]
    place = re.search(r"/?L(\d+)(?:_\d+)?/", text)
    layer = lowered.layers.get(int(place[1])) if place else next(iter(layers), None)
    if wanted:
        where = f" in layer {layer!r}" if layer else ""
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
