"""Sources for TensorFlow Lite Micro as a runtime of edgecv: its interpreter on the host, with the arena they state."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgecv.errors import ArtifactError, DeviceError
from edgecv.flatbuffer import FlatbufferError
from edgecv.runtime import Arrays, Opened, TensorInfo
from edgecv.runtimes import tflite_check, tflite_container, tflite_costs
from edgecv.runtimes.container import unreadable
from edgecv.runtimes.feeds import check_feeds, check_threads
from edgecv.runtimes.folder import FolderMetadata

from edgecv_tflm.compiled import CompiledPostprocess, compile_postprocess
from edgecv_tflm.description import Description, read_description
from edgecv_tflm.micro import Micro, MicroError
from edgecv_tflm.model_file import as_file, check_described, with_outputs
from edgecv_tflm.reference import NumpyPostprocess, dequantised
from edgecv_tflm.sources import FORM, find_prefix, read_arena, read_model

if TYPE_CHECKING:
    import numpy as np

__all__ = ["TflmRunner", "TflmRuntime"]

_CHECKPOINTS = ("pre_nms/boxes", "pre_nms/scores")
# An arena for tensors that nobody has on the device: exposed ones are outputs, which keep their memory to the end.
_LARGE_ARENA = 1 << 28


class TflmRuntime(FolderMetadata):
    """Opens what the exporter ``tflm`` writes: the C array, run in TensorFlow Lite Micro's interpreter."""

    summary: ClassVar[str] = "TensorFlow Lite Micro's interpreter, with the arena that the sources state"
    suffixes: ClassVar[tuple[str, ...]] = ("",)
    extra: ClassVar[str] = "tflite"
    engines: ClassVar[tuple[str, ...]] = ("tflite-micro",)
    api_version: ClassVar[int] = 1

    def missing(self) -> str | None:
        """Say why the interpreter cannot run here; None where it can."""
        if importlib.util.find_spec("tflite_micro") is None:
            return "tflite-micro is not installed. Run: pip install tflite-micro"
        return None

    def devices(self) -> tuple[str, ...]:
        """Return ``("cpu",)``, or nothing where the interpreter is missing."""
        return () if self.missing() is not None else ("cpu",)

    def opens(self, path: Path) -> bool:
        """Look whether a folder has the sources of one model."""
        return find_prefix(path) is not None

    def open(
        self, path: Path, *, device: str = "cpu", threads: int | None = None, expose: Sequence[str] = ()
    ) -> "TflmRunner":
        """Open sources, in a process of its own.

        Raises:
            ArtifactError: They cannot be parsed, or the interpreter refuses them.
            DeviceError: ``device`` is not the CPU, or the interpreter is missing.
            OptionError: ``threads`` is below 1.
        """
        check_threads(threads)  # there is one thread, whatever is asked for
        if device != "cpu":
            raise DeviceError(f"TensorFlow Lite Micro has no device {device!r}. Use cpu.")
        missing = self.missing()
        if missing is not None:
            raise DeviceError(f"Opening {FORM} cannot run: {missing}")
        model, description = _read(path)
        try:
            return TflmRunner(path, model, description, expose)
        except (MicroError, FlatbufferError) as error:
            raise unreadable(path, FORM, error) from error

    def operators(self, path: Path) -> dict[str, int]:
        """Count the operators of the model by name.

        Raises:
            ArtifactError: The sources cannot be parsed.
        """
        with as_file(_read(path)[0]) as file:
            return tflite_container.count_operators(file)

    def custom_operators(self, path: Path) -> list[str]:
        """Name the operators that are not TFLite's builtin ones.

        Raises:
            ArtifactError: The sources cannot be parsed.
        """
        with as_file(_read(path)[0]) as file:
            return tflite_container.custom_operators(file)

    def multiply_adds(self, path: Path, feeds: Mapping[str, Any]) -> int:  # noqa: ARG002
        """Count the multiply-adds of convolutions and matrix products in a run.

        Raises:
            ArtifactError: The sources cannot be parsed.
        """
        with as_file(_read(path)[0]) as file:
            return tflite_costs.multiply_adds(file)


