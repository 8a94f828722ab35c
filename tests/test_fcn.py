"""Classifiers become fully convolutional networks: what is rewritten, what is kept, what is refused."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import edgecv
from edgecv.decoders import SlidingWindow
from edgecv.deployable import ModelInfo
from edgecv.errors import ModelError, OptionError, UnsupportedLayerError
from edgecv.fcn import check_size
from edgecv.layer_graph import layer_graph
from edgecv.preprocess import STYLES
from edgecv.receptive_field import trace

Build = Callable[[], keras.Model]
Array = np.ndarray[Any, np.dtype[Any]]


def picture(*shape: int) -> Array:
    return np.random.Generator(np.random.PCG64(1)).random((2, *shape), dtype=np.float32)


def answers(network: keras.Model, x: Array) -> list[Array]:
    return [np.asarray(output) for output in keras.tree.flatten(network(x, training=False))]


def shaken(network: keras.Model) -> keras.Model:
    """Put random values into every weight, BatchNorm statistics and biases included."""
    generator = np.random.Generator(np.random.PCG64(0))
    for weight in network.weights:
        low, high = (0.2, 0.9) if "variance" in weight.path else (-0.4, 0.5)
        weight.assign(generator.uniform(low, high, weight.shape))
    return network


def valid(head: Callable[[Any], Any], size: tuple[int, int, int] = (18, 23, 2)) -> keras.Model:
    """Two VALID convolutions and a pool, stride 2 × 2 in all, then a head."""
    image = keras.Input(size, name="image")
    x = layers.Conv2D(3, (3, 4), activation="tanh", name="first")(image)
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Conv2D(4, 2, activation="tanh", name="second")(x)
    return shaken(keras.Model(image, head(x), name="tiny"))


def flatten_dense(x: Any) -> Any:
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(6, activation="tanh", name="hidden")(x)
    x = layers.Dropout(0.5, name="dropout")(x)
    return layers.Dense(5, activation="softmax", name="scores")(x)


def average_dense(x: Any) -> Any:
    x = layers.GlobalAveragePooling2D(name="global")(x)
    return layers.Dense(5, activation="softmax", name="scores")(x)


def keepdims_reshape(x: Any) -> Any:
    x = layers.GlobalMaxPooling2D(keepdims=True, name="global")(x)
    x = layers.Conv2D(5, 1, name="scores")(x)
    x = layers.Reshape((5,), name="vector")(x)
    return layers.Softmax(name="softmax")(x)


def normalised(x: Any) -> Any:
    x = layers.Flatten(name="flatten")(x)
    x = layers.BatchNormalization(name="norm_1")(x)
    x = layers.Dropout(0.5)(x)
    x = layers.BatchNormalization(scale=False, name="norm_2")(x)
    x = layers.Dense(6, use_bias=False, name="hidden")(x)
    x = layers.BatchNormalization(axis=1, name="norm_3")(x)
    x = layers.PReLU(name="slopes")(x)
    x = layers.LayerNormalization(name="norm_4")(x)
    return layers.Dense(5, name="scores")(x)


def covering_pool(x: Any) -> Any:
    """The global pool of older networks: as large as the map, with its own size as the stride."""
    x = layers.AveragePooling2D(x.shape[1:3], name="global")(x)
    x = layers.Flatten(name="flatten")(x)
    return layers.Dense(5, activation="sigmoid", name="scores")(x)


def always_dropping(x: Any) -> Any:
    """Called with training=True, which `predict` overrules."""
    return flatten_dense(layers.Dropout(0.5, name="chance")(x, training=True))


def two_pools(x: Any) -> Any:
    shared = layers.Dense(3, activation="relu", name="shared")
    pools = [layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)]
    x = layers.Concatenate(axis=1, name="both")([shared(pool) for pool in pools])
    return layers.Dense(5, name="scores")(x)


def small_map(x: Any) -> Any:
    """A convolution that leaves one cell, as LeNet-5's C5."""
    x = layers.Conv2D(6, x.shape[1:3], name="whole")(x)
    x = layers.Reshape((1, 1, 6), name="again")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.BatchNormalization(name="norm")(x)
    return layers.Dense(5, name="scores")(x)


