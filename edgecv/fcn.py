"""From a classifier to a fully convolutional network: one pass over a picture of any size gives a grid of answers.

Reference: Sermanet et al., "OverFeat", 2014, section 3.5, https://arxiv.org/abs/1312.6229.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

from edgecv.decoders import SlidingWindow
from edgecv.deployable import ModelInfo
from edgecv.errors import ModelError, OptionError, UnsupportedLayerError
from edgecv.localisation import Localisation
from edgecv.network_outputs import decoder_order

if TYPE_CHECKING:
    import keras

    from edgecv.fcn_layers import WindowMode
    from edgecv.layer_graph import LayerGraph
    from edgecv.receptive_field import ReceptiveField, Traced

__all__ = ["check_size", "to_fcn"]

Pair = tuple[int, int]

_BOX_NUMBERS = 4


def to_fcn(model: "keras.Model", *, window: "WindowMode" = "pool") -> "keras.Model":
    """Rewrite a classifier into a fully convolutional network, with its weights and without training.

    Flatten → Dense becomes a convolution as large as the feature map, further Dense layers become 1 × 1, and
    everything else stays as it is. Layers keep their names, weights, dtype policies and whether they train;
    regularisers and constraints of dense layers do not come along, nor do auxiliary classifiers. Nested models
    are flattened.

    Args:
        model: A functional or Sequential classifier of pictures ``(batch, height, width, channels)`` of a
            fixed size, with one head or several; it stays as it is.
        window: What becomes of GlobalAveragePooling (or Max) → Dense. ``pool``: pooling over the window at
            stride 1, then 1 × 1: what sliding the classifier over the picture gives. ``cell``: 1 × 1 on every
            cell of the feature map, without pooling: a class activation map (Zhou et al., "Learning Deep
            Features for Discriminative Localization", 2016, https://arxiv.org/abs/1512.04150).

    Returns:
        A functional model from ``(batch, any height, any width, channels)`` to grids ``(batch, rows, columns,
        numbers)``, one an output of ``model`` and under its name. Its ``edgecv_info`` holds a `SlidingWindow`
        (of a localiser's, with boxes relative to the window and the objectness multiplied in):
        cell (i, j) stands for the window that starts at offset + (i·stride, j·stride). With ``pool`` the window
        is the classifier's input size and the offset 0, exactly, for every size that `check_size` accepts.
        With ``cell`` the window is the cell's receptive field, at most the classifier's input size, less what
        it takes to keep the rule of `check_size`, or the classifier's input size where there is a box, which is
        relative to it; it lies around the receptive field's centre.

    Raises:
        OptionError: ``window`` is neither, or a localiser has other outputs than it says.
        ModelError: The model has not one picture of a fixed size as its input, or no graph of layers.
        UnsupportedLayerError: A layer cannot be rewritten, or there is no dense head.
    """
    from edgecv.architectures.auxiliary import without_auxiliary
    from edgecv.classifier_head import find_head
    from edgecv.fcn_layers import WindowMode, rewrite
    from edgecv.layer_graph import layer_graph

    if window not in get_args(WindowMode):
        raise OptionError(f"window must be one of {', '.join(get_args(WindowMode))}, got {window!r}.")
    model = without_auxiliary(model)
    graph = layer_graph(model)
    head = find_head(graph)
    network = rewrite(model, graph, head, window)
    info: ModelInfo = getattr(model, "edgecv_info", None) or ModelInfo(name=str(model.name))
    roles = _known_roles(model, graph, info.localisation) if info.localisation else _roles(graph)
    decoder = _grid(layer_graph(network), _input_size(graph), window, roles)
    network.edgecv_info = replace(info, name=f"{info.name}_fcn", task="detection", decoder=decoder, localisation=None)
    return network


def check_size(network: "keras.Model", size: Pair) -> None:
    """Check that an FCN keeps to its grid on pictures of a size.

    SAME padding depends on the remainder of every map's size by the stride: only where a side is the window
    plus a multiple of the stride do all layers pad as they did when the classifier was trained.

    Args:
        network: What `to_fcn` made; any other network is accepted at any size.
        size: ``(height, width)`` in pixels.

    Raises:
        OptionError: The window is larger than the picture, or a side leaves the grid.
    """
    info = getattr(network, "edgecv_info", None)
    decoder = getattr(info, "decoder", None)
    if not isinstance(decoder, SlidingWindow):
        return
    window, stride = decoder.window, decoder.stride
    if size[0] < window[0] or size[1] < window[1]:
        raise OptionError(
            f"the window of {_size(window)} pixels is larger than the picture of {_size(size)}. "
            f"Give at least {_size(window)}."
        )
    below = tuple(side - (side - w) % s for side, w, s in zip(size, window, stride, strict=True))
    if below != tuple(size):
        above = tuple(low + s * (low != side) for low, side, s in zip(below, size, stride, strict=True))
        raise OptionError(
            f"a picture of {_size(size)} pixels leaves the network's grid: each side must be the window, "
            f"{_size(window)}, plus a multiple of the stride, {_size(stride)}. "
            f"The nearest sizes are {_size(below)} and {_size(above)}."
        )


def _input_size(graph: "LayerGraph") -> Pair:
    _, height, width, _ = graph.shapes[graph.input]
    return int(height or 0), int(width or 0)


def _grid(graph: "LayerGraph", size: Pair, window: "WindowMode", roles: dict[str, Any]) -> SlidingWindow:
    """Return where the cells' windows lie; all outputs must have the same grid."""
    from edgecv.receptive_field import trace

    traced = trace(graph, size)
    _check_same_grid(graph, traced)
    field = traced[0].field
    if window == "pool":
        # The same padding before the same map: cell (i, j) is the classifier's answer i and j strides on.
        return SlidingWindow(stride=field.stride, window=size, **roles)
    sides = zip(size, field.size, field.stride, strict=True)
    cell = _pair(_on_grid(side, seen, stride) for side, seen, stride in sides)
    if roles["box"] == "relative":  # the box was trained to be relative to the classifier's input
        cell = size
    return SlidingWindow(stride=field.stride, window=cell, offset=_centred(field, cell), **roles)


def _check_same_grid(graph: "LayerGraph", traced: Sequence["Traced"]) -> None:
    first = traced[0]
    for name, other in zip(graph.output_names, traced, strict=True):
        if (other.cells, other.field.stride) != (first.cells, first.field.stride):
            raise UnsupportedLayerError(
                name,
                f"has cells every {_size(other.field.stride)} pixels, {graph.output_names[0]!r} every "
                f"{_size(first.field.stride)}",
                "All heads must have the same grid: convert one at a time.",
            )


def _on_grid(side: int, seen: int, stride: int) -> int:
    """Return the largest of ``side``, ``side - stride``, ... that is at most what a cell sees, but at least 1."""
    steps = max(-(-(side - seen) // stride), 0)
    return side - min(steps, (side - 1) // stride) * stride


def _centred(field: "ReceptiveField", window: Pair) -> Pair:
    """Return where a window starts that has its centre where the first cell's field has its own, to a half pixel."""
    return _pair(start + (seen - side) // 2 for start, seen, side in zip(field.start, field.size, window, strict=True))


@dataclass(frozen=True, kw_only=True)
class _Output:
    """What tells the meaning of an output."""

    name: str
    numbers: int
    activation: str


def _known_roles(model: "keras.Model", graph: "LayerGraph", localisation: Localisation) -> dict[str, Any]:
    """Return the same of a localiser that says what its outputs are.

    Raises:
        OptionError: It has other outputs.
    """
    order = decoder_order(model, localisation.outputs, "localisation")
    localisation.check([graph.shapes[graph.outputs[index]] for index in order])
    names = tuple(graph.output_names[index] for index in order)
    return {"outputs": names, "box": "relative", "sqrt_sizes": localisation.sqrt_sizes}


def _roles(graph: "LayerGraph") -> dict[str, Any]:
    """Return which outputs are class scores, objectness and box, as fields of `SlidingWindow`.

    Outputs named ``objectness`` or ``box`` are that; of the others, four numbers without a softmax are the
    box, and one sigmoid beside class scores is the objectness.

    Raises:
        ModelError: Outputs are left over.
    """
    pairs = zip(graph.outputs, graph.output_names, strict=True)
    outputs = [_Output(name=name, **_meaning(graph, slot)) for slot, name in pairs]
    rest = list(outputs)
    box = _taken(rest, "box", lambda output: output.numbers == _BOX_NUMBERS and output.activation != "softmax")
    objectness = _taken(rest, "objectness", lambda output: (output.numbers, output.activation) == (1, "sigmoid"))
    if len(rest) != 1:
        names = ", ".join(f"{output.name!r} ({output.numbers})" for output in outputs)
        raise ModelError(
            f"{graph.name!r} has the outputs {names}; which are class scores, objectness and box cannot be told. "
            "Give a model with one output of class scores, and name the others 'objectness' and 'box'."
        )
    scores = rest[0]
    in_order = tuple(output.name for output in (scores, objectness, box) if output is not None)
    relative = box is not None or (len(outputs) == 1 and _is_joined(graph))
    return {"outputs": in_order, "box": "relative" if relative else "window"}


def _taken(rest: list[_Output], role: str, fits: Any) -> _Output | None:
    """Take the output of a role out of the list: by its name, else the one that fits; one is left for the scores."""
    named = [output for output in rest if output.name == role]
    found = named or ([output for output in rest if fits(output)] if len(rest) > 1 else [])
    if len(found) != 1:
        return None
    rest.remove(found[0])
    return found[0]


def _meaning(graph: "LayerGraph", slot: int) -> dict[str, Any]:
    from edgecv.classifier_head import last_activation

    return {"numbers": int(graph.shapes[slot][-1] or 0), "activation": last_activation(graph, slot)[1]}


def _is_joined(graph: "LayerGraph") -> bool:
    """Tell whether the one output joins class scores, a sigmoid and four numbers, in the decoder's order."""
    step = graph.producer(graph.outputs[0])
    if step is None or type(step.operation).__name__ != "Concatenate" or len(step.inputs) != 3:
        return False
    _, objectness, box = (_meaning(graph, slot) for slot in step.inputs)
    return objectness == {"numbers": 1, "activation": "sigmoid"} and box["numbers"] == _BOX_NUMBERS


def _pair(values: Any) -> Pair:
    first, second = values
    return first, second


def _size(pair: Sequence[int]) -> str:
    return f"{pair[0]}x{pair[1]}"
