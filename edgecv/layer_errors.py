"""How far an artifact's answers are from the original's after every layer.

The artifact's tensors that its metadata name are exposed; the other side are the outputs of the network's layers,
which run one after the other so that each is let go of after its last use, or the tensors of another artifact.

A tensor's layout follows its shape: it is the layer's own, or channels come first in it, or it is flattened, in either
order. Where the shape leaves several open, the one that lies nearest is taken: no fault makes a wrong layout fit.
An activation at the end of the network may stand in a tensor of its own: the tensor of the layer's name then carries
the values in front of it, and both are tried. Through a softmax or sigmoid on both sides, the logits are compared.

LiteRT runs without its delegate, so that tensors are those of single operators; ONNX Runtime keeps its optimisations,
so that the kernels are those that run the shipped file, and an exposed tensor only keeps its neighbours apart.
"""

import contextlib
import copy
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.artifact import Artifact
from edgecv.comparison import both_taken_off
from edgecv.layer_graph import Step, evaluate
from edgecv.layer_groups import Group, Groups
from edgecv.quiet import quiet_frameworks
from edgecv.runtime import Arrays, Runner
from edgecv.session import runtime_of

if TYPE_CHECKING:
    from edgecv.deployable import Deployable

__all__ = ["LayerError", "Layers", "layer_errors"]

Array = np.ndarray[Any, np.dtype[Any]]

# A picture on which a layer is nearly silent has no scale of its own: this share of the loudest picture's is the least.
_LEAST_SCALE = 1e-6
# A channel that varies less, as a share of the one that varies most, says nothing.
_LEAST_VARIANCE = 1e-9
_ENDINGS = ("softmax", "sigmoid")


