"""An int8 TFLite artifact becomes sources: cut, measured, held to LiteRT's reference kernels, written as text."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from edgecv.artifact import Artifact
from edgecv.detection import CHECKPOINTS
from edgecv.errors import ConversionError, UnsupportedLayerError
from edgecv.targets import check
from edgecv_tflite.operators import kind, names_of

from edgecv_tflm.agreement import check_agreement
from edgecv_tflm.description import DESCRIPTION_FILE
from edgecv_tflm.graph import LOOPS, Cut, borders, cut, packed
from edgecv_tflm.identifiers import c_identifier
from edgecv_tflm.micro import MicroError, measure_arena
from edgecv_tflm.model_file import as_file
from edgecv_tflm.operators import METHODS
from edgecv_tflm.sources import texts

if TYPE_CHECKING:
    from edgecv.calibration import Calibration
    from edgecv.deployable import Deployable

__all__ = ["Converted", "convert"]

# Pictures that both kernels are held to, beside all black, all white and noise.
_PICTURES = 4
_REMEDY = "Replace it in the network, or take another format."


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What becomes a folder.

    Attributes:
        texts: File name → text, in ASCII.
        layers: Keras layer path → tensor, of those that are on the device.
        findings: What users should know.
    """

    texts: Mapping[str, str]
    layers: Mapping[str, str]
    findings: Mapping[str, Any]


def convert(source: Artifact, deployable: "Deployable", calibration: "Calibration") -> Converted:
    """Turn an int8 TFLite artifact into sources.

    Raises:
        UnsupportedLayerError: TensorFlow Lite Micro lacks an operator, or its types.
        ConversionError: It answers otherwise than LiteRT's reference kernels.
    """
    made = cut(source.path.read_bytes(), deployable, c_identifier(deployable.name))
    operators = sorted({kind(made.model, each) for graph in made.model.subgraphs for each in graph.operators})
    _refuse_lacking(made, operators)
    model = packed(made.model)
    try:
        arena = measure_arena(model, len(made.description.heads))
    except MicroError as error:
        raise _refusal(made, error, deployable) from error
    _hold_to_reference(made, model, arena, deployable, calibration)
    files = texts(made.description, model, arena=arena, operators=operators, labels=deployable.labels)
    known = {*made.description.tensors, *deployable.output_names, *CHECKPOINTS}
    return Converted(
        texts={**files, DESCRIPTION_FILE: made.description.to_json()},
        layers={layer: tensor for layer, tensor in source.layers.items() if tensor in known},
        findings={"arena_bytes": arena, "model_bytes": len(model), "operators": operators},
    )


def _hold_to_reference(
    made: Cut, model: bytes, arena: int, deployable: "Deployable", calibration: "Calibration"
) -> None:
    graph = made.model.subgraphs[0]
    inside = [index for index in borders(made.model) if index not in list(graph.outputs)]
    try:
        check_agreement(
            model,
            packed(made.model, more_outputs=inside),
            arena=arena,
            names=names_of(made.model, graph.outputs),
            inside=names_of(made.model, inside),
            feeds=_feeds(deployable, calibration),
        )
    except MicroError as error:
        raise _refusal(made, error, deployable) from error


def _feeds(deployable: "Deployable", calibration: "Calibration") -> "Iterator[np.ndarray[Any, Any]]":
    yield from itertools.islice(calibration.feeds(deployable), _PICTURES)
    shape = (1, *deployable.input_size, deployable.channels)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for pictures in (np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), noise):
        yield deployable.feed(pictures)


def _refuse_lacking(made: Cut, operators: list[str]) -> None:
    lacking = [name for name in operators if name not in METHODS]
    if lacking:
        raise _refused(made, lacking[0], "which TensorFlow Lite Micro lacks")


def _refusal(made: Cut, error: MicroError, deployable: "Deployable") -> Exception:
    """Return the error of a model that the interpreter refuses: with layer and operator, where it says which."""
    if error.operator is None:
        return ConversionError(f"{deployable.name} does not run in TensorFlow Lite Micro: {error}.")
    operators = made.model.subgraphs[0].operators
    operator = operators[error.node] if error.node is not None and error.node < len(operators) else None
    why = (
        "which TensorFlow Lite Micro lacks" if error.node is None else f"which TensorFlow Lite Micro refuses ({error})"
    )
    return _refused(made, error.operator, f"which TensorFlow Lite Micro {why}", operator)


def _refused(made: Cut, name: str, why: str, operator: Any = None) -> UnsupportedLayerError:
    """Return the error of an operator; where edgecv's table of the target knows of it, in its words."""
    main = made.model.subgraphs[0].operators
    # In a loop, the loop's own layer is the one to name.
    having = [operator] if operator is not None else [each for each in main if kind(made.model, each) in (name, *LOOPS)]
    (tensor, *_) = names_of(made.model, having[0].outputs)
    with as_file(packed(made.model, names=True)) as file:
        known = [each for each in check(file, "tflm").obstacles if each.op == name]
    if not known:
        return UnsupportedLayerError(tensor, f"needs the operator {name}, {why}", _REMEDY)
    remedy = known[0].remedy
    return UnsupportedLayerError(
        tensor, f"needs the operator {name}: {known[0].problem}", f"{remedy[:1].upper()}{remedy[1:]}."
    )
