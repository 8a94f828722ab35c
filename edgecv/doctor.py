"""What is installed, what clashes, which devices work, and what to do about the rest."""

import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from edgecv import registry
from edgecv.errors import PluginError
from edgecv.extras import why_missing

__all__ = ["Diagnosis", "examine"]

# Distributions that write into one folder: pip installs them together without a word, the last one wins, and
# removing either breaks the other. The first of those installed is the one to keep.
_RIVALS = (
    ("onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime"),
    ("tensorflow", "tensorflow-cpu"),
    ("tflite-runtime", "tflite-runtime-nightly"),
)
_PACKAGES = (
    "edgecv", "numpy", "pillow", "click", "rich", "onnxruntime", "onnxruntime-gpu", "ai-edge-litert", "tflite-runtime",
    "tensorflow", "tensorflow-cpu", "keras", "tf2onnx", "onnx", "protobuf",
)  # fmt: skip
_GROUPS = {
    "architecture": (registry.architecture_names, registry.load_architecture),
    "exporter": (registry.exporter_names, registry.load_exporter),
    "runtime": (registry.runtime_names, registry.load_runtime),
}


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What `examine` found.

    Attributes:
        packages: Package → installed version, or None.
        runtimes: For each runtime ``name``, ``available``, ``reason``, and ``devices``: a list of
            ``device``, ``works``, ``problem``.
        exporters: For each exporter ``name``, ``available``, ``reason``.
        problems: What is broken.
        advice: What to do, for what is broken and for what is only missing.
    """

    packages: dict[str, str | None]
    runtimes: list[dict[str, Any]]
    exporters: list[dict[str, Any]]
    problems: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``doctor --json``."""
        return {
            "healthy": not self.problems,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": self.packages,
            "runtimes": self.runtimes,
            "exporters": self.exporters,
            "problems": self.problems,
            "advice": self.advice,
        }


def examine() -> Diagnosis:
    """Look at this installation; each device that an engine offers is tried."""
    diagnosis = Diagnosis(
        packages={name: _version(name) for name in _PACKAGES},
        runtimes=[],
        exporters=[],
    )
    for clash in _clashes():
        diagnosis.problems.append(f"{' and '.join(clash)} are installed together and overwrite each other.")
        diagnosis.advice.append(f"pip uninstall -y {' '.join(clash)} && pip install {clash[0]}")
    loaded = _load_plugins(diagnosis)
    diagnosis.exporters.extend(_exporter(name, plugin) for name, plugin in loaded["exporter"].items())
    diagnosis.runtimes.extend(_runtime(name, plugin) for name, plugin in loaded["runtime"].items())
    _judge(diagnosis)
    return diagnosis


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _clashes() -> list[list[str]]:
    found = ([name for name in rivals if _version(name) is not None] for rivals in _RIVALS)
    return [names for names in found if len(names) > 1]


def _load_plugins(diagnosis: Diagnosis) -> dict[str, dict[str, Any]]:
    loaded: dict[str, dict[str, Any]] = {}
    for kind, (names, load) in _GROUPS.items():
        loaded[kind] = {}
        for name in names():
            try:
                loaded[kind][name] = load(name)
            except PluginError as error:
                diagnosis.problems.append(str(error))
    return loaded


def _exporter(name: str, exporter: Any) -> dict[str, Any]:
    reason = why_missing(exporter)
    return {"name": name, "available": reason is None, "reason": reason}


def _runtime(name: str, runtime: Any) -> dict[str, Any]:
    reason = why_missing(runtime)
    probe = getattr(runtime, "probe", None)
    devices = []
    for device in runtime.devices() if reason is None else ():
        problem = probe(device) if probe is not None else None
        devices.append({"device": device, "works": problem is None, "problem": problem})
    return {"name": name, "available": reason is None, "reason": reason, "devices": devices}


def _judge(diagnosis: Diagnosis) -> None:
    """Add what does not work to the problems, and what is missing to the advice."""
    for runtime in diagnosis.runtimes:
        for tried in runtime["devices"]:
            if not tried["works"]:
                diagnosis.problems.append(f"{runtime['name']} does not run on {tried['device']}: {tried['problem']}.")
    for plugin in (*diagnosis.runtimes, *diagnosis.exporters):
        if plugin["reason"] is not None and plugin["reason"] not in diagnosis.advice:
            diagnosis.advice.append(plugin["reason"])
