"""Where an artifact begins to answer differently: the first layer after which it is no more the original.

Errors are those of `layer_errors`. A float artifact's layer is wrong where its error is above what the precision
explains, an int8 artifact's where it is above 3 times the error of the same layer in a sound artifact. The layer that
is at fault is the first that is wrong while all that it reads from is not, and from which the wrong reaches an output:
a converter may leave a layer out and do its work in the next one.

Two faults are no layer's. Where the first layer is wrong already, the network is tried with other scalings: one of them
may be what the artifact does. Where all layers are right and the outputs are wrong, it is what follows the network.
"""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgecv.comparison import TOLERANCES
from edgecv.errors import OptionError
from edgecv.files import replace_whole, writable_folder
from edgecv.layer_errors import LayerError, Layers
from edgecv.layer_groups import Groups
from edgecv.metadata import check_digest
from edgecv.original import Pictures, gather_pictures
from edgecv.preprocess import STYLES, Preprocess
from edgecv.quiet import quiet_frameworks
from edgecv.report import Check, Report
from edgecv.session import runtime_of

if TYPE_CHECKING:
    from edgecv.deployable import Deployable

__all__ = ["Bisection", "bisect"]

Array = np.ndarray[Any, np.dtype[Any]]
Verdict = Literal["same", "layer", "scaling", "head", "growth"]

# Largest errors of layers. Inside a network float16 is off by more than at its outputs: up to 5.2e-3 in ssd_tiny.
_LIMITS = {"float32": TOLERANCES["float32"], "float16": 2 * TOLERANCES["float16"]}
# Of the unfaulted artifact's errors. The least is what a layer may be off that is exact there.
_TIMES, _LEAST = 3.0, 1e-3
_MOST_PICTURES = 8
# Pictures on which other scalings are tried.
_TRIED = 2


