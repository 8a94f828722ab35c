"""LiteRT, the engine of TFLite files, on the CPU."""

import importlib
import importlib.util
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from edgecv.errors import ArtifactError, DeviceError, MissingExtraError
from edgecv.runtime import Arrays, NodeTime, Opened, TensorInfo
from edgecv.runtimes import tflite_check, tflite_container
from edgecv.runtimes.container import is_unicode, one_line, unreadable
from edgecv.runtimes.feeds import check_feeds, check_threads
from edgecv.runtimes.tflite_layouts import MEDIAPIPE, as_contract, value_as_contract

__all__ = ["LiteRtRuntime"]

# The second is what older and 32-bit ARM devices have. TensorFlow carries the same engine but is no device side.
_PACKAGES = ("ai_edge_litert", "tflite_runtime")
_SIGNATURE = "serving_default"
_FIRST_FOR_NUMPY_2 = (2, 17)


class LiteRtRuntime:
    """Opens ``.tflite`` files with LiteRT, or with the older tflite-runtime."""

    summary: ClassVar[str] = "LiteRT, CPU with XNNPACK"
    suffixes: ClassVar[tuple[str, ...]] = (".tflite",)
    extra: ClassVar[str] = "tflite"
    engines: ClassVar[tuple[str, ...]] = ("ai-edge-litert", "tflite-runtime")
    api_version: ClassVar[int] = 1

    def missing(self) -> str | None:
        """Say why LiteRT cannot run here; None where it can."""
        if _package() is None:
            return "ai-edge-litert is not installed. Run: pip install 'edgecv[tflite]'"
        return None

    def devices(self) -> tuple[str, ...]:
        """Return ``("cpu",)``, or nothing where the engine is missing."""
        return () if _package() is None else ("cpu",)

    def open(
        self,
        path: Path,
        *,
        device: str = "cpu",
        threads: int | None = None,
        expose: Sequence[str] = (),
        delegate: bool = True,
    ) -> "LiteRtRunner":
        """Load a ``.tflite`` file.

        Args:
            path: The file.
            device: ``"cpu"``.
            threads: Threads within an operator; the default is the engine's.
            expose: Names of tensors inside the file that `run` returns, too; quantised ones as float32.
            delegate: Let XNNPACK compute what it can; otherwise the engine's own kernels do, operator by operator.

        Raises:
            MissingExtraError: LiteRT is not installed.
            ArtifactError: The file cannot be parsed, or has operators that are not builtin ones.
            DeviceError: ``device`` is another one.
            OptionError: ``threads`` is below 1.
        """
        check_threads(threads)
        if device != "cpu":
            raise DeviceError(f"LiteRT has no device {device!r} in edgecv. Use cpu, or export to onnx for cuda.")
        custom = self.custom_operators(path)
        if custom:
            raise ArtifactError(
                f"{str(path)!r} needs operators that LiteRT has not: {', '.join(custom)}. "
                "Export it with builtin operators only."
            )
        tflite_check.check_model(path)
        engine = _engine()
        # Exposed as outputs, they are computed by the kernels that compute them otherwise; keeping all tensors,
        # as the engine offers, would turn its delegate off.
        content, exposed = tflite_container.exposing(path, expose) if expose else (None, {})
        if content is None and not is_unicode(path):  # the engine takes names in UTF-8 alone
            content = path.read_bytes()
        options: dict[str, Any] = {"model_path": str(path)} if content is None else {"model_content": content}
        if not delegate:
            options["experimental_op_resolver_type"] = engine.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            interpreter = engine.Interpreter(**options, num_threads=threads)
            return LiteRtRunner(interpreter, path, exposed, provider="XNNPACK" if delegate else "builtin kernels")
        except Exception as error:  # ValueError and RuntimeError, and what a newer engine may raise
            raise unreadable(path, "TFLite", error) from error

    def probe(self, device: str) -> str | None:
        """Run a tiny graph; say why that fails, None where it runs."""
        if device != "cpu":
            return f"LiteRT has no device {device!r} in edgecv"
        try:
            import numpy as np

            from edgecv.runtimes.litert_probe import ABSOLUTE

            interpreter = _engine().Interpreter(model_content=ABSOLUTE)
            interpreter.allocate_tensors()
            interpreter.set_tensor(0, np.array([-2], np.float32))
            interpreter.invoke()
            answer = float(interpreter.get_tensor(1)[0])
            return None if answer == 2 else f"it says that |-2| is {answer}"
        except Exception as error:  # whatever it is, it is the answer
            return one_line(error)

    def read_metadata(self, path: Path) -> dict[str, Any]:
        """Read the edgecv metadata without the engine.

        Raises:
            ArtifactError: The file cannot be parsed or has no edgecv metadata.
        """
        return tflite_container.read_metadata(path)

    def write_metadata(self, path: Path, document: Mapping[str, Any]) -> None:
        """Put the edgecv metadata into the file, or replace it, in place.

        Raises:
            ArtifactError: The file cannot be parsed.
        """
        tflite_container.write_metadata(path, document)

    def operators(self, path: Path) -> dict[str, int]:
        """Count the operators by name, subgraphs included.

        Raises:
            ArtifactError: The file cannot be parsed.
        """
        return tflite_container.count_operators(path)

    def custom_operators(self, path: Path) -> list[str]:
        """Name the operators that are not TFLite's builtin ones.

        Raises:
            ArtifactError: The file cannot be parsed.
        """
        return tflite_container.custom_operators(path)

    def profile(
        self,
        path: Path,
        feeds: Mapping[str, Any],
        *,
        device: str = "cpu",
        threads: int | None = None,
        seconds: float = 2.0,
    ) -> list[NodeTime] | None:
        """Time the operators with the engine's own profiler, by its C interface; None where it cannot say.

        A fault of the library would end the process: run it in one of its own.

        Raises:
            ArtifactError: The file cannot be parsed.
            DeviceError: The device is not there.
            OptionError: The artifact does not take ``feeds``.
        """
        from edgecv.runtimes import litert_profile

        runner = self.open(path, device=device, threads=threads)
        check_feeds(feeds, runner.inputs)
        arrays = [feeds[info.name] for info in runner.inputs]
        return litert_profile.profile(path, arrays, threads=threads, seconds=seconds)

    def multiply_adds(self, path: Path, feeds: Mapping[str, Any]) -> int:  # noqa: ARG002
        """Count the multiply-adds of convolutions and matrix products in a run of the shapes in the file.

        Raises:
            ArtifactError: The file cannot be parsed.
        """
        from edgecv.runtimes import tflite_costs

        return tflite_costs.multiply_adds(path)


