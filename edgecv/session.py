"""The noun Session: an artifact, opened on a device, that takes pictures and gives answers."""

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np

from edgecv import metadata, registry
from edgecv.errors import ArtifactError, OptionError, PictureError, PluginError
from edgecv.nms import Nms
from edgecv.pictures import Picture, Placement, fit_picture, picture_of_array, place, read_picture
from edgecv.preprocess import Fit, Preprocess
from edgecv.results import Prediction, interpret
from edgecv.runtime import Arrays, Runner, Runtime
from edgecv.runtimes.container import making_sense
from edgecv.runtimes.feeds import run_engine
from edgecv.runtimes.folder import METADATA_FILE, is_artifact_folder

__all__ = ["Session", "known_suffixes", "load", "open_unchecked", "runtime_of"]

Source = str | Path | np.ndarray[Any, Any] | Picture
Results = list[dict[str, Any]]


def load(
    path: str | Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    check: bool = True,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
) -> "Session":
    """Open an artifact.

    Args:
        path: A file that edgecv exported.
        device: ``"cpu"`` or ``"cuda"``.
        threads: Threads within an operator; the default is the engine's.
        check: Refuse an artifact whose bytes disagree with its digest; otherwise such a one runs once in a process
            of its own, which it may end.
        score_threshold: Detection: in place of the baked one. Where the artifact has no input for it, only a
            higher one can be had.
        iou_threshold: Detection: in place of the baked one, where the artifact has an input for it.

    Raises:
        ArtifactError: It is no such file; DigestError: it is damaged.
        MissingExtraError: The engine is not installed.
        DeviceError: The device does not run.
        OptionError: ``threads`` is below 1, or a threshold cannot be changed in this artifact.
    """
    path = Path(path)
    document = runtime_of(path)[1].read_metadata(path)
    if check:
        metadata.check_digest(path, document)
    elif not metadata.is_intact(path, document):
        from edgecv.trial import attempt

        attempt(path, device)
    return open_unchecked(
        path, device=device, threads=threads, score_threshold=score_threshold, iou_threshold=iou_threshold
    )


def open_unchecked(
    path: Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
) -> "Session":
    """Open an artifact that was checked already, or that may end this process; see `load`."""
    name, runtime = runtime_of(path)
    document = runtime.read_metadata(path)
    session = Session(path, document, runtime.open(path, device=device, threads=threads), runtime_name=name)
    session.set_thresholds(score=score_threshold, iou=iou_threshold)
    return session


def runtime_of(path: Path) -> tuple[str, Runtime]:
    """Return name and runtime that open an artifact.

    Raises:
        ArtifactError: There is no such file, or its suffix is none of an artifact.
    """
    try:
        there, folder = path.exists(), path.is_dir()
        found = registry.runtime_for("" if folder else path.suffix.lower(), path if there else None)
    except OSError as error:  # behind a folder that may not be entered, or a name that is too long
        problem = error.strerror
        raise ArtifactError(f"Cannot read {str(path)!r}: {problem}. Name a file that edgecv exported.") from error
    if folder and not is_artifact_folder(path):
        raise ArtifactError(f"{str(path)!r} is no artifact: it is a folder without {METADATA_FILE}.")
    if folder and found is None:
        raise ArtifactError(f"No installed runtime opens the folder {str(path)!r}. Install the plugin that wrote it.")
    if found is None:
        raise ArtifactError(f"{str(path)!r} is no artifact: its suffix is none of {', '.join(known_suffixes())}.")
    if not there:
        raise ArtifactError(f"Artifact {str(path)!r} does not exist. Name a file that edgecv exported.")
    return found


def known_suffixes() -> list[str]:
    """Return the suffixes that the installed runtimes open, sorted; folders have none."""
    suffixes: set[str] = set()
    for name in registry.runtime_names():
        try:
            suffixes.update(registry.load_runtime(name).suffixes)
        except PluginError:  # a broken plugin breaks itself only
            continue
    return sorted(suffixes - {""})


