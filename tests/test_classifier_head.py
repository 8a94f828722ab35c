"""What cannot become a fully convolutional network is named, with the reason."""

import re
from collections.abc import Callable
from typing import Any

import keras
import pytest
from keras import layers, ops

import edgecv
from edgecv.classifier_head import find_head, last_activation
from edgecv.errors import ModelError
from edgecv.layer_graph import layer_graph

_MADE_OF = "An FCN can be made of convolutions, pooling and layers that work cell by cell, with a dense head."
_NO_HEAD = (
    "is the output, but no dense layer comes before it: there is no head to rewrite. "
    "Give a classifier: global pooling or Flatten, then Dense."
)


def valid(head: Callable[[Any], Any]) -> keras.Model:
    """A map of 7 × 9 cells with 4 channels, then a head."""
    image = keras.Input((9, 11, 2), name="image")
    return keras.Model(image, head(layers.Conv2D(4, 3, name="second")(image)), name="tiny")


def average_dense(x: Any) -> Any:
    return layers.Dense(5, name="scores")(layers.GlobalAveragePooling2D(name="global")(x))


def _list_of_answers(x: Any) -> Any:
    return layers.Softmax(name="anchors")(layers.Reshape((-1, 4))(x))


def test_where_maps_become_answers() -> None:
    graph = layer_graph(valid(average_dense))
    head = find_head(graph)
    assert [head.forms[step.outputs[0]] for step in graph.steps] == ["map", "vector", "vector"]
    assert {graph.steps[index].path: split.window for index, split in head.splits.items()} == {"global": (7, 9)}
    assert "context" not in head.forms.values()


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (lambda x: x, ("scores", "linear")),
        (layers.Softmax(name="end"), ("end", "softmax")),
        (lambda x: layers.Reshape((1, 1, 5))(layers.Activation("sigmoid", name="end")(x)), ("end", "sigmoid")),
        (lambda x: layers.Dropout(0.5)(ops.softmax(x)), ("softmax", "softmax")),
    ],
)
def test_the_last_activation_is_found_behind_layers_that_change_nothing(end: Any, expected: tuple[str, str]) -> None:
    graph = layer_graph(valid(lambda x: end(average_dense(x))))
    step, name = last_activation(graph, graph.outputs[0])
    assert step is not None
    assert (step.operation.name.rstrip("_0123456789"), name) == expected


def _two_inputs() -> keras.Model:
    left, right = keras.Input((8, 8, 1), name="left"), keras.Input((8, 8, 1), name="right")
    return keras.Model([left, right], average_dense(layers.Add()([left, right])), name="pair")


def _time_axis() -> keras.Model:
    steps = keras.Input((16, 8))
    return keras.Model(steps, layers.Dense(3, name="dense")(steps))


def _any_size() -> keras.Model:
    image = keras.Input((None, None, 3))
    return keras.Model(image, average_dense(image), name="any")


def _resized(x: Any) -> Any:
    return average_dense(layers.Resizing(8, 8, name="resize")(x))


def _flat_and_map(x: Any) -> Any:
    return layers.Dense(2)(layers.Concatenate(name="join")([layers.Flatten()(x), layers.GlobalAveragePooling2D()(x)]))


def _pooled_twice(x: Any) -> Any:
    vector = layers.GlobalAveragePooling2D(name="global")(x)
    gated = layers.Multiply()([x, layers.Dense(4)(vector)])
    return [layers.Dense(2, name="one")(vector), layers.Dense(2)(layers.Flatten()(gated))]