@dataclass(frozen=True, kw_only=True)
class LayerError:
    """How far a layer's output in an artifact is from the original's.

    Attributes:
        layer: Path of the group's last layer.
        group: Paths of all layers that became this tensor, in the network's order.
        op: Class of the last layer, such as ``"Conv2D"``.
        tensor: Its name in the artifact.
        before: Largest error of the groups that it reads from; 0 at the input.
        after: Its own: the largest of all pictures of rms(a − b) / rms(a).
        largest: The largest of all pictures of max|a − b| / max|a|.
        worst: Index of the picture with the largest ``after``.
        lost: Share of what varies in the layer, channel by channel, that is lost: 1 where the error of every channel
            is as large as all that the channel says. A channel of large numbers does not outshine the others here.
        rounding: Share that is lost where nothing but this layer's values, as the original has them, is rounded to 256
            steps of their range: what is its own, however much the layers in front have lost already.
        reads: The groups that it reads from, by their last layers.
    """

    layer: str
    group: tuple[str, ...]
    op: str
    tensor: str
    before: float
    after: float
    largest: float
    worst: int = 0
    lost: float = 0.0
    rounding: float = 0.0
    reads: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``verify --json``; what is infinite is null."""
        return {
            "layer": self.layer,
            "group": list(self.group),
            "op": self.op,
            "tensor": self.tensor,
            "before": _rounded(self.before),
            "after": _rounded(self.after),
            "largest": _rounded(self.largest),
        }


def layer_errors(
    deployable: "Deployable",
    artifact: Artifact | Path,
    feeds: Array,
    *,
    reference: Artifact | Path | None = None,
) -> list[LayerError]:
    """Compare an artifact with its original after every layer, in the network's order.

    Args:
        deployable: The original.
        artifact: The artifact.
        feeds: What its input takes, ``(pictures, …)``; see `Deployable.feed`.
        reference: Another artifact of the same network, to compare with in place of the original.

    Raises:
        ArtifactError: A file cannot be parsed or has no edgecv metadata.
    """
    return Layers(deployable, artifact, reference=reference).errors(feeds)


class Layers:
    """Both sides of an artifact's layers."""

    def __init__(
        self,
        deployable: "Deployable",
        artifact: Artifact | Path,
        *,
        reference: Artifact | Path | None = None,
        device: str = "cpu",
    ) -> None:
        self._deployable = deployable
        self.groups = Groups(deployable.network, _said(artifact, "layers"))
        self._checkpoints = _said(artifact, "checkpoints")
        self._runner = _open(artifact, [*(group.tensor for group in self.groups.all), *self._checkpoints], device)
        self._endings = _Endings(deployable, self.groups)
        self._reference: _Reference | None = None
        if reference is not None:
            self._reference = _Reference(deployable, self.groups, reference)

    def of(self, deployable: "Deployable") -> "Layers":
        """Return the same artifact beside another original of the same network."""
        other = copy.copy(self)
        other._deployable = deployable
        return other

    def errors(self, feeds: Array) -> list[LayerError]:
        """Return the errors over all pictures."""
        tallies = {group.tensor: _Tally() for group in self.groups.all}
        for group, pair in self._pairs(feeds):
            tallies[group.tensor].add(pair)
        known = {tensor: tally for tensor, tally in tallies.items() if tally.rms}
        found = []
        names = {group.tensor: group.layer for group in self.groups.all}
        for group in self.groups.all:
            if group.tensor not in known:
                continue
            after, largest = known[group.tensor].errors()
            sources = self.groups.sources(group, known)
            before = max((float(np.max(known[source].errors()[0])) for source in sources), default=0.0)
            found.append(
                LayerError(
                    layer=group.layer,
                    group=group.layers,
                    op=group.op,
                    tensor=group.tensor,
                    before=before,
                    after=float(np.max(after)),
                    largest=float(np.max(largest)),
                    worst=int(np.argmax(after)),
                    lost=known[group.tensor].lost(),
                    rounding=known[group.tensor].rounding(),
                    reads=tuple(names[source] for source in sources),
                )
            )
        return found

    def tensors(self, tensor: str, feeds: Array) -> tuple[Array, Array]:
        """Return the original's and the artifact's values of a tensor, in the layer's layout."""
        pairs = [pair for group, pair in self._pairs(feeds) if group.tensor == tensor]
        return np.concatenate([pair.original for pair in pairs]), np.concatenate([pair.given for pair in pairs])

    def _pairs(self, feeds: Array) -> "Iterator[tuple[Group, _Pair]]":
        """Yield the values of both sides, one picture after the other, or as many as the artifact takes at a time."""
        batch = self._deployable.batch or 1
        for start in range(0, len(feeds), batch):
            count = min(batch, len(feeds) - start)
            chunk = feeds[np.arange(start, start + batch) % len(feeds)]
            given = self._runner.run({self._runner.inputs[0].name: chunk})
            found: dict[str, tuple[Group, _Pair]] = {}

            def see(group: Group, candidates: "list[_Pair]", found: Any = found, count: int = count) -> None:
                """Keep the nearest candidate of a group, of all calls of its last layer."""
                pairs = [pair.first(count) for pair in candidates]
                if group.tensor in found:
                    pairs.append(found[group.tensor][1])
                if pairs:
                    found[group.tensor] = (group, min(pairs, key=_Pair.distance))

            with quiet_frameworks():
                if self._reference is not None:
                    self._reference.compare(chunk, given, see)
                else:
                    self._watch(chunk, given, see)
            yield from found.values()

    def _watch(self, chunk: Array, given: Arrays, see: "Callable[[Group, list[_Pair]], None]") -> None:
        """Run the original layer by layer, and show each group's values beside the artifact's."""
        from keras import ops

        graph = self.groups.graph
        by_step = {step.index: group for group in self.groups.all for step in group.last}

        def watched(step: Step) -> Callable[..., Any]:
            group = by_step.get(step.index)

            def call(*args: Any, **kwargs: Any) -> Any:
                result = step.operation(*args, **kwargs)
                if group is not None:
                    outputs = self._endings.outputs(group, step, result, lambda: step.operation(*args, **kwargs))
                    see(group, self._candidates(group, step, outputs, given))
                return result

            return call

        def network(x: Any) -> list[Any]:
            values = evaluate(graph.steps, {graph.input: x}, graph.outputs, watched)
            return [values[slot] for slot in graph.outputs]

        self._deployable.graph(ops.convert_to_tensor(chunk), network)

    def _candidates(self, group: Group, step: Step, outputs: "Sequence[_Output]", given: Arrays) -> "list[_Pair]":
        """Pair what a group's tensor may carry with the artifact's values.

        The last operation of a network may have taken the name of a checkpoint, and left the layer's to the one before.
        """
        tensors = [group.tensor, *(self._checkpoints if self._endings.has(step) else ())]
        return [pair for tensor in dict.fromkeys(tensors) for pair in _candidates(outputs, given[tensor])]


@dataclass(frozen=True, kw_only=True)
class _Output:
    """What a tensor may carry: a layer's values, and the activation that both sides went through."""

    values: Array
    activation: str = "none"


