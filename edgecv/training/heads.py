"""New heads for a trained network: its body without the top, and what classifies or localises on it."""

import math
from typing import Any

import keras
from keras import layers

from edgecv.architectures.auxiliary import without_auxiliary
from edgecv.errors import ModelError, OptionError
from edgecv.layer_copies import copy_part
from edgecv.layer_graph import LayerGraph, Step, layer_graph

__all__ = ["HEADS", "classification_head", "localisation_head", "without_top"]

# Names of the layers that give the outputs, in their order.
HEADS = ("predictions", "objectness", "box")
_HELPERS = ("head_dropout", "head_flatten", "head_pool")
_BOX_NUMBERS = 4
# An untrained box is as wide and as high as this part of the picture, in its middle.
_FIRST_SIDE = 0.5


def without_top(model: keras.Model) -> keras.Model:
    """Cut a classifier at the input of the layer that gives its class scores; dropout before it is left out.

    That layer is the last with weights before the output: a Dense, a convolution to one map a class with pooling
    behind it, or a custom layer from vectors to class scores. Auxiliary classifiers are left out, too; of other
    outputs the first is taken for the class scores.

    Args:
        model: A functional or Sequential classifier of one picture ``(batch, height, width, channels)``; it stays
            as it is.

    Returns:
        A functional model without nested ones, of copies of the layers under their own names, to features
        ``(batch, features)`` or ``(batch, rows, columns, features)``. It has no ``edgecv_info``.

    Raises:
        ModelError: It has no graph of layers, not one input, or no such layer.
    """
    model = without_auxiliary(model)
    graph = layer_graph(model)
    slot = _top(graph).inputs[0]
    step = graph.producer(slot)
    while step is not None and _is_dropout(step):
        slot = step.inputs[0]
        step = graph.producer(slot)
    if step is None:
        raise ModelError(f"{graph.name!r} has nothing before its last layer. Give a network with a body and a head.")
    return copy_part(model, graph, slot, reserved=(*HEADS, *_HELPERS))


def classification_head(base: keras.Model, *, classes: int, dropout: float = 0.0) -> keras.Model:
    """Put a new classifier on a body.

    Args:
        base: What `without_top` gives; it and the result share their layers.
        classes: Number of classes, at least 1.
        dropout: Part of the features that training drops before the head, in [0, 1).

    Returns:
        A functional model to float32 probabilities ``(batch, classes)``, softmax, or sigmoid for a single class;
        float32 also where the body computes in half precision. Its output is the layer ``predictions``.

    Raises:
        OptionError: ``classes`` or ``dropout`` is out of range.
    """
    features = _features(base, classes, dropout)
    return keras.Model(base.inputs[0], _predictions(features, classes), name=base.name)


def localisation_head(
    base: keras.Model, *, classes: int, objectness: bool = False, sqrt_sizes: bool = False, dropout: float = 0.0
) -> keras.Model:
    """Put a new classifier-localiser on a body.

    Args:
        base: What `without_top` gives; it and the result share their layers.
        classes: Number of classes, at least 1.
        objectness: Give an objectness, too: whether there is an object at all.
        sqrt_sizes: Width and height are trained as their square roots. It moves only where the untrained box
            starts: in the middle of the picture, half as wide and half as high.
        dropout: Part of the features that training drops before the heads, in [0, 1).

    Returns:
        A functional model to a list of float32 outputs, each a layer of that name: ``predictions``
        ``(batch, classes)``; where asked for, ``objectness`` ``(batch, 1)``, a sigmoid; and ``box`` ``(batch, 4)``,
        sigmoids of centre x, centre y, width, height (or the square roots of the last two), as
        `edgecv.localisation.Localisation` takes them.

    Raises:
        OptionError: ``classes`` or ``dropout`` is out of range.
    """
    features = _features(base, classes, dropout)
    outputs = [_predictions(features, classes)]
    if objectness:
        outputs.append(layers.Dense(1, activation="sigmoid", dtype="float32", name="objectness")(features))
    box = layers.Dense(_BOX_NUMBERS, activation="sigmoid", dtype="float32", name="box")
    outputs.append(box(features))
    side = math.sqrt(_FIRST_SIDE) if sqrt_sizes else _FIRST_SIDE
    logit = math.log(side / (1 - side))
    box.bias.assign([0.0, 0.0, logit, logit])
    return keras.Model(base.inputs[0], outputs, name=base.name)


def _features(base: keras.Model, classes: int, dropout: float) -> Any:
    """Return the body's features as ``(batch, features)``, with dropout."""
    if classes < 1:
        raise OptionError(f"classes must be at least 1, got {classes}.")
    if not 0 <= dropout < 1:
        raise OptionError(f"dropout must be at least 0 and below 1, got {dropout}.")
    x = base.outputs[0]
    if len(x.shape) == 4:
        one = tuple(x.shape[1:3]) == (1, 1)
        x = (layers.Flatten(name="head_flatten") if one else layers.GlobalAveragePooling2D(name="head_pool"))(x)
    return layers.Dropout(dropout, name="head_dropout")(x) if dropout else x


def _predictions(features: Any, classes: int) -> Any:
    # A softmax over one class would be 1 on every picture.
    activation = "softmax" if classes > 1 else "sigmoid"
    return layers.Dense(classes, activation=activation, dtype="float32", name="predictions")(features)


def _top(graph: LayerGraph) -> Step:
    """Return the step whose layer gives the class scores: the last with weights, normalisations aside."""
    slot = graph.outputs[0]
    while (step := graph.producer(slot)) is not None and len(step.inputs) == 1:
        if _gives_classes(graph, step):
            return step
        weights = getattr(step.operation, "weights", ())
        if weights and not isinstance(step.operation, layers.BatchNormalization | layers.LayerNormalization):
            break
        slot = step.inputs[0]
    last = f"layer {step.path!r} is a {type(step.operation).__name__}" if step else "no layer has weights"
    raise ModelError(
        f"{graph.name!r} has no head to take off: {last}. "
        "Give a classifier that ends in a dense layer, or in a convolution to one map a class."
    )


def _gives_classes(graph: LayerGraph, step: Step) -> bool:
    operation = step.operation
    if isinstance(operation, layers.Dense):
        return True
    if isinstance(operation, layers.Conv2D):
        return graph.shapes[step.outputs[0]][-1] == graph.shapes[graph.outputs[0]][-1]
    ranks = {len(graph.shapes[slot]) for slot in (step.inputs[0], step.outputs[0])}
    custom = not type(operation).__module__.startswith("keras.")
    return custom and ranks == {2} and bool(getattr(operation, "weights", ()))


def _is_dropout(step: Step) -> bool:
    kind = type(step.operation).__name__
    return "Dropout" in kind or "GaussianNoise" in kind
