"""The TFLite exporter: TensorFlow's converter, then names, a signature and the standard metadata."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from edgecv.artifact import Artifact
from edgecv.errors import OptionError
from edgecv.extras import missing_any, require
from edgecv.files import replace_whole

if TYPE_CHECKING:
    from edgecv.calibration import Calibration
    from edgecv.deployable import Deployable

__all__ = ["TfliteExporter"]


@dataclass(frozen=True, kw_only=True)
class TfliteExporter:
    """TFLite file of builtin operators only.

    Attributes:
        precision: Precision of weights and arithmetic.
        calibration: int8: pictures to learn the ranges of activations from.
        float_layers: int8: paths of layers that stay float32.
        consumer: What else reads the file than edgecv: ``mediapipe`` gives detectors and segmenters the outputs that
            MediaPipe Tasks read.
    """

    summary: ClassVar[str] = "TFLite, for LiteRT on phones, Raspberry Pi and microcontrollers"
    suffix: ClassVar[str] = ".tflite"
    precisions: ClassVar[tuple[str, ...]] = ("float32", "float16", "int8")
    source: ClassVar[str] = "deployable"
    api_version: ClassVar[int] = 1

    precision: str = "float32"
    calibration: "Calibration | None" = None
    float_layers: tuple[str, ...] = ()
    consumer: Literal["any", "mediapipe"] = field(
        default="any",
        metadata={"flag": "for", "help": "What reads the file: mediapipe gives it outputs that MediaPipe Tasks read."},
    )

    def __post_init__(self) -> None:
        if self.precision not in self.precisions:
            raise OptionError(f"tflite writes {', '.join(self.precisions)}, not {self.precision!r}.")
        if self.consumer not in ("any", "mediapipe"):
            raise OptionError(f"tflite writes for any or mediapipe, not for {self.consumer!r}.")
        if self.precision == "int8" and self.calibration is None:
            raise OptionError("int8 needs real pictures to calibrate on. Give --calibration DIR.")
        if self.precision == "int8":  # said before the work, not after it
            require("ai_edge_quantizer", extra="quantize", purpose="Exporting to TFLite in int8")

    @property
    def converters(self) -> tuple[str, ...]:
        """Distributions that take part in the conversion."""
        return ("tensorflow", "ai-edge-quantizer") if self.precision == "int8" else ("tensorflow",)

    @staticmethod
    def missing() -> str | None:
        """Say which package is missing, with the remedy; None where exporting can run."""
        return missing_any(("tensorflow", "keras"), extra="export")

    def unsupported(self, deployable: "Deployable") -> str | None:
        """Say in a line why this cannot be written; None where it can."""
        if self.consumer == "any":
            return None
        from edgecv_tflite.mediapipe import unsupported

        return unsupported(deployable)

    def export(self, source: "Deployable | Artifact", path: Path) -> Artifact:
        """Write ``source`` as a TFLite file.

        Raises:
            MissingExtraError: TensorFlow is not installed.
            ConversionError: The converter cannot do with builtin operators.
            OutputError: ``path`` cannot be written.
        """
        require("tensorflow", extra="export", purpose="Exporting to TFLite")
        if isinstance(source, Artifact):
            raise OptionError("tflite starts from a Deployable, not from another artifact.")

        from edgecv.lowering import lower
        from edgecv.quantizable import refuse_quantised
        from edgecv_tflite.convert import convert
        from edgecv_tflite.float16 import halve
        from edgecv_tflite.mediapipe import adapt, seal_signature
        from edgecv_tflite.names import add_signature, rename
        from edgecv_tflite.standard_metadata import add_standard_metadata
        from edgecv_tflite.suppress import suppress
        from edgecv_tflite.write import write

        if self.precision != "float32":
            refuse_quantised(source)
        tasks = self.consumer == "mediapipe"
        lowered = lower(source, kernels_as_inputs=False, suppress=suppress if tasks else None)
        model = convert(lowered, source)
        names = rename(model, lowered)
        add_signature(model, lowered)
        details: dict[str, Any] = {}
        if tasks:
            adapt(model, source)
            details["for"] = self.consumer
        if self.precision == "float16":
            halve(model, names)
        elif self.precision == "int8" and self.calibration is not None:
            from edgecv_tflite.quantize import quantise

            quantised = quantise(model, names, source, self.calibration, self.float_layers)
            model, details["float_operators"] = quantised.model, quantised.float_operators
        if tasks:
            seal_signature(model)
        add_standard_metadata(model, source)
        with replace_whole(path) as temporary:
            write(model, temporary)
        return Artifact(path=path, layers=names.layers, checkpoints=tuple(lowered.checkpoints), details=details)
