"""Where a classifier turns its feature map into one answer for the whole picture, and what lies behind that.

Every tensor of a classifier has one of five forms. Rewriting it for pictures of any size, and proving the
rewriting, both start from them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import keras
from keras import layers

from edgecv.errors import ModelError, UnsupportedLayerError
from edgecv.layer_graph import LayerGraph, Step
from edgecv.receptive_field import ELEMENTWISE, GLOBAL_POOLS, POOLS, has_rule, is_merge, is_pointwise

__all__ = ["Form", "Head", "Split", "find_head", "last_activation"]

# map: (batch, rows, columns, channels). flat: such a map of several cells, flattened. vector: one answer for
# the window, (batch, channels) or (batch, 1, 1, channels). context: pooled over the whole picture to weigh a
# map. sequence: (batch, steps, features).
Form = Literal["map", "flat", "vector", "context", "sequence"]
_OVER_FEATURES = ("softmax", "log_softmax", "sparsemax", "sparse_plus", "glu")
_RESHAPES = (layers.Flatten, layers.Reshape)
_NORMALIZATIONS = (
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.RMSNormalization,
    layers.Softmax,
    layers.UnitNormalization,
)


@dataclass(frozen=True, kw_only=True)
class Split:
    """A step whose input is a map and whose result is one answer for the window.

    Attributes:
        window: ``(rows, columns)`` of the map at the training size.
        kind: ``pool`` averages or takes the largest; ``flatten`` keeps every position.
    """

    window: tuple[int, int]
    kind: Literal["pool", "flatten"]


@dataclass(frozen=True, kw_only=True)
class Head:
    """What `find_head` found.

    Attributes:
        forms: Slot → form.
        splits: Index of the step → how it turns a map into an answer.
        folded: Slot of a flattened map → normalisations before it that have to go into the dense layer behind.
    """

    forms: Mapping[int, Form]
    splits: Mapping[int, Split]
    folded: Mapping[int, tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class _Value:
    """What is known of a tensor; ``sources`` are the pools that made a vector of a map, by their steps."""

    form: Form
    sources: frozenset[int] = frozenset()
    dense: bool = False
    folded: tuple[Any, ...] = ()


class _NotTheHeadError(Exception):
    """A pool that covers its map was taken for the head's, but convolutions follow it."""

    def __init__(self, sources: frozenset[int]) -> None:
        self.sources = sources
        super().__init__(sources)


def find_head(graph: LayerGraph) -> Head:
    """Find where maps become answers.

    A global pool is the head's where only layers of vectors follow it, and squeeze-and-excitation's where
    its result meets a map again.

    Raises:
        ModelError: The input is no picture of a fixed size.
        UnsupportedLayerError: There is no dense head, or a layer cannot work on a picture of another size.
    """
    first = _input_value(graph)
    inside: frozenset[int] = frozenset()
    while True:
        meeting = inside | _meeting_a_map(graph, inside)
        if meeting == inside:
            try:
                return _Pass(graph, inside).run(first)
            except _NotTheHeadError as found:
                meeting |= found.sources
        inside = meeting


def last_activation(graph: LayerGraph, slot: int) -> tuple[Step | None, str]:
    """Return which step the numbers of a tensor got their last activation in, and its name.

    Steps that change no number are passed; ``linear`` where there was none.
    """
    step = graph.producer(slot)
    while step is not None:
        kind = _kind(step)
        name = getattr(getattr(step.operation, "activation", None), "__name__", "linear")
        if name != "linear":
            return step, str(name)
        if kind in ("Sigmoid", "Softmax"):
            return step, kind.lower()
        if kind not in ("Activation", "Dropout", "Flatten", "Identity", "Reshape"):
            return step, "linear"
        step = graph.producer(step.inputs[0])
    return None, "linear"


def _meeting_a_map(graph: LayerGraph, inside: frozenset[int]) -> frozenset[int]:
    """Return the pools whose results, whatever follows them, meet a map again, beside those known of."""
    sources: dict[int, frozenset[int]] = {graph.input: frozenset()}
    met: frozenset[int] = frozenset()
    for step in graph.steps:
        given = [sources[slot] for slot in step.inputs]
        union = frozenset().union(*given)
        if union and not all(given):
            met |= union
            union = frozenset()
        elif not union and step.index not in inside and _leaves_the_map(graph, step):
            union = frozenset({step.index})
        sources.update(dict.fromkeys(step.outputs, union))
    return frozenset(index for index in met if type(graph.steps[index].operation) not in _RESHAPES)


def _leaves_the_map(graph: LayerGraph, step: Step) -> bool:
    return type(step.operation) in (*GLOBAL_POOLS, *_RESHAPES) or _covers(graph, step)