class _Endings:
    """The activations at the end of the network, which artifacts may keep in tensors of their own."""

    def __init__(self, deployable: "Deployable", groups: Groups) -> None:
        last = [groups.graph.producer(slot) for slot in groups.graph.outputs]
        self._last = {step.index for step in last if step is not None}
        self._outputs = deployable.output_names
        self._added = deployable.added_activation

    def has(self, step: Step) -> bool:
        """Tell whether a call gives an output of the network."""
        return step.index in self._last

    def outputs(self, group: Group, step: Step, result: Any, again: Callable[[], Any]) -> list[_Output]:
        """Return what the tensor of a group may carry.

        Args:
            group: The group.
            step: A call of its last layer.
            result: Its result.
            again: Calls it again.
        """
        values = _array(result)
        if values is None:
            return []
        own = str(getattr(getattr(step.operation, "activation", None), "__name__", "none"))
        if step.index not in self._last:
            return [_Output(values=values)]
        if group.tensor in self._outputs:
            if self._added in _ENDINGS:
                return [_Output(values=_activated(values, self._added), activation=self._added)]
            return [_Output(values=values, activation=own if own in _ENDINGS else "none")]
        if own not in _ENDINGS:
            return [_Output(values=values)]
        with _linear(step.operation):
            logits = _array(again())
        in_front = [] if logits is None else [_Output(values=logits)]
        return [_Output(values=values, activation=own), *in_front]


class _Reference:
    """Another artifact of the same network, as the side to compare with."""

    def __init__(self, deployable: "Deployable", groups: Groups, artifact: Artifact | Path) -> None:
        theirs = {group.layer: group for group in Groups(deployable.network, _said(artifact, "layers")).all}
        # A tensor has a counterpart where it ends in the same layer, both with what follows the network or without.
        outputs = deployable.output_names
        self._counterparts = [
            (group, theirs[group.layer])
            for group in groups.all
            if group.layer in theirs and (group.tensor in outputs) == (theirs[group.layer].tensor in outputs)
        ]
        self._activations = {outputs[0]: deployable.activation}
        self._runner = _open(artifact, [other.tensor for _, other in self._counterparts])

    def compare(self, chunk: Array, given: Arrays, see: "Callable[[Group, list[_Pair]], None]") -> None:
        answers = self._runner.run({self._runner.inputs[0].name: chunk})
        for group, other in self._counterparts:
            activation = self._activations.get(group.tensor, "none")
            output = _Output(values=answers[other.tensor], activation=activation)
            see(group, list(_candidates([output], given[group.tensor])))


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """The values of both sides ``(pictures, …)``, in one layout."""

    original: Array
    given: Array
    activation: str

    def first(self, count: int) -> "_Pair":
        return _Pair(original=self.original[:count], given=self.given[:count], activation=self.activation)

    def measured(self) -> tuple[Array, Array, Array, Array]:
        """Return per picture the rms and the largest of the difference, and of the original."""
        count = len(self.original)
        a, b = self.original.reshape(count, -1), self.given.reshape(count, -1)
        if self.activation == "softmax":  # of each row of a map of pixels
            classes = self.original.shape[-1]
            a, b, _ = both_taken_off(a.reshape(-1, classes), b.reshape(-1, classes), "softmax")
            a, b = a.reshape(count, -1), b.reshape(count, -1)
        else:
            a, b, _ = both_taken_off(a, b, self.activation)
        off = np.abs(a - b)
        return _rms(off), np.max(off, axis=1), _rms(a), np.max(np.abs(a), axis=1)

    def distance(self) -> float:
        """Return how far the two sides are apart; what is not finite is farthest."""
        off, _, scale, _ = self.measured()
        distance = float(np.sum(off) / max(float(np.sum(scale)), np.finfo(np.float64).tiny))
        return distance if math.isfinite(distance) else math.inf


@dataclass
class _Tally:
    """What was measured on the pictures so far, one value each."""

    rms: list[float] = field(default_factory=list)
    largest: list[float] = field(default_factory=list)
    rms_scale: list[float] = field(default_factory=list)
    largest_scale: list[float] = field(default_factory=list)
    moments: Array = field(default_factory=lambda: np.zeros((4, 1)))
    range: tuple[float, float] = (0.0, 0.0)

    def add(self, pair: _Pair) -> None:
        self._add_moments(pair)
        with np.errstate(invalid="ignore", over="ignore"):
            measured = pair.measured()
        columns = (self.rms, self.largest, self.rms_scale, self.largest_scale)
        for column, values in zip(columns, measured, strict=True):
            column += values.tolist()

    def errors(self) -> tuple[Array, Array]:
        """Return the relative errors of every picture: by rms, and by the largest difference."""
        return _relative(self.rms, self.rms_scale), _relative(self.largest, self.largest_scale)

    def lost(self) -> float:
        """Return the mean over the channels of the error's share of the channel's variance, each at most 1."""
        count, _, _, off = self.moments
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._share(off / count)

    def rounding(self) -> float:
        """Return the same for the error of rounding to 256 steps of the range, which lies evenly within a step."""
        step = (self.range[1] - self.range[0]) / 255
        return self._share(np.full(self.moments.shape[1], step**2 / 12))

    def _share(self, off: Array) -> float:
        count, sums, squares, _ = self.moments
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = squares / count - (sums / count) ** 2
            varied = variance > _LEAST_VARIANCE * np.max(variance)
            share = np.nan_to_num(off[varied] / variance[varied], nan=1.0, posinf=1.0)
        return float(np.mean(np.minimum(share, 1.0))) if share.size else 0.0

    def _add_moments(self, pair: _Pair) -> None:
        """Add up, for each channel: the count, the values, their squares, and the squares of the differences."""
        channels = pair.original.shape[-1]
        a, b = (values.reshape(-1, channels).astype(np.float64) for values in (pair.original, pair.given))
        with np.errstate(invalid="ignore", over="ignore"):
            found = np.stack(
                [np.full(channels, len(a), np.float64), a.sum(axis=0), (a * a).sum(axis=0), ((a - b) ** 2).sum(axis=0)]
            )
        self.moments = self.moments + found
        self.range = (min(self.range[0], float(a.min())), max(self.range[1], float(a.max())))


