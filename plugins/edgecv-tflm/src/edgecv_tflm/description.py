"""What stands in ``tflm.json``: how the sources in a folder belong together, for the host."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from edgecv.decoders import Decoder, decoder_from_json, decoder_to_json
from edgecv.errors import OptionError
from edgecv.nms import Nms
from edgecv.runtimes.container import MOST_BYTES, damaged, making_sense, readable

from edgecv_tflm.identifiers import IDENTIFIER

__all__ = ["DESCRIPTION_FILE", "Description", "Detection", "Form", "Output", "Tensor", "read_description"]

DESCRIPTION_FILE = "tflm.json"
Form = Literal["ssd", "yolo_v3", "yolo_grid", "decoded"]
Activation = Literal["none", "sigmoid", "softmax"]
_KINDS = ("uint8", "int8", "float32", "int32", "int64", "bool")
_MOST_SIDES = 8


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output of the graph.

    Attributes:
        shape: Its sides, the batch of 1 included.
        dtype: NumPy name of its type.
        scale: Of its quantisation; 0 where it is not quantised.
        zero_point: Of its quantisation.
    """

    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0

    def __post_init__(self) -> None:
        sides = all(_whole(side, 1, 1 << 31) for side in self.shape)
        if self.dtype not in _KINDS or not sides or len(self.shape) > _MOST_SIDES:
            raise OptionError(f"there is no tensor of the type {self.dtype!r} and shape {self.shape!r}")
        if not isinstance(self.scale, float) or not 0 <= self.scale < float("inf"):
            raise OptionError(f"the scale {self.scale!r} is none")
        if not _whole(self.zero_point, -128, 256):
            raise OptionError(f"the zero point {self.zero_point!r} is none")

    @property
    def size(self) -> int:
        """The number of its values."""
        count = 1
        for side in self.shape:
            count *= side
        return count


