"""MODEL on the command line: an architecture's name, a ``.keras`` or ``.h5`` file, a RUN_DIR or a SavedModel."""

import importlib
import importlib.util
import json
import logging
import re
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from edgecv.architecture import Task
from edgecv.decoders import decoder_from_json, decoder_to_json
from edgecv.deployable import Activation, ModelInfo
from edgecv.errors import EdgecvError, ModelError, OptionError, UnknownNameError
from edgecv.extras import import_keras, require
from edgecv.files import replace_whole
from edgecv.labels import builtin_labels
from edgecv.localisation import Localisation
from edgecv.preprocess import Preprocess
from edgecv.quiet import quiet_frameworks
from edgecv.registry import architecture_names, load_architecture
from edgecv.training.run_dir import RunDir, is_run_dir
from edgecv.weights import load_weights
from edgecv.weights.undrawn import undrawn

if TYPE_CHECKING:
    import keras

__all__ = ["build", "import_module", "open_model", "save_model"]

_LOGGER = logging.getLogger("edgecv")
_SUFFIXES = (".keras", ".h5", ".hdf5")
_UNKNOWN_CLASS = re.compile(r"(?:Could not locate class|Unknown layer:) '(?:[^'>]*>)?([^']+)'")
_INFO_MEMBER = "edgecv.json"
# A fixed date, so that the member depends on its content alone.
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def build(
    name: str,
    *,
    weights: str = "auto",
    seed: int = 0,
    input_size: tuple[int, int] | None = None,
    classes: int | None = None,
) -> "keras.Model":
    """Build an architecture by name.

    Args:
        name: A name from ``edgecv list architectures``.
        weights: ``auto`` (published ones where they are at hand or can be fetched, else random ones),
            ``imagenet``, ``random``, or a ``.keras``, ``.h5`` or ``.weights.h5`` file.
        seed: Of random weights.
        input_size: ``(height, width)`` in pixels; the default is the architecture's.
        classes: Number of classes; the default is the architecture's.

    Returns:
        An uncompiled functional model that `deploy` knows the preprocessing and the labels of.

    Raises:
        UnknownNameError: No such architecture.
        ArchitectureError: It cannot be built at that size or with that many classes.
        WeightsError: The weights cannot be found or do not fit.
        MissingExtraError: Keras is not installed.
    """
    architecture = load_architecture(name)
    import_keras()
    with quiet_frameworks():
        with undrawn() if weights == "random" else nullcontext():
            network = architecture.build(input_size=input_size, classes=classes)
        record = load_weights(architecture, network, weights=weights, seed=seed)
    labels = builtin_labels(architecture.labels) if architecture.labels else ()
    wanted = architecture.classes if classes is None else classes
    notes = (f"Random weights (seed {seed}) are used. {record.note}",) if record.note else ()
    for note in notes:
        _LOGGER.warning(note)
    network.edgecv_info = ModelInfo(
        name=name,
        task=architecture.task,
        preprocess=architecture.preprocess,
        labels=labels if len(labels) == wanted else (),
        decoder=architecture.decoder,
        weights_source=record.source,
        notes=notes,
    )
    return network


def open_model(
    model: str,
    *,
    weights: str = "auto",
    seed: int = 0,
    input_size: tuple[int, int] | None = None,
    classes: int | None = None,
) -> "keras.Model":
    """Open what the command line calls MODEL.

    Raises:
        ModelError: The file is missing, damaged, no model, or refused by Keras' safe loading.
        UnknownNameError: It is neither a file nor an architecture.
        EdgecvError: As `build`.
    """
    path = Path(model)
    if model in architecture_names():
        return build(model, weights=weights, seed=seed, input_size=input_size, classes=classes)
    looks_like_file = path.suffix.lower() in _SUFFIXES or len(path.parts) > 1 or path.exists()
    if not looks_like_file:
        raise UnknownNameError("architecture", model, architecture_names())
    if weights != "auto" or classes is not None:
        option = "--classes" if classes is not None else "--weights"
        raise OptionError(f"{option} is for an architecture's name; {model!r} is a file with weights of its own.")
    import_keras()
    if not _is_folder(path):
        return _keras_file(path)
    return _run(path) if is_run_dir(path) else _saved_model(path)