class LiteRtRunner(Opened):
    """An opened ``.tflite`` file; not for several threads at a time: an interpreter holds the tensors of one run."""

    def __init__(self, interpreter: Any, path: Path, exposed: Mapping[str, int], provider: str = "XNNPACK") -> None:
        self._interpreter = interpreter
        self._provider = provider
        signed = tflite_container.signature(path, _SIGNATURE)
        foreign = None if signed else tflite_container.signature(path, MEDIAPIPE)
        inputs, outputs = _tensors(interpreter, signed or foreign or ([], []), set(exposed.values()))
        if foreign:
            outputs = [(as_contract(info), index) for info, index in outputs]
        self._foreign = {info.name for info, _ in outputs} if foreign else set()
        self._input_index = {info.name: index for info, index in inputs}
        self._output_index = {**{info.name: index for info, index in outputs}, **exposed}
        super().__init__(inputs=(info for info, _ in inputs), outputs=(info for info, _ in outputs))
        self._quantised = {
            int(each["index"]): each["quantization_parameters"]
            for each in interpreter.get_output_details()
            if int(each["index"]) in set(exposed.values())
        }
        interpreter.allocate_tensors()

    @property
    def device(self) -> str:
        """The device that really runs it."""
        return "cpu"

    @property
    def provider(self) -> str:
        """The delegate that LiteRT applies by itself to what it can run, unless it was turned off."""
        return self._provider

    def run(self, feeds: Mapping[str, Any]) -> Arrays:
        """Run it on arrays by input name.

        Raises:
            OptionError: An array's shape or type is not what the file takes.
        """
        import numpy as np  # `edgecv list` imports runtimes and needs no arrays

        check_feeds(feeds, self.inputs)
        arrays = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
        self._resize(arrays)
        for name, array in arrays.items():
            self._interpreter.set_tensor(self._input_index[name], array)
        self._interpreter.invoke()
        values = {name: self._value(index) for name, index in self._output_index.items()}
        return values | {name: value_as_contract(name, values[name]) for name in self._foreign}

    def _value(self, index: int) -> Any:
        # get_tensor copies: the array outlives the next run.
        value = self._interpreter.get_tensor(index)
        parameters = self._quantised.get(index)
        # An activation has one scale; what has none is no quantised tensor.
        if parameters is None or len(parameters["scales"]) != 1:
            return value
        return (value.astype("float32") - float(parameters["zero_points"][0])) * float(parameters["scales"][0])

    def _resize(self, arrays: Mapping[str, Any]) -> None:
        now = {each["index"]: tuple(each["shape"]) for each in self._interpreter.get_input_details()}
        changed = False
        for name, array in arrays.items():
            index = self._input_index[name]
            if now[index] != array.shape:
                self._interpreter.resize_tensor_input(index, array.shape, strict=True)
                changed = True
        if changed:
            self._interpreter.allocate_tensors()