def _different_grids(x: Any) -> Any:
    deep = layers.Conv2D(3, 2, strides=2)(x)
    return [layers.Dense(2, name="shallow")(layers.Flatten()(x)), layers.Dense(4, name="deep")(layers.Flatten()(deep))]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (_two_inputs, "'pair' has 2 inputs, 'left', 'right'. It must have one, a picture."),
        (
            _time_axis,
            "Layer 'dense' is dense over the last axis of (None, 16, 8): a time axis and no picture. "
            "Give a classifier whose Dense follows Flatten or global pooling of a picture.",
        ),
        (
            lambda: valid(lambda x: layers.Dense(2, name="dense")(layers.Reshape((-1, 4))(x))),
            "Layer 'dense' is dense over the last axis of (None, 63, 4): a time axis and no picture. "
            "Give a classifier whose Dense follows Flatten or global pooling of a picture.",
        ),
        (lambda: valid(lambda x: x), f"Layer 'second' {_NO_HEAD}"),
        (lambda: valid(lambda x: layers.GlobalAveragePooling2D(name="global")(x)), f"Layer 'global' {_NO_HEAD}"),
        (lambda: valid(lambda x: layers.Flatten(name="flat")(x)), f"Layer 'flat' {_NO_HEAD}"),
        (
            _any_size,
            "'any' takes pictures of any size, (None, None, None, 3), so that its window is not known. "
            "Build it with a fixed height, width and number of channels.",
        ),
        (
            lambda: valid(lambda x: average_dense(layers.Lambda(ops.flip, output_shape=x.shape[1:], name="flip")(x))),
            "Layer 'flip' is a Lambda: what its Python code does to the positions of a picture cannot be told. "
            + _MADE_OF,
        ),
        (
            lambda: valid(_list_of_answers),
            "Layer 'anchors' gives (None, 63, 4), a list of answers and not one for the whole window. "
            "Give a picture classifier.",
        ),
        (
            lambda: valid(_resized),
            f"Layer 'resize' is a Resizing: what its cells see is not known. {_MADE_OF}",
        ),
        (
            lambda: valid(lambda x: average_dense(layers.Permute((2, 1, 3), name="turn")(x))),
            f"Layer 'turn' is a Permute: what its cells see is not known. {_MADE_OF}",
        ),
        (
            lambda: valid(lambda x: average_dense(layers.GroupNormalization(2, name="groups")(x))),
            f"Layer 'groups' is a GroupNormalization: what its cells see is not known. {_MADE_OF}",
        ),
        (lambda: valid(_flat_and_map), f"Layer 'join' is a Concatenate of flat, vector tensors. {_MADE_OF}"),
        (
            lambda: valid(lambda x: layers.Dense(2)(layers.Softmax(name="softmax")(layers.Flatten()(x)))),
            f"Layer 'softmax' is a Softmax of a flattened map, where only Dense can follow. {_MADE_OF}",
        ),
        (
            lambda: valid(
                lambda x: layers.Dense(2)(layers.ReLU(name="relu")(layers.BatchNormalization()(layers.Flatten()(x))))
            ),
            "Layer 'relu' is a ReLU of a flattened map after a BatchNormalization, where only Dense can follow. "
            + _MADE_OF,
        ),
        (
            lambda: valid(_pooled_twice),
            "Layer 'one' answers from a pool that feeds a gate inside, too. Use two pools.",
        ),
        (
            lambda: valid(_different_grids),
            "Layer 'deep' has cells every 2x2 pixels, 'shallow' every 1x1. "
            "All heads must have the same grid: convert one at a time.",
        ),
        (
            lambda: keras.Sequential([layers.Dense(3)], name="unbuilt"),
            "'unbuilt' has not been built: it has no graph of layers. "
            "Give a functional model, or a Sequential with an Input.",
        ),
    ],
)
def test_what_cannot_be_rewritten_is_named_with_the_reason(build: Callable[[], keras.Model], message: str) -> None:
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        edgecv.to_fcn(build())


def test_a_subclassed_model_is_refused() -> None:
    class Own(keras.Model):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    message = (
        "'own' is a subclassed model: it has no graph of layers. "
        "Give a functional model, or a Sequential with an Input."
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        edgecv.to_fcn(Own(name="own"))
