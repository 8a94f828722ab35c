"""An artifact against a target: one function for all, by the target's name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecv import metadata
from edgecv.errors import ArtifactError, NoMetadataError, TargetError
from edgecv.runtimes import onnx_container, tflite_container
from edgecv.runtimes.folder import is_artifact_folder
from edgecv.targets.checked import Checked
from edgecv.targets.finding import Finder
from edgecv.targets.onnx_model import read_onnx
from edgecv.targets.registered import Target, find_target
from edgecv.targets.tflite_model import read_tflite

__all__ = ["check"]


@dataclass(frozen=True)
class _Form:
    """A format that targets read.

    Attributes:
        title: What people call it.
        export: The format's name for ``edgecv export --to``.
        suffix: Of its files.
        read: Reads all operators.
        metadata: Reads what edgecv wrote into the file.
    """

    title: str
    export: str
    suffix: str
    read: Callable[[Path], Any]
    metadata: Callable[[Path], dict[str, Any]]


_FORMS: Mapping[str, _Form] = {
    "tflite": _Form("TFLite", "tflite", ".tflite", read_tflite, tflite_container.read_metadata),
    "onnx": _Form("ONNX", "onnx", ".onnx", read_onnx, onnx_container.read_metadata),
}


def check(path: Path | str, target: str) -> Checked:
    """Look whether every operator of an artifact goes on a target, with its types and versions.

    It needs neither the target nor an engine. A file that edgecv did not write is looked at, too; layers are then not
    known, and tensors are named in their place.

    Args:
        path: A ``.tflite`` or ``.onnx`` file.
        target: Such as ``"tflm"``, ``"ethos-u55-128"`` or ``"onnxruntime==1.17"``.

    Returns:
        What was found; ``passed`` where nothing stands in the way.

    Raises:
        TargetError: There is no such target, or no such version of it, or it reads another format.
        ArtifactError: The file cannot be parsed; DigestError: it is damaged.
    """
    path = Path(path)
    found = find_target(target)
    form = _form_of(path)
    if form.export not in found.forms:
        raise _other_format(path, form, found)
    finder = Finder(graph=form.read(path), metadata=_metadata(path, form))
    notes = found.run(finder)
    return Checked(
        target=target,
        title=found.title,
        obstacles=tuple(finder.obstacles),
        operators=len(finder.graph.operators),
        notes=tuple(notes or ()),
        source=found.source,
    )


def _form_of(path: Path) -> _Form:
    if path.is_dir():
        kind = "an artifact in a folder" if is_artifact_folder(path) else "a folder"
        raise TargetError(f"{str(path)!r} is {kind}: targets are checked for .onnx and .tflite files.")
    if not path.exists():
        raise ArtifactError(f"Artifact {str(path)!r} does not exist. Name a file that edgecv exported.")
    for form in _FORMS.values():
        if path.suffix.lower() == form.suffix:
            return form
    raise ArtifactError(f"{str(path)!r} is no artifact to check: its suffix is neither .onnx nor .tflite.")


def _other_format(path: Path, form: _Form, target: Target) -> TargetError:
    wanted = " or ".join(_FORMS[each].title for each in target.forms)
    return TargetError(
        f"{target.title} reads {wanted}, and {str(path)!r} is {form.title}: "
        f"export it with --to {' or --to '.join(target.forms)}."
    )


def _metadata(path: Path, form: _Form) -> dict[str, Any]:
    """Return what edgecv wrote, its digest checked; nothing where edgecv did not write the file."""
    try:
        document = form.metadata(path)
    except NoMetadataError:
        return {}
    metadata.check_digest(path, document)
    return document
