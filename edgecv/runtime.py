"""The noun Runtime: opens artifacts of one format on a device, and knows the format's container.

Found by entry points in the group ``edgecv.runtimes``. This half imports neither TensorFlow nor Keras
nor onnx: it is what runs on the device, and what verification runs too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Arrays", "NodeTime", "Opened", "Runner", "Runtime", "TensorInfo"]

Arrays = dict[str, "np.ndarray[Any, np.dtype[Any]]"]


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """An input or output of an artifact.

    Attributes:
        name: Its name.
        shape: Its dimensions; None where dynamic.
        dtype: NumPy name of its type, such as ``"uint8"``.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``export --json``; a dynamic dimension is null."""
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}


@dataclass(frozen=True, kw_only=True)
class NodeTime:
    """How long a node of an artifact takes in its engine.

    Attributes:
        name: The engine's name of it.
        op: Its operator, as the engine calls it.
        milliseconds: In one run.
        tensors: The artifact's tensors that it computes, those of nodes that were fused into it included; none where
            the engine put it in.
    """

    name: str
    op: str
    milliseconds: float
    tensors: tuple[str, ...] = ()


class Runner(Protocol):
    """An opened artifact."""

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """The required inputs."""

    @property
    def optional_inputs(self) -> tuple[TensorInfo, ...]:
        """The inputs that may be left out: the artifact holds their defaults."""

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The outputs, in the artifact's order; without exposed tensors."""

    @property
    def device(self) -> str:
        """The device that really runs it: ``"cpu"`` or ``"cuda"``."""

    @property
    def provider(self) -> str:
        """What the engine says it runs on, such as ``"CUDAExecutionProvider"`` or ``"XNNPACK"``."""

    def run(self, feeds: Mapping[str, Any]) -> Arrays:
        """Run it on arrays by input name; the returned arrays, exposed tensors included, are the caller's to keep.

        Raises:
            OptionError: An array's shape or type is not what the artifact takes.
        """


class Opened:
    """The half of a Runner that is the same in every engine: what is known of the tensors once the artifact is open.

    Attributes:
        inputs: The required inputs.
        optional_inputs: The inputs that may be left out.
        outputs: The outputs, in the artifact's order; without exposed tensors.
    """

    def __init__(
        self,
        *,
        inputs: Iterable[TensorInfo],
        outputs: Iterable[TensorInfo],
        optional_inputs: Iterable[TensorInfo] = (),
    ) -> None:
        self.inputs = tuple(inputs)
        self.optional_inputs = tuple(optional_inputs)
        self.outputs = tuple(outputs)


@runtime_checkable
class Runtime(Protocol):
    """An engine, and the container format of the artifacts that it opens.

    A runtime may have two more methods, which ``edgecv benchmark`` calls where they are there::

        def profile(
            self, path: Path, feeds: Mapping[str, Any], *, device: str, threads: int | None, seconds: float
        ) -> list[NodeTime] | None:
            # Time each node while the engine runs the artifact for about so long, in the order of the nodes.

        def multiply_adds(self, path: Path, feeds: Mapping[str, Any]) -> int | None:
            # Count the multiply-adds of convolutions and matrix products in a run on feeds.

    Both raise `ArtifactError` where the file does not allow it; a None says that nothing is known.

    Several runtimes may open files with the same suffix, or folders. Such a one tells its own from others'::

        def opens(self, path: Path) -> bool:
            # Look whether this file or folder is of this format, without the engine.

    Metadata of a folder are the file ``edgecv.json`` in it: `edgecv.runtimes.folder` reads and writes them.

    Attributes:
        summary: One line for ``edgecv list``.
        suffixes: File suffixes that it opens, with their dots; the empty one stands for folders.
        extra: The extra of edgecv that brings the engine.
        api_version: The version of the contract (`edgecv.exporter.API_VERSION`) it was written for.
    """

    summary: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    extra: ClassVar[str]
    api_version: ClassVar[int]

    def missing(self) -> str | None:
        """Say why the engine cannot run here, with the remedy; None where it can. Imports nothing heavy."""

    def devices(self) -> tuple[str, ...]:
        """Return the devices that the engine offers here, ``"cpu"`` first; empty where it is missing."""

    def open(
        self, path: Path, *, device: str = "cpu", threads: int | None = None, expose: Sequence[str] = ()
    ) -> Runner:
        """Load an artifact; its runner returns the tensors inside it that ``expose`` names, too.

        Raises:
            MissingExtraError: The engine is not installed.
            ArtifactError: The file cannot be parsed.
            DeviceError: ``device`` is not there, or the engine fell back to another one.
        """

    def read_metadata(self, path: Path) -> dict[str, Any]:
        """Read the edgecv metadata without the engine.

        Raises:
            ArtifactError: The file cannot be parsed or has no edgecv metadata.
        """

    def write_metadata(self, path: Path, document: Mapping[str, Any]) -> None:
        """Put the edgecv metadata into a file that has none, or replace it, without the engine.

        The document's ``digest`` is 64 characters; the container's other bytes must not depend on them.
        """

    def operators(self, path: Path) -> dict[str, int]:
        """Count the operators by name, subgraphs included, without the engine."""

    def custom_operators(self, path: Path) -> list[str]:
        """Name the operators that are not the format's standard ones, without the engine."""