def _input_value(graph: LayerGraph) -> _Value:
    shape = graph.shapes[graph.input]
    if len(shape) == 3:
        return _Value(form="sequence")
    if len(shape) != 4:
        raise ModelError(f"{graph.name!r} takes {shape}, no picture (batch, height, width, channels).")
    if None in shape[1:]:
        raise ModelError(
            f"{graph.name!r} takes pictures of any size, {shape}, so that its window is not known. "
            "Build it with a fixed height, width and number of channels."
        )
    return _Value(form="map")


@dataclass
class _Pass:
    """One walk, with the pools of ``inside`` known not to be the head's."""

    graph: LayerGraph
    inside: frozenset[int]
    known: dict[int, _Value] = field(default_factory=dict)
    splits: dict[int, Split] = field(default_factory=dict)

    def run(self, first: _Value) -> Head:
        self.known[self.graph.input] = first
        for step in self.graph.steps:
            result = self._behind(step, [self.known[slot] for slot in step.inputs])
            self.known.update(dict.fromkeys(step.outputs, result))
        for slot, name in zip(self.graph.outputs, self.graph.output_names, strict=True):
            self._check_output(self.known[slot], self.graph.producer(slot), name)
        return Head(
            forms={slot: value.form for slot, value in self.known.items()},
            splits=self.splits,
            folded={slot: value.folded for slot, value in self.known.items() if value.folded},
        )

    def _check_output(self, value: _Value, step: Step | None, name: str) -> None:
        path = step.path if step else name
        if value.form == "vector" and value.dense:
            return
        if value.form == "context":
            problem, remedy = "answers from a pool that feeds a gate inside, too", "Use two pools."
        elif value.form == "sequence":
            problem = f"gives {self._shape(step)}, a list of answers and not one for the whole window"
            remedy = "Give a picture classifier."
        else:
            problem = "is the output, but no dense layer comes before it: there is no head to rewrite"
            remedy = "Give a classifier: global pooling or Flatten, then Dense."
        raise UnsupportedLayerError(path, problem, remedy)

    def _behind(self, step: Step, given: Sequence[_Value]) -> _Value:
        if not given or len(step.outputs) != 1:
            raise UnsupportedLayerError(step.path, "does not map tensors to one tensor", "Leave it out.")
        forms = {value.form for value in given}
        if "sequence" in forms:
            return self._behind_sequence(step)
        if forms == {"context"}:
            return given[0]
        if len(given) > 1 or is_merge(step.operation):
            return self._behind_merge(step, given, forms)
        rules = {"map": self._behind_map, "flat": self._behind_flat, "vector": self._behind_vector}
        return rules[given[0].form](step, given[0])

    def _behind_sequence(self, step: Step) -> _Value:
        shape = self._shape(step, result=False)
        if isinstance(step.operation, layers.Dense):
            raise UnsupportedLayerError(
                step.path,
                f"is dense over the last axis of {shape}: a time axis and no picture",
                "Give a classifier whose Dense follows Flatten or global pooling of a picture.",
            )
        if len(self.graph.shapes[step.outputs[0]]) != 3:
            raise _no_rule(step, f"works on {shape}, a time axis and no picture")
        return _Value(form="sequence")

    def _behind_merge(self, step: Step, given: Sequence[_Value], forms: set[Form]) -> _Value:
        if forms == {"map", "context"} and type(step.operation) is not layers.Concatenate:
            return _Value(form="map")
        vectors = forms == {"vector"}
        if len(forms) == 1 and "flat" not in forms and _joins(step, self._shape(step), vectors):
            sources = frozenset().union(*(value.sources for value in given))
            return _Value(form=given[0].form, sources=sources, dense=any(value.dense for value in given))
        raise _no_rule(step, f"is a {_kind(step)} of {', '.join(sorted(forms))} tensors")

    def _behind_map(self, step: Step, value: _Value) -> _Value:
        operation = step.operation
        shape = self.graph.shapes[step.inputs[0]]
        window = (int(shape[1] or 0), int(shape[2] or 0))
        if type(operation) in GLOBAL_POOLS and _channels_last(operation):
            if step.index in self.inside:
                return _Value(form="context")
            return self._split(step, window, "pool")
        if type(operation) in _RESHAPES and _channels_last(operation):
            return self._reshaped(step, window)
        if _covers(self.graph, step) and step.index not in self.inside:
            return self._split(step, window, "pool")
        if has_rule(operation) and _constants_fit(step):
            return value
        raise _no_rule(step, f"is a {_kind(step)}: what its cells see is not known")

    def _split(self, step: Step, window: tuple[int, int], kind: Literal["pool", "flatten"]) -> _Value:
        self.splits[step.index] = Split(window=window, kind=kind)
        if kind == "flatten" and window != (1, 1):
            return _Value(form="flat")
        return _Value(form="vector", sources=frozenset({step.index}) if kind == "pool" else frozenset())

    def _reshaped(self, step: Step, window: tuple[int, int]) -> _Value:
        result = self._shape(step)
        if len(result) == 2 or (result[1:3] == (1, 1) and window == (1, 1)):
            return self._split(step, window, "flatten")
        if len(result) == 3:
            return _Value(form="sequence")
        raise _no_rule(step, f"reshapes a map to {result}: its cells would move")

    def _behind_flat(self, step: Step, value: _Value) -> _Value:
        operation = step.operation
        if type(operation) is layers.Dense:
            return _Value(form="vector", dense=True)
        if type(operation) in _RESHAPES and len(self._shape(step)) == 2:
            return value
        if type(operation) is layers.BatchNormalization:
            return replace(value, folded=(*value.folded, operation))
        dropout = "Dropout" in _kind(step) or "Noise" in _kind(step) or type(operation) is layers.Identity
        if _elementwise(operation) and (dropout or not value.folded):
            return value
        after = " after a BatchNormalization" if value.folded else ""
        raise _no_rule(step, f"is a {_kind(step)} of a flattened map{after}, where only Dense can follow")

    def _behind_vector(self, step: Step, value: _Value) -> _Value:
        operation = step.operation
        rank = len(self.graph.shapes[step.inputs[0]])
        kind = type(operation)
        if kind is layers.Dense and (rank == 2 or rank == 4):
            return replace(value, dense=True)
        if kind in _RESHAPES and len(self._shape(step)) in (2, 4) and self._shape(step)[1:-1] in ((), (1, 1)):
            return value
        if kind in GLOBAL_POOLS and _channels_last(operation):
            return value
        if _is_one_by_one(operation):
            return replace(value, dense=True)
        if kind in _NORMALIZATIONS and _over_channels(operation.axis, rank):
            return replace(value, dense=value.dense or kind is layers.Softmax)
        if (kind is layers.PReLU or is_pointwise(operation)) and _constants_fit(step):
            return replace(value, dense=value.dense or _activation(operation) == "softmax")
        if rank == 4 and has_rule(operation) and self._only_local_pools(value.sources):
            raise _NotTheHeadError(value.sources)
        raise _no_rule(step, f"is a {_kind(step)} behind the head's pooling or flattening")

    def _only_local_pools(self, sources: frozenset[int]) -> bool:
        return bool(sources) and all(type(self.graph.steps[index].operation) in POOLS for index in sources)

    def _shape(self, step: Step | None, *, result: bool = True) -> tuple[int | None, ...]:
        if step is None:
            return self.graph.shapes[self.graph.input]
        return self.graph.shapes[(step.outputs if result else step.inputs)[0]]


