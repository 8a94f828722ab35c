"""The noun Artifact: the file or folder that an exporter wrote."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv.quantization import Quantization, Speeds
from edgecv.report import Report
from edgecv.runtime import TensorInfo
from edgecv.runtimes.container import artifact_files, size_of

if TYPE_CHECKING:
    from edgecv.deployable import Deployable

__all__ = ["Artifact", "hash_file"]


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A written artifact.

    Attributes:
        path: The file or folder.
        layers: Keras layer path → name of the tensor in the artifact that carries the layer's output
            (layout may differ), or the name of the node that its folded group became.
        details: What else the exporter records in the metadata, such as the opset.
        optional_inputs: Inputs that may be left out: the file holds their defaults.
        checkpoints: Names of the Deployable's checkpoints that tensors inside the artifact have.
        outputs: The outputs; set by `edgecv.export`.
        findings: What the exporter found out that users should see, such as the memory that it takes: key in
            snake_case → number, text, or list of texts. Shown, and recorded in the metadata.
        report: What verification measured; set by `edgecv.export`.
        source_report: The same of what it was made of, where nothing here can run it; set by `edgecv.export`.
        quantization: How an int8 artifact was quantised, and what that cost; set by `edgecv.export`.
        speeds: Size and time against float32, where the precision is less; set by `edgecv.export`.
        seconds: Time that `edgecv.export` took.
        deployable: What it was made of, where another exporter starts from it: calibrating, for one, needs that.
    """

    path: Path
    layers: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    optional_inputs: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()
    findings: Mapping[str, Any] = field(default_factory=dict)
    report: Report | None = None
    source_report: Report | None = None
    quantization: Quantization | None = None
    speeds: Speeds | None = None
    seconds: float = 0.0
    deployable: "Deployable | None" = field(default=None, repr=False, compare=False)

    @property
    def nbytes(self) -> int:
        """Size in bytes; of all files where it is a folder."""
        return size_of(self.path)

    @property
    def sha256(self) -> str:
        """Hexadecimal sha256 of the file; of names and contents in sorted order where it is a folder."""
        if self.path.is_file():
            return hash_file(self.path)
        digest = hashlib.sha256()
        for name, file in artifact_files(self.path).items():
            digest.update(f"{name}\0{hash_file(file)}\n".encode())
        return digest.hexdigest()


def hash_file(path: Path) -> str:
    """Return the hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
