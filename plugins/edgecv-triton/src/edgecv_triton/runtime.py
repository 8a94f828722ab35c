"""A Triton model repository as a runtime of edgecv: the ONNX file inside, fed as the server feeds it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from edgecv.runtime import Arrays, NodeTime, Opened
from edgecv.runtimes.feeds import check_feeds
from edgecv.runtimes.folder import FolderMetadata
from edgecv.runtimes.onnxruntime import OnnxRunner, OnnxRuntime

from edgecv_triton.repository import Repository, is_repository, read_repository

__all__ = ["TritonRunner", "TritonRuntime"]


class TritonRuntime(FolderMetadata):
    """Opens Triton model repositories with the engine that Triton's backend has, too."""

    summary: ClassVar[str] = "model repositories of Triton Inference Server, run by ONNX Runtime"
    suffixes: ClassVar[tuple[str, ...]] = ("",)
    extra: ClassVar[str] = "onnx"
    engines: ClassVar[tuple[str, ...]] = OnnxRuntime.engines
    api_version: ClassVar[int] = 1

    def __init__(self) -> None:
        self._inner = OnnxRuntime()

    def missing(self) -> str | None:
        """Say why ONNX Runtime cannot run here; None where it can."""
        return self._inner.missing()

    def devices(self) -> tuple[str, ...]:
        """Return the devices that ONNX Runtime offers here."""
        return self._inner.devices()

    def opens(self, path: Path) -> bool:
        """Look whether a folder is a model repository with one model of ONNX."""
        return is_repository(path)

    def open(
        self, path: Path, *, device: str = "cpu", threads: int | None = None, expose: Sequence[str] = ()
    ) -> "TritonRunner":
        """Load the newest version of the model in a repository.

        Raises:
            MissingExtraError: ONNX Runtime is not installed.
            ArtifactError: The configuration or the ONNX file cannot be parsed.
            DeviceError: The device is not there.
            OptionError: ``threads`` is below 1.
        """
        repository = read_repository(path)
        runner = self._inner.open(repository.model, device=device, threads=threads, expose=expose)
        return TritonRunner(runner, repository)

    def probe(self, device: str) -> str | None:
        """Run a tiny graph on a device; say why that fails, None where it runs."""
        return self._inner.probe(device)

    def operators(self, path: Path) -> dict[str, int]:
        """Count the operators of the model by name.

        Raises:
            ArtifactError: The configuration or the ONNX file cannot be parsed.
        """
        return self._inner.operators(read_repository(path).model)

    def custom_operators(self, path: Path) -> list[str]:
        """Name the operators outside ONNX's default domain.

        Raises:
            ArtifactError: The configuration or the ONNX file cannot be parsed.
        """
        return self._inner.custom_operators(read_repository(path).model)

    def profile(self, path: Path, feeds: Mapping[str, Any], **options: Any) -> list[NodeTime]:
        """Time each node of the model with the engine's own profiler.

        Raises:
            ArtifactError: The configuration or the ONNX file cannot be parsed.
        """
        return self._inner.profile(read_repository(path).model, feeds, **options)

    def multiply_adds(self, path: Path, feeds: Mapping[str, Any]) -> int:
        """Count the multiply-adds of convolutions and matrix products in a run on ``feeds``.

        Raises:
            ArtifactError: The configuration or the ONNX file cannot be parsed.
        """
        return self._inner.multiply_adds(read_repository(path).model, feeds)


class TritonRunner(Opened):
    """An opened model repository.

    Attributes:
        shareable: Several threads may run it at the same time.
    """

    shareable: ClassVar[bool] = True

    def __init__(self, runner: OnnxRunner, repository: Repository) -> None:
        self._runner = runner
        self._largest = repository.max_batch_size
        super().__init__(
            inputs=runner.inputs,
            # Those that the configuration names: a request may leave them out.
            optional_inputs=(info for info in runner.optional_inputs if repository.inputs.get(info.name, False)),
            outputs=runner.outputs,
        )

    @property
    def device(self) -> str:
        """The device that really runs it."""
        return self._runner.device

    @property
    def provider(self) -> str:
        """The execution provider of ONNX Runtime."""
        return self._runner.provider

    def run(self, feeds: Mapping[str, Any]) -> Arrays:
        """Run it on arrays by input name; more pictures than the server takes at once go in batches of its largest.

        Raises:
            OptionError: An array's shape or type is not what the model takes.
        """
        import numpy as np  # `edgecv list` imports runtimes and needs no arrays

        check_feeds(feeds, self.inputs, self.optional_inputs)
        count = len(np.asarray(feeds[self.inputs[0].name]))
        if not self._largest or count <= self._largest:
            return self._runner.run(feeds)
        parts = [
            self._runner.run({name: np.asarray(array)[begin : begin + self._largest] for name, array in feeds.items()})
            for begin in range(0, count, self._largest)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
