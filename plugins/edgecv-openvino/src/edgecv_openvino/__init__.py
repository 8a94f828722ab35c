"""OpenVINO for edgecv: the exporter. IR with everything inside, made of the float32 ONNX artifact."""

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from edgecv.artifact import Artifact
from edgecv.errors import MissingExtraError, OptionError
from edgecv.extras import missing_any, require
from edgecv.files import replace_whole

if TYPE_CHECKING:
    from edgecv.calibration import Calibration
    from edgecv.deployable import Deployable

__all__ = ["OpenVinoExporter"]


@dataclass(frozen=True, kw_only=True)
class OpenVinoExporter:
    """Folder of OpenVINO IR.

    Attributes:
        precision: Precision of weights; of float16 weights the products are float32 on CPUs. int8 is arithmetic, too.
        bias_correction: How int8 corrects biases: ``"full"``, with what earlier layers lost, or ``"fast"``, without.
        calibration: Pictures from which int8 takes the ranges of activations.
        float_layers: Paths of layers that int8 leaves in float32.
    """

    summary: ClassVar[str] = "OpenVINO IR, for Intel CPUs and GPUs"
    suffix: ClassVar[str] = ""
    precisions: ClassVar[tuple[str, ...]] = ("float32", "float16", "int8")
    source: ClassVar[str] = "onnx"
    runtime: ClassVar[str] = "openvino"
    converters: ClassVar[tuple[str, ...]] = ("tf2onnx", "onnx", "openvino", "nncf")
    api_version: ClassVar[int] = 1

    precision: str = "float32"
    bias_correction: Literal["full", "fast"] = field(
        default="full", metadata={"help": "How int8 corrects biases; full is better and takes longer.", "example": None}
    )
    calibration: "Calibration | None" = None
    float_layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in self.precisions:
            raise OptionError(f"openvino writes {', '.join(self.precisions)}, not {self.precision!r}.")
        if self.bias_correction not in ("full", "fast"):
            raise OptionError(f"bias_correction must be full or fast, got {self.bias_correction!r}.")
        if self.precision == "int8":
            if self.calibration is None:
                raise OptionError("openvino in int8 needs real pictures to calibrate on. Give --calibration DIR.")
            if importlib.util.find_spec("nncf") is None:
                raise _MissingNncfError

    @staticmethod
    def missing() -> str | None:
        """Say which package is missing, with the remedy; None where exporting can run."""
        from edgecv_openvino.runtime import OpenVinoRuntime

        return OpenVinoRuntime().missing() or missing_any(("onnx",), extra="export")

    def export(self, source: "Deployable | Artifact", path: Path) -> Artifact:
        """Write ``source``, an ONNX artifact in float32, as a folder of OpenVINO IR.

        Raises:
            MissingExtraError: OpenVINO or onnx is not installed.
            OptionError: The network is quantised already, or ``float_layers`` are not its.
            ConversionError: OpenVINO cannot convert an operator, or NNCF not quantise it.
            OutputError: ``path`` cannot be written.
        """
        require("onnx", extra="export", purpose="Exporting to OpenVINO")
        if not isinstance(source, Artifact):
            raise OptionError("openvino starts from an ONNX artifact, not from a Deployable.")

        from edgecv.quantizable import refuse_quantised

        from edgecv_openvino.convert import read_onnx
        from edgecv_openvino.write import name_operators, write

        if self.precision != "float32" and source.deployable is not None:
            refuse_quantised(source.deployable)
        model, turned = read_onnx(source.path)
        name_operators(model)
        if self.precision == "float16":
            from edgecv_openvino.half import halve

            halve(model)
        if self.precision == "int8" and self.calibration is not None:
            from edgecv_openvino.quantize import quantize

            model = quantize(
                model,
                source,
                self.calibration,
                float_layers=self.float_layers,
                fast=self.bias_correction == "fast",
            )
        with replace_whole(path) as temporary:
            write(model, temporary, name=source.path.stem, turned=turned)
        inside = {name for operator in model.get_ops() for port in operator.outputs() for name in port.get_names()}
        return Artifact(
            path=path,
            layers={layer: tensor for layer, tensor in source.layers.items() if tensor in inside},
            optional_inputs=source.optional_inputs,
            checkpoints=source.checkpoints,
        )


class _MissingNncfError(MissingExtraError):
    """NNCF is not installed; an extra of this plugin brings it."""

    def __init__(self) -> None:
        self.package, self.extra = "nncf", "int8"
        remedy = "Run: pip install 'edgecv-openvino[int8]'"
        Exception.__init__(self, f"openvino in int8 needs nncf, which is not installed. {remedy}")
