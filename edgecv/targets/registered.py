"""The targets by name."""

import difflib
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgecv.errors import TargetError
from edgecv.targets.browser import check_browser
from edgecv.targets.ethos_u import ETHOS_U, check_ethos_u
from edgecv.targets.finding import Finder
from edgecv.targets.mediapipe import check_mediapipe
from edgecv.targets.onnxruntime import check_onnxruntime, releases
from edgecv.targets.tables import load_table, provenance
from edgecv.targets.tflite_gpu import check_tflite_gpu
from edgecv.targets.tflm import check_tflm

__all__ = ["Target", "find_target", "target_names"]

_Run = Callable[[Finder], Sequence[str] | None]
_ONNX_RUNTIME = "onnxruntime"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A target.

    Attributes:
        title: What people call it, with the version of its table.
        forms: The formats that it reads, by their exporters' names.
        source: Where its table comes from, and of when.
        run: Looks for obstacles, and returns what else is to be known.
    """

    title: str
    forms: tuple[str, ...]
    source: str
    run: _Run


def target_names() -> list[str]:
    """Return the names of the targets; of those with versions, the form in which they are asked for."""
    return ["browser", *ETHOS_U, "mediapipe", "onnxruntime==X.Y", "tflite-gpu", "tflm"]


def find_target(name: str) -> Target:
    """Return a target by its name.

    Raises:
        TargetError: There is none, or its table knows no such version.
    """
    if name in ETHOS_U:
        return _of_table("ethos-u", ("tflite",), functools.partial(check_ethos_u, target=name), title=name)
    if name in _TABLES:
        form, run = _TABLES[name]
        return _of_table(name, (form,), run)
    if name.startswith(_ONNX_RUNTIME):
        return _onnxruntime(name)
    close = difflib.get_close_matches(name, target_names(), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise TargetError(f"Unknown target {name!r}.{hint} Known: {', '.join(target_names())}.")


def _onnxruntime(name: str) -> Target:
    """Return a release of ONNX Runtime; of ``>=`` the oldest, as newer ones run all that it runs."""
    known = releases()
    asked = re.fullmatch(r"onnxruntime(?:==|>=)(\d+\.\d+)(?:\.\d+)?", name)
    if asked is None:
        raise TargetError(f"Target {name!r} names no release of ONNX Runtime. Write onnxruntime=={known[-1]}, say.")
    release = asked[1]
    if release not in known:
        raise TargetError(
            f"Target {name!r} is a release that the table does not know: it has {known[0]} to {known[-1]}. Name one."
        )
    document = load_table("onnxruntime")
    return Target(
        title=f"ONNX Runtime {release}",
        forms=("onnx",),
        source=provenance(document),
        run=functools.partial(check_onnxruntime, release=release),
    )


def _of_table(table: str, forms: tuple[str, ...], run: _Run, title: str = "") -> Target:
    document = load_table(table)
    shown = f"{title or document['title']} {document['version']}"
    return Target(title=shown, forms=forms, source=provenance(document), run=run)


# Name of the target and its table → the format that it reads, and what looks for obstacles.
_TABLES: Mapping[str, tuple[str, _Run]] = {
    "browser": ("onnx", check_browser),
    "mediapipe": ("tflite", check_mediapipe),
    "tflite-gpu": ("tflite", check_tflite_gpu),
    "tflm": ("tflite", check_tflm),
}
