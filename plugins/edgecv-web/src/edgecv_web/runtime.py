"""A page with its network as a runtime of edgecv: it is opened in a headless Chromium, and answers from there."""

import base64
import json
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from edgecv.errors import ArtifactError, DeviceError, MissingExtraError, OptionError
from edgecv.protobuf import encode_field
from edgecv.runtime import Arrays, Opened, TensorInfo
from edgecv.runtimes import onnx_container, onnx_scales
from edgecv.runtimes.container import one_line, unreadable
from edgecv.runtimes.feeds import check_feeds, check_threads

from edgecv_web.browser import BrowserError, Tab, browser_path, shared
from edgecv_web.container import (
    FORM,
    is_page,
    model_file,
    optional_inputs,
    read_page_metadata,
    write_page_metadata,
)

__all__ = ["WebRunner", "WebRuntime"]

_NO_BROWSER = (
    "no Chromium or Chrome is on PATH. Install one, such as by: apt install chromium; or name it in EDGECV_CHROMIUM"
)
_OPEN_SECONDS = 180.0
_RUN_SECONDS = 600.0
# Fields of ONNX's ModelProto, GraphProto and ValueInfoProto.
_MODEL_GRAPH, _GRAPH_OUTPUT, _VALUE_NAME = 7, 12, 1


class WebRuntime:
    """Opens pages that the exporter ``web`` wrote, folders and single files."""

    summary: ClassVar[str] = "pages with ONNX Runtime Web, run in a headless Chromium"
    suffixes: ClassVar[tuple[str, ...]] = ("", ".html")
    extra: ClassVar[str] = ""
    engines: ClassVar[tuple[str, ...]] = ()
    api_version: ClassVar[int] = 1

    def missing(self) -> str | None:
        """Say that no browser is installed; None where one is."""
        return None if browser_path() else _NO_BROWSER[0].upper() + _NO_BROWSER[1:]

    def devices(self) -> tuple[str, ...]:
        """Return ``("cpu",)``, or nothing where no browser is installed."""
        return ("cpu",) if browser_path() else ()

    def opens(self, path: Path) -> bool:
        """Look whether a folder is a page with a network; any HTML file may be one."""
        return is_page(path)

    def open(
        self, path: Path, *, device: str = "cpu", threads: int | None = None, expose: Sequence[str] = ()
    ) -> "WebRunner":
        """Open a page in Chromium: a folder over HTTP, a single file from disk.

        Args:
            path: The page.
            device: ``"cpu"``.
            threads: Threads of the network; the default is 1, as on a host that does not isolate the page.
            expose: Names of tensors inside the network that `WebRunner.run` returns, too; those of 8 or 16 bits as
                float32.

        Raises:
            MissingExtraError: No browser is installed.
            ArtifactError: The page or its network does not load.
            DeviceError: ``device`` is another one, or the browser does not start.
            OptionError: ``threads`` is below 1, or above for a single file.
        """
        check_threads(threads)
        if device != "cpu":
            raise DeviceError(f"Pages have no device {device!r} in edgecv. Use cpu.")
        if path.is_file() and threads not in (None, 1):
            raise OptionError(
                f"A page of one file runs on one thread, got {threads}. Export a folder, or leave it out."
            )
        optional = optional_inputs(path)
        with model_file(path) as model:
            onnx_container.check_self_contained(model)
        browser = browser_path()
        if browser is None:
            raise _MissingBrowserError
        try:
            return _opened(shared(browser), path, threads or 1, tuple(expose), optional)
        except _PageError as error:
            raise unreadable(path, FORM, error) from error
        except BrowserError as error:
            raise DeviceError(str(error)) from error

    def probe(self, device: str) -> str | None:  # noqa: ARG002 - there is one alone
        """Start the browser; say why that fails, None where it runs."""
        browser = browser_path()
        if browser is None:
            return self.missing()
        try:
            shared(browser)
        except BrowserError as error:
            return one_line(error)
        return None

    def read_metadata(self, path: Path) -> dict[str, Any]:
        """Read the edgecv metadata.

        Raises:
            ArtifactError: There are none, or they make no sense.
        """
        return read_page_metadata(path)

    def write_metadata(self, path: Path, document: Mapping[str, Any]) -> None:
        """Put the edgecv metadata into a page.

        Raises:
            ArtifactError: It is no page.
        """
        write_page_metadata(path, document)

    def operators(self, path: Path) -> dict[str, int]:
        """Count the operators of the network by name.

        Raises:
            ArtifactError: The page or its network cannot be parsed.
        """
        with model_file(path) as model:
            return onnx_container.count_operators(model)

    def custom_operators(self, path: Path) -> list[str]:
        """Name the operators outside ONNX's default domain.

        Raises:
            ArtifactError: The page or its network cannot be parsed.
        """
        with model_file(path) as model:
            return onnx_container.custom_operators(model)


