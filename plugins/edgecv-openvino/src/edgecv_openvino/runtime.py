"""OpenVINO as a runtime of edgecv, on CPUs and on Intel GPUs."""

import functools
import importlib.util
import json
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from edgecv.errors import ArtifactError, DeviceError, MissingExtraError
from edgecv.runtime import Arrays, NodeTime, Opened, TensorInfo
from edgecv.runtimes.container import one_line, unreadable
from edgecv.runtimes.feeds import check_feeds, check_threads
from edgecv.runtimes.folder import FolderMetadata

from edgecv_openvino import container

__all__ = ["REMEDY", "TURNED", "OpenVinoRunner", "OpenVinoRuntime", "engine"]

# Where the graph says which transposed tensors can be exposed, too.
TURNED = ("edgecv", "turned")
REMEDY = "Run: pip install 'openvino>=2025,<2027'"
_NAMES = {"cpu": "CPU", "gpu": "GPU"}


class OpenVinoRuntime(FolderMetadata):
    """Opens folders of OpenVINO IR with OpenVINO."""

    summary: ClassVar[str] = "OpenVINO, CPU and Intel GPU"
    suffixes: ClassVar[tuple[str, ...]] = ("",)
    extra: ClassVar[str] = "openvino"
    engines: ClassVar[tuple[str, ...]] = ("openvino",)
    api_version: ClassVar[int] = 1

    def missing(self) -> str | None:
        """Say why OpenVINO cannot run here; None where it can."""
        return None if importlib.util.find_spec("openvino") else f"openvino is not installed. {REMEDY}"

    def devices(self) -> tuple[str, ...]:
        """Return the devices that the engine lists here; without a driver of a GPU it need not be asked."""
        if self.missing() is not None:
            return ()
        if not _may_have_gpu():
            return ("cpu",)
        listed = {name.partition(".")[0] for name in _core().available_devices}
        return tuple(name for name, own in _NAMES.items() if own in listed)

    def opens(self, path: Path) -> bool:
        """Look whether a folder holds OpenVINO IR."""
        return container.is_ir(path)

    def open(
        self,
        path: Path,
        *,
        device: str = "cpu",
        threads: int | None = None,
        expose: Sequence[str] = (),
        profile: bool = False,
    ) -> "OpenVinoRunner":
        """Load a folder of OpenVINO IR.

        Args:
            path: The folder.
            device: ``"cpu"`` or ``"gpu"``.
            threads: Threads on the CPU; the default is the engine's.
            expose: Names of tensors inside that `run` returns, too; those of 16 bits as float32.
            profile: Let the engine time every node.

        Raises:
            MissingExtraError: OpenVINO is not installed.
            ArtifactError: The files cannot be parsed.
            DeviceError: The device is not there.
            OptionError: ``threads`` is below 1.
        """
        check_threads(threads)
        if device not in _NAMES:
            raise DeviceError(f"OpenVINO has no device {device!r} in edgecv. Use cpu or gpu.")
        graph = container.graph_file(path)
        core = _core()
        if device not in self.devices():
            listed = ", ".join(core.available_devices) or "nothing"
            raise DeviceError(f"Device {device!r} is not there: OpenVINO lists {listed}. Install the device's driver.")
        try:
            model = core.read_model(graph)
            outputs = tuple(_info(each) for each in model.outputs)
            _expose(model, path, [name for name in expose if name not in {info.name for info in outputs}])
            compiled = core.compile_model(model, _NAMES[device], _settings(threads, profile))
        except (RuntimeError, UnicodeDecodeError) as error:  # what it says of a damaged graph need be no UTF-8
            raise unreadable(path, container.FORM, error) from error
        return OpenVinoRunner(compiled, outputs, names=_names(model), optional=_states(model))

    def probe(self, device: str) -> str | None:
        """Run a tiny graph on a device; say why that fails, None where it runs."""
        try:
            import numpy as np

            opset = engine().opset13
            given = opset.parameter([1], np.float32)
            model = engine().Model([opset.relu(given)], [given])
            _core().compile_model(model, _NAMES[device])([np.ones(1, np.float32)])
        except Exception as error:  # whatever it is, it is the answer
            return one_line(error)
        return None

    def operators(self, path: Path) -> dict[str, int]:
        """Count the operators by name, subgraphs included.

        Raises:
            ArtifactError: The files cannot be parsed.
        """
        return container.count_operators(path)

    def custom_operators(self, path: Path) -> list[str]:
        """Name the operators outside OpenVINO's own operation sets.

        Raises:
            ArtifactError: The files cannot be parsed.
        """
        return container.custom_operators(path)

    def profile(
        self,
        path: Path,
        feeds: Mapping[str, Any],
        *,
        device: str = "cpu",
        threads: int | None = None,
        seconds: float = 2.0,
    ) -> list[NodeTime]:
        """Time each node with the engine's own counters; it fuses nodes, so that one time is of several tensors.

        Raises:
            ArtifactError: The files cannot be parsed.
            DeviceError: The device is not there.
            OptionError: The artifact does not take ``feeds``.
        """
        from edgecv_openvino.profiling import NodeTimes

        runner = self.open(path, device=device, threads=threads, profile=True)
        times = NodeTimes(_core().read_model(container.graph_file(path)), runner.compiled)
        runner.run(feeds)  # the first run is no usual one
        end = time.perf_counter() + seconds
        while not times.runs or time.perf_counter() < end:
            runner.run(feeds)
            times.add(runner.request.get_profiling_info())
        return times.result()

    def multiply_adds(self, path: Path, feeds: Mapping[str, Any]) -> int | None:
        """Count the multiply-adds of convolutions and matrix products in a run on ``feeds``.

        Raises:
            ArtifactError: The files cannot be parsed.
        """
        from edgecv_openvino.costs import multiply_adds

        try:
            return multiply_adds(_core().read_model(container.graph_file(path)), feeds)
        except RuntimeError as error:
            raise unreadable(path, container.FORM, error) from error


