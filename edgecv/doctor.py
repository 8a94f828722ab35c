"""What is installed, what clashes, which devices work, and what to do about the rest."""

import platform
import re
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from edgecv import registry
from edgecv.errors import PluginError, one_line
from edgecv.exporter import API_VERSION
from edgecv.extras import why_missing
from edgecv.surroundings import anonymous, machine, surroundings

__all__ = ["Diagnosis", "examine"]

# Distributions that write into one folder: pip installs them together without a word, the last one wins, and
# removing either breaks the other. The first of those installed is the one to keep.
_RIVALS = (
    ("onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime"),
    ("tensorflow", "tensorflow-cpu"),
    ("tflite-runtime", "tflite-runtime-nightly"),
)
# Engines of one format that stand side by side: the first one is used.
_DOUBLES = {".tflite": ("ai-edge-litert", "tflite-runtime")}
_PACKAGES = (
    "edgecv", "numpy", "pillow", "click", "rich", "onnxruntime", "onnxruntime-gpu", "ai-edge-litert", "tflite-runtime",
    "tensorflow", "tensorflow-cpu", "keras", "tf2onnx", "onnx", "protobuf", "flatbuffers", "ai-edge-quantizer", "av",
    "jinja2", "matplotlib", "openvino", "nncf",
)  # fmt: skip
_GROUPS = {
    "architecture": (registry.architecture_names, registry.load_architecture),
    "exporter": (registry.exporter_names, registry.load_exporter),
    "runtime": (registry.runtime_names, registry.load_runtime),
}
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_INSIDE = re.compile(r"\[([^]]*)\]")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
# For those who work on edgecv.
_HIDDEN_EXTRAS = ("dev", "test")


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What `examine` found.

    Attributes:
        packages: Package → installed version, or None.
        extras: Extra of edgecv → ``installed``, and the packages that it lacks, ``missing``.
        plugins: Each distribution that offers something to edgecv: ``name``, ``version``, and ``offers``: kind → names.
        runtimes: For each runtime ``name``, ``distribution``, ``version``, ``api_version``, ``available``, ``reason``,
            and ``devices``: a list of ``device``, ``works``, ``problem``.
        exporters: The same for each exporter, without devices.
        problems: What is broken.
        advice: What to do, for what is broken and for what is only missing.
    """

    packages: dict[str, str | None]
    extras: dict[str, dict[str, Any]]
    plugins: list[dict[str, Any]]
    runtimes: list[dict[str, Any]]
    exporters: list[dict[str, Any]]
    problems: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``doctor --json``, fit to be pasted anywhere: without names of folders and users."""
        document: dict[str, Any] = anonymous(
            {
                "healthy": not self.problems,
                "python": platform.python_version(),
                "platform": platform.platform(),
                "api_version": API_VERSION,
                "machine": machine(),
                "surroundings": surroundings(),
                "packages": self.packages,
                "extras": self.extras,
                "plugins": self.plugins,
                "runtimes": self.runtimes,
                "exporters": self.exporters,
                "problems": self.problems,
                "advice": self.advice,
            }
        )
        return document


def examine() -> Diagnosis:
    """Look at this installation; each device that an engine offers runs a tiny graph."""
    diagnosis = Diagnosis(
        packages={name: _version(name) for name in _PACKAGES},
        extras=_extras(),
        plugins=_plugins(),
        runtimes=[],
        exporters=[],
    )
    for clash in _clashes():
        diagnosis.problems.append(f"{' and '.join(clash)} are installed together and overwrite each other.")
        diagnosis.advice.append(f"pip uninstall -y {' '.join(clash)} && pip install {clash[0]}")
    for suffix, names in _DOUBLES.items():
        there = [name for name in names if _version(name) is not None]
        if len(there) > 1:
            diagnosis.advice.append(f"{' and '.join(there)} both open {suffix} files; edgecv takes {there[0]}.")
    loaded = _load_plugins(diagnosis)
    diagnosis.exporters.extend(_offer("exporter", name, plugin) for name, plugin in loaded["exporter"].items())
    diagnosis.runtimes.extend(_runtime(name, plugin) for name, plugin in loaded["runtime"].items())
    _judge(diagnosis)
    return diagnosis


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _extras() -> dict[str, dict[str, Any]]:
    """Return each extra and what it lacks; one that names others lacks what they lack."""
    try:
        lines = requires("edgecv") or []
    except PackageNotFoundError:  # run from a folder that was not installed
        return {}
    wanted: dict[str, list[str]] = {}
    for line in lines:
        extra = _EXTRA.search(line)
        if extra is not None:
            wanted.setdefault(extra[1], []).append(line.partition(";")[0].strip())
    shown = [extra for extra in wanted if extra not in _HIDDEN_EXTRAS]
    found = {extra: sorted(_lacking(extra, wanted)) for extra in shown}
    return {extra: {"installed": not missing, "missing": missing} for extra, missing in found.items()}