class Session:
    """An opened artifact.

    Several threads may use one: where the engine can, they run side by side (ONNX Runtime), elsewhere they take turns
    (LiteRT). To set thresholds, be alone.

    Attributes:
        path: The artifact.
        metadata: What edgecv wrote into it.
        runtime: Name of the runtime that opened it.
    """

    def __init__(self, path: Path, document: dict[str, Any], runner: Runner, *, runtime_name: str) -> None:
        self.path = path
        self.metadata = document
        self.runtime = runtime_name
        self._runner = runner
        self._turn = contextlib.nullcontext() if getattr(runner, "shareable", False) else threading.Lock()
        with making_sense(path, "its metadata"):
            self._preprocess = Preprocess.from_json(document["preprocess"])
            # By these an artifact that gives every anchor is suppressed on the host.
            self._baked = self._nms = Nms.from_json((document.get("postprocess") or {}).get("nms") or {})
        # Where the graph resizes, pictures go in as they are.
        self._fit = Fit() if document.get("graph_resize") else self._preprocess.fit
        self._input = _picture_input(path, document, runner)
        self._outputs = _output_names(document, runner)
        self._labels = [str(label) for label in document.get("labels") or ()]
        self._thresholds: dict[str, np.ndarray[Any, Any]] = {}
        self._least_score = 0.0

    @property
    def device(self) -> str:
        """The device that really runs it."""
        return self._runner.device

    @property
    def provider(self) -> str:
        """What the engine says it runs on."""
        return self._runner.provider

    @property
    def runner(self) -> Runner:
        """The artifact as the engine opened it."""
        return self._runner

    @property
    def size(self) -> tuple[int | None, int | None]:
        """``(height, width)`` of the input; None where the graph resizes."""
        return self._input.shape[1], self._input.shape[2]

    @property
    def batch_size(self) -> int:
        """Pictures per run; 1 where the batch is dynamic, so that no answer depends on its neighbours."""
        return self._input.shape[0] or 1

    def set_thresholds(self, *, score: float | None = None, iou: float | None = None) -> None:
        """Detect with other thresholds than the baked ones; None leaves one as it is.

        Raises:
            OptionError: One is outside 0…1, the artifact is no detector, or it cannot be changed in it.
        """
        wanted = {"score_threshold": score, "iou_threshold": iou}
        given: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
        if not given:
            return
        if self.metadata["task"] != "detection":
            raise OptionError(f"{str(self.path)!r} is no detector: it has no {next(iter(given)).replace('_', '-')}.")
        settings = replace(self._nms, **given)  # checks them
        inputs = {info.name for info in self._runner.optional_inputs}
        on_host = "count" not in self._outputs
        for name, value in given.items():
            if not on_host and name not in inputs:
                self._check_baked(name, value)
        self._nms = settings
        self._thresholds |= {name: np.array(value, np.float32) for name, value in given.items() if name in inputs}
        if score is not None and not on_host and "score_threshold" not in inputs:
            self._least_score = score

    def _check_baked(self, name: str, value: float) -> None:
        """Refuse a threshold that the artifact has no input for; boxes below a higher score can be dropped."""
        option, baked = name.replace("_", "-"), getattr(self._baked, name)
        if name == "iou_threshold" and self._baked.soft_sigma is not None:
            raise OptionError(f"{str(self.path)!r} has soft suppression, which knows no {option}. Leave it out.")
        if name != "score_threshold" or value < baked:
            raise OptionError(
                f"{str(self.path)!r} has {option} {baked} baked in: it cannot become {value}. "
                "Export it with that, or to a format with optional inputs."
            )

    # A str is a Sequence of str, too; the first signature is the one that counts.
    @overload
    def predict(self, source: Source, *, top_k: int = 5) -> Results: ...  # type: ignore[overload-overlap]

    @overload
    def predict(self, source: Sequence[Source], *, top_k: int = 5) -> list[Results]: ...

    def predict(self, source: Source | Sequence[Source], *, top_k: int = 5) -> Results | list[Results]:
        """Answer for a picture, or for each picture of a list.

        Args:
            source: A file, a uint8 array ``(height, width, 3)`` RGB, or a list of these; any size.
            top_k: Classification: how many of the best classes to give.

        Returns:
            The results of ``predict --json``: classification ``{"score", "class", "label"}``, detection and
            localisation with ``"box"`` in pixels of the source, segmentation ``{"class", "label", "pixels"}``,
            any other task a summary of each output. For a list, one such list a picture.

        Raises:
            PictureError: A picture cannot be read.
            OptionError: ``top_k`` is below 1.
        """
        if isinstance(source, str | Path | np.ndarray | Picture):
            return self.predict_pictures([_picture(source)], top_k=top_k)[0].results
        return [each.results for each in self.predict_pictures([_picture(one) for one in source], top_k=top_k)]

    def predict_pictures(self, pictures: Sequence[Picture], *, top_k: int = 5) -> list[Prediction]:
        """Answer for pictures that were read already, in their order; times and masks included.

        Raises:
            OptionError: ``top_k`` is below 1.
            ArtifactError: The artifact answers with what is no number.
        """
        if top_k < 1:
            raise OptionError(f"top-k must be at least 1, got {top_k}.")
        # Pictures that go in as they are have sizes of their own.
        step = 1 if None in self._input.shape[1:3] else self.batch_size
        batches = [pictures[begin : begin + step] for begin in range(0, len(pictures), step)]
        return [prediction for batch in batches for prediction in self._predict_batch(batch, top_k)]

    def run(self, batch: np.ndarray[Any, Any]) -> Arrays:
        """Run the bare artifact.

        Args:
            batch: ``(batch, height, width, channels)`` of the artifact's own type and size.

        Returns:
            Output name → array, in the artifact's order.

        Raises:
            OptionError: The shape or type is another one.
            ArtifactError: The engine fails, or the outputs are not those that the metadata say.
        """
        with self._turn:
            outputs = run_engine(self._runner, {self._input.name: batch, **self._thresholds})
        _check_outputs(self.path, self.metadata, outputs)
        return {name: outputs[name] for name in self._outputs}

    def feed(self, pictures: Sequence[Picture]) -> np.ndarray[Any, Any]:
        """Bring pictures to what `run` takes: ``(pictures, height, width, channels)``, not yet a full batch."""
        channels = self._input.shape[3]
        fitted = [fit_picture(each.content, self._fit, self._size_for(each), channels) for each in pictures]
        batch = np.stack(fitted)
        if self._input.dtype == "uint8":
            return batch
        return np.ascontiguousarray(self._preprocess.apply(batch.astype(np.float32), np), np.float32)

    def _predict_batch(self, pictures: Sequence[Picture], top_k: int) -> list[Prediction]:
        begin = time.perf_counter()
        batch = self.feed(pictures)
        lacking = self.batch_size - len(pictures)
        if lacking:  # an artifact of a fixed batch takes full ones only
            batch = np.concatenate([batch, np.repeat(batch[-1:], lacking, axis=0)])
        outputs = self.run(batch)
        with making_sense(self.path, "its outputs"):  # which may have other names
            predictions = [
                interpret(
                    {name: array[index] for name, array in outputs.items()},
                    task=str(self.metadata["task"]),
                    labels=self._labels,
                    top_k=top_k,
                    placement=self._place(picture),
                    nms=self._nms,
                    least_score=self._least_score,
                )
                for index, picture in enumerate(pictures)
            ]
        milliseconds = round(1000 * (time.perf_counter() - begin) / len(pictures), 3)
        return [replace(prediction, milliseconds=milliseconds) for prediction in predictions]

    def _place(self, picture: Picture) -> Placement:
        return place(self._fit, (picture.height, picture.width), self._size_for(picture))

    def _size_for(self, picture: Picture) -> tuple[int, int]:
        """Return the ``(height, width)`` that a picture is brought to; its own where the graph resizes."""
        _, height, width, _ = self._input.shape
        return height or picture.height, width or picture.width