class _PageError(Exception):
    """The page is there, but its network does not load."""


class _MissingBrowserError(MissingExtraError):
    """There is no browser; no extra brings one."""

    def __init__(self) -> None:
        self.package, self.extra = "chromium", ""
        Exception.__init__(self, f"Running a page needs a browser: {_NO_BROWSER}.")


class WebRunner(Opened):
    """An opened page.

    Attributes:
        shareable: Several threads may run it at the same time; the page answers one after the other.
        milliseconds: What the last run took in the page, as it measured it: without the way there and back.
    """

    shareable: ClassVar[bool] = True

    def __init__(
        self,
        tab: Tab,
        path: Path,
        described: Mapping[str, Any],
        exposed: Sequence[str],
        optional: tuple[TensorInfo, ...],
    ) -> None:
        self.milliseconds = 0.0
        self._tab = tab
        self._path = path
        self._exposed = tuple(exposed)
        super().__init__(
            inputs=map(_info, described["inputs"]),
            optional_inputs=optional,
            outputs=(info for info in map(_info, described["outputs"]) if info.name not in exposed),
        )
        self._threads = int(described["threads"])
        rounded = {each["name"] for each in described["outputs"] if each["dtype"] in ("int8", "uint8")} & set(exposed)
        self._scales: dict[str, onnx_scales.Scale] = {}
        if rounded:
            with model_file(path) as model:
                self._scales = onnx_scales.read_scales(model, rounded)

    @property
    def device(self) -> str:
        """The device that runs it: the CPU."""
        return "cpu"

    @property
    def provider(self) -> str:
        """What runs it in the page."""
        return f"WebAssembly, {self._threads} thread{'s' * (self._threads > 1)}"

    def run(self, feeds: Mapping[str, Any]) -> Arrays:
        """Run it in the page on arrays by input name.

        Raises:
            OptionError: An array's shape or type is not what the network takes.
            ArtifactError: The network fails, or the page crashed.
        """
        import numpy as np  # `edgecv list` imports runtimes and needs no arrays

        check_feeds(feeds, self.inputs, self.optional_inputs)
        given = {}
        for name, values in feeds.items():
            array = np.asarray(values, order="C")
            data = base64.b64encode(array.tobytes()).decode()
            given[name] = {"dtype": array.dtype.name, "shape": list(array.shape), "data": data}
        try:
            answer = self._tab.evaluate("feeds => edgecv.answer({feeds})", given, timeout=_RUN_SECONDS)
        except BrowserError as error:
            raise ArtifactError(
                f"{str(self._path)!r} fails in the browser: {one_line(error)}. Export it again."
            ) from error
        self.milliseconds = float(answer["milliseconds"])
        found = {name: _array(each) for name, each in answer["outputs"].items()}
        inside = {name: onnx_scales.as_real(found[name], self._scales.get(name)) for name in self._exposed}
        return found | inside


def _opened(
    chromium: Any, path: Path, threads: int, expose: tuple[str, ...], optional: tuple[TensorInfo, ...]
) -> WebRunner:
    from edgecv_web.served import host  # only who opens pages needs a server

    outputs = b"".join(encode_field(_GRAPH_OUTPUT, encode_field(_VALUE_NAME, name.encode())) for name in expose)
    more = encode_field(_MODEL_GRAPH, outputs) if expose else b""
    settings = {"threads": threads, "append": base64.b64encode(more).decode(), "quiet": True}
    tab, key = Tab(chromium), ""
    try:
        if path.is_dir():
            address, key = host().add(path.resolve())
        else:
            address = path.resolve().as_uri()
        before = f"globalThis.edgecvSettings = {json.dumps(settings)}"
        tab.open(address, before=before, timeout=_OPEN_SECONDS)
        described = tab.evaluate(_READY, timeout=_OPEN_SECONDS)
        if "problem" in described:
            raise _PageError(described["problem"])
    except BaseException:
        chromium.discard(tab)
        raise
    finally:
        chromium.sweep()
        if key:
            host().take(key)
    runner = WebRunner(tab, path, described, expose, optional)
    weakref.finalize(runner, chromium.discard, tab).atexit = False
    return runner


# A page whose scripts are damaged knows nothing of edgecv; its scripts are loaded when it is.
_READY = """async () => {
  if (!globalThis.edgecv) return {problem: "its scripts do not load"};
  try {
    return await globalThis.edgecv.ready;
  } catch (error) {
    return {problem: String(error.message ?? error)};
  }
}"""


def _info(described: Mapping[str, Any]) -> TensorInfo:
    return TensorInfo(name=described["name"], shape=tuple(described["shape"]), dtype=described["dtype"])


def _array(described: Mapping[str, Any]) -> Any:
    import numpy as np

    values = np.frombuffer(base64.b64decode(described["data"]), described["dtype"])
    return values.reshape(described["shape"]).copy()