@dataclass(frozen=True, kw_only=True)
class Bisection:
    """Where an artifact begins to answer differently.

    Attributes:
        verdict: ``same``: nowhere; ``layer``: after ``found``; ``scaling``: in front of the network; ``head``: behind
            it; ``growth``: an int8 artifact without one to compare with, whose error grows most at ``found``.
        text: The same in a sentence.
        layers: All layers, in the network's order.
        limits: Tensor → largest error that is right, where layers are judged.
        wrong: The tensors above their limits.
        found: The layer, where there is one.
        worst: The picture on which it differs most.
        saved: Where both sides' values are.
    """

    verdict: Verdict
    text: str
    layers: tuple[LayerError, ...]
    limits: Mapping[str, float]
    wrong: frozenset[str]
    found: LayerError | None = None
    worst: str = ""
    saved: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``verify --bisect --json``; where no layer is at fault its keys are null."""
        keys = ("layer", "group", "op", "tensor", "before", "after", "largest")
        found = self.found.to_json() if self.found else dict.fromkeys(keys)
        return {
            **found,
            "verdict": self.verdict,
            "text": self.text,
            "worst": self.worst or None,
            "saved": str(self.saved) if self.saved else None,
            "layers": [
                {**layer.to_json(), "limit": self.limits.get(layer.tensor), "wrong": layer.tensor in self.wrong}
                for layer in self.layers
            ],
        }


def bisect(
    artifact: Path,
    against: "Deployable",
    report: Report,
    *,
    images: Sequence[Path | str] | None = None,
    baseline: Path | None = None,
    device: str = "cpu",
    tensors: Path | None = None,
) -> Bisection:
    """Find the first layer after which an artifact answers differently.

    Args:
        artifact: The artifact.
        against: The original.
        report: What `verify` measured of the two.
        images: Pictures to compare on; the default are those of `verify`.
        baseline: A sound artifact of the same network, format and precision.
        device: Where to run it.
        tensors: Folder for both sides' values of the layer, as ``.npz``.

    Raises:
        OptionError: The baseline is another network's, or the network has no graph of layers.
        ArtifactError: A file cannot be parsed or has no edgecv metadata.
    """
    precision = _precision(artifact)
    pictures = _pictures(against, images, report, noise=precision != "int8")
    feeds = against.feed(pictures.values)
    layers = Layers(against, artifact, device=device)
    errors = layers.errors(feeds)
    limits = _limits(precision, _baseline_errors(artifact, baseline, against, feeds, device), errors)
    search = _Search(layers.groups, errors, limits)
    found = _verdict(search, report, _Scalings(against, layers, artifact, feeds), quantized=precision not in _LIMITS)
    if found.found is None:
        return found
    saved = _save(layers, found.found, feeds, pictures, tensors) if tensors is not None else None
    return dataclasses.replace(found, worst=pictures.names[found.found.worst], saved=saved)


@dataclass(frozen=True)
class _Limit:
    """The largest errors of a layer that are right."""

    rms: float
    largest: float

    def broken(self, error: LayerError) -> bool:
        return error.after > self.rms or error.largest > self.largest


class _Search:
    """Which layers are wrong, and where that begins."""

    def __init__(self, groups: Groups, errors: Sequence[LayerError], limits: Mapping[str, _Limit]) -> None:
        self.errors = tuple(errors)
        self.limits = limits
        known = {error.tensor for error in errors}
        self.sources = {group.tensor: groups.sources(group, known) for group in groups.all if group.tensor in known}
        self.wrong = frozenset(
            error.tensor for error in errors if error.tensor in limits and limits[error.tensor].broken(error)
        )

    def first(self) -> LayerError | None:
        """Return the layer where it begins; None where no layer is wrong."""
        wrong = [error for error in self.errors if error.tensor in self.wrong]
        reaching = self._reaching()
        begins = [error for error in wrong if not self.wrong.intersection(self.sources[error.tensor])]
        # A layer that is called several times may read from what reads from it: then none begins.
        best = [error for error in begins if error.tensor in reaching] or begins or wrong
        return best[0] if best else None

    def _reaching(self) -> set[str]:
        """Return the wrong tensors from which wrong ones lead to an end of the network."""
        read = {source for sources in self.sources.values() for source in sources}
        found: set[str] = set()
        waiting = [tensor for tensor in self.wrong if tensor not in read]
        while waiting:
            tensor = waiting.pop()
            if tensor not in found:
                found.add(tensor)
                waiting += [source for source in self.sources[tensor] if source in self.wrong]
        return found

    def result(self, verdict: Verdict, text: str, found: LayerError | None = None) -> Bisection:
        return Bisection(
            verdict=verdict,
            text=text,
            layers=self.errors,
            limits={tensor: limit.rms for tensor, limit in self.limits.items()},
            wrong=self.wrong,
            found=found,
        )


class _Scalings:
    """Tries other scalings in front of the network."""

    def __init__(self, original: "Deployable", layers: Layers, artifact: Path, feeds: Array) -> None:
        self._original, self._layers, self._artifact, self._feeds = original, layers, artifact, feeds

    def explain(self, found: LayerError, limit: _Limit) -> Preprocess | None:
        """Return a scaling with which the first layer is right; None where there is none."""
        if self._original.input_dtype != "uint8" or found.before > 0:
            return None
        indices = list(dict.fromkeys([found.worst, *range(len(self._feeds))]))[:_TRIED]
        for scaling in self._others():
            layers = self._layers.of(dataclasses.replace(self._original, preprocess=scaling))
            tried = next(each for each in layers.errors(self._feeds[indices]) if each.tensor == found.tensor)
            if not limit.broken(tried):
                return scaling
        return None

    def _others(self) -> Iterator[Preprocess]:
        own = self._original.preprocess
        document = runtime_of(self._artifact)[1].read_metadata(self._artifact)["preprocess"]
        stated = Preprocess.from_json(document)
        for scaling in (stated, own, *STYLES.values()):
            if self._original.channels != 3 and 3 in (len(scaling.mean), len(scaling.scale)):
                continue
            for order in ("rgb", "bgr") if self._original.channels == 3 else ("rgb",):
                other = dataclasses.replace(scaling, order=order, fit=own.fit)
                if (other.order, other.mean, other.scale) != (own.order, own.mean, own.scale):
                    yield other


def _verdict(search: _Search, report: Report, scalings: _Scalings, *, quantized: bool) -> Bisection:
    failed = [check for check in report.checks if not check.passed]
    stated = [check for check in failed if not check.images]
    moved = [check for check in failed if check.images and not check.problem.startswith("nothing is proven")]
    first = search.first()
    if not moved and (first is None or len(failed) == len(stated)):
        return _same(search, failed, first, quantized=quantized)
    if quantized and not search.limits:
        return _growth(search)
    if first is None:
        return search.result("head", _behind(moved, quantized=quantized))
    scaling = scalings.explain(first, search.limits[first.tensor])
    if scaling is not None:
        return search.result("scaling", _in_front(scaling), first)
    limit = search.limits[first.tensor]
    text = (
        f"It answers differently from layer {first.layer!r} ({first.op}) on: error {first.after:.1e} after it, "
        f"{first.before:.1e} before it, at most {limit.rms:.1e}."
    )
    return search.result("layer", text, first)


def _same(search: _Search, failed: Sequence[Check], first: LayerError | None, *, quantized: bool) -> Bisection:
    """Say that nothing diverges, and what is wrong all the same."""
    text = "Nothing diverges: the answers are the original's."
    if failed:
        text = f"No layer diverges; {failed[0].problem}."
    elif first is not None and quantized:
        text = (
            f"Nothing diverges: the answers pass. Yet the error of layer {first.layer!r} is {first.after:.1e}, "
            f"above {search.limits[first.tensor].rms:.1e}, {_TIMES:g} times the baseline's."
        )
    return search.result("same", text)


def _growth(search: _Search) -> Bisection:
    """Name the layer at which an int8 artifact's error grows most: without a sound one there is nothing to judge by."""
    found = max(search.errors, key=lambda error: error.after - error.before, default=None)
    if found is None:
        return search.result("growth", "No layer of it has a tensor to compare.")
    text = (
        f"The error grows most in layer {found.layer!r} ({found.op}), from {found.before:.1e} to {found.after:.1e}. "
        "How much of it is due to 8 bits only a sound int8 artifact tells: give one with --baseline."
    )
    return search.result("growth", text, found)


