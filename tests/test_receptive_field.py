"""Receptive fields: published numbers, and what pixels really move a cell."""

import math
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import applications, layers

from edgecv.errors import UnsupportedLayerError
from edgecv.fcn_grid import cells_inside, shared_side
from edgecv.layer_graph import layer_graph
from edgecv.receptive_field import ReceptiveField, Traced, same_padding, trace

SIZE = (24, 21)


def traced(output: Callable[[Any], Any], size: tuple[int, int] = SIZE) -> Traced:
    image = keras.Input((None, None, 1))
    return trace(layer_graph(keras.Model(image, output(image))), size)[0]


def chain(*steps: Any) -> Callable[[Any], Any]:
    def call(x: Any) -> Any:
        for step in steps:
            x = step(x)
        return x

    return call


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "expected"),
    [
        # TensorFlow's "Notes on padding": total = max(kernel - stride, 0) where the stride divides the size,
        # else max(kernel - size % stride, 0); the odd cell goes behind.
        (224, 3, 2, 1, (0, 1)),
        (225, 3, 2, 1, (1, 1)),
        (224, 7, 2, 1, (2, 3)),
        (112, 3, 1, 1, (1, 1)),
        (112, 1, 2, 1, (0, 0)),
        (10, 3, 1, 2, (2, 2)),
        (11, 2, 2, 1, (0, 1)),
        (11, 5, 3, 1, (1, 2)),
    ],
)
def test_same_padding_depends_on_the_size(
    size: int, kernel: int, stride: int, dilation: int, expected: tuple[int, int]
) -> None:
    assert same_padding(size, kernel, stride, dilation) == expected


@pytest.mark.parametrize(
    ("builder", "size", "field", "padding"),
    [
        # Araujo et al., 2019, table of common networks: receptive field and effective padding.
        pytest.param(applications.VGG16, 224, 212, 90, id="vgg16"),
        pytest.param(applications.MobileNet, 224, 315, 126, id="mobilenet"),
        pytest.param(applications.InceptionV3, 299, 1311, 618, id="inception_v3", marks=pytest.mark.slow),
    ],
)
def test_published_receptive_fields(builder: Any, size: int, field: int, padding: int) -> None:
    network = builder(include_top=False, weights=None, input_shape=(None, None, 3))
    assert trace(layer_graph(network), (size, size))[0].field == ReceptiveField(
        size=(field, field), stride=(32, 32), start=(-padding, -padding), padded=True
    )


def _branches(x: Any) -> Any:
    return layers.Concatenate()(
        [layers.Conv2D(1, 3, 2, padding="same")(x), layers.MaxPooling2D(5, 2, padding="same")(x)]
    )


@pytest.mark.parametrize(
    "output",
    [
        pytest.param(chain(layers.Conv2D(2, (3, 5), strides=(2, 3))), id="valid"),
        pytest.param(chain(layers.Conv2D(2, 3, strides=2, padding="same")), id="same"),
        pytest.param(chain(layers.Conv2D(2, 3, dilation_rate=(2, 3), padding="same")), id="dilated"),
        pytest.param(chain(layers.DepthwiseConv2D(3, strides=2, padding="same"), layers.Conv2D(1, 2)), id="depthwise"),
        pytest.param(chain(layers.SeparableConv2D(2, 5, padding="same"), layers.AveragePooling2D(2)), id="separable"),
        pytest.param(chain(layers.ZeroPadding2D(((3, 1), (0, 2))), layers.Conv2D(1, 3, 2)), id="padded"),
        pytest.param(chain(layers.Cropping2D(((1, 2), (3, 0))), layers.Conv2D(1, 3, 2)), id="cropped"),
        pytest.param(chain(layers.Conv2D(1, 3, padding="same"), _branches), id="branches"),
        pytest.param(chain(layers.AveragePooling2D(3, 2, padding="same"), layers.ReLU()), id="pool"),
    ],
)
def test_a_cell_moves_with_exactly_the_pixels_of_its_field(output: Callable[[Any], Any]) -> None:
    image = keras.Input((*SIZE, 1))
    network = keras.Model(image, output(image))
    network.set_weights([np.ones(weight.shape) for weight in network.get_weights()])
    found = trace(layer_graph(network), SIZE)[0]
    # One picture a pixel: what lights up is what the cell sees. Weights of one cannot cancel out.
    single = np.eye(math.prod(SIZE), dtype="float32").reshape(-1, *SIZE, 1)
    base = network(np.zeros((1, *SIZE, 1), "float32"))
    lit = np.abs(np.asarray(network(single)) - np.asarray(base)).max(axis=-1).reshape(*SIZE, *found.cells)
    field = found.field
    whole = 0
    for cell in np.ndindex(*found.cells):
        seen = np.nonzero(lit[:, :, cell[0], cell[1]])
        first = [start + index * step for start, index, step in zip(field.start, cell, field.stride, strict=True)]
        last = [start + side - 1 for start, side in zip(first, field.size, strict=True)]
        for axis in (0, 1):
            assert all(first[axis] <= pixel <= last[axis] for pixel in seen[axis])
        if min(first) >= 0 and last[0] < SIZE[0] and last[1] < SIZE[1]:
            whole += 1
            assert [(axis.min(), axis.max()) for axis in seen] == list(zip(first, last, strict=True))
    assert whole >= 4


