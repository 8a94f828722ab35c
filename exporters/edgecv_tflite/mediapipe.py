"""`--for mediapipe`: outputs as MediaPipe Tasks read them, and what cannot go there.

Of a detector MediaPipe reads four float32 tensors, of a segmenter a score a class and pixel, and it opens files of a
single subgraph alone. So class numbers and the count are cast, and a segmenter ends before its argmax. edgecv reads
such a file by its signature, which is called ``mediapipe``, as it reads any other: `edgecv.runtimes.tflite_layouts`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.errors import ConversionError
from edgecv.runtimes.tflite_layouts import MEDIAPIPE, SCORES
from edgecv.segmentation import CHECKPOINT
from edgecv_tflite.fuse import drop_unused
from edgecv_tflite.tensors import add_constant, add_tensor

if TYPE_CHECKING:
    from edgecv.deployable import Deployable

__all__ = ["adapt", "seal_signature", "unsupported"]

# What older readers, which do not look at names, take the outputs of a detector to be.
_ORDER = ("boxes", "classes", "scores", "count")
_COUNTS = ("classes", "count")


def unsupported(deployable: "Deployable") -> str | None:
    """Say in a line why MediaPipe Tasks could not use an artifact of this; None where they can."""
    task, channels = deployable.task, deployable.channels
    if task not in ("classification", "detection", "segmentation"):
        return f"MediaPipe Tasks have none for {task}. Leave out --for mediapipe"
    if channels != 3:
        return f"MediaPipe gives RGB pictures alone, and the network takes {channels}. Leave out --for mediapipe"
    if deployable.resize is not None:
        return "MediaPipe resizes pictures by itself. Leave out --resize"
    if deployable.batch != 1:
        return f"MediaPipe gives one picture a run, not {deployable.batch or 'any number'}. Leave out --batch"
    return _unsupported_input(deployable) or _unsupported_head(deployable)


def _unsupported_input(deployable: "Deployable") -> str | None:
    scaling = deployable.preprocess
    if deployable.input_dtype == "uint8":
        return None
    if scaling.order != "rgb" or len({*scaling.mean}) > 1 or len({*scaling.scale}) > 1:
        return "MediaPipe scales all channels alike, in RGB, which this network is not made for. Use --input uint8"
    return None


def _unsupported_head(deployable: "Deployable") -> str | None:
    if deployable.top_k is not None:
        return "MediaPipe picks the best classes by itself. Leave out --top-k"
    if deployable.task == "classification" and len(deployable.output_names) > 1:
        return f"MediaPipe reads one output of a classifier, it has {len(deployable.output_names)}"
    if deployable.detection is None:
        return None
    nms = deployable.detection.nms
    if nms is None:
        return "MediaPipe reads detections that were suppressed. Leave out --no-nms"
    if nms.soft_sigma is not None:
        return "soft suppression is a loop, and MediaPipe opens files without one. Leave out --soft-nms"
    if not deployable.labels:
        return "MediaPipe finds no class that has no name. Give --labels"
    return None


def adapt(model: Any, deployable: "Deployable") -> None:
    """Give a renamed model with a signature MediaPipe's outputs, in place.

    Raises:
        ConversionError: The network itself needs several subgraphs.
    """
    if len(model.subgraphs) > 1:
        raise ConversionError(
            f"{deployable.name} cannot be written for MediaPipe: the network has loops or branches. "
            "Leave out --for mediapipe."
        )
    if deployable.task == "detection":
        _cast_counts(model)
    elif deployable.segmentation is not None:
        _end_in_scores(model, deployable.segmentation.channels, deployable.segmentation.activation)


def seal_signature(model: Any) -> None:
    """Give the signature the name that says how the outputs are to be read."""
    (signature,) = model.signatureDefs
    signature.signatureKey = MEDIAPIPE.encode()


def _cast_counts(model: Any) -> None:
    """Turn whole numbers into float32, and put the outputs into the order that older readers want."""
    from tensorflow.lite.python import schema_py_generated as schema

    entries = _entries(model)
    graph = model.subgraphs[0]
    for name in _COUNTS:
        whole = graph.tensors[entries[name].tensorIndex]
        whole.name = f"{name}/int32".encode()
        cast = _add(model, "CAST", [entries[name].tensorIndex], name, whole.shape)
        options = schema.CastOptionsT()
        options.inDataType, options.outDataType = schema.TensorType.INT32, schema.TensorType.FLOAT32
        graph.operators[-1].builtinOptions = options
        graph.operators[-1].builtinOptionsType = schema.BuiltinOptions.CastOptions
        entries[name].tensorIndex = cast
    graph.outputs = [entries[name].tensorIndex for name in _ORDER]


def _end_in_scores(model: Any, channels: int, activation: str) -> None:
    """Give the scores that the mask is made of instead of it; one score becomes two, of which the best one counts."""
    graph = model.subgraphs[0]
    (entry,) = _entries(model).values()
    places = {tensor.name.decode(): index for index, tensor in enumerate(graph.tensors)}
    scores = places[CHECKPOINT]
    if channels == 1:
        scores = _both(model, scores, activation)
    entry.name, entry.tensorIndex = SCORES.encode(), scores
    graph.outputs = [scores]
    _drop_idle(model)
    drop_unused(model)


def _both(model: Any, score: int, activation: str) -> int:
    """Return a tensor with the scores of background and foreground, of which the second is given.

    A softmax over 0 and a logit gives the sigmoid of the logit; beside a probability stands what it lacks to 1.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    shape = list(model.subgraphs[0].tensors[score].shape)
    both = [*shape[:3], 2]
    if activation == "none":
        paddings = add_constant(
            model, f"{SCORES}/paddings", np.array([[0, 0], [0, 0], [0, 0], [1, 0]], "<i4"), schema.TensorType.INT32
        )
        place = _add(model, "PAD", [score, paddings], SCORES, both)
        options: Any = schema.PadOptionsT()
        kind = schema.BuiltinOptions.PadOptions
    else:
        one = add_constant(model, f"{SCORES}/one", np.ones(1, "<f4"), schema.TensorType.FLOAT32)
        background = _add(model, "SUB", [one, score], f"{SCORES}/background", shape)
        model.subgraphs[0].operators[-1].builtinOptions = schema.SubOptionsT()
        model.subgraphs[0].operators[-1].builtinOptionsType = schema.BuiltinOptions.SubOptions
        place = _add(model, "CONCATENATION", [background, score], SCORES, both)
        options, kind = schema.ConcatenationOptionsT(), schema.BuiltinOptions.ConcatenationOptions
        options.axis = 3
    model.subgraphs[0].operators[-1].builtinOptions = options
    model.subgraphs[0].operators[-1].builtinOptionsType = kind
    return place