def save_model(network: "keras.Model", path: Path) -> None:
    """Write a ``.keras`` file that carries preprocessing and labels for `deploy`.

    Raises:
        OptionError: The name does not end in ``.keras``.
        OutputError: It cannot be written.
    """
    if path.suffix != ".keras":
        raise OptionError(f"The output must end in .keras, got {path.name!r}.")
    with replace_whole(path) as temporary:
        with quiet_frameworks():
            network.save(temporary)
        info = getattr(network, "edgecv_info", None)
        if info is not None:
            with zipfile.ZipFile(temporary, "a") as archive:
                archive.writestr(zipfile.ZipInfo(_INFO_MEMBER, _ZIP_DATE), json.dumps(_info_to_json(info)))


def import_module(name: str) -> None:
    """Import a user's module, so that it registers its custom layers.

    Args:
        name: An importable name (the current folder counts) or a ``.py`` file.

    Raises:
        OptionError: It cannot be imported.
    """
    try:
        if name.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(name).stem, name)
            if spec is None or spec.loader is None:
                raise ImportError(f"no loader for {name}")
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[spec.name]
                raise
            return
        sys.path.insert(0, str(Path.cwd()))
        try:
            importlib.import_module(name)
        finally:
            sys.path.remove(str(Path.cwd()))
    except (Exception, SystemExit) as error:  # the code of others may raise anything
        problem = " ".join(str(error).split())
        raise OptionError(f"--import {name!r} cannot be imported: {type(error).__name__}: {problem}") from error


def _keras_file(path: Path) -> "keras.Model":
    import keras

    import edgecv.architectures.custom_layers  # noqa: F401  registers them

    _check_file(path)
    with _refused(path), quiet_frameworks():
        network = keras.models.load_model(path, compile=False)
    network.edgecv_info = _file_info(path)
    return network


def _run(path: Path) -> "keras.Model":
    """Open what a training run has learnt; it goes by the name of its folder."""
    run = RunDir(path)
    if not run.model.exists():
        raise ModelError(f"The run {str(path)!r} has no model yet. Go on with edgecv train --resume -o {path}.")
    network = _keras_file(run.model)
    name = path.resolve().name
    network.edgecv_info = replace(network.edgecv_info, name=name, pictures=run.pictures)
    return network


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # behind a folder that may not be entered, or a name that is too long: opening it says so
        return False


