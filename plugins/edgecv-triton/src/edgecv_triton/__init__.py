"""Triton Inference Server for edgecv: the exporter. A model repository around the ONNX artifact."""

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from edgecv.artifact import Artifact
from edgecv.errors import OptionError
from edgecv.exporter import same_precision
from edgecv.extras import missing_any, require
from edgecv.files import replace_whole

from edgecv_triton.config import CONFIG_FILE, LABEL_FILE, MODEL_FILE

if TYPE_CHECKING:
    from edgecv.calibration import Calibration
    from edgecv.deployable import Deployable

__all__ = ["TritonExporter"]


@dataclass(frozen=True, kw_only=True)
class TritonExporter:
    """Model repository of Triton Inference Server with one model.

    Attributes:
        precision: Precision of the ONNX file inside.
        max_batch_size: The largest batch that the server makes of a dynamic one; 0 lets it make none.
        dynamic_batching: Let the server join requests into batches.
        preferred_batch: Sizes of batches that it rather makes.
        queue_delay: Microseconds that a request may wait for others.
        instances: How many copies of the model run at the same time.
        kind: Where they run.
        version: Version number of the model, the name of its folder.
        version_policy: Which versions the server offers.
        calibration: Pictures from which int8 takes the ranges of activations.
        float_layers: Paths of layers that int8 leaves in float32.
    """

    summary: ClassVar[str] = "Triton Inference Server, a model repository with ONNX inside"
    suffix: ClassVar[str] = ""
    precisions: ClassVar[tuple[str, ...]] = ("float32", "float16", "int8")
    source: ClassVar[str] = "onnx"
    runtime: ClassVar[str] = "triton"
    converters: ClassVar[tuple[str, ...]] = ("tf2onnx", "onnx")
    api_version: ClassVar[int] = 1

    precision: str = "float32"
    max_batch_size: int = field(
        default=8, metadata={"help": "Largest batch that the server makes of a dynamic one; 0: none.", "example": 4}
    )
    dynamic_batching: bool = field(default=True, metadata={"help": "Let the server join requests into batches."})
    preferred_batch: tuple[int, ...] = field(
        default=(),
        metadata={"help": "Size of a batch that the server rather makes; may be given several times.", "example": None},
    )
    queue_delay: int = field(
        default=0, metadata={"help": "Microseconds that a request may wait for others.", "example": None}
    )
    instances: int = field(default=1, metadata={"help": "Copies of the model that run at the same time.", "example": 2})
    kind: Literal["auto", "cpu", "gpu"] = field(default="auto", metadata={"help": "Where they run."})
    version: int = field(default=1, metadata={"help": "Version number of the model.", "example": 2})
    version_policy: Literal["latest", "all", "specific"] = field(
        default="latest", metadata={"help": "Versions that the server offers; specific: this one alone."}
    )
    calibration: "Calibration | None" = None
    float_layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in self.precisions:
            raise OptionError(f"triton writes {', '.join(self.precisions)}, not {self.precision!r}.")
        if self.precision == "int8" and self.calibration is None:
            raise OptionError("triton in int8 needs real pictures to calibrate on. Give --calibration DIR.")
        least = {"max_batch_size": 0, "queue_delay": 0, "instances": 1, "version": 1}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise OptionError(f"{name} must be at least {smallest}, got {getattr(self, name)}.")
        for name, known in (("kind", ("auto", "cpu", "gpu")), ("version_policy", ("latest", "all", "specific"))):
            if getattr(self, name) not in known:
                raise OptionError(
                    f"{name} must be {', '.join(known[:-1])} or {known[-1]}, got {getattr(self, name)!r}."
                )
        for size in self.preferred_batch:
            if not 1 <= size <= self.max_batch_size:
                raise OptionError(f"preferred_batch must be 1 to max_batch_size ({self.max_batch_size}), got {size}.")
        if (self.preferred_batch or self.queue_delay) and not (self.dynamic_batching and self.max_batch_size):
            raise OptionError("preferred_batch and queue_delay have no use without dynamic batching. Leave them out.")

    @staticmethod
    def missing() -> str | None:
        """Say which package is missing, with the remedy; None where exporting can run."""
        return missing_any(("onnx",), extra="export") or missing_any(("onnxruntime",), extra="onnx")

    def unsupported(self, deployable: "Deployable") -> str | None:
        """Say why options have no use for a network; None where they have."""
        if deployable.batch is not None and (self.preferred_batch or self.queue_delay):
            return f"its batch is {deployable.batch}, and only a dynamic one can be joined; use --batch dynamic"
        return None

    @property
    def source_options(self) -> Mapping[str, Any]:
        """The options of the ONNX file inside."""
        return same_precision(self)

    def export(self, source: "Deployable | Artifact", path: Path) -> Artifact:
        """Write ``source``, an ONNX artifact, as a model repository.

        Raises:
            MissingExtraError: onnx is not installed.
            OutputError: ``path`` cannot be written.
        """
        require("onnx", extra="export", purpose="Exporting to Triton")
        if not isinstance(source, Artifact):
            raise OptionError("triton starts from an ONNX artifact, not from a Deployable.")
        import onnx
        from edgecv.runtimes import onnx_container

        from edgecv_triton.configure import configure

        document = onnx_container.read_metadata(source.path)
        labels = [" ".join(str(label).split()) for label in document.get("labels") or ()]
        name = source.path.stem
        graph = onnx.load(source.path, load_external_data=False).graph
        config = configure(graph, self, name=name, labels=bool(labels), task=document["task"])
        with replace_whole(path) as temporary:
            model = temporary / name
            (model / str(self.version)).mkdir(parents=True)
            shutil.copyfile(source.path, model / str(self.version) / MODEL_FILE)
            (model / CONFIG_FILE).write_text(config.to_text(), encoding="utf-8")
            if labels:
                (model / LABEL_FILE).write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
        optional = tuple(tensor.name for tensor in config.inputs if tensor.optional)
        return dataclasses.replace(source, path=path, optional_inputs=optional)
