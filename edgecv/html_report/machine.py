"""The machine that a report was made on, and the versions that took part."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgecv.html_report.page import Fact

__all__ = ["machine_facts"]

_PACKAGES = (
    "edgecv", "numpy", "pillow", "onnxruntime", "onnxruntime-gpu", "ai-edge-litert", "tflite-runtime", "tensorflow",
    "keras", "tf2onnx", "onnx", "ai-edge-quantizer",
)  # fmt: skip


def machine_facts() -> tuple[Fact, ...]:
    """Return the machine and the versions of what is installed, as they are now."""
    versions = [f"{name} {found}" for name in _PACKAGES if (found := _version(name)) is not None]
    return (
        Fact(name="Processor", value=_processor()),
        Fact(
            name="Cores",
            value=str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        ),
        Fact(name="System", value=f"{platform.system()} {platform.release()}, {platform.machine()}"),
        Fact(name="Python", value=platform.python_version()),
        Fact(name="Packages", value=", ".join(versions)),
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
