"""The TFLite exporter: TensorFlow's converter, then names, a signature and the standard metadata."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgecv.artifact import Artifact
from edgecv.errors import OptionError
from edgecv.extras import missing_any, require
from edgecv.files import replace_whole

if TYPE_CHECKING:
    from edgecv.deployable import Deployable

__all__ = ["TfliteExporter"]


@dataclass(frozen=True, kw_only=True)
class TfliteExporter:
    """TFLite file of builtin operators only.

    Attributes:
        precision: Precision of weights and arithmetic.
    """

    summary: ClassVar[str] = "TFLite, for LiteRT on phones, Raspberry Pi and microcontrollers"
    suffix: ClassVar[str] = ".tflite"
    precisions: ClassVar[tuple[str, ...]] = ("float32",)
    source: ClassVar[str] = "deployable"
    api_version: ClassVar[int] = 1

    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.precision not in self.precisions:
            raise OptionError(f"tflite writes {', '.join(self.precisions)}, not {self.precision!r}.")

    @staticmethod
    def missing() -> str | None:
        """Say which package is missing, with the remedy; None where exporting can run."""
        return missing_any(("tensorflow", "keras"), extra="export")

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
        from edgecv_tflite.convert import convert
        from edgecv_tflite.names import add_signature, rename
        from edgecv_tflite.standard_metadata import add_standard_metadata
        from edgecv_tflite.write import write

        lowered = lower(source, kernels_as_inputs=False)
        model = convert(lowered, source)
        layers = rename(model, lowered)
        add_signature(model, lowered)
        add_standard_metadata(model, source)
        with replace_whole(path) as temporary:
            write(model, temporary)
        return Artifact(path=path, layers=layers, checkpoints=tuple(lowered.checkpoints))
