"""The machine that a report was made on, and the versions that took part."""

import platform
from importlib.metadata import PackageNotFoundError, version

from edgecv import machine
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
        Fact(name="Processor", value=machine.processor()),
        Fact(name="Cores", value=str(machine.cores())),
        Fact(name="System", value=f"{platform.system()} {platform.release()}, {platform.machine()}"),
        Fact(name="Python", value=platform.python_version()),
        Fact(name="Packages", value=", ".join(versions)),
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