def _lacking(extra: str, wanted: dict[str, list[str]]) -> set[str]:
    lacking: set[str] = set()
    for requirement in wanted.get(extra, []):
        found, inside = _NAME.match(requirement), _INSIDE.search(requirement)
        name = found[0] if found is not None else requirement
        if name == "edgecv" and inside is not None:
            lacking = lacking.union(*(_lacking(other.strip(), wanted) for other in inside[1].split(",")))
        elif _version(name) is None:
            lacking.add(name)
    return lacking


def _plugins() -> list[dict[str, Any]]:
    """Return the distributions other than edgecv that offer something, by their names; nothing is imported."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    groups = ("edgecv.architectures", "edgecv.exporters", "edgecv.runtimes", "edgecv.weights")
    for group in groups:
        for name in registry.names(group):
            try:
                origin = registry.distribution(group, name)
            except PluginError:  # offered twice: loading it says so
                continue
            found.setdefault(origin, {}).setdefault(group.partition(".")[2], []).append(name)
    return [
        {"name": name, "version": number, "offers": offers}
        for (name, number), offers in sorted(found.items())
        if name != "edgecv"
    ]


def _clashes() -> list[list[str]]:
    found = ([name for name in rivals if _version(name) is not None] for rivals in _RIVALS)
    return [names for names in found if len(names) > 1]


def _load_plugins(diagnosis: Diagnosis) -> dict[str, dict[str, Any]]:
    """Return what could be loaded, or why it could not."""
    loaded: dict[str, dict[str, Any]] = {}
    for kind, (names, load) in _GROUPS.items():
        loaded[kind] = {}
        for name in names():
            try:
                loaded[kind][name] = load(name)
            except PluginError as error:
                loaded[kind][name] = error
                diagnosis.problems.append(str(error))
    return loaded


def _offer(kind: str, name: str, plugin: Any) -> dict[str, Any]:
    try:
        origin: tuple[str | None, str | None] = registry.distribution(f"edgecv.{kind}s", name)
    except PluginError:
        origin = (None, None)
    reason = str(plugin) if isinstance(plugin, PluginError) else why_missing(plugin)
    about = dict(zip(("distribution", "version"), origin, strict=True))
    api = getattr(plugin, "api_version", None)
    return {"name": name, **about, "api_version": api, "available": reason is None, "reason": reason}


def _runtime(name: str, runtime: Any) -> dict[str, Any]:
    offer = _offer("runtime", name, runtime)
    probe = getattr(runtime, "probe", None)
    devices = []
    for device in runtime.devices() if offer["available"] else ():
        try:
            problem = probe(device) if probe is not None else None
        except Exception as error:  # the code of others may raise anything
            problem = one_line(error)
        devices.append({"device": device, "works": problem is None, "problem": problem})
    return {**offer, "devices": devices}


def _judge(diagnosis: Diagnosis) -> None:
    """Add what does not work to the problems, and what is missing to the advice."""
    for runtime in diagnosis.runtimes:
        for tried in runtime["devices"]:
            if not tried["works"]:
                diagnosis.problems.append(f"{runtime['name']} does not run on {tried['device']}: {tried['problem']}.")
    for plugin in (*diagnosis.runtimes, *diagnosis.exporters):
        reason = plugin["reason"]
        if reason is not None and reason not in (*diagnosis.advice, *diagnosis.problems):
            diagnosis.advice.append(reason)