@dataclass(frozen=True, kw_only=True)
class Output:
    """An output of the artifact.

    Attributes:
        name: Its name.
        symbol: Its name in C.
        activation: What the tensor's numbers still have to go through, behind dequantising.
    """

    name: str
    symbol: str
    activation: Activation = "none"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _is_identifier(self.symbol):
            raise OptionError(f"the output {self.name!r} has no name in C")
        if self.activation not in get_args(Activation):
            raise OptionError(f"there is no activation {self.activation!r}")


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What follows a detector's network.

    Attributes:
        form: What decodes the tensors; ``decoded`` where the graph did, and they are boxes and scores.
        decoder: The decoder.
        nms: Suppression; None where every anchor is given.
        input_size: ``(height, width)`` of the network's input.
        grids: ``(rows, columns)`` of the grids that YOLO's tensors are.
        anchors: Number of anchors.
        classes: Number of classes, without the background.
    """

    form: Form
    decoder: Decoder
    nms: Nms | None
    input_size: tuple[int, int]
    grids: tuple[tuple[int, int], ...]
    anchors: int
    classes: int

    def __post_init__(self) -> None:
        if self.form not in get_args(Form) or self.form not in (self.decoder.name, "decoded"):
            raise OptionError(f"there is no form {self.form!r} of {self.decoder.name!r}")
        sides = [*self.input_size, *(side for grid in self.grids for side in grid)]
        pairs = all(len(grid) == 2 for grid in (self.input_size, *self.grids))
        if not pairs or not all(_whole(side, 1, 1 << 24) for side in (self.anchors, self.classes, *sides)):
            raise OptionError("its sizes are none")

    def check(self, heads: Sequence[Tensor]) -> None:
        """Hold the graph's outputs to what decodes them: C reads as many numbers as the decoder says.

        Raises:
            OptionError: They are others.
        """
        kinds = {head.dtype for head in heads}
        if [head.size for head in heads] != self._sizes() or not kinds <= {"int8", "float32"}:
            raise OptionError("its outputs are not what its decoder takes")

    def _sizes(self) -> list[int]:
        if self.form in ("ssd", "decoded"):
            extra = int(self.form == "ssd" and bool(getattr(self.decoder, "background", False)))
            return [4 * self.anchors, (self.classes + extra) * self.anchors]
        anchors: Any = getattr(self.decoder, "anchors", ())
        boxes = [len(each) for each in (anchors if self.form == "yolo_v3" else (anchors,))]
        cells = [rows * columns for rows, columns in self.grids]
        if len(boxes) != len(cells) or sum(a * b for a, b in zip(boxes, cells, strict=True)) != self.anchors:
            raise OptionError("its grids do not fit its anchors")
        joint = self.form == "yolo_grid"
        numbers = [5 * per + self.classes if joint else per * (5 + self.classes) for per in boxes]
        return [per * count for per, count in zip(numbers, cells, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Description:
    """How the sources belong together.

    Attributes:
        prefix: What all names of the sources begin with.
        input: The graph's input.
        heads: The graph's outputs.
        tensors: Names of the graph's tensors, which the C array does not hold, in its order.
        outputs: The artifact's outputs, one a head; none of a detector.
        detection: What follows a detector's network.
    """

    prefix: str
    input: Tensor
    heads: tuple[Tensor, ...]
    tensors: tuple[str, ...] = ()
    outputs: tuple[Output, ...] = ()
    detection: Detection | None = None

    def __post_init__(self) -> None:
        if not _is_identifier(self.prefix):
            raise OptionError(f"the prefix {self.prefix!r} is no name in C")
        if not self.heads or (self.detection is None and len(self.outputs) != len(self.heads)):
            raise OptionError("its outputs are not those of the graph")
        if self.detection is not None:
            self.detection.check(self.heads)

    @property
    def read(self) -> list[tuple[int, Output, Tensor]]:
        """Place, output and tensor of what C dequantises; the others leave the graph as they are."""
        pairs = enumerate(zip(self.outputs, self.heads, strict=True)) if self.detection is None else ()
        return [
            (place, output, head)
            for place, (output, head) in pairs
            if head.dtype == "int8" or output.activation != "none"
        ]

    @property
    def postprocesses(self) -> bool:
        """There are C sources of what follows the graph."""
        return self.detection is not None or bool(self.read)

    def to_json(self) -> str:
        """Return the text of ``tflm.json``."""
        document = {
            "prefix": self.prefix,
            "input": dataclasses.asdict(self.input),
            "heads": [dataclasses.asdict(head) for head in self.heads],
            "outputs": [dataclasses.asdict(output) for output in self.outputs],
            "detection": _detection_json(self.detection),
            "tensors": list(self.tensors),
        }
        return json.dumps(document, indent=1) + "\n"


def read_description(folder: Path) -> Description:
    """Read ``tflm.json`` of an artifact.

    Raises:
        ArtifactError: It is missing, or makes no sense.
    """
    with readable(folder / DESCRIPTION_FILE) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise damaged(folder, f"{DESCRIPTION_FILE} is too large")
    with making_sense(folder, DESCRIPTION_FILE):
        document = json.loads(content)
        return Description(
            prefix=document["prefix"],
            input=_tensor(document["input"]),
            heads=tuple(_tensor(each) for each in document["heads"]),
            tensors=tuple(str(name) for name in document["tensors"]),
            outputs=tuple(Output(**each) for each in document["outputs"]),
            detection=_detection(document["detection"]),
        )


def _detection_json(detection: Detection | None) -> dict[str, Any] | None:
    if detection is None:
        return None
    values = {field.name: getattr(detection, field.name) for field in dataclasses.fields(detection)}
    nms = detection.nms
    return {**values, "decoder": decoder_to_json(detection.decoder), "nms": None if nms is None else nms.to_json()}


def _detection(document: Mapping[str, Any] | None) -> Detection | None:
    if document is None:
        return None
    nms = document["nms"]
    given = {
        "decoder": decoder_from_json(document["decoder"]),
        "nms": None if nms is None else Nms.from_json(nms),
        "input_size": _pair(document["input_size"]),
        "grids": tuple(_pair(grid) for grid in document["grids"]),
    }
    return Detection(**{**document, **given})


def _tensor(document: Mapping[str, Any]) -> Tensor:
    return Tensor(**{**document, "shape": tuple(document["shape"])})


def _pair(values: Sequence[int]) -> tuple[int, int]:
    first, second = values
    return first, second


def _is_identifier(name: object) -> bool:
    return isinstance(name, str) and IDENTIFIER.fullmatch(name) is not None


def _whole(value: object, least: int, end: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < end
