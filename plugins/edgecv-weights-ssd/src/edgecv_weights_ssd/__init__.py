"""Published weights of ``ssd_mobilenet_v2``, as a distribution of their own so that edgecv stays light.

Origin and licence stand in ``NOTICE`` and ``LICENSE`` beside the file. Importing this package imports no
framework.
"""

import importlib.metadata
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from edgecv.architecture import Architecture
from edgecv.artifact import hash_file
from edgecv.errors import WeightsError

if TYPE_CHECKING:
    import keras

__all__ = ["PACKAGED", "PackagedSsd", "read_arrays", "weights_file"]

Array = np.ndarray[Any, np.dtype[np.float16]]

_DISTRIBUTION = "edgecv-weights-ssd"
_REMEDY = f"Run: pip install --force-reinstall --no-deps ./plugins/{_DISTRIBUTION}"


class PackagedSsd:
    """Reads ``ssd_mobilenet_v2-SHA.npz``: float16 arrays by the paths of the network's variables."""

    def missing(self, architecture: Architecture) -> str | None:
        """Say why the weights cannot be had, with the remedy; None where they can."""
        if weights_file() is None:
            return f"the weights of {architecture.name} are missing from the package {_DISTRIBUTION}. {_REMEDY}"
        return None

    def load(self, architecture: Architecture, model: "keras.Model") -> str:
        """Put the weights into ``model`` and return their source.

        Raises:
            WeightsError: The file is missing or damaged, or the weights do not fit.
        """
        path = weights_file()
        if path is None:
            raise WeightsError(f"The package {_DISTRIBUTION} lacks its weights. {_REMEDY}")
        _assign(architecture, model, read_arrays(path))
        return f"openimages ({_DISTRIBUTION} {importlib.metadata.version(_DISTRIBUTION)})"


PACKAGED = PackagedSsd()


def weights_file() -> Path | None:
    """Return the file of the weights, whose name ends in the start of its sha256; None where it is missing."""
    found = sorted(Path(__file__).parent.glob("ssd_mobilenet_v2-*.npz"))
    return found[0] if found else None


def read_arrays(path: Path) -> dict[str, Array]:
    """Read the weights: path of the variable, such as ``stem_conv/kernel`` → float16 array in its shape.

    Raises:
        WeightsError: The file cannot be read, or is not the one that its name tells.
    """
    try:
        actual = hash_file(path)
        if not actual.startswith(path.stem.rpartition("-")[2]):
            raise WeightsError(f"Weights {path.name!r} are damaged: their sha256 starts with {actual[:8]}. {_REMEDY}")
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(f"Weights {path.name!r} cannot be read: {error}. {_REMEDY}") from error


def _assign(architecture: Architecture, model: "keras.Model", arrays: dict[str, Array]) -> None:
    unused = dict(arrays)
    for variable in model.weights:
        values = unused.pop(variable.path, None)
        if values is None or values.shape != tuple(variable.shape):
            raise WeightsError(
                f"Published weights of {architecture.name} do not fit {variable.path!r}. "
                "Build it with the default classes."
            )
        variable.assign(values.astype("float32"))
    if unused:
        raise WeightsError(f"Published weights of {architecture.name} hold {min(unused)!r}, which the network lacks.")