def test_the_same_layer_starts_elsewhere_at_the_other_parity() -> None:
    layer = chain(layers.Conv2D(1, 3, strides=2, padding="same"))
    assert [traced(layer, (size, size)).field.start for size in (24, 25)] == [(0, 0), (-1, -1)]


def test_padding_is_told_from_same_that_pads_nothing() -> None:
    assert not traced(
        chain(layers.Conv2D(1, 1, padding="same"), layers.MaxPooling2D(2, padding="same")), (8, 8)
    ).field.padded
    assert traced(chain(layers.MaxPooling2D(2, padding="same")), (9, 8)).field.padded
    assert not traced(chain(layers.Cropping2D(1))).field.padded


def test_squeeze_and_excitation_sees_the_whole_picture() -> None:
    def gated(x: Any) -> Any:
        x = layers.Conv2D(4, 3)(x)
        gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
        return layers.Multiply()([x, layers.Conv2D(4, 1, activation="sigmoid")(gate)])

    assert traced(gated).field == ReceptiveField(size=(3, 3), whole_picture=True)


def test_branches_of_different_stride_are_refused() -> None:
    def parted(x: Any) -> Any:
        return layers.Add(name="join")([layers.Conv2D(1, 1, 2, padding="same")(x), layers.Conv2D(1, 1)(x)])

    message = (
        "Layer 'join' joins branches of stride 2x2 and 1x1 pixels, with 12x11 and 24x21 cells. "
        "All branches must have the same grid."
    )
    with pytest.raises(UnsupportedLayerError, match=f"^{re.escape(message)}$"):
        traced(parted)


def test_a_layer_without_a_rule_is_refused() -> None:
    message = (
        "Layer 'up' is a UpSampling2D: what its cells see is not known. "
        "Put layers of Keras in its place that work cell by cell, convolve or pool."
    )
    with pytest.raises(UnsupportedLayerError, match=f"^{re.escape(message)}$"):
        traced(chain(layers.UpSampling2D(name="up")))


def test_cells_inside_a_picture() -> None:
    # Cells of 5 pixels every 2, the first from -3: they see -3…1, -1…3, 1…5, 3…7, 5…9, 7…11.
    assert cells_inside(10, seen=5, stride=2, start=-3) == range(2, 5)
    assert cells_inside(4, seen=5, stride=2, start=-3) == range(2, 2)
    assert cells_inside(10, seen=5, stride=2, start=1) == range(3)


@pytest.mark.parametrize(("window", "seen", "stride", "start"), [(28, 54, 8, -15), (224, 212, 32, -90), (9, 5, 2, -3)])
def test_sub_pictures_share_three_cells_and_no_smaller_ones_do(window: int, seen: int, stride: int, start: int) -> None:
    side = shared_side(window, seen, stride, start, largest=4096)
    assert side is not None
    assert (side - window) % stride == 0
    assert len(cells_inside(side, seen, stride, start)) >= 4
    assert side == window or len(cells_inside(side - stride, seen, stride, start)) < 4


def test_sub_pictures_share_fewer_cells_where_the_side_is_limited() -> None:
    # Two cells inside, of which one is shared, need 54 - 15 + (2 + 1) * 8 = 63 pixels, on the grid 68.
    assert shared_side(28, 54, 8, -15, largest=70) == 68
    assert shared_side(28, 54, 8, -15, largest=67) is None