@dataclass(frozen=True)
class _PictureInput:
    """The artifact's input: name, type and ``(batch or None, height, width, channels)``."""

    name: str
    dtype: str
    shape: tuple[int | None, int | None, int | None, int]


def _picture(source: Source) -> Picture:
    if isinstance(source, Picture):
        return source
    if isinstance(source, np.ndarray):
        return picture_of_array(source)
    if isinstance(source, str | Path):
        return read_picture(source)
    raise PictureError(f"A {type(source).__name__} is no picture. Give a file or a uint8 array.")


def _picture_input(path: Path, document: dict[str, Any], runner: Runner) -> _PictureInput:
    if len(runner.inputs) == 1:
        info = runner.inputs[0]
        sides = info.shape[1:]
        known = len(sides) == 3 and sides[2] in (1, 3) and info.dtype in ("uint8", "float32")
        if known and (None not in sides[:2] or document.get("graph_resize")):
            batch, height, width, channels = info.shape
            return _PictureInput(info.name, info.dtype, (batch, height, width, channels or 0))
    taken = ", ".join(f"{info.name} {info.dtype} {list(info.shape)}" for info in runner.inputs) or "nothing"
    raise ArtifactError(
        f"{str(path)!r} takes {taken}, where its metadata say {document['input']}: "
        "edgecv needs one input of pictures. Export it again."
    )


def _check_outputs(path: Path, document: dict[str, Any], outputs: Arrays) -> None:
    """Refuse outputs that are not those of the metadata: what follows relies on their ranks and sides.

    Raises:
        ArtifactError: They are not.
    """
    for said in document["outputs"]:
        array = outputs.get(said["name"])
        if array is None:  # a converter has given it another name
            continue
        wanted = said["shape"]
        fits = len(wanted) == array.ndim and all(
            want in (None, side) for want, side in zip(wanted[1:], array.shape[1:], strict=True)
        )
        if not fits or array.dtype.name != said["dtype"]:
            raise ArtifactError(
                f"{str(path)!r} gives {said['name']!r} as {array.dtype.name} {list(array.shape)}, where its metadata "
                f"say {said['dtype']} {wanted}. Export it again."
            )


def _output_names(document: dict[str, Any], runner: Runner) -> list[str]:
    """Return the outputs in the metadata's order, which no converter changes; the engine's where they differ."""
    names = [info.name for info in runner.outputs]
    said = [str(each["name"]) for each in document["outputs"]]
    return said if sorted(said) == sorted(names) else names