def _no_rule(step: Step, problem: str) -> UnsupportedLayerError:
    if isinstance(step.operation, layers.Lambda):
        problem = "is a Lambda: what its Python code does to the positions of a picture cannot be told"
    return UnsupportedLayerError(
        step.path,
        problem,
        "An FCN can be made of convolutions, pooling and layers that work cell by cell, with a dense head.",
    )


def _kind(step: Step) -> str:
    return type(step.operation).__name__


def _channels_last(operation: Any) -> bool:
    return getattr(operation, "data_format", None) in (None, "channels_last")


def _covers(graph: LayerGraph, step: Step) -> bool:
    """Tell whether a pool takes the whole map at the training size: then its stride has no meaning yet."""
    operation = step.operation
    if type(operation) not in POOLS or not _channels_last(operation):
        return False
    window = graph.shapes[step.inputs[0]][1:3]
    return window != (1, 1) and tuple(operation.pool_size) == window and graph.shapes[step.outputs[0]][1:3] == (1, 1)


def _is_one_by_one(operation: Any) -> bool:
    if type(operation) is not layers.Conv2D or not _channels_last(operation):
        return False
    return tuple(operation.kernel_size) == (1, 1) and tuple(operation.strides) == (1, 1)


def _elementwise(operation: Any) -> bool:
    if type(operation) is layers.Activation:
        return _activation(operation) not in _OVER_FEATURES
    if type(operation) is layers.Rescaling:
        return isinstance(operation.scale, int | float) and isinstance(operation.offset, int | float)
    return type(operation) in ELEMENTWISE


def _activation(operation: Any) -> str:
    return getattr(getattr(operation, "activation", None), "__name__", type(operation).__name__.lower())


def _over_channels(axis: Any, rank: int) -> bool:
    axes = axis if isinstance(axis, list | tuple) else [axis]
    return all(one in (-1, rank - 1) for one in axes)


def _joins(step: Step, shape: tuple[int | None, ...], vectors: bool) -> bool:
    """Tell whether a merge works cell by cell; vectors of rank 2 have their channels on axis 1."""
    if vectors and type(step.operation) is layers.Concatenate:
        return _over_channels(step.operation.axis, len(shape))
    return is_merge(step.operation) and _constants_fit(step)


def _constants_fit(step: Step) -> bool:
    """Tell whether other arguments of an operation are numbers, or one number a channel."""
    arrays = [keras.ops.shape(value) for value in step.constants if hasattr(value, "shape")]
    return all(all(side == 1 for side in shape[:-1]) for shape in arrays)