def _check_file(path: Path) -> None:
    """Refuse what is certainly no model, with a clearer reason than a parser's."""
    if path.suffix not in _SUFFIXES:  # Keras takes no capitals
        raise ModelError(f"{str(path)!r} is no model: its name must end in {', '.join(_SUFFIXES)}.")
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    if not head:
        raise ModelError(f"{str(path)!r} is empty. Save the model again.")
    archive = path.suffix.lower() == ".keras"
    if archive and not zipfile.is_zipfile(path):
        raise ModelError(f"{str(path)!r} is no .keras file, or is cut off. Save the model again.")
    if not archive and head != b"\x89HDF\r\n\x1a\n":
        raise ModelError(f"{str(path)!r} is no HDF5 file. Save the model again.")


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Turn what Keras raises while loading into one line with the remedy."""
    try:
        yield
    except EdgecvError:
        raise
    except Exception as error:  # Keras raises whatever its parsers and layers meet
        text = " ".join(str(error).split()).rstrip(".")
        name = _UNKNOWN_CLASS.search(text)
        if name or "register_keras_serializable" in text:
            problem = f"a custom layer is not known: {repr(name[1]) if name else text[:160]}"
            remedy = "Name the module that registers it with --import MODULE"
        elif "Python lambda" in text:
            problem = "it holds a Lambda layer with Python code, which safe loading refuses"
            remedy = "Replace the Lambda by a registered layer and load that with --import"
        elif "safe_mode=False" in text:
            problem = f"safe loading refuses it: {text.partition('. ')[0]}"
            remedy = "Replace that layer by a registered one and load that with --import"
        else:
            problem = text[:200] or type(error).__name__
            remedy = "Save the model again as .keras"
        raise ModelError(f"{str(path)!r} cannot be loaded: {problem}. {remedy}.") from error


def _saved_model(path: Path) -> "keras.Model":
    if not (path / "saved_model.pb").is_file():
        raise ModelError(
            f"{str(path)!r} is a folder without saved_model.pb or run.json. Give a model file, a run or a SavedModel."
        )
    require("tensorflow", extra="export", purpose="Reading a SavedModel")
    with _refused(path), quiet_frameworks():
        network = _wrapped(path)
    network.edgecv_info = ModelInfo(name=path.name)
    return network


def _wrapped(path: Path) -> "keras.Model":
    """Put the one serving signature of a SavedModel into a Keras model: Keras 3 cannot load it otherwise."""
    import keras
    import tensorflow as tf

    signatures = tf.saved_model.load(str(path)).signatures
    names = [name for name in signatures if name != "serve" or len(signatures) == 1]
    if len(names) != 1:
        found = ", ".join(sorted(names)) or "none"
        raise ModelError(f"{str(path)!r} must have one serving signature, it has: {found}. Save it with one.")
    given = list(signatures[names[0]].structured_input_signature[1].values())
    if len(given) != 1:
        raise ModelError(f"{str(path)!r} has {len(given)} inputs; edgecv needs one, a batch of pictures.")
    image = keras.Input(batch_shape=tuple(given[0].shape), dtype=given[0].dtype.name, name="image")
    outputs = keras.layers.TFSMLayer(str(path), call_endpoint=names[0], name="saved_model")(image)
    single = next(iter(outputs.values())) if isinstance(outputs, dict) and len(outputs) == 1 else outputs
    return keras.Model(image, single, name=path.name)


def _file_info(path: Path) -> ModelInfo:
    default = ModelInfo(name=path.stem)
    if path.suffix.lower() != ".keras":
        return default
    with zipfile.ZipFile(path) as archive:
        if _INFO_MEMBER not in archive.namelist():
            return default
        try:
            return _info_from_json(json.loads(archive.read(_INFO_MEMBER)), path)
        except (ValueError, KeyError, TypeError, RecursionError, zipfile.BadZipFile) as error:
            problem = f"the key {error} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")
            raise ModelError(f"{str(path)!r} carries damaged edgecv data: {problem}. Build it again.") from error


def _info_to_json(info: ModelInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "task": info.task,
        "preprocess": info.preprocess.to_json() if info.preprocess else None,
        "labels": list(info.labels),
        "decoder": decoder_to_json(info.decoder) if info.decoder else None,
        "localisation": info.localisation.to_json() if info.localisation else None,
        "activation": info.activation,
        "weights": info.weights_source,
    }


def _info_from_json(document: dict[str, Any], path: Path) -> ModelInfo:
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    task = document["task"]
    if task is not None and task not in get_args(Task):
        raise ValueError(f"unknown task {task!r}")
    activation = document.get("activation")
    if activation is not None and activation not in get_args(Activation):
        raise ValueError(f"unknown activation {activation!r}")
    return ModelInfo(
        name=path.stem,
        task=task,
        preprocess=Preprocess.from_json(document["preprocess"]) if document["preprocess"] else None,
        labels=tuple(_strings(document["labels"])),
        decoder=decoder_from_json(document["decoder"]) if document.get("decoder") else None,
        localisation=Localisation.from_json(document["localisation"]) if document.get("localisation") else None,
        activation=activation,
        weights_source=str(document["weights"]),
    )


def _strings(values: Any) -> list[str]:
    if not isinstance(values, list):
        raise ValueError(f"labels must be a list, got {type(values).__name__}")
    return [str(value) for value in values]