def _add(model: Any, kind: str, inputs: Sequence[int], name: str, shape: Sequence[int]) -> int:
    """Add an operator without options at the end, and return the float32 tensor that it gives."""
    from tensorflow.lite.python import schema_py_generated as schema

    wanted = getattr(schema.BuiltinOperator, kind)
    codes = [code.builtinCode for code in model.operatorCodes]
    if wanted not in codes:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = wanted
        code.version = 1
        model.operatorCodes.append(code)
        codes.append(wanted)
    place = add_tensor(model, name, shape, schema.TensorType.FLOAT32)
    operator = schema.OperatorT()
    operator.opcodeIndex = codes.index(wanted)
    operator.inputs, operator.outputs = list(inputs), [place]
    model.subgraphs[0].operators.append(operator)
    return place


def _entries(model: Any) -> dict[str, Any]:
    (signature,) = model.signatureDefs
    return {entry.name.decode(): entry for entry in signature.outputs}


def _drop_idle(model: Any) -> None:
    """Remove operators that add nothing to the outputs."""
    graph = model.subgraphs[0]
    needed = set(graph.outputs)
    kept = []
    for operator in reversed(graph.operators):
        if needed.intersection(operator.outputs):
            kept.append(operator)
            needed.update(operator.inputs)
    graph.operators = kept[::-1]