def _package() -> str | None:
    return next((name for name in _PACKAGES if importlib.util.find_spec(name) is not None), None)


def _engine() -> Any:
    """Return the engine's module, with its Interpreter."""
    package = _package()
    if package is None:
        raise MissingExtraError("Opening .tflite files", "ai-edge-litert", "tflite")
    if package == "tflite_runtime":
        _check_numpy()
    try:
        return importlib.import_module(f"{package}.interpreter")
    except ImportError as error:
        problem = f"a working {package} ({one_line(error)})"
        raise MissingExtraError("Opening .tflite files", problem, "tflite") from error


def _check_numpy() -> None:
    """Refuse a tflite-runtime that was built for another NumPy: it would fail in a line that nobody understands."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        runtime, numpy = version("tflite-runtime"), version("numpy")
    except PackageNotFoundError:  # built by hand, or a nightly one
        return
    if _numbers(runtime) < _FIRST_FOR_NUMPY_2 and _numbers(numpy) >= (2,):
        raise DeviceError(
            f"tflite-runtime {runtime} was built for NumPy 1 and cannot run beside NumPy {numpy}. "
            "Run: pip install 'numpy<2'"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


def _tensors(
    interpreter: Any, names: tuple[list[tuple[str, int]], list[tuple[str, int]]], exposed: Collection[int]
) -> tuple[list[tuple[TensorInfo, int]], list[tuple[TensorInfo, int]]]:
    """Return inputs and outputs with their tensor indices: the signature's names and order, else the tensors'."""
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    own = {index for _, index in names[1]}  # an output may be exposed, too
    outputs = [each for each in outputs if int(each["index"]) in own or int(each["index"]) not in exposed]
    return _named(inputs, names[0]), _named(outputs, names[1])


def _named(details: list[dict[str, Any]], names: list[tuple[str, int]]) -> list[tuple[TensorInfo, int]]:
    by_index = {int(each["index"]): each for each in details}
    # A signature that leaves a tensor out, or names another one, cannot be followed.
    if {index for _, index in names} != set(by_index):
        names = [(str(each["name"]), int(each["index"])) for each in details]
    return [(_info(name, by_index[index]), index) for name, index in names]


def _info(name: str, detail: Mapping[str, Any]) -> TensorInfo:
    import numpy as np

    signature = detail["shape_signature"]
    # The signature of a tensor without a dynamic side may be empty.
    sides = signature if len(signature) == len(detail["shape"]) else detail["shape"]
    shape = tuple(None if side < 0 else int(side) for side in sides)
    return TensorInfo(name=name, shape=shape, dtype=np.dtype(detail["dtype"]).name)
