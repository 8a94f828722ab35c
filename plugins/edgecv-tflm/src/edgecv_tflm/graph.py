"""What goes onto the device of an int8 TFLite model: its network, cut off where floats begin that C can compute.

An output that is dequantised, and then at most goes through a softmax or sigmoid, is cut before that; a detector before
its decoder, or where C has not that decoder, before its suppression. All else stays in the graph.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgecv.detection import CHECKPOINTS
from edgecv.errors import OptionError
from edgecv_tflite.fuse import drop_unused
from edgecv_tflite.operators import kind, names_of

from edgecv_tflm.description import Description, Detection, Form, Output, Tensor
from edgecv_tflm.identifiers import distinct

if TYPE_CHECKING:
    from edgecv.deployable import Deployable

__all__ = ["LOOPS", "Cut", "borders", "cut", "packed"]

_ACTIVATIONS = {"SOFTMAX": "softmax", "LOGISTIC": "sigmoid"}
# Operators that run other graphs of the model.
LOOPS = ("WHILE", "IF", "CALL_ONCE")
_MOST_STEPS = 2**31
# How names of tensors begin that are no layer's.
_PIPELINE = "pipeline"
# Forms that C decodes.
_FORMS: dict[str, Form] = {"ssd": "ssd", "yolo_v3": "yolo_v3", "yolo_grid": "yolo_grid"}


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A model for the device.

    Attributes:
        model: The ``ModelT``; its outputs are the description's heads.
        description: What belongs to it.
    """

    model: Any
    description: Description


def cut(content: bytes, deployable: "Deployable", prefix: str) -> Cut:
    """Cut an int8 model of a Deployable."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    graph = model.subgraphs[0]
    for tensor in graph.tensors:
        tensor.name = (tensor.name or b"").decode().encode()
    outputs: list[Output] = []
    detection: Detection | None = None
    if deployable.detection is not None:
        detection, heads = _detector(model, deployable)
    else:
        found = [_head(model, index) for index in graph.outputs]
        heads = [head for head, _ in found]
        symbols = distinct(deployable.output_names)
        outputs = [
            Output(name=name, symbol=symbol, activation=activation)
            for name, symbol, (_, activation) in zip(deployable.output_names, symbols, found, strict=True)
        ]
    _keep(model, heads)
    _relax_bounds(model)
    return Cut(
        model=model,
        description=Description(
            prefix=prefix,
            input=_tensor(model, graph.inputs[0]),
            heads=tuple(_tensor(model, index) for index in graph.outputs),
            tensors=tuple(tensor.name.decode() for tensor in graph.tensors),
            outputs=tuple(outputs),
            detection=detection,
        ),
    )


def packed(model: Any, *, names: bool = False, more_outputs: Sequence[int] = ()) -> bytes:
    """Return a model's bytes: without the names of its tensors, which only the host needs, unless they are wanted."""
    from tensorflow.lite.tools import flatbuffer_utils

    graph = model.subgraphs[0]
    kept = [tensor.name for tensor in graph.tensors], list(graph.outputs)
    try:
        for tensor in graph.tensors if not names else ():
            tensor.name = None
        graph.outputs = [*kept[1], *more_outputs]
        return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    finally:
        graph.outputs = kept[1]
        for tensor, name in zip(graph.tensors, kept[0], strict=True):
            tensor.name = name


def borders(model: Any) -> list[int]:
    """Return the int8 tensors where floats begin, and the int8 outputs: what integer kernels have to agree in."""
    graph = model.subgraphs[0]
    read = [operator.inputs[0] for operator in graph.operators if kind(model, operator) == "DEQUANTIZE"]
    whole = [index for index in dict.fromkeys([*graph.outputs, *read]) if _tensor(model, index).dtype == "int8"]
    return [index for index in whole if model.buffers[graph.tensors[index].buffer].data is None]


def _head(model: Any, index: int) -> tuple[int, Any]:
    """Return the tensor that an output can be computed from in C, and its activation; itself where it cannot."""
    makers = _makers(model)
    before, activation = index, "none"
    operator = makers.get(index)
    if operator is not None and kind(model, operator) in _ACTIVATIONS:
        options = operator.builtinOptions
        if kind(model, operator) == "SOFTMAX" and (options is None or options.beta != 1.0):
            return index, "none"
        before, activation = operator.inputs[0], _ACTIVATIONS[kind(model, operator)]
    whole = _undequantised(model, makers, before)
    return (index, "none") if whole == before and activation == "none" else (whole, activation)