def _relative(off: Sequence[float], scale: Sequence[float]) -> Array:
    differences, scales = np.array(off), np.array(scale)
    least = _LEAST_SCALE * float(np.max(scales))
    # A layer that is silent on every picture, and is not in the artifact, is off by all that it says.
    scales = np.maximum(scales, least) if least > 0 else np.maximum(differences, np.finfo(np.float64).tiny)
    with np.errstate(invalid="ignore"):
        relative = differences / scales
    return np.where(np.isfinite(relative), relative, np.inf)


def _candidates(outputs: Sequence[_Output], given: Array) -> Iterator[_Pair]:
    for output in outputs:
        for values in _layouts(given, output.values.shape):
            yield _Pair(original=output.values, given=values, activation=output.activation)


def _layouts(values: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """Yield an artifact's tensor in every layout that makes it one of ``shape``, batch first and channels last."""
    if values.shape[:1] != shape[:1] or values.size != math.prod(shape):
        return
    sides = [side for side in shape if side != 1]
    if values.shape == shape:
        yield values
    if values.ndim == len(shape) > 2:
        # Another artifact, in the place of the original, may have channels first itself.
        yield from (
            turned for turned in (np.moveaxis(values, 1, -1), np.moveaxis(values, -1, 1)) if turned.shape == shape
        )
    if values.shape == shape or (values.ndim == len(shape) and sorted(values.shape) == sorted(shape)):
        return
    # Flattened, squeezed, or with sides of 1: in the order of channels last, or of channels first on either side.
    yield values.reshape(shape)
    if len(shape) > 2 and len(sides) > 1:
        yield np.moveaxis(values.reshape(shape[0], shape[-1], *shape[1:-1]), 1, -1)
    if values.ndim > 2:
        yield np.moveaxis(values, 1, -1).reshape(shape)


def _rms(values: Array) -> Array:
    return np.asarray(np.sqrt(np.mean(np.square(values), axis=1)))


def _array(result: Any) -> Array | None:
    """Return a layer's only output as an array; None where it has several, or no real numbers."""
    from keras import ops, tree

    flat = tree.flatten(result)
    if len(flat) != 1:
        return None
    values = np.asarray(ops.convert_to_numpy(flat[0]))
    # float16 and bfloat16, too
    return values.astype(np.float32) if values.dtype.kind in "fV" and values.size else None


def _activated(values: Array, activation: str) -> Array:
    from keras import ops

    function = ops.softmax if activation == "softmax" else ops.sigmoid
    return np.asarray(ops.convert_to_numpy(function(values)))


@contextlib.contextmanager
def _linear(layer: Any) -> Iterator[None]:
    """Take a layer's activation off for a while."""
    from keras import activations

    own = layer.activation
    layer.activation = activations.linear
    try:
        yield
    finally:
        layer.activation = own


def _said(artifact: Artifact | Path, key: str) -> Any:
    """Return the layers or checkpoints of an artifact that was just written, or that its metadata name."""
    if isinstance(artifact, Artifact) and artifact.layers:
        return getattr(artifact, key)
    path = artifact.path if isinstance(artifact, Artifact) else artifact
    return runtime_of(path)[1].read_metadata(path).get(key) or {}


def _open(artifact: Artifact | Path, tensors: Sequence[str], device: str = "cpu") -> Runner:
    path = artifact.path if isinstance(artifact, Artifact) else artifact
    runtime = runtime_of(path)[1]
    # Of the runtimes, those that hand operators to a delegate have a switch for it.
    options: dict[str, Any] = {"delegate": False} if "delegate" in inspect.signature(runtime.open).parameters else {}
    with quiet_frameworks():
        names = {info.name for info in runtime.open(path).outputs}
        exposed = [name for name in dict.fromkeys(tensors) if name not in names]
        return runtime.open(path, device=device, expose=exposed, **options)


def _rounded(number: float) -> float | None:
    return float(f"{number:.2e}") if math.isfinite(number) else None