def _in_front(scaling: Preprocess) -> str:
    return (
        "The scaling in front of the network is another: layers are wrong from the first on, and the first is right "
        f"with the pictures scaled as {scaling.style!r} ({scaling.order})."
    )


def _behind(moved: Sequence[Check], *, quantized: bool) -> str:
    names = list(dict.fromkeys(check.output for check in moved))
    outputs = ", ".join(map(repr, names))
    if quantized:  # a fault may drown in what 8 bits do
        return (
            f"No layer's error is above {_TIMES:g} times the baseline's: either what follows the network answers "
            f"differently ({outputs}), or the baseline is no better."
        )
    if set(names) <= {"nms", "detections"}:
        return f"All layers and boxes before suppression are right; suppression answers differently ({outputs})."
    return f"All layers of the network are right; what follows it answers differently ({outputs})."


def _limits(precision: str, baseline: Sequence[LayerError] | None, errors: Sequence[LayerError]) -> dict[str, _Limit]:
    """Return the largest errors that are right, of every layer that can be judged."""
    tolerance = _LIMITS.get(precision)
    if baseline is None:
        return {} if tolerance is None else {error.tensor: _Limit(tolerance, tolerance) for error in errors}
    sound = {error.layer: error for error in baseline}
    least = _LEAST if tolerance is None else tolerance
    return {
        error.tensor: _Limit(
            max(least, _TIMES * sound[error.layer].after), max(least, _TIMES * sound[error.layer].largest)
        )
        for error in errors
        if error.layer in sound
    }


def _baseline_errors(
    artifact: Path, baseline: Path | None, against: "Deployable", feeds: Array, device: str
) -> list[LayerError] | None:
    """Return a sound artifact's errors.

    Raises:
        OptionError: It is not of the same network, format and precision.
        DigestError: It is damaged.
    """
    if baseline is None:
        return None
    documents = [runtime_of(path)[1].read_metadata(path) for path in (artifact, baseline)]
    for key in ("model", "format", "precision", "input"):
        wanted, given = (document.get(key) for document in documents)
        if wanted != given:
            raise OptionError(
                f"The baseline {str(baseline)!r} is no sound version of {str(artifact)!r}: its {key} is {given!r} "
                f"instead of {wanted!r}. Export the same network with the same options."
            )
    check_digest(baseline, documents[1])
    return Layers(against, baseline, device=device).errors(feeds)


def _precision(artifact: Path) -> str:
    return str(runtime_of(artifact)[1].read_metadata(artifact).get("precision"))


def _pictures(against: "Deployable", images: Iterable[Path | str] | None, report: Report, *, noise: bool) -> Pictures:
    """Return some of the pictures that were verified on, at the network's size, those that differ most among them."""
    worst = {check.worst for check in report.checks if not check.passed}
    chosen = None
    if images is not None:
        chosen = sorted(images, key=lambda path: str(path) not in worst)[:_MOST_PICTURES]
    # A resize inside the graph has nothing to do at this size.
    pictures = gather_pictures(dataclasses.replace(against, resize=None), chosen)
    kept = [index for index, name in enumerate(pictures.names) if noise or not name.startswith("noise:")]
    return Pictures(names=tuple(pictures.names[index] for index in kept), values=pictures.values[kept])


def _save(layers: Layers, found: LayerError, feeds: Array, pictures: Pictures, folder: Path) -> Path:
    """Write both sides' values of a layer.

    Raises:
        OutputError: They cannot be written there.
    """
    writable_folder(folder)
    with contextlib.suppress(FileExistsError):  # `replace_whole` says what is in its place
        folder.mkdir()
    path = folder / f"{found.layer.replace('/', '_')}.npz"
    original, artifact = layers.tensors(found.tensor, feeds)
    with replace_whole(path) as temporary, quiet_frameworks():
        np.savez(temporary, original=original, artifact=artifact, pictures=np.array(pictures.names))
    return path