def _detector(model: Any, deployable: "Deployable") -> tuple[Detection, list[int]]:
    """Return what follows a detector's network, and the tensors that it follows."""
    head = deployable.detection
    assert head is not None
    names = CHECKPOINTS if head.nms is not None else head.output_names
    tensors = {tensor.name.decode(): index for index, tensor in enumerate(model.subgraphs[0].tensors)}
    boxes, scores = (tensors[name] for name in names)
    _, anchors, classes = (int(side) for side in model.subgraphs[0].tensors[scores].shape)

    def made(form: Form, heads: Sequence[int], grids: Iterable[tuple[int, int]] = ()) -> tuple[Detection, list[int]]:
        detection = Detection(
            form=form,
            decoder=head.decoder,
            nms=head.nms,
            input_size=deployable.input_size,
            grids=tuple(grids),
            anchors=anchors,
            classes=classes,
        )
        # Raises where the decoder would not find its numbers there.
        detection.check([_tensor(model, index) for index in heads])
        return detection, list(heads)

    form = _FORMS.get(head.decoder.name)
    if form is not None:
        found = [_leaves(model, tensor, set(names)) for tensor in (boxes, scores)]
        heads = list(dict.fromkeys([*found[0], *found[1]]))
        grids = _grids(model, heads) if form != "ssd" else ()
        try:
            return made(form, heads, grids)
        except OptionError:  # the converter drew layers and decoder together
            pass
    return made("decoded", [boxes, scores])


def _grids(model: Any, heads: Sequence[int]) -> list[tuple[int, int]]:
    shapes = [_tensor(model, index).shape for index in heads]
    return [(shape[1], shape[2]) if len(shape) == 4 else (1, 1) for shape in shapes]


def _leaves(model: Any, index: int, own: set[str]) -> list[int]:
    """Return the layers' tensors that the decoder made a tensor of, in the order in which it reads them."""
    makers = _makers(model)
    found: list[int] = []
    seen: set[int] = set()

    def follow(at: int) -> None:
        operator = makers.get(at)
        if at in seen or operator is None:
            return
        seen.add(at)
        (name,) = names_of(model, [at])
        if kind(model, operator) == "DEQUANTIZE" or not (name in own or name.startswith(_PIPELINE)):
            found.append(_undequantised(model, makers, at))
            return
        for each in operator.inputs:
            follow(each)

    follow(index)
    return list(dict.fromkeys(found))


def _undequantised(model: Any, makers: dict[int, Any], index: int) -> int:
    operator = makers.get(index)
    if operator is None or kind(model, operator) != "DEQUANTIZE":
        return index
    return int(operator.inputs[0]) if _tensor(model, operator.inputs[0]).dtype == "int8" else index


def _makers(model: Any) -> dict[int, Any]:
    return {output: operator for operator in model.subgraphs[0].operators for output in operator.outputs}


def _keep(model: Any, outputs: Sequence[int]) -> None:
    """Leave of a model, in place, what gives these tensors, and make them its outputs."""
    graph = model.subgraphs[0]
    needed = set(outputs)
    kept: list[Any] = []
    for operator in reversed(graph.operators):
        if needed & set(operator.outputs):
            needed |= set(operator.inputs)
            kept.append(operator)
    graph.operators = kept[::-1]
    graph.outputs = list(outputs)
    graph.name = None
    model.signatureDefs, model.metadata, model.metadataBuffer, model.description = [], [], None, None
    drop_unused(model)
    if not any(kind(model, operator) in LOOPS for operator in graph.operators):
        del model.subgraphs[1:]  # loops and branches of what was cut off
        _drop_codes(model)
        _drop_buffers(model)


def _relax_bounds(model: Any) -> None:
    """Take the 6 off ReLU6 where int8 ends far below it: kernels refuse a bound of more steps than 32 bits count.

    Untrained networks have such activations, of 1e-9 and less. The answers are the same.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    kinds = schema.ActivationFunctionType
    for operator in model.subgraphs[0].operators:
        options = operator.builtinOptions
        if getattr(options, "fusedActivationFunction", kinds.NONE) == kinds.RELU6:
            scale = _tensor(model, operator.outputs[0]).scale
            if scale and 6 / scale >= _MOST_STEPS:
                options.fusedActivationFunction = kinds.RELU


def _drop_codes(model: Any) -> None:
    operators = model.subgraphs[0].operators
    used = sorted({operator.opcodeIndex for operator in operators})
    model.operatorCodes = [model.operatorCodes[index] for index in used]
    for operator in operators:
        operator.opcodeIndex = used.index(operator.opcodeIndex)


def _drop_buffers(model: Any) -> None:
    """Leave the buffers that tensors have; the first one is the empty one."""
    tensors = model.subgraphs[0].tensors
    used = sorted({0, *(tensor.buffer for tensor in tensors if model.buffers[tensor.buffer].data is not None)})
    moved = {index: place for place, index in enumerate(used)}
    model.buffers = [model.buffers[index] for index in used]
    for tensor in tensors:
        tensor.buffer = moved.get(tensor.buffer, 0)


def _tensor(model: Any, index: int) -> Tensor:
    from tensorflow.lite.python import schema_py_generated as schema

    kinds = {getattr(schema.TensorType, name.upper()): name for name in ("uint8", "int8", "float32", "int32", "int64")}
    kinds[schema.TensorType.BOOL] = "bool"
    tensor = model.subgraphs[0].tensors[index]
    given = tensor.quantization
    single = given is not None and given.scale is not None and len(given.scale) == 1
    return Tensor(
        shape=tuple(int(side) for side in tensor.shape) if tensor.shape is not None else (),
        dtype=kinds.get(tensor.type, f"type {tensor.type}"),
        scale=float(given.scale[0]) if single else 0.0,
        zero_point=int(given.zeroPoint[0]) if single else 0,
    )
