"""Every deliberate error of edgecv.

    EdgecvError
    ├── OptionError (ValueError)        an option or argument has a value that cannot work
    │   ├── ArchitectureError           a network cannot be built so
    │   └── TargetError                 no such target, or it reads another format
    ├── UnknownNameError                no such architecture, exporter or runtime
    ├── PluginError                     an entry point cannot be loaded or breaks its contract
    ├── MissingExtraError               a package of an extra is not installed
    ├── ModelError                      a model file cannot be used
    │   └── UnsupportedLayerError       a layer cannot be converted
    ├── WeightsError                    weights cannot be found, read or put into the network
    ├── PictureError                    a picture cannot be read or used
    │   └── VideoError                  a video or camera cannot be read, or not to its end
    ├── DataError                       labelled data cannot be read or used
    │   └── BrokenDataError             some of its labels are broken (edgecv.data.problems)
    ├── TrainingError                   training cannot begin, or not go on
    │   └── DivergedError               the loss is no number any more (edgecv.training.loop)
    ├── ArtifactError                   an artifact cannot be read
    │   ├── NoMetadataError             it has no edgecv metadata
    │   └── DigestError                 an artifact is damaged: its digest disagrees
    ├── DeviceError                     a device or provider that was asked for does not run
    ├── OutputError                     a result cannot be written
    ├── ConversionError                 a converter failed
    ├── VerificationError               an artifact does not answer like the original
    ├── ShortfallError                  an artifact would not be what was asked for
    └── BudgetError                     an int8 artifact drops more accuracy than was allowed

Each message is one line: what is wrong, the offending value, what to do.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecv.artifact import Artifact
    from edgecv.report import Report


_MOST_CHARACTERS = 200
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def one_line(error: BaseException) -> str:
    """Return what an exception of others says, in one short line; without a full stop, its type where it is silent.

    Keras colours its messages, and ends them with the arguments of the call.
    """
    text = _COLOUR.sub("", str(error)).partition("Arguments received by")[0]
    return " ".join(text.split())[:_MOST_CHARACTERS].rstrip(".") or type(error).__name__


class EdgecvError(Exception):
    """Base class: everything that edgecv raises on purpose."""


class OptionError(EdgecvError, ValueError):
    """An option or argument has a value that cannot work."""


class ArchitectureError(OptionError):
    """A network cannot be built with these arguments."""


class TargetError(OptionError):
    """There is no such target to check for, or it reads another format."""


class UnknownNameError(EdgecvError):
    """Nothing of this kind is installed under this name.

    Attributes:
        kind: What was looked for, such as ``"exporter"``.
        name: The name that was asked for.
        known: The installed names, sorted.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        self.known = tuple(sorted(known))
        close = difflib.get_close_matches(name, self.known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        installed = ", ".join(self.known) or "none"
        super().__init__(f"Unknown {kind} {name!r}.{hint} Installed: {installed}.")


class PluginError(EdgecvError):
    """An entry point cannot be loaded, is offered twice, or breaks its contract."""


class MissingExtraError(EdgecvError):
    """A package is not installed.

    Attributes:
        package: The package that is missing.
        extra: The extra of edgecv that brings it.
    """

    def __init__(self, purpose: str, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(f"{purpose} needs {package}, which is not installed. Run: pip install 'edgecv[{extra}]'")


class ModelError(EdgecvError):
    """A model file cannot be used."""


class UnsupportedLayerError(ModelError):
    """A layer cannot be converted.

    Attributes:
        layer: The layer's path in the network.
    """

    def __init__(self, layer: str, problem: str, remedy: str) -> None:
        self.layer = layer
        super().__init__(f"Layer {layer!r} {problem}. {remedy}")


class WeightsError(EdgecvError):
    """Weights cannot be found, read or put into the network."""


class PictureError(EdgecvError):
    """A picture cannot be read or used."""


class VideoError(PictureError):
    """A video or camera cannot be read, or not to its end."""


class DataError(EdgecvError):
    """Labelled data cannot be read, or cannot be used so."""


class TrainingError(EdgecvError):
    """Training cannot begin, or cannot go on."""


class ArtifactError(EdgecvError):
    """An artifact cannot be read, or carries no edgecv metadata."""


class NoMetadataError(ArtifactError):
    """A file or folder has no edgecv metadata."""


class DigestError(ArtifactError):
    """An artifact is damaged: its bytes disagree with its digest."""


class DeviceError(EdgecvError):
    """A device or provider that was asked for is not there or does not run."""


class OutputError(EdgecvError):
    """A result cannot be written."""


class ConversionError(EdgecvError):
    """A converter failed."""


class VerificationError(EdgecvError):
    """An artifact does not answer like the original.

    Attributes:
        report: What was measured.
    """

    def __init__(self, message: str, report: "Report") -> None:
        self.report = report
        super().__init__(message)


class ShortfallError(EdgecvError):
    """An artifact would not be what was asked for, such as one of which nothing runs on the accelerator.

    Attributes:
        findings: What the exporter found out, as in `Artifact.findings`.
    """

    def __init__(self, message: str, findings: Mapping[str, Any] | None = None) -> None:
        self.findings = dict(findings or {})
        super().__init__(message)


class BudgetError(EdgecvError):
    """No int8 artifact that was tried keeps the accuracy budget; the best one was written all the same.

    Attributes:
        artifact: What was written.
    """

    def __init__(self, message: str, artifact: "Artifact") -> None:
        self.artifact = artifact
        super().__init__(message)
