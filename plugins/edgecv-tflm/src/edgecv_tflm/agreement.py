"""TensorFlow Lite Micro beside LiteRT's reference kernels on the same model: integers agree, to one quantum.

Never beside XNNPACK, whose int8 is off by up to nine quanta of its own. Where all integers are equal, the floats that
follow them in the graph are, too, but for rounding.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from edgecv.errors import ConversionError, MissingExtraError

from edgecv_tflm.micro import Micro

__all__ = ["check_agreement"]

Array = np.ndarray[Any, np.dtype[Any]]

_MOST_QUANTA = 1
_MOST_ROUNDING = 1e-5
_LARGE_ARENA = 1 << 28


def check_agreement(
    shipped: bytes,
    exposing: bytes,
    *,
    arena: int,
    names: Sequence[str],
    inside: Sequence[str],
    feeds: Iterable[Array],
) -> int:
    """Run a model in both on pictures; return the largest difference of an integer.

    Args:
        shipped: The model.
        exposing: The same with tensors inside as further outputs.
        arena: The arena that is stated.
        names: Of the model's outputs.
        inside: Of the further ones.
        feeds: Arrays as the input takes them.

    Raises:
        ConversionError: An output differs by more than one quantum.
        MissingExtraError: LiteRT is not installed.
    """
    reference = _reference(exposing)
    micro = Micro()
    most = 0
    try:
        model = micro.open(shipped, arena, len(names))
        whole = micro.open(exposing, _LARGE_ARENA, len(names) + len(inside)) if inside else None
        for feed in feeds:
            outputs = micro.run(model, feed)
            if whole is not None:
                outputs += micro.run(whole, feed)[len(names) :]
            most = max(most, _compare([*names, *inside], outputs, _run(reference, feed)))
    finally:
        micro.close()
    return most


def _compare(names: Sequence[str], given: Sequence[Array], expected: Sequence[Array]) -> int:
    most = 0
    for name, ours, theirs in zip(names, given, expected, strict=True):
        if ours.dtype.kind in "iu" and ours.dtype.itemsize == 1:
            quanta = int(np.abs(ours.astype(np.int32) - theirs).max(initial=0))
            if quanta > _MOST_QUANTA:
                raise ConversionError(
                    f"TensorFlow Lite Micro answers {name!r} up to {quanta} quanta away from LiteRT's reference "
                    f"kernels, where {_MOST_QUANTA} is allowed. "
                    "Leave the layers before it in float32: --max-drop finds them."
                )
            most = max(most, quanta)
    for name, ours, theirs in zip(names, given, expected, strict=True):
        if most == 0 and ours.dtype.kind == "f":
            difference = float(np.abs(ours.astype(np.float64) - theirs).max(initial=0.0))
            if not difference <= _MOST_ROUNDING * max(float(np.abs(theirs).max(initial=0.0)), 1.0):
                raise ConversionError(
                    f"TensorFlow Lite Micro answers {name!r}, a float, {difference:.1e} away from LiteRT's reference "
                    "kernels. Report it with the model."
                )
    return most


def _reference(model: bytes) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError as error:
        raise MissingExtraError("Exporting to TensorFlow Lite Micro", "ai-edge-litert", "tflite") from error
    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    return interpreter


def _run(interpreter: Any, feed: Array) -> list[Array]:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], feed)
    interpreter.invoke()
    return [interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()]
