"""Arm Ethos-U for edgecv: the exporter. The int8 TFLite artifact, compiled by Vela for one NPU."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from edgecv.artifact import Artifact
from edgecv.errors import OptionError, ShortfallError
from edgecv.exporter import same_precision
from edgecv.extras import missing_any
from edgecv.files import replace_whole

from edgecv_vela.targets import MEMORY_MODES, SYSTEMS, TARGETS, default_memory, default_system, family, in_words

if TYPE_CHECKING:
    from edgecv.calibration import Calibration
    from edgecv.deployable import Deployable

    from edgecv_vela.compiled import Compiled

__all__ = ["VelaExporter"]

_Target = Literal[
    "ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256", "ethos-u65-512",
    "ethos-u85-128", "ethos-u85-256", "ethos-u85-512", "ethos-u85-1024", "ethos-u85-2048",
]  # fmt: skip
_MOST_NAMED = 8


@dataclass(frozen=True, kw_only=True)
class VelaExporter:
    """Folder with a TFLite file that Vela compiled for an Ethos-U, its estimate, and the labels.

    Attributes:
        target: The NPU: its family, and its multiply-adds a cycle.
        system_config: The system around it, a name in Vela's own configuration; empty for the family's usual one.
        memory_mode: Where weights and activations lie; empty for the family's usual one.
        optimise: What Vela minimises.
        max_cpu_ops: The most operators that may stay on the CPU; None allows any number.
        precision: int8, the only one.
        calibration: Pictures to learn the ranges of activations from.
        float_layers: Paths of layers that stay float32, and so on the CPU.
    """

    summary: ClassVar[str] = "Arm Ethos-U NPUs, compiled by Vela; estimated, not verified"
    suffix: ClassVar[str] = ""
    precisions: ClassVar[tuple[str, ...]] = ("int8",)
    source: ClassVar[str] = "tflite"
    runtime: ClassVar[str] = "vela"
    unverified: ClassVar[str] = "it runs on an Ethos-U alone: estimated, not verified"
    converters: ClassVar[tuple[str, ...]] = ("tensorflow", "ai-edge-quantizer", "ethos-u-vela")
    api_version: ClassVar[int] = 1

    target: _Target = field(default="ethos-u55-128", metadata={"help": "The NPU, with its multiply-adds a cycle."})
    system_config: str = field(
        default="",
        metadata={
            "help": "The system around it, as Vela's configuration names it; by default the family's usual one.",
            "example": "Ethos_U55_Deep_Embedded",
        },
    )
    memory_mode: str = field(
        default="",
        metadata={
            "help": "Where weights and activations lie, as Vela names it; by default the family's usual way.",
            "example": "Sram_Only",
        },
    )
    optimise: Literal["Performance", "Size"] = field(
        default="Performance", metadata={"help": "What Vela optimises for.", "example": None}
    )
    max_cpu_ops: int | None = field(
        default=None,
        metadata={"help": "The most operators that may stay on the CPU; more is exit 1.", "example": None},
    )
    precision: str = "int8"
    calibration: "Calibration | None" = None
    float_layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in self.precisions:
            raise OptionError(f"vela writes int8 alone, not {self.precision!r}. Use --precision int8.")
        _check_choice("target", self.target, TARGETS)
        _check_choice("optimise", self.optimise, ("Performance", "Size"))
        if self.system_config:
            _check_choice("system_config", self.system_config, SYSTEMS[family(self.target)])
        if self.memory_mode:
            _check_choice("memory_mode", self.memory_mode, MEMORY_MODES)
        if self.max_cpu_ops is not None and self.max_cpu_ops < 0:
            raise OptionError(f"max_cpu_ops must be at least 0, got {self.max_cpu_ops}.")
        if self.calibration is None:
            raise OptionError("vela needs real pictures to calibrate on. Give --calibration DIR.")

    @property
    def system(self) -> str:
        """The system that Vela is told."""
        return self.system_config or default_system(self.target)

    @property
    def memory(self) -> str:
        """The memory mode that Vela is told."""
        return self.memory_mode or default_memory(self.target)

    @staticmethod
    def missing() -> str | None:
        """Say which package is missing, with the remedy; None where exporting can run."""
        if importlib.util.find_spec("ethosu") is None:
            return "ethos-u-vela is not installed. Run: pip install 'ethos-u-vela>=5,<6'"
        return missing_any(("tensorflow", "keras"), extra="export") or missing_any(
            ("ai_edge_quantizer",), extra="quantize"
        )

    def unsupported(self, deployable: "Deployable") -> str | None:
        """Say why a network cannot go on an NPU; None where it can."""
        if deployable.batch is None:
            return "an Ethos-U plans its memory once, and the batch is dynamic; leave --batch out"
        if deployable.resize is not None:
            return "an Ethos-U knows one size of pictures; leave --resize out"
        return None

    @property
    def source_options(self) -> Mapping[str, Any]:
        """The options of the TFLite file that it is made of."""
        return same_precision(self)

    def export(self, source: "Deployable | Artifact", path: Path) -> Artifact:
        """Compile ``source``, an int8 TFLite artifact.

        Raises:
            ConversionError: Vela failed.
            ShortfallError: Nothing is on the NPU, or more on the CPU than ``max_cpu_ops``.
            OutputError: ``path`` cannot be written.
        """
        if not isinstance(source, Artifact):
            raise OptionError("vela starts from a TFLite artifact, not from a Deployable.")
        from edgecv.runtimes import tflite_container

        from edgecv_vela.compiled import compile_for, write

        document = tflite_container.read_metadata(source.path)
        labels = [" ".join(str(label).split()) for label in document.get("labels") or ()]
        with replace_whole(path) as temporary:
            compiled = compile_for(self, source.path, document, scratch=temporary)
            findings = compiled.findings(self)
            self._judge(source.path.stem, compiled, findings)
            write(compiled, temporary, labels=labels, findings=findings)
        return Artifact(
            path=path,
            layers={layer: tensor for layer, tensor in source.layers.items() if tensor in compiled.tensors},
            findings=findings,
            details={"target": self.target, "system_config": self.system, "memory_mode": self.memory},
        )

    def _judge(self, name: str, compiled: "Compiled", findings: Mapping[str, Any]) -> None:
        """Raise where the answer is no."""
        count = len(compiled.on_cpu)
        named = in_words(compiled.on_cpu, most=_MOST_NAMED)
        if compiled.npu_operators == 0:
            raise ShortfallError(
                f"{name} has no operator on {self.target}: all {count} stay on the CPU: {named}",
                findings=dict(findings),
            )
        if self.max_cpu_ops is not None and count > self.max_cpu_ops:
            raise ShortfallError(
                f"{name} leaves {count} operators of {self.target} to the CPU, more than the "
                f"{self.max_cpu_ops} of max_cpu_ops: {named}",
                findings=dict(findings),
            )


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise OptionError(f"{name} must be one of {', '.join(known)}, got {value!r}.")
