"""ONNX Runtime, on the CPU and on NVIDIA GPUs."""

import contextlib
import ctypes
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from edgecv.errors import DeviceError, MissingExtraError
from edgecv.runtime import Arrays, NodeTime, Opened, TensorInfo
from edgecv.runtimes import onnx_container, onnx_scales
from edgecv.runtimes.container import is_unicode, one_line, unreadable
from edgecv.runtimes.feeds import check_feeds, check_threads

__all__ = ["OnnxRuntime"]

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_GPU_REMEDY = "Run: pip uninstall -y onnxruntime && pip install 'edgecv[onnx-gpu]'"
# What goes wrong is raised, too, and told in one line.
_FATAL_ONLY = 4


class OnnxRuntime:
    """Opens ``.onnx`` files with ONNX Runtime."""

    summary: ClassVar[str] = "ONNX Runtime, CPU and CUDA"
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)
    extra: ClassVar[str] = "onnx"
    engines: ClassVar[tuple[str, ...]] = ("onnxruntime", "onnxruntime-gpu")
    api_version: ClassVar[int] = 1

    def missing(self) -> str | None:
        """Say why ONNX Runtime cannot run here; None where it can."""
        if _package_folder() is None:
            return "onnxruntime is not installed. Run: pip install 'edgecv[onnx]'"
        return None

    def devices(self) -> tuple[str, ...]:
        """Return the devices that the installed build and this machine's drivers offer."""
        folder = _package_folder()
        if folder is None:
            return ()
        # The engine's own get_device() says GPU wherever the GPU build is installed, driver or not.
        if not any((folder / "capi").glob("*onnxruntime_providers_cuda.*")) or not _has_driver():
            return ("cpu",)
        return ("cpu", "cuda")

    def open(
        self,
        path: Path,
        *,
        device: str = "cpu",
        threads: int | None = None,
        expose: Sequence[str] = (),
        tf32: bool = False,
        profile: Path | None = None,
    ) -> "OnnxRunner":
        """Load a ``.onnx`` file.

        Args:
            path: The file.
            device: ``"cpu"`` or ``"cuda"``.
            threads: Threads within an operator; the default is one a physical core.
            expose: Names of tensors inside the file that `run` returns, too; those of 8 or 16 bits as float32.
            tf32: Let a GPU multiply float32 with 10 bits of mantissa.
            profile: Prefix of the file into which the engine writes how long each node takes.

        Raises:
            MissingExtraError: ONNX Runtime is not installed.
            ArtifactError: The file cannot be parsed.
            DeviceError: The device is not there.
            OptionError: ``threads`` is below 1.
        """
        check_threads(threads)
        if device not in ("cpu", "cuda"):
            raise DeviceError(f"ONNX Runtime has no device {device!r} in edgecv. Use cpu or cuda.")
        onnx_container.check_self_contained(path)  # says why, where the engine would only say that it failed
        engine = _engine()
        if device == "cuda" and _CUDA not in engine.get_available_providers():
            raise DeviceError(f"Device 'cuda' is not in the installed ONNX Runtime. {_GPU_REMEDY}")
        try:
            with contextlib.redirect_stdout(sys.stderr):
                session = engine.InferenceSession(
                    # The engine takes names in UTF-8 alone.
                    str(path) if is_unicode(path) and not expose else onnx_container.exposing(path, expose),
                    _options(engine, threads, profile),
                    providers=_providers(engine, device, tf32),
                )
        except Exception as error:  # the engine has a dozen types of its own
            raise unreadable(path, "ONNX", error) from error
        runner = OnnxRunner(session, expose, _scales(path, session, expose))
        if runner.device != device:
            raise DeviceError(
                f"Device {device!r} does not run: ONNX Runtime fell back to {runner.provider}. "
                "Check the driver with nvidia-smi; run: pip install 'edgecv[onnx-gpu]'"
            )
        return runner

    def probe(self, device: str) -> str | None:
        """Run a tiny graph on a device; say why that fails, None where it runs."""
        import tempfile

        import numpy as np

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "identity.onnx"
            path.write_bytes(_IDENTITY)
            try:
                self.open(path, device=device).run({"x": np.ones(1, np.float32)})
            except Exception as error:  # whatever it is, it is the answer
                return one_line(error)
        return None

    def read_metadata(self, path: Path) -> dict[str, Any]:
        """Read the edgecv metadata without the engine.

        Raises:
            ArtifactError: The file cannot be parsed or has no edgecv metadata.
        """
        return onnx_container.read_metadata(path)

    def write_metadata(self, path: Path, document: Mapping[str, Any]) -> None:
        """Put the edgecv metadata into the file, or replace it, in place.

        Raises:
            ArtifactError: The file cannot be parsed.
        """
        onnx_container.write_metadata(path, document)

    def operators(self, path: Path) -> dict[str, int]:
        """Count the operators by name, subgraphs included.

        Raises:
            ArtifactError: The file cannot be parsed.
        """
        return onnx_container.count_operators(path)

    def custom_operators(self, path: Path) -> list[str]:
        """Name the operators outside ONNX's default domain.

        Raises:
            ArtifactError: The file cannot be parsed.
        """
        return onnx_container.custom_operators(path)

    def profile(
        self,
        path: Path,
        feeds: Mapping[str, Any],
        *,
        device: str = "cpu",
        threads: int | None = None,
        seconds: float = 2.0,
    ) -> list[NodeTime]:
        """Time each node with the engine's own profiler.

        Raises:
            ArtifactError: The file cannot be parsed.
            DeviceError: The device is not there.
            OptionError: The artifact does not take ``feeds``.
        """
        import tempfile
        import time

        from edgecv.runtimes.onnx_graph import read_graph
        from edgecv.runtimes.onnx_profile import node_times

        nodes, _ = read_graph(path)
        with tempfile.TemporaryDirectory() as folder:
            prefix = Path(folder) / "profile"
            runner = self.open(path, device=device, threads=threads, profile=prefix)
            end = time.perf_counter() + seconds
            runner.run(feeds)
            while time.perf_counter() < end:
                runner.run(feeds)
            return node_times(runner.end_profile(), nodes)

    def multiply_adds(self, path: Path, feeds: Mapping[str, Any]) -> int:
        """Count the multiply-adds of convolutions and matrix products in a run on ``feeds``.

        Raises:
            ArtifactError: The file cannot be parsed.
        """
        from edgecv.runtimes import onnx_costs

        return onnx_costs.multiply_adds(path, lambda names: self.open(path, expose=names).run(feeds))