class TflmRunner(Opened):
    """Opened sources; not for several threads at a time."""

    def __init__(self, path: Path, model: bytes, description: Description, expose: Sequence[str]) -> None:
        given = description.input
        super().__init__(
            inputs=(TensorInfo(name="image", shape=given.shape, dtype=given.dtype),), outputs=_outputs(description)
        )
        self._description = description
        self._micro = Micro()
        self._model = self._micro.open(model, read_arena(path, description.prefix), len(description.heads))
        self._after: CompiledPostprocess | NumpyPostprocess | None = None
        if description.postprocesses:
            self._after = compile_postprocess(description, path) or NumpyPostprocess(description)
        decoded = _CHECKPOINTS if description.detection is not None else ()
        self._decoded = [name for name in expose if name in decoded]
        self._inside = [name for name in expose if name not in decoded]
        if self._inside:
            exposing, self._exposed = with_outputs(model, description, self._inside)
            self._whole = self._micro.open(exposing, _LARGE_ARENA, len(description.heads) + len(self._inside))

    @property
    def device(self) -> str:
        """The device that really runs it."""
        return "cpu"

    @property
    def provider(self) -> str:
        """The interpreter, and what computes what follows the graph."""
        return "TensorFlow Lite Micro" + (f" + {self._after.name}" if self._after is not None else "")

    def run(self, feeds: Mapping[str, Any]) -> Arrays:
        """Run it on an array by input name.

        Raises:
            OptionError: The array's shape or type is not what the model takes.
            ArtifactError: The interpreter fails.
        """
        import numpy as np  # `edgecv list` imports runtimes and needs no arrays

        check_feeds(feeds, self.inputs)
        picture = np.ascontiguousarray(feeds["image"])
        try:
            heads = self._micro.run(self._model, picture)
            inside = self._micro.run(self._whole, picture)[len(heads) :] if self._inside else []
        except MicroError as error:
            raise ArtifactError(f"TensorFlow Lite Micro fails on the model: {error}. Export it again.") from error
        found = self._answers(heads)
        if self._decoded and self._after is not None:
            decoded = dict(zip(_CHECKPOINTS, self._after.decode(heads), strict=True))
            found |= {name: decoded[name] for name in self._decoded}
        exposed = zip(self._inside, inside, self._exposed, strict=True) if self._inside else ()
        return found | {name: dequantised(values, tensor) for name, values, tensor in exposed}

    def _answers(self, heads: "list[np.ndarray[Any, Any]]") -> Arrays:
        detection = self._description.detection
        if detection is None:
            read = self._after.outputs(heads) if self._after is not None else {}
            named = {output.name: values for output, values in zip(self._description.outputs, heads, strict=True)}
            return {name: read.get(name, values) for name, values in named.items()}
        assert self._after is not None
        if detection.nms is None:
            return dict(zip(("boxes", "scores"), self._after.decode(heads), strict=True))
        return self._after.detect(heads)


def _outputs(description: Description) -> list[TensorInfo]:
    detection = description.detection
    if detection is None:
        heads = zip(description.outputs, description.heads, strict=True)
        read = {output.name for _, output, _ in description.read}
        return [
            TensorInfo(name=output.name, shape=head.shape, dtype="float32" if output.name in read else head.dtype)
            for output, head in heads
        ]
    if detection.nms is None:
        shapes = {"boxes": (detection.anchors, 4), "scores": (detection.anchors, detection.classes)}
        return [TensorInfo(name=name, shape=(1, *shape), dtype="float32") for name, shape in shapes.items()]
    most = detection.nms.max_detections
    return [
        TensorInfo(name="boxes", shape=(1, most, 4), dtype="float32"),
        TensorInfo(name="scores", shape=(1, most), dtype="float32"),
        TensorInfo(name="classes", shape=(1, most), dtype="int32"),
        TensorInfo(name="count", shape=(1,), dtype="int32"),
    ]


def _read(path: Path) -> tuple[bytes, Description]:
    """Return the model and the description of an artifact, which belong together.

    Raises:
        ArtifactError: They cannot be parsed, or do not.
    """
    prefix = find_prefix(path)
    if prefix is None:
        raise unreadable(path, FORM, "it has no sources of one model")
    description = read_description(path)
    if description.prefix != prefix:
        raise unreadable(path, FORM, f"its sources are called {prefix!r}, not {description.prefix!r}")
    model = read_model(path, prefix)
    try:
        with as_file(model) as file:
            tflite_check.check_model(file)  # the interpreter trusts what is in it
        check_described(model, description)
    except (ArtifactError, FlatbufferError) as error:
        raise unreadable(path, FORM, error) from error
    return model, description
