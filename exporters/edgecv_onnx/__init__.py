"""The ONNX exporter: tf2onnx converts the structure, the weights are attached and folded afterwards."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgecv.artifact import Artifact
from edgecv.errors import OptionError
from edgecv.extras import require
from edgecv.files import replace_whole

if TYPE_CHECKING:
    from edgecv.calibration import Calibration
    from edgecv.deployable import Deployable

__all__ = ["OnnxExporter"]

_OLDEST, _NEWEST = 11, 18
# DequantizeLinear has an axis, for a scale a channel, from here on.
_OLDEST_INT8 = 13


@dataclass(frozen=True, kw_only=True)
class OnnxExporter:
    """ONNX file of the default operator domain.

    Attributes:
        precision: Precision of weights and arithmetic.
        opset: Operator set, 11 to 18, for int8 at least 13; by default the lowest that the network's operators allow.
        calibration: Pictures from which int8 takes the ranges of activations.
        float_layers: Paths of layers that int8 leaves in float32.
    """

    summary: ClassVar[str] = "ONNX, for ONNX Runtime, OpenVINO, TensorRT and the browser"
    suffix: ClassVar[str] = ".onnx"
    precisions: ClassVar[tuple[str, ...]] = ("float32", "float16", "int8")
    source: ClassVar[str] = "deployable"
    converters: ClassVar[tuple[str, ...]] = ("tf2onnx", "onnx")
    api_version: ClassVar[int] = 1

    precision: str = "float32"
    opset: int | None = field(
        default=None, metadata={"help": "Operator set, 11 to 18. Default: the lowest that does.", "example": 17}
    )
    calibration: "Calibration | None" = None
    float_layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in self.precisions:
            raise OptionError(f"onnx writes {', '.join(self.precisions)}, not {self.precision!r}.")
        if self.opset is not None and not _OLDEST <= self.opset <= _NEWEST:
            raise OptionError(f"opset must be {_OLDEST} to {_NEWEST}, got {self.opset}.")
        if self.precision != "int8":
            return
        if self.calibration is None:
            raise OptionError("onnx in int8 needs real pictures to calibrate on. Give --calibration DIR.")
        if self.opset is not None and self.opset < _OLDEST_INT8:
            raise OptionError(f"onnx in int8 needs opset {_OLDEST_INT8} or above, got {self.opset}.")
        # Said before the work, not after it.
        require("onnxruntime", extra="onnx", purpose="Exporting to ONNX in int8")

    @staticmethod
    def missing() -> str | None:
        """Say which package is missing, with the remedy; None where exporting can run."""
        from edgecv.extras import missing_any

        return missing_any(("tensorflow", "keras", "tf2onnx", "onnx"), extra="export")

    def export(self, source: "Deployable | Artifact", path: Path) -> Artifact:
        """Write ``source`` as an ONNX file.

        Raises:
            MissingExtraError: tf2onnx, onnx or TensorFlow is not installed.
            ConversionError: tf2onnx cannot convert an operation.
            OutputError: ``path`` cannot be written.
        """
        for package in ("tensorflow", "tf2onnx", "onnx"):
            require(package, extra="export", purpose="Exporting to ONNX")
        if isinstance(source, Artifact):
            raise OptionError("onnx starts from a Deployable, not from another artifact.")

        from edgecv.lowering import lower
        from edgecv.quantizable import refuse_quantised
        from edgecv_onnx.convert import convert
        from edgecv_onnx.fold import fold
        from edgecv_onnx.loops import settle_loops
        from edgecv_onnx.names import rename
        from edgecv_onnx.simplify import simplify
        from edgecv_onnx.suppress import suppress
        from edgecv_onnx.write import lowest_opset, write

        if self.precision != "float32":
            refuse_quantised(source)
        lowered = lower(source, kernels_as_inputs=True, thresholds_as_inputs=True, suppress=suppress)
        oldest = _OLDEST_INT8 if self.precision == "int8" else _OLDEST
        graph = convert(lowered, source, opsets=range(oldest, _NEWEST + 1) if self.opset is None else (self.opset,))
        fold(graph)
        simplify(graph)
        settle_loops(graph)
        if self.opset is None:
            graph.opset = max(lowest_opset(graph), oldest if self.precision == "int8" else 0)
        if self.precision == "int8" and self.calibration is not None:
            from edgecv_onnx.quantize import quantize

            quantize(graph, lowered, source, self.calibration, self.float_layers)
        if self.precision == "float16":
            from edgecv_onnx.half import halve

            halve(graph, lowered, source)
        layers = rename(graph, lowered)
        graph.hide(lowered.checkpoints)
        graph.bake(source.thresholds)
        with replace_whole(path) as temporary:
            write(graph, temporary, name=source.name)
        return Artifact(
            path=path,
            layers=layers,
            details={"opset": graph.opset},
            optional_inputs=tuple(info.name for info in graph.inputs if info.name in graph.constants),
            checkpoints=tuple(lowered.checkpoints),
        )