class OnnxRunner(Opened):
    """An opened ``.onnx`` file.

    Attributes:
        shareable: Several threads may run it at the same time.
    """

    shareable: ClassVar[bool] = True

    def __init__(
        self, session: Any, exposed: Sequence[str] = (), scales: "Mapping[str, onnx_scales.Scale] | None" = None
    ) -> None:
        self._session = session
        self._exposed = tuple(exposed)
        self._scales = dict(scales or {})
        super().__init__(
            inputs=map(_info, session.get_inputs()),
            optional_inputs=map(_info, session.get_overridable_initializers()),
            outputs=(_info(each) for each in session.get_outputs() if each.name not in exposed),
        )
        self._wanted = [*(info.name for info in self.outputs), *exposed]

    @property
    def device(self) -> str:
        """The device that really runs it."""
        return "cuda" if self.provider == _CUDA else "cpu"

    @property
    def provider(self) -> str:
        """The execution provider that the session put first."""
        return str(self._session.get_providers()[0])

    def run(self, feeds: Mapping[str, Any]) -> Arrays:
        """Run it on arrays by input name; inputs with a baked default may be left out.

        Raises:
            OptionError: An array's shape or type is not what the file takes.
        """
        import numpy as np  # `edgecv list` imports runtimes and needs no arrays

        check_feeds(feeds, self.inputs, self.optional_inputs)
        # ascontiguousarray would give a scalar a dimension.
        values = self._session.run(self._wanted, {name: np.asarray(array, order="C") for name, array in feeds.items()})
        given = dict(zip(self._wanted, values, strict=True))
        return {**given, **{name: onnx_scales.as_real(given[name], self._scales.get(name)) for name in self._exposed}}

    def end_profile(self) -> Path:
        """End the profile that the file was opened with, and return where it is."""
        return Path(self._session.end_profiling())


def _package_folder() -> Path | None:
    spec = importlib.util.find_spec("onnxruntime")
    # After one of two clashing builds is removed, the folder may be left without its module.
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def _has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _engine() -> Any:
    if _package_folder() is None:
        raise MissingExtraError("Opening .onnx files", "onnxruntime", "onnx")
    # Otherwise it leaves an identifier of the machine in the user's cache folder.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("Opening .onnx files", f"a working onnxruntime ({one_line(error)})", "onnx") from error
    onnxruntime.set_default_logger_severity(_FATAL_ONLY)
    return onnxruntime


def _options(engine: Any, threads: int | None, profile: Path | None = None) -> Any:
    options = engine.SessionOptions()
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    options.log_severity_level = _FATAL_ONLY
    # Threads that spin between two pictures cost power on a device and disturb whatever runs beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # On x86 without VNNI, int8 products saturate unless one bit is given up (ONNX Runtime 1.32).
    options.add_session_config_entry("session.x64quantprecision", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def _providers(engine: Any, device: str, tf32: bool) -> list[Any]:
    if device == "cpu":
        return [_CPU]
    if hasattr(engine, "preload_dlls"):  # finds the CUDA libraries that pip installed
        engine.preload_dlls()
    return [(_CUDA, {"use_tf32": int(tf32)}), _CPU]


_DTYPES = {"float": "float32", "double": "float64"}


def _scales(path: Path, session: Any, exposed: Sequence[str]) -> dict[str, onnx_scales.Scale]:
    """Return the scales of the exposed tensors that are integers of 8 bits."""
    names = [each.name for each in session.get_outputs() if each.type in ("tensor(int8)", "tensor(uint8)")]
    wanted = set(names) & set(exposed)
    return onnx_scales.read_scales(path, wanted) if wanted else {}


def _info(node: Any) -> TensorInfo:
    kind = str(node.type).removeprefix("tensor(").removesuffix(")")
    shape = tuple(side if isinstance(side, int) else None for side in node.shape)
    return TensorInfo(name=node.name, shape=shape, dtype=_DTYPES.get(kind, kind))


def _identity() -> bytes:
    """Return an ONNX file of one Identity node, float32 [1] → [1]."""
    from edgecv.protobuf import encode_field

    # ValueInfoProto{name, type{tensor_type{elem_type: float, shape{dim{dim_value: 1}}}}}
    tensor = b"\x08\x01" + encode_field(2, encode_field(1, b"\x08\x01"))
    kind = encode_field(2, encode_field(1, tensor))
    node = encode_field(1, b"x") + encode_field(2, b"y") + encode_field(4, b"Identity")
    graph = encode_field(1, node) + encode_field(2, b"probe")
    graph += encode_field(11, encode_field(1, b"x") + kind) + encode_field(12, encode_field(1, b"y") + kind)
    # ModelProto{ir_version: 8, graph, opset_import{version: 13}}
    return b"\x08\x08" + encode_field(7, graph) + encode_field(8, b"\x10\x0d")


_IDENTITY = _identity()