class OpenVinoRunner(Opened):
    """Opened OpenVINO IR.

    Attributes:
        shareable: Several threads may run it at the same time; each has a request of its own.
        compiled: The engine's own object.
    """

    shareable: ClassVar[bool] = True

    def __init__(
        self,
        compiled: Any,
        outputs: tuple[TensorInfo, ...],
        *,
        names: Sequence[str],
        optional: tuple[TensorInfo, ...],
    ) -> None:
        self.compiled = compiled
        super().__init__(inputs=map(_info, compiled.inputs), optional_inputs=optional, outputs=outputs)
        self._names = tuple(names)
        self._local = threading.local()

    @property
    def request(self) -> Any:
        """The request of this thread."""
        if not hasattr(self._local, "request"):
            self._local.request = self.compiled.create_infer_request()
        return self._local.request

    @property
    def device(self) -> str:
        """The device that really runs it."""
        return self.provider.partition(".")[0].lower()

    @property
    def provider(self) -> str:
        """What the engine says it runs on."""
        return "+".join(self.compiled.get_property("EXECUTION_DEVICES"))

    def run(self, feeds: Mapping[str, Any]) -> Arrays:
        """Run it on arrays by input name; inputs with a baked default may be left out.

        Raises:
            OptionError: An array's shape or type is not what the artifact takes.
        """
        import numpy as np  # `edgecv list` imports runtimes and needs no arrays

        check_feeds(feeds, self.inputs, self.optional_inputs)
        request = self.request
        for state in request.query_state() if self.optional_inputs else ():
            if state.name in feeds:
                state.state = engine().Tensor(np.array(feeds[state.name]))
            else:
                state.reset()
        # ascontiguousarray would give a scalar a dimension.
        given = {info.name: np.asarray(feeds[info.name], order="C") for info in self.inputs}
        request.infer(given, share_inputs=True)
        values = (request.get_output_tensor(place).data for place in range(len(self._names)))
        # The engine's own memory is used again in the next run.
        return {name: _own(array) for name, array in zip(self._names, values, strict=True)}


def engine() -> Any:
    """Import OpenVINO.

    Raises:
        MissingExtraError: It is not installed, or broken.
    """
    if importlib.util.find_spec("openvino") is None:
        raise _MissingEngineError("openvino, which is not installed")
    try:
        import openvino
    except ImportError as error:
        raise _MissingEngineError(f"a working openvino ({one_line(error)})") from error
    return openvino


class _MissingEngineError(MissingExtraError):
    """OpenVINO is not installed; no extra of edgecv brings it."""

    def __init__(self, what: str) -> None:
        self.package = self.extra = "openvino"
        Exception.__init__(self, f"Opening OpenVINO IR needs {what}. {REMEDY}")


@functools.cache
def _core() -> Any:
    """Return the engine's core: it loads the plugins of devices, which takes its time."""
    return engine().Core()


def _may_have_gpu() -> bool:
    if not sys.platform.startswith("linux"):
        return True
    return Path("/dev/dxg").exists() or any(Path("/dev/dri").glob("renderD*"))


def _settings(threads: int | None, profile: bool) -> dict[str, Any]:
    # On processors with bfloat16 and on GPUs the engine would else compute in 16 bits what was proven in 32.
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    if profile:
        settings["PERF_COUNT"] = True
    return settings


def _expose(model: Any, path: Path, names: Sequence[str]) -> None:
    """Make tensors inside a graph outputs, too."""
    for name in names:
        try:
            if not _turn(model, name):
                model.add_outputs(name)
        except RuntimeError as error:
            raise ArtifactError(f"{str(path)!r} has no tensor {name!r} inside. Export it again.") from error


def _turn(model: Any, name: str) -> bool:
    """Make a tensor an output that is another one transposed; say whether the graph knows it as such."""
    if not model.has_rt_info(list(TURNED)):
        return False
    turned = json.loads(model.get_rt_info(list(TURNED)).astype(str))
    if name not in turned:
        return False
    inside, order = turned[name]
    ports = (port for operator in model.get_ops() for port in operator.outputs() if inside in port.get_names())
    opset = engine().opset13
    node = opset.transpose(next(ports), opset.constant(order))
    node.output(0).set_names({name})
    model.add_results([opset.result(node)])
    return True


def _names(model: Any) -> list[str]:
    return [_info(each).name for each in model.outputs]


def _states(model: Any) -> tuple[TensorInfo, ...]:
    """Return the states that edgecv made: those with a tensor of the same name."""
    found = []
    for operator in model.get_ordered_ops():
        if operator.get_type_name() == "ReadValue":
            name = operator.get_attributes()["variable_id"]
            if name in operator.output(0).get_names():
                found.append(replace(_info(operator.output(0)), name=name))
    return tuple(sorted(found, key=lambda info: info.name))


def _info(port: Any) -> TensorInfo:
    shape = tuple(None if side.is_dynamic else side.get_length() for side in port.get_partial_shape())
    names = port.get_names()
    # Two outputs of one tensor share its names; what the graph calls an output tells them apart.
    own = port.get_node().get_friendly_name().removesuffix("/sink_port_0")
    return TensorInfo(
        name=own if own in names else min(names), shape=shape, dtype=port.get_element_type().to_dtype().name
    )


def _own(array: Any) -> Any:
    return array.astype("float32" if array.dtype == "float16" else array.dtype)
