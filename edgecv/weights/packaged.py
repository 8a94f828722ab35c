"""Weights that come in a distribution of their own: an archive of NumPy arrays beside its module.

A distribution such as ``edgecv-weights-ssd`` has one line of code, ``PACKAGED = PackagedWeights(…)``, which its entry
points of ``edgecv.weights`` name. The file is ``ARCHITECTURE-SHA.npz``, SHA the start of its own sha256: arrays by the
paths of the network's variables, such as ``stem_conv/kernel``, in their shapes, float16 or float32.
"""

import hashlib
import importlib.metadata
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.architecture import Architecture
from edgecv.artifact import hash_file
from edgecv.errors import WeightsError

if TYPE_CHECKING:
    import keras

__all__ = ["PackagedWeights", "write_arrays"]

Array = np.ndarray[Any, np.dtype[Any]]

_DIGITS = 8  # of the sha256, in the file's name


@dataclass(frozen=True, kw_only=True)
class PackagedWeights:
    """Reads the weights of a distribution; a `WeightsProvider`.

    Attributes:
        distribution: Its name, ``edgecv-weights-ssd``; it lies in the folder of that name under ``plugins``.
        source: What the weights were trained on, or who did, as in `Architecture.weights`: ``openimages``.
        folder: Where the files are: ``Path(__file__).parent`` of the distribution's module.
    """

    distribution: str
    source: str
    folder: Path

    def missing(self, architecture: Architecture) -> str | None:
        """Say why the weights cannot be had, with the remedy; None where they can."""
        if self.file(architecture) is None:
            return (
                f"the weights of {architecture.name} are missing from the package {self.distribution}. {self._remedy}"
            )
        return None

    def load(self, architecture: Architecture, model: "keras.Model") -> str:
        """Put the weights into ``model`` and return their source.

        Raises:
            WeightsError: The file is missing or damaged, or the weights do not fit.
        """
        _assign(architecture, model, self.arrays(architecture))
        return f"{self.source} ({self.distribution} {importlib.metadata.version(self.distribution)})"

    def file(self, architecture: Architecture) -> Path | None:
        """Return the file of the weights; None where it is missing."""
        found = sorted(self.folder.glob(f"{architecture.name}-*.npz"))
        return found[0] if found else None

    def arrays(self, architecture: Architecture) -> dict[str, Array]:
        """Read the weights: path of the variable → array in its shape.

        Raises:
            WeightsError: The file is missing, cannot be read, or is not the one that its name tells.
        """
        path = self.file(architecture)
        if path is None:
            raise WeightsError(
                f"The package {self.distribution} lacks the weights of {architecture.name}. {self._remedy}"
            )
        try:
            actual, told = hash_file(path), path.stem.rpartition("-")[2]
            if len(told) < _DIGITS or not actual.startswith(told):
                raise WeightsError(
                    f"Weights {path.name!r} are damaged: their sha256 starts with {actual[:_DIGITS]}. {self._remedy}"
                )
            with np.load(path, allow_pickle=False) as archive:
                return dict(archive)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise WeightsError(f"Weights {path.name!r} cannot be read: {error}. {self._remedy}") from error

    @property
    def _remedy(self) -> str:
        return f"Run: pip install --force-reinstall --no-deps ./plugins/{self.distribution}"


def write_arrays(arrays: Mapping[str, Array], folder: Path, name: str) -> Path:
    """Write ``NAME-SHA.npz``; the same arrays give the same bytes.

    Args:
        arrays: Path of the variable → float16 or float32 array in its shape.
        folder: Where the file goes.
        name: The architecture's name.

    Returns:
        The file.
    """
    buffer = io.BytesIO()
    ordered: dict[str, Any] = {path: arrays[path] for path in sorted(arrays)}
    np.savez(buffer, **ordered)  # with fixed dates
    data = buffer.getvalue()
    path = folder / f"{name}-{hashlib.sha256(data).hexdigest()[:_DIGITS]}.npz"
    path.write_bytes(data)
    return path


def _assign(architecture: Architecture, model: "keras.Model", arrays: dict[str, Array]) -> None:
    for variable in model.weights:
        values = arrays.get(variable.path)
        if values is None or values.shape != tuple(variable.shape):
            raise WeightsError(
                f"Published weights of {architecture.name} do not fit {variable.path!r}. "
                "Build it with the default classes."
            )
    unused = arrays.keys() - {variable.path for variable in model.weights}
    if unused:
        raise WeightsError(f"Published weights of {architecture.name} hold {min(unused)!r}, which the network lacks.")
    for variable in model.weights:
        variable.assign(arrays[variable.path].astype("float32"))
