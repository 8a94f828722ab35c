"""Which pixels of the picture a cell of a feature map sees: size, stride and position, exact for any padding.

Reference: Araujo, Norris, Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill, 2019,
https://distill.pub/2019/computing-receptive-fields/. Here the recurrences run from the picture to the cell:
a layer of kernel k, stride s, dilation d and padding p turns (size r, stride S, start v) into
(r + (k − 1)·d·S, S·s, v − p·S), so that they follow a graph in the order in which it runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from keras import layers

from edgecv.architectures.custom_layers import EuclideanRBF, LocalResponseNormalization, PartialConv2D
from edgecv.errors import UnsupportedLayerError
from edgecv.layer_graph import LayerGraph, Step

__all__ = [
    "ELEMENTWISE",
    "GLOBAL_POOLS",
    "MERGES",
    "POOLS",
    "ReceptiveField",
    "Traced",
    "has_rule",
    "is_merge",
    "is_pointwise",
    "same_padding",
    "trace",
]

Pair = tuple[int, int]

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D, PartialConv2D)
POOLS = (layers.AveragePooling2D, layers.MaxPooling2D)
GLOBAL_POOLS = (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)
MERGES = (
    layers.Add,
    layers.Average,
    layers.Concatenate,
    layers.Maximum,
    layers.Minimum,
    layers.Multiply,
    layers.Subtract,
)
_MOVES = (layers.ZeroPadding2D, layers.Cropping2D)
# What works on a flattened map as it does on the map itself.
ELEMENTWISE = (
    layers.ActivityRegularization,
    layers.AlphaDropout,
    layers.Dropout,
    layers.ELU,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.Identity,
    layers.LeakyReLU,
    layers.ReLU,
)
# Every cell of the result depends on the same cell of the input alone.
_POINTWISE = (
    *ELEMENTWISE,
    layers.Activation,
    layers.Dense,
    layers.Rescaling,
    layers.SpatialDropout2D,
    EuclideanRBF,
    LocalResponseNormalization,
)
# The same, where they work along the channels.
_ALONG_AXIS = (
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.Normalization,
    layers.RMSNormalization,
    layers.Softmax,
    layers.UnitNormalization,
)
# Identities unless the network trains.
_AUGMENTATIONS = (
    layers.RandomBrightness,
    layers.RandomContrast,
    layers.RandomFlip,
    layers.RandomRotation,
    layers.RandomTranslation,
    layers.RandomZoom,
)
# Layers that keras.applications keeps to itself, by module and class.
_OF_APPLICATIONS = {
    ("keras.src.applications.convnext", "LayerScale"),
    ("keras.src.applications.convnext", "StochasticDepth"),
}
_MERGES_OF_APPLICATIONS = {("keras.src.applications.inception_resnet_v2", "CustomScaleLayer")}
_UNARY = {
    "Absolute", "Cast", "Clip", "Elu", "Exp", "Gelu", "HardSigmoid", "HardSilu", "LeakyRelu", "LogSoftmax", "Negative",
    "Relu", "Relu6", "Sigmoid", "Silu", "Softmax", "Softplus", "Sqrt", "Square", "Tanh",
}  # fmt: skip
_BINARY = {"Add", "Divide", "Maximum", "Minimum", "Multiply", "Subtract", "TrueDivide"}


@dataclass(frozen=True, kw_only=True)
class ReceptiveField:
    """What the cells of a map see. All pairs are ``(vertical, horizontal)``, in pixels of the picture.

    Attributes:
        size: Height and width of what one cell sees.
        stride: From one cell to the next.
        start: First pixel that cell (0, 0) sees; negative where padding lies there.
        padded: Somewhere before, zeros stand where the picture has no pixels.
        whole_picture: Somewhere before, a map is multiplied by what was pooled over the whole picture, as in
            squeeze-and-excitation; size and start are those of the rest.
    """

    size: Pair = (1, 1)
    stride: Pair = (1, 1)
    start: Pair = (0, 0)
    padded: bool = False
    whole_picture: bool = False

    def through(
        self, *, kernel: Pair, stride: Pair = (1, 1), dilation: Pair = (1, 1), before: Pair = (0, 0)
    ) -> "ReceptiveField":
        """Return the field behind a layer.

        Args:
            kernel: Cells that one cell of the result depends on, dilation not counted.
            stride: In cells.
            dilation: Cells from one tap to the next.
            before: Cells of padding at the top and the left; negative where it crops.
        """
        reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
        return replace(
            self,
            size=_pair(r + more * old for r, more, old in zip(self.size, reach, self.stride, strict=True)),
            stride=_pair(old * s for old, s in zip(self.stride, stride, strict=True)),
            start=_pair(v - p * old for v, p, old in zip(self.start, before, self.stride, strict=True)),
        )

    def joined(self, other: "ReceptiveField") -> "ReceptiveField":
        """Return the field of a cell that sees what either sees; both have the same stride."""
        start = _pair(min(pair) for pair in zip(self.start, other.start, strict=True))
        sides = zip(start, self.start, self.size, other.start, other.size, strict=True)
        size = _pair(max(a + b, c + d) - first for first, a, b, c, d in sides)
        return replace(
            self,
            start=start,
            size=size,
            padded=self.padded or other.padded,
            whole_picture=self.whole_picture or other.whole_picture,
        )


@dataclass(frozen=True, kw_only=True)
class Traced:
    """A map at one size of the picture.

    Attributes:
        cells: ``(rows, columns)``.
        field: What its cells see.
    """

    cells: Pair
    field: ReceptiveField


def trace(graph: LayerGraph, size: Pair) -> list[Traced]:
    """Follow the receptive field through a network whose outputs are maps.

    Args:
        graph: The network.
        size: ``(height, width)`` of the picture in pixels; SAME padding depends on it.

    Returns:
        One an output.

    Raises:
        UnsupportedLayerError: A layer's rule is not known, or branches disagree.
    """
    # None: pooled over the whole picture.
    known: dict[int, Traced | None] = {graph.input: Traced(cells=size, field=ReceptiveField())}
    for step in graph.steps:
        result = _behind(step, [known[slot] for slot in step.inputs])
        known.update(dict.fromkeys(step.outputs, result))
    traced = []
    for slot, name in zip(graph.outputs, graph.output_names, strict=True):
        result = known[slot]
        if result is None:
            raise UnsupportedLayerError(name, "gives no map of cells", "Convert the classifier with edgecv fcn first.")
        traced.append(result)
    return traced


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Return the cells that SAME adds (before, after) along one axis: so many that ``ceil(size / stride)`` come out.

    The same layer pads (1, 1) at one parity of the size and (0, 1) at the other.
    """
    reach = (kernel - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def has_rule(operation: Any) -> bool:
    """Tell whether `trace` can pass an operation that takes one map and gives one."""
    kind = type(operation)
    if kind in CONVOLUTIONS or kind in POOLS or kind in _MOVES:
        return getattr(operation, "data_format", "channels_last") == "channels_last"
    return is_pointwise(operation)


def is_pointwise(operation: Any) -> bool:
    """Tell whether every cell of the result depends on the same cell of the input alone.

    Subclasses of Keras' layers do not count: they may do what they like.
    """
    kind = type(operation)
    if kind in _POINTWISE or kind in _AUGMENTATIONS or (kind.__module__, kind.__name__) in _OF_APPLICATIONS:
        return True
    if kind in _ALONG_AXIS:
        return _along_channels(operation.axis)
    if kind is layers.PReLU:
        return {1, 2} <= set(operation.shared_axes or ())
    if kind.__module__.startswith("keras.src.ops."):
        return kind.__name__ in _UNARY and getattr(operation, "axis", -1) in (-1, 3)
    return False


def is_merge(operation: Any) -> bool:
    """Tell whether an operation joins several maps cell by cell."""
    kind = type(operation)
    if kind is layers.Concatenate:
        return _along_channels(operation.axis)
    if (kind.__module__, kind.__name__) in _MERGES_OF_APPLICATIONS:
        return True
    return kind in MERGES or (kind.__module__.startswith("keras.src.ops.") and kind.__name__ in _BINARY)


def _along_channels(axis: Any) -> bool:
    axes = axis if isinstance(axis, list | tuple) else [axis]
    return all(one in (-1, 3, None) for one in axes)


def _behind(step: Step, given: Sequence[Traced | None]) -> Traced | None:
    operation = step.operation
    maps = [one for one in given if one is not None]
    if not maps or type(operation) in GLOBAL_POOLS:
        return None
    if is_merge(operation):
        return _joined(step, maps, whole_picture=len(maps) < len(given))
    if len(given) == 1 and has_rule(operation):
        return _passed(operation, maps[0])
    raise UnsupportedLayerError(
        step.path,
        f"is a {type(operation).__name__}: what its cells see is not known",
        "Put layers of Keras in its place that work cell by cell, convolve or pool.",
    )


def _joined(step: Step, maps: Sequence[Traced], *, whole_picture: bool) -> Traced:
    first = maps[0]
    field = first.field
    for other in maps[1:]:
        if other.field.stride != field.stride or other.cells != first.cells:
            raise UnsupportedLayerError(
                step.path,
                f"joins branches of stride {_size(field.stride)} and {_size(other.field.stride)} pixels, with "
                f"{_size(first.cells)} and {_size(other.cells)} cells",
                "All branches must have the same grid.",
            )
        field = field.joined(other.field)
    return Traced(cells=first.cells, field=replace(field, whole_picture=field.whole_picture or whole_picture))


def _passed(operation: Any, before: Traced) -> Traced:
    kind = type(operation)
    if kind in _MOVES:
        return _moved(operation, before)
    if kind in POOLS:
        kernel, dilation = _pair(operation.pool_size), (1, 1)
    elif kind in CONVOLUTIONS:
        kernel, dilation = _pair(operation.kernel_size), _pair(operation.dilation_rate)
    else:
        return before
    stride = _pair(operation.strides)
    same = operation.padding == "same"
    added = [
        same_padding(n, k, s, d) if same else (0, 0)
        for n, k, s, d in zip(before.cells, kernel, stride, dilation, strict=True)
    ]
    field = before.field.through(kernel=kernel, stride=stride, dilation=dilation, before=(added[0][0], added[1][0]))
    rows, columns = (
        (n + sum(pad) - (k - 1) * d - 1) // s + 1
        for n, k, s, d, pad in zip(before.cells, kernel, stride, dilation, added, strict=True)
    )
    padded = field.padded or any(sum(pad) for pad in added)
    return Traced(cells=(rows, columns), field=replace(field, padded=padded))


def _moved(operation: Any, before: Traced) -> Traced:
    """Pad with zeros or crop."""
    crops = type(operation) is layers.Cropping2D
    edges = operation.cropping if crops else operation.padding
    sign = -1 if crops else 1
    (top, bottom), (left, right) = ((sign * first, sign * last) for first, last in edges)
    field = before.field.through(kernel=(1, 1), before=(top, left))
    rows, columns = before.cells
    padded = field.padded or (not crops and any((top, bottom, left, right)))
    return Traced(cells=(rows + top + bottom, columns + left + right), field=replace(field, padded=padded))


def _pair(value: Any) -> Pair:
    first, second = (value, value) if isinstance(value, int) else value  # Keras takes one number for both
    return int(first), int(second)


def _size(pair: Sequence[int]) -> str:
    return f"{pair[0]}x{pair[1]}"
