"""edgecv takes a CNN from training to a device, and proves that it answers there as it did before."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecv.architecture import Architecture
    from edgecv.artifact import Artifact
    from edgecv.deployable import Deployable
    from edgecv.deploying import deploy
    from edgecv.errors import EdgecvError
    from edgecv.exporter import Exporter
    from edgecv.fcn import to_fcn
    from edgecv.models import build, open_model, save_model
    from edgecv.nms import Nms
    from edgecv.pipeline import export
    from edgecv.preprocess import Fit, Preprocess
    from edgecv.registry import architecture_names, exporter_names, load_exporter, runtime_names
    from edgecv.report import Check, Report
    from edgecv.runtime import Runner, Runtime, TensorInfo
    from edgecv.session import Session, load
    from edgecv.training.running import train
    from edgecv.training.settings import Settings
    from edgecv.verification import verify

__all__ = [
    "Architecture",
    "Artifact",
    "Check",
    "Deployable",
    "EdgecvError",
    "Exporter",
    "Fit",
    "Nms",
    "Preprocess",
    "Report",
    "Runner",
    "Runtime",
    "Session",
    "Settings",
    "TensorInfo",
    "__version__",
    "architecture_names",
    "build",
    "deploy",
    "export",
    "exporter_names",
    "load",
    "load_exporter",
    "open_model",
    "runtime_names",
    "save_model",
    "to_fcn",
    "train",
    "verify",
]

__version__ = "0.1.0"

# Looked up on first use, so that `edgecv --help` and the device side stay light.
_HOMES = {
    "Architecture": "architecture",
    "Artifact": "artifact",
    "Check": "report",
    "Deployable": "deployable",
    "EdgecvError": "errors",
    "Exporter": "exporter",
    "Fit": "preprocess",
    "Nms": "nms",
    "Preprocess": "preprocess",
    "Report": "report",
    "Runner": "runtime",
    "Runtime": "runtime",
    "Session": "session",
    "Settings": "training.settings",
    "TensorInfo": "runtime",
    "architecture_names": "registry",
    "build": "models",
    "deploy": "deploying",
    "export": "pipeline",
    "exporter_names": "registry",
    "load": "session",
    "load_exporter": "registry",
    "open_model": "models",
    "runtime_names": "registry",
    "save_model": "models",
    "to_fcn": "fcn",
    "train": "training.running",
    "verify": "verification",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgecv' has no attribute {name!r}")
    return getattr(importlib.import_module(f"edgecv.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
