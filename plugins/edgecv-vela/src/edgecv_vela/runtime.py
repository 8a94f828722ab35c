"""Folders with Vela's compiled file, as a runtime of edgecv: they are known and read, and nothing here runs them."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NoReturn

from edgecv.errors import ArtifactError, DeviceError
from edgecv.metadata import check_digest
from edgecv.runtimes import tflite_container
from edgecv.runtimes.folder import FolderMetadata

from edgecv_vela.compiled import ESTIMATE_FILE

__all__ = ["VelaRuntime"]


class VelaRuntime(FolderMetadata):
    """Knows folders of the vela exporter."""

    summary: ClassVar[str] = "what Vela compiled; it runs on an Arm Ethos-U alone"
    suffixes: ClassVar[tuple[str, ...]] = ("",)
    extra: ClassVar[str] = ""
    engines: ClassVar[tuple[str, ...]] = ()
    api_version: ClassVar[int] = 1

    def missing(self) -> str | None:
        """Say that nothing here runs it."""
        return "it runs on an Arm Ethos-U alone, in firmware with TensorFlow Lite Micro and Arm's driver"

    def devices(self) -> tuple[str, ...]:
        """Return no device."""
        return ()

    def opens(self, path: Path) -> bool:
        """Look whether a folder holds one compiled file and its estimate."""
        return path.is_dir() and (path / ESTIMATE_FILE).is_file() and len(list(path.glob("*.tflite"))) == 1

    def open(
        self, path: Path, *, device: str = "cpu", threads: int | None = None, expose: Sequence[str] = ()
    ) -> NoReturn:
        """Refuse.

        Raises:
            ArtifactError: The folder cannot be read, or is damaged.
            DeviceError: It is whole.
        """
        del device, threads, expose
        check_digest(path, self.read_metadata(path))
        raise DeviceError(
            f"{str(path)!r} runs on an Arm Ethos-U alone: it is estimated, not verified. "
            "Run the int8 TFLite file that it is made of in its place."
        )

    def operators(self, path: Path) -> dict[str, int]:
        """Count the operators: parts for the NPU as ``ethos-u``, and those that stay on the CPU.

        Raises:
            ArtifactError: The file cannot be parsed.
        """
        return tflite_container.count_operators(_compiled(path))

    def custom_operators(self, path: Path) -> list[str]:
        """Name the operators that are not TFLite's own.

        Raises:
            ArtifactError: The file cannot be parsed.
        """
        return tflite_container.custom_operators(_compiled(path))


def _compiled(path: Path) -> Path:
    found = sorted(path.glob("*.tflite"))
    if len(found) != 1:
        raise ArtifactError(
            f"{str(path)!r} cannot be opened as Vela's: it has {len(found)} .tflite files. Export it again."
        )
    return found[0]