def operations(x: Any) -> Any:
    x = ops.relu(x - 0.1) * np.array([1.0, 2.0, 0.5, 1.0], "float32")
    return ops.softmax(layers.Dense(5, name="scores")(layers.Flatten()(x)) / 2.0)


@pytest.mark.parametrize(
    "head",
    [
        flatten_dense,
        average_dense,
        keepdims_reshape,
        normalised,
        covering_pool,
        always_dropping,
        two_pools,
        small_map,
        operations,
    ],
)
def test_every_cell_of_a_valid_network_is_the_classifier_on_that_crop(head: Callable[[Any], Any]) -> None:
    model = valid(head)
    network = edgecv.to_fcn(model)
    x = picture(18 + 2 * 2, 23 + 3 * 2, 2)
    [grid] = answers(network, x)
    assert grid.shape == (2, 3, 4, 5)
    expected = np.zeros_like(grid)
    for row, column in np.ndindex(3, 4):
        crop = x[:, 2 * row : 2 * row + 18, 2 * column : 2 * column + 23]
        expected[:, row, column] = answers(model, crop)[0].reshape(2, 5)
    assert grid.std(axis=(0, 1, 2)).max() > 10 * 1e-5 * np.abs(grid).max()
    np.testing.assert_allclose(grid, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert network.edgecv_info.decoder == SlidingWindow(
        stride=(2, 2), window=(18, 23), outputs=tuple(network.output_names)
    )


def localiser(size: int = 224) -> keras.Model:
    """The text book's classifier-localiser, small: five halvings, then Flatten and three heads."""
    image = keras.Input((size, size, 3), name="image")
    x: Any = layers.Rescaling(1 / 255, name="scale")(image)
    for index in range(5):
        x = layers.Conv2D(4, 3, 2, padding="same", activation="relu", name=f"conv{index}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(8, activation="relu", name="hidden")(x)
    scores = layers.Dense(5, activation="softmax", name="scores")(x)
    objectness = layers.Dense(1, activation="sigmoid", name="objectness")(x)
    box = layers.Dense(4, activation="sigmoid", name="box")(x)
    return keras.Model(image, [scores, objectness, box], name="localiser")


def test_the_text_books_localiser_gives_an_8_by_8_grid_of_ten_numbers() -> None:
    model = localiser()
    network = edgecv.to_fcn(model)
    grids = answers(network, picture(448, 448, 3))
    assert [grid.shape for grid in grids] == [(2, 8, 8, 5), (2, 8, 8, 1), (2, 8, 8, 4)]
    assert sum(grid.shape[-1] for grid in grids) == 10
    np.testing.assert_allclose(grids[0].sum(axis=-1), 1.0, rtol=1e-5)
    assert network.edgecv_info.decoder == SlidingWindow(
        stride=(32, 32), window=(224, 224), box="relative", outputs=("scores", "objectness", "box")
    )


def test_heads_joined_in_one_output_are_ten_numbers_a_cell() -> None:
    model = localiser(64)
    joined = keras.Model(model.inputs[0], layers.Concatenate(name="ten")(model.outputs))
    network = edgecv.to_fcn(joined)
    assert answers(network, picture(96, 64, 3))[0].shape == (2, 2, 1, 10)
    assert network.edgecv_info.decoder == SlidingWindow(
        stride=(32, 32), window=(64, 64), box="relative", outputs=("ten",)
    )


def same(head: Callable[[Any], Any] = average_dense, *, gate: bool = False) -> keras.Model:
    """SAME padding at stride 4: even sizes pad on one side only."""
    image = keras.Input((24, 32, 3), name="image")
    x = layers.Conv2D(6, 3, 2, padding="same", name="stem")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.SeparableConv2D(6, 3, padding="same", activation="relu", name="separable")(x)
    if gate:
        weight = layers.Dense(6, activation="sigmoid", name="excite")(layers.GlobalAveragePooling2D(name="squeeze")(x))
        x = layers.Multiply(name="gate")([x, layers.Reshape((1, 1, 6), name="spread")(weight)])
    y = layers.DepthwiseConv2D(3, 2, padding="same", name="depthwise")(x)
    x = layers.Add(name="join")([y, layers.AveragePooling2D(2, name="skip")(x)])
    return shaken(keras.Model(image, head(x), name="same"))


def test_the_first_cell_sees_the_same_pixels_at_every_accepted_size() -> None:
    graph = layer_graph(edgecv.to_fcn(same()))
    fields = {trace(graph, (24 + 4 * more, 32 + 4 * less))[0].field for more in range(5) for less in range(5)}
    assert len(fields) == 1
    with pytest.raises(
        UnsupportedLayerError, match=r"^Layer 'join' joins branches of stride 4x4 and 4x4 pixels, with "
    ):
        trace(graph, (26, 32))


def test_a_pool_that_happens_to_cover_its_map_keeps_its_stride_before_convolutions() -> None:
    """VGG on small pictures: the last pools leave one cell, and the network goes on."""
    image = keras.Input((8, 8, 3))
    x = layers.MaxPooling2D(2)(layers.Conv2D(4, 3, padding="same")(image))
    x = layers.MaxPooling2D(4, name="covers")(x)
    x = layers.Conv2D(4, 3, padding="same")(x)
    model = shaken(keras.Model(image, average_dense(x)))
    network = edgecv.to_fcn(model)
    assert network.get_layer("covers").strides == (4, 4)
    assert network.edgecv_info.decoder.stride == (8, 8)
    x = picture(8, 8, 3)
    np.testing.assert_allclose(answers(network, x)[0][:, 0, 0], answers(model, x)[0], rtol=1e-5)


@pytest.mark.parametrize("gate", [False, True], ids=["plain", "squeeze-and-excitation"])
@pytest.mark.parametrize("head", [flatten_dense, average_dense])
def test_a_same_network_is_equal_at_its_training_size(head: Callable[[Any], Any], gate: bool) -> None:
    model = same(head, gate=gate)
    network = edgecv.to_fcn(model)
    x = picture(24, 32, 3)
    np.testing.assert_allclose(answers(network, x)[0][:, 0, 0], answers(model, x)[0], rtol=1e-5)
    assert answers(network, picture(32, 48, 3))[0].shape == (2, 3, 5, 5)
    pools = [layer.name for layer in network.layers if isinstance(layer, layers.GlobalAveragePooling2D)]
    assert pools == (["squeeze"] if gate else [])


def test_a_gate_of_any_layers_stays_a_pool_over_the_whole_picture() -> None:
    """Efficient channel attention runs a 1-D convolution over the channels."""

    def attention(x: Any) -> Any:
        weight = layers.Reshape((4, 1))(layers.GlobalAveragePooling2D(name="squeeze")(x))
        weight = layers.Conv1D(1, 3, padding="same", activation="sigmoid")(weight)
        return average_dense(layers.Multiply()([x, layers.Reshape((1, 1, 4))(weight)]))

    model = valid(attention)
    x = picture(18, 23, 2)
    network = edgecv.to_fcn(model)
    np.testing.assert_allclose(answers(network, x)[0][:, 0, 0], answers(model, x)[0], rtol=1e-5)


def test_cells_have_answers_of_their_own() -> None:
    model = same()
    network = edgecv.to_fcn(model, window="cell")
    x = picture(24, 32, 3)
    features = keras.Model(model.inputs[0], model.get_layer("join").output)(x)
    kernel, bias = model.get_layer("scores").get_weights()
    expected = np.asarray(ops.softmax(ops.matmul(features, kernel) + bias))
    np.testing.assert_allclose(answers(network, x)[0], expected, rtol=1e-5)
    # By hand, per axis: stem sees 3 pixels every 2, from 0; separable 7 from -2; depthwise 11 every 4, from -2,
    # the skip 9 from -2. Of 24, 20, … at most 11 pixels lie 8; of 32, 28, … 8 as well. The middle of 11 pixels
    # from -2 is 3.5, 8 pixels around it start at -0.5: rounded down, at -1.
    assert network.edgecv_info.decoder == SlidingWindow(
        stride=(4, 4), window=(8, 8), offset=(-1, -1), outputs=("scores",)
    )


def test_the_box_of_a_cell_is_relative_to_the_classifiers_window() -> None:
    def heads(x: Any) -> Any:
        x = layers.GlobalAveragePooling2D()(x)
        return [layers.Dense(3, activation="softmax", name="scores")(x), layers.Dense(4, name="position")(x)]

    decoder = edgecv.to_fcn(same(heads), window="cell").edgecv_info.decoder
    # 24 and 32 pixels around the middle of the first cell's field, 3.5: from -8.5 and -12.5, rounded down.
    assert decoder == SlidingWindow(
        stride=(4, 4), window=(24, 32), offset=(-9, -13), box="relative", outputs=("scores", "position")
    )


def nested() -> keras.Model:
    """A frozen backbone with a name of its own for a layer that the outer model has, too; used twice."""
    inner = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, 2, padding="same", name="conv")(inner)
    backbone = keras.Sequential([keras.Model(inner, layers.ReLU(name="relu")(x), name="body")], name="backbone")
    backbone.trainable = False
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(3, 3, padding="same", name="conv")(image)
    x = layers.Add(name="sum")([backbone(image), backbone(x)])
    top = keras.Sequential([keras.Input((8, 8, 4)), layers.Flatten(), layers.Dense(5, name="dense")], name="scores")
    return shaken(keras.Model(image, top(x), name="nested"))


def test_nested_models_and_shared_layers_are_carried() -> None:
    model = nested()
    network = edgecv.to_fcn(model)
    x = picture(16, 16, 3)
    np.testing.assert_allclose(answers(network, x)[0][:, 0, 0], answers(model, x)[0], rtol=1e-5)
    assert {layer.name for layer in network.layers} == {
        "image", "conv", "backbone_body_conv", "relu", "sum", "dense", "scores",
    }  # fmt: skip
    assert network.output_names == ["scores"]
    assert network.get_layer("backbone_body_conv").trainable is False
    assert network.get_layer("conv").trainable is True
    assert network.count_params() == model.count_params()


def test_names_weights_and_policies_are_kept_and_the_model_is_left_alone() -> None:
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Flatten()(layers.Conv2D(2, 3, name="conv", dtype="mixed_float16")(image))
    x = layers.Dense(3, name="hidden", activation="relu", dtype="mixed_float16")(x)
    model = keras.Model(image, layers.Dense(2, name="scores", dtype="float32")(x), name="mixed")
    before = [len(layer._inbound_nodes) for layer in model.layers]
    network = edgecv.to_fcn(model)
    assert [len(layer._inbound_nodes) for layer in model.layers] == before
    assert network.name == "mixed_fcn"
    assert [layer.name for layer in network.layers] == ["image", "conv", "hidden", "scores"]
    assert network.get_layer("hidden").dtype_policy.name == "mixed_float16"
    kernel, bias = network.get_layer("hidden").get_weights()
    dense = model.get_layer("hidden").get_weights()
    assert kernel.shape == (6, 6, 2, 3)
    # Flatten goes through rows, columns and channels: value (y, x, c) is number (6 y + x) 2 + c.
    assert np.array_equal(kernel[4, 1, 1], dense[0][(6 * 4 + 1) * 2 + 1])
    assert np.array_equal(bias, dense[1])


def test_what_build_knows_is_carried_and_survives_a_file(tmp_path: Path) -> None:
    model = edgecv.build("lenet5", weights="random")
    network = edgecv.to_fcn(model)
    assert network.edgecv_info.task == "detection"
    assert network.edgecv_info.preprocess == model.edgecv_info.preprocess
    assert network.edgecv_info.weights_source == model.edgecv_info.weights_source
    edgecv.save_model(network, tmp_path / "lenet5_fcn.keras")
    again = edgecv.open_model(str(tmp_path / "lenet5_fcn.keras"))
    x = picture(40, 44, 1)
    assert np.array_equal(answers(again, x)[0], answers(network, x)[0])
    assert again.edgecv_info.decoder == network.edgecv_info.decoder
    assert again.edgecv_info.preprocess == model.edgecv_info.preprocess


def test_scaling_layers_keep_their_statistics() -> None:
    def build() -> keras.Model:
        image = keras.Input((9, 9, 3))
        normalise = layers.Normalization(name="normalise")
        normalise.adapt(picture(9, 9, 3))
        x = normalise(layers.Rescaling(1 / 255, name="scale")(image))
        return keras.Model(image, average_dense(layers.RandomFlip(name="flip")(x)))

    model = build()
    x = 255 * picture(9, 9, 3)
    np.testing.assert_allclose(answers(edgecv.to_fcn(model), x)[0][:, 0, 0], answers(model, x)[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("heads", "expected"),
    [
        ([("a", 3, "softmax")], ("window", ("a",))),
        ([("a", 4, "linear")], ("window", ("a",))),
        ([("a", 1, "sigmoid"), ("b", 4, "linear")], ("relative", ("a", "b"))),
        ([("b", 4, "sigmoid"), ("o", 1, "sigmoid"), ("a", 4, "softmax")], ("relative", ("a", "o", "b"))),
        ([("objectness", 1, "linear"), ("a", 2, "softmax")], ("window", ("a", "objectness"))),
        ([("a", 4, "linear"), ("box", 4, "linear")], ("relative", ("a", "box"))),
    ],
)
def test_heads_are_told_by_name_and_by_size(heads: list[tuple[str, int, str]], expected: Any) -> None:
    def several(x: Any) -> Any:
        x = layers.GlobalAveragePooling2D()(x)
        return {name: layers.Dense(size, activation=activation)(x) for name, size, activation in heads}

    decoder = edgecv.to_fcn(valid(several)).edgecv_info.decoder
    assert (decoder.box, decoder.outputs) == expected


def test_scores_without_an_activation_get_the_classifier_s_softmax() -> None:
    size = (18, 22)
    model = valid(lambda x: layers.Dense(3, name="logits")(layers.Flatten()(x)), (*size, 3))
    deployable = edgecv.deploy(edgecv.to_fcn(model), preprocess="0-1", input_size=size, nms=None)
    (note,) = deployable.notes
    assert note == "The last layer has no activation: softmax was added (--activation none leaves it out)."
    picture = np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype=np.uint8)
    probabilities = edgecv.deploy(model, preprocess="0-1").run(picture)["probabilities"]
    np.testing.assert_allclose(deployable.run(picture)["scores"][:, 0], probabilities, rtol=1e-4)


def test_outputs_that_mean_nothing_known_are_refused() -> None:
    def heads(x: Any) -> Any:
        x = layers.Flatten()(x)
        return [layers.Dense(3, name="colour")(x), layers.Dense(2, name="shape")(x)]

    message = (
        "'tiny' has the outputs 'colour' (3), 'shape' (2); which are class scores, objectness and box cannot be told. "
        "Give a model with one output of class scores, and name the others 'objectness' and 'box'."
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        edgecv.to_fcn(valid(heads))


def test_flatten_has_no_answer_for_a_single_cell() -> None:
    message = (
        "Layer 'flatten' reads every position of its map of 7x9 cells, so that no cell has an answer of its own. "
        "Use --window pool."
    )
    with pytest.raises(UnsupportedLayerError, match=f"^{re.escape(message)}$"):
        edgecv.to_fcn(valid(flatten_dense), window="cell")


def test_an_unknown_window_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^window must be one of pool, cell, got 'whole'\.$"):
        edgecv.to_fcn(valid(flatten_dense), window="whole")  # type: ignore[arg-type]


def test_sizes_on_the_grid_are_accepted() -> None:
    network = edgecv.to_fcn(same())
    for size in ((24, 32), (28, 32), (48, 64)):
        check_size(network, size)
    check_size(same(), (25, 33))  # no FCN


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (
            (20, 64),
            "the window of 24x32 pixels is larger than the picture of 20x64. Give at least 24x32.",
        ),
        (
            (48, 66),
            "a picture of 48x66 pixels leaves the network's grid: each side must be the window, 24x32, plus a multiple "
            "of the stride, 4x4. The nearest sizes are 48x64 and 48x68.",
        ),
        (
            (25, 35),
            "a picture of 25x35 pixels leaves the network's grid: each side must be the window, 24x32, plus a multiple "
            "of the stride, 4x4. The nearest sizes are 24x32 and 28x36.",
        ),
    ],
)
def test_other_sizes_name_the_nearest_ones(size: tuple[int, int], message: str) -> None:
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        check_size(edgecv.to_fcn(same()), size)


def test_the_information_of_a_users_model_is_carried() -> None:
    model = valid(average_dense)
    model.edgecv_info = ModelInfo(
        name="mine", task="classification", preprocess=STYLES["tf"], labels=("a", "b", "c", "d", "e")
    )
    info = edgecv.to_fcn(model).edgecv_info
    assert (info.name, info.preprocess, info.labels) == ("mine_fcn", STYLES["tf"], ("a", "b", "c", "d", "e"))
