"""TensorFlow Lite Micro for edgecv: the exporter. An int8 network as C sources for a microcontroller."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgecv.artifact import Artifact
from edgecv.errors import OptionError
from edgecv.exporter import same_precision
from edgecv.extras import missing_any, require
from edgecv.files import replace_whole

if TYPE_CHECKING:
    from edgecv.calibration import Calibration
    from edgecv.deployable import Deployable

__all__ = ["TflmExporter"]


@dataclass(frozen=True, kw_only=True)
class TflmExporter:
    """Sources for TensorFlow Lite Micro: the model as a C array, what follows it in C99, and a main that runs both.

    Attributes:
        precision: int8, the only one.
        calibration: Pictures to learn the ranges of activations from.
        float_layers: Paths of layers that stay float32.
    """

    summary: ClassVar[str] = "TensorFlow Lite Micro, C sources for microcontrollers"
    suffix: ClassVar[str] = ""
    precisions: ClassVar[tuple[str, ...]] = ("int8",)
    source: ClassVar[str] = "tflite"
    runtime: ClassVar[str] = "tflm"
    converters: ClassVar[tuple[str, ...]] = ("tensorflow", "ai-edge-quantizer", "tflite-micro", "ai-edge-litert")
    api_version: ClassVar[int] = 1

    precision: str = "int8"
    calibration: "Calibration | None" = None
    float_layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in self.precisions:
            raise OptionError(f"tflm writes int8 alone, not {self.precision!r}. Use --precision int8.")
        if self.calibration is None:
            raise OptionError("tflm needs real pictures to calibrate on. Give --calibration DIR.")

    @staticmethod
    def missing() -> str | None:
        """Say which package is missing, with the remedy; None where exporting can run."""
        from edgecv_tflm.runtime import TflmRuntime

        return (
            TflmRuntime().missing()
            or missing_any(("tensorflow", "keras"), extra="export")
            or missing_any(("ai_edge_quantizer",), extra="quantize")
            or missing_any(("ai_edge_litert",), extra="tflite")
        )

    def unsupported(self, deployable: "Deployable") -> str | None:
        """Say why a network cannot go onto a microcontroller so; None where it can."""
        if deployable.batch != 1:
            given = "dynamic" if deployable.batch is None else str(deployable.batch)
            return f"a microcontroller looks at one picture at a time, and the batch is {given}; leave --batch out"
        if deployable.resize is not None:
            return "TensorFlow Lite Micro knows one size; leave --resize out, and give it pictures of that size"
        if deployable.top_k is not None:
            return "TensorFlow Lite Micro has no TOPK_V2; leave --top-k out, and take the best of all probabilities"
        return None

    @property
    def source_options(self) -> Mapping[str, Any]:
        """The options of the TFLite file that it is made of."""
        return same_precision(self)

    def export(self, source: "Deployable | Artifact", path: Path) -> Artifact:
        """Write ``source``, an int8 TFLite artifact, as sources.

        Raises:
            MissingExtraError: TensorFlow, LiteRT or the interpreter is not installed.
            UnsupportedLayerError: TensorFlow Lite Micro lacks an operator of a layer, or its types.
            ConversionError: TensorFlow Lite Micro answers otherwise than LiteRT's reference kernels.
            OutputError: ``path`` cannot be written.
        """
        require("tensorflow", extra="export", purpose="Exporting to TensorFlow Lite Micro")
        if not isinstance(source, Artifact) or source.deployable is None or self.calibration is None:
            raise OptionError("tflm starts from a TFLite artifact, not from a Deployable.")

        from edgecv_tflm.convert import convert

        converted = convert(source, source.deployable, self.calibration)
        with replace_whole(path) as temporary:
            temporary.mkdir()
            for name, text in converted.texts.items():
                (temporary / name).write_text(text, encoding="ascii", newline="\n")
        return dataclasses.replace(source, path=path, layers=converted.layers, findings=converted.findings)
