"""FCN-32s, 16s and 8s: what the converter made of VGG16, upsampling against `resize`, dilation against subsampling."""

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import edgecv
from edgecv import registry
from edgecv.architectures import fcn_segmentation, keras_zoo
from edgecv.architectures.bilinear import BilinearKernel, bilinear_upsampling
from edgecv.errors import ArchitectureError, WeightsError
from edgecv.models import open_model, save_model
from edgecv.weights import keras_applications, load_weights
from edgecv.weights.keras_applications import _FILES

LIGHT = "fcn8s_mobilenet_v2"


def noise(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def enlarged(grid: np.ndarray[Any, Any], factor: int) -> np.ndarray[Any, Any]:
    image = keras.Input(grid.shape[1:])
    network = keras.Model(image, bilinear_upsampling(image, factor, trainable=True, name="up"))
    return np.asarray(network(grid))


def resized(grid: np.ndarray[Any, Any], factor: int) -> np.ndarray[Any, Any]:
    _, height, width, _ = grid.shape
    return np.asarray(ops.image.resize(grid, (factor * height, factor * width), interpolation="bilinear"))


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
def test_upsampling_starts_as_bilinear_interpolation(factor: int) -> None:
    grid = noise(2, 5, 7, 3)
    ours, edge = enlarged(grid, factor), factor // 2
    assert ours.shape == (2, 5 * factor, 7 * factor, 3)
    inside = (slice(None), slice(edge, -edge), slice(edge, -edge))
    np.testing.assert_allclose(ours[inside], resized(grid, factor)[inside], atol=1e-6)


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
def test_at_the_border_upsampling_goes_towards_a_frame_of_zeros(factor: int) -> None:
    grid = noise(2, 5, 7, 3)
    framed = resized(np.pad(grid, ((0, 0), (1, 1), (1, 1), (0, 0))), factor)
    np.testing.assert_allclose(enlarged(grid, factor), framed[:, factor:-factor, factor:-factor], atol=1e-6)


@pytest.mark.parametrize("factor", [2, 8, 32])
def test_the_largest_class_of_every_pixel_is_that_of_plain_interpolation(factor: int) -> None:
    grid = noise(2, 5, 7, 3)
    ours, plain = enlarged(grid, factor), resized(grid, factor)
    # Only where two classes are as good as equal may rounding decide.
    first, second = np.moveaxis(np.sort(plain, axis=-1), -1, 0)[[-1, -2]]
    clear = first - second > 1e-5
    assert clear.mean() > 0.999
    np.testing.assert_array_equal(ours.argmax(-1)[clear], plain.argmax(-1)[clear])


def test_the_bilinear_kernel_of_factor_2_is_that_of_the_reference_implementation() -> None:
    # Caffe's BilinearFiller, and upsample_filt of the paper's code: [0.25, 0.75, 0.75, 0.25], outer product.
    kernel = np.asarray(BilinearKernel()((4, 4, 2, 2)))
    side = np.array([0.25, 0.75, 0.75, 0.25])
    np.testing.assert_array_equal(kernel[:, :, 0, 0], np.outer(side, side))
    np.testing.assert_array_equal(kernel[:, :, 0, 1], 0)


@pytest.mark.parametrize("shape", [(4, 2, 3, 3), (3, 3, 2, 2), (4, 4, 2, 3)])
def test_no_other_kernel_can_be_bilinear(shape: tuple[int, ...]) -> None:
    rows, columns, channels, inputs = shape
    message = (
        "BilinearKernel needs a square kernel of an even side from as many channels to as many, got "
        f"{rows}x{columns} from {inputs} to {channels}."
    )
    with pytest.raises(ArchitectureError, match=f"^{re.escape(message)}$"):
        BilinearKernel()(shape)


@pytest.fixture(scope="module")
def light() -> Any:
    return registry.load_architecture(LIGHT).build(input_size=(64, 96), classes=3)


def test_maps_and_logits_have_the_strides_of_figure_3(light: Any) -> None:
    sizes = {name: light.get_layer(name).output.shape[1:] for name in ("score_out_relu", "upscore_block_6_expand_relu")}
    assert sizes == {"score_out_relu": (2, 3, 3), "upscore_block_6_expand_relu": (8, 12, 3)}
    assert light.get_layer("score_block_13_expand_relu").output.shape == (None, 4, 6, 3)
    assert light.output_shape == (None, 64, 96, 3)
    assert light.output.dtype == "float32"


def test_the_last_upsampling_is_fixed_and_the_others_learn(light: Any) -> None:
    ups = {layer.name: layer.trainable for layer in light.layers if isinstance(layer, layers.Conv2DTranspose)}
    assert ups == {"upscore_block_13_expand_relu": True, "upscore_block_6_expand_relu": True, "logits": False}


@pytest.mark.parametrize("name", ["fcn32s", "fcn8s_mobilenet_v2_dilated"])
def test_sides_are_multiples_of_32(name: str) -> None:
    message = f"{name} needs a height and a width that are multiples of 32, got 64x100."
    with pytest.raises(ArchitectureError, match=f"^{message}$"):
        registry.load_architecture(name).build(input_size=(64, 100))


def test_files_open_in_another_process_without_naming_the_initializer(light: Any, tmp_path: Path) -> None:
    path = tmp_path / "light.keras"
    save_model(light, path)
    keras.saving.get_custom_objects().pop("edgecv>BilinearKernel")
    try:
        with pytest.raises(TypeError, match="BilinearKernel"):
            keras.models.load_model(path, compile=False)
    finally:
        keras.saving.get_custom_objects()["edgecv>BilinearKernel"] = BilinearKernel
    pictures = noise(1, 64, 96, 3)
    np.testing.assert_array_equal(np.asarray(open_model(str(path))(pictures)), np.asarray(light(pictures)))


def test_a_dilated_network_gives_the_old_answers_and_new_ones_between_them() -> None:
    """Chen et al., section 3.1: what is left out of the stride comes back as distance between the taps.

    Cell (i, j) of the map of stride 32 is (2i + 1, 2j + 1) of the dilated one: Keras pads right and below before a
    stride, so that its windows lie around odd rows and columns.
    """
    names = ("fcn32s_mobilenet_v2", "fcn32s_mobilenet_v2_dilated")
    plain, dilated = (registry.load_architecture(name).build(input_size=(96, 128)) for name in names)
    load_weights(registry.load_architecture(names[0]), plain, weights="random")
    body(dilated).set_weights(body(plain).get_weights())
    coarse, fine = (np.asarray(body(network)(noise(1, 96, 128, 3))) for network in (plain, dilated))
    assert (coarse.shape[1:3], fine.shape[1:3]) == ((3, 4), (6, 8))
    np.testing.assert_allclose(fine[:, 1::2, 1::2], coarse, atol=2e-5 * np.abs(coarse).max())


def body(network: Any) -> Any:
    """The network up to the map that is scored."""
    return keras.Model(network.inputs[0], network.get_layer("out_relu").output)


def test_random_weights_leave_the_interpolation_and_tell_pictures_apart() -> None:
    network = edgecv.build(LIGHT, weights="random", input_size=(64, 64))
    kernel = network.get_layer("logits").kernel
    np.testing.assert_array_equal(np.asarray(kernel), np.asarray(BilinearKernel()(kernel.shape)))
    answers = np.asarray(network(noise(4, 64, 64, 3)))
    assert answers.std(axis=0).max() > 0.5
    assert len(np.unique(answers.argmax(-1))) > 5


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Keras cache, and no network."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras_applications, "unreachable", lambda _: "host.invalid cannot be reached (no network)")
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def test_published_weights_are_those_of_the_classifier(home: Path) -> None:
    donor = edgecv.build("mobilenet_v2", weights="random", seed=5)
    donor.save(home / _FILES["mobilenet_v2"].name)
    network = edgecv.build(LIGHT, weights="imagenet", input_size=(64, 64), classes=3)
    assert network.edgecv_info.weights_source == (
        f"imagenet (keras.applications, {_FILES['mobilenet_v2'].name}), classes untrained"
    )
    ours, theirs = (np.asarray(each.get_layer("block_16_project").kernel) for each in (network, donor))
    np.testing.assert_array_equal(ours, theirs)
    again = edgecv.build(LIGHT, weights="imagenet", input_size=(64, 64), classes=3)
    score = [np.asarray(each.get_layer("score_out_relu").kernel) for each in (network, again)]
    np.testing.assert_array_equal(score[0], score[1])
    assert score[0].std() == pytest.approx(0.01, rel=0.1)


@pytest.mark.usefixtures("home")
def test_without_the_network_segmenters_start_at_random_and_say_so() -> None:
    architecture = registry.load_architecture(LIGHT)
    model = architecture.build(input_size=(64, 64), classes=2)
    message = (
        f"Published weights of {LIGHT} cannot be had: host.invalid cannot be reached (no network). "
        "Connect to the network, or use random weights or a file."
    )
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        load_weights(architecture, model, weights="imagenet")
    record = load_weights(architecture, model, weights="auto")
    assert (record.source, record.note) == ("random (seed 0)", message)


def test_what_32s_has_learnt_fits_16s_and_8s_by_path_and_shape() -> None:
    shapes = [
        {variable.path: tuple(variable.shape) for variable in registry.load_architecture(name).build().weights}
        for name in ("fcn32s_mobilenet_v2", "fcn16s_mobilenet_v2", "fcn8s_mobilenet_v2")
    ]
    for coarse, fine in itertools.pairwise(shapes):
        differing = {path.partition("/")[0] for path in coarse if fine.get(path) != coarse[path]}
        assert differing == {"logits"}  # fixed, and as wide as it enlarges


def slim_vgg(input_shape: tuple[int, int, int], *, classes: int) -> Any:
    """VGG16 with one convolution a block and few channels: the same names, strides and dense layers."""
    image = x = keras.Input(input_shape, name="image")
    for block in range(1, 6):
        x = layers.Conv2D(4 * block, 3, padding="same", activation="relu", name=f"block{block}_conv1")(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    for name in ("fc1", "fc2"):
        x = layers.Dense(24, activation="relu", name=name)(x)
    return keras.Model(image, layers.Dense(classes, activation="softmax", name="predictions")(x), name="slim_vgg")


def segmenter_of(build: Any, *, scored: int = 1, dilated: bool = False) -> tuple[Any, Any]:
    """An FCN of 3 classes for 64 × 96 pixels on a VGG, and the classifier that it was made from."""
    built: list[Any] = []

    def keep(*args: Any, **options: Any) -> Any:
        built.append(build(*args, **options))
        return built[-1]

    backbone = replace(fcn_segmentation._VGG16, build=keep)
    plan = fcn_segmentation._Plan(name="fcn", backbone=backbone, scored=scored, dilated=dilated)
    return fcn_segmentation._build(plan, (64, 96, 3), classes=3), built[0]


VGGS = pytest.mark.parametrize("build", [slim_vgg, pytest.param(keras_zoo.vgg16, marks=pytest.mark.slow)])


@VGGS
def test_fc6_and_fc7_are_the_dense_layers_of_the_classifier(build: Any) -> None:
    network, classifier = segmenter_of(build)
    for name, rows in (("fc1", 7), ("fc2", 1)):
        dense, convolution = (np.asarray(each.get_layer(name).kernel) for each in (classifier, network))
        assert convolution.shape[:2] == (rows, rows)
        np.testing.assert_array_equal(convolution.reshape(dense.shape), dense)
    assert network.get_layer("fc1").output.shape[1:3] == (2, 3)  # padded: the map keeps its size
    assert [layer.rate for layer in network.layers if isinstance(layer, layers.Dropout)] == [0.5, 0.5]


@VGGS
def test_the_middle_of_a_padded_map_is_the_classifier_s_answer(build: Any) -> None:
    """At 224 × 224 the middle cell of fc7 sees the 7 × 7 map that the classifier sees, and no padding."""
    classifier = build((224, 224, 3), classes=3)
    backbone = replace(fcn_segmentation._VGG16, build=lambda *_, **__: classifier)
    plan = fcn_segmentation._Plan(name="fcn", backbone=backbone, scored=1, dilated=False)
    network = fcn_segmentation._build(plan, (224, 224, 3), classes=3)
    fc7 = [keras.Model(each.inputs[0], each.get_layer("fc2").output) for each in (classifier, network)]
    vector, grid = (np.asarray(part(noise(1, 224, 224, 3))) for part in fc7)
    assert grid.shape[:3] == (1, 7, 7)
    np.testing.assert_allclose(grid[:, 3, 3], vector, atol=1e-5 * np.abs(vector).max())


@VGGS
def test_a_dilated_vgg_gives_the_old_answers_and_new_ones_between_them(build: Any) -> None:
    plain, dilated = (segmenter_of(build, dilated=flag)[0] for flag in (False, True))
    parts = [keras.Model(each.inputs[0], each.get_layer("fc2").output) for each in (plain, dilated)]
    parts[1].set_weights(parts[0].get_weights())
    coarse, fine = (np.asarray(part(noise(1, 64, 96, 3))) for part in parts)
    assert (coarse.shape[1:3], fine.shape[1:3]) == ((2, 3), (4, 6))
    np.testing.assert_allclose(fine[:, ::2, ::2], coarse, atol=2e-5 * np.abs(coarse).max())


def test_a_dilated_network_adds_the_scores_of_stride_16_as_they_are() -> None:
    network, _ = segmenter_of(slim_vgg, scored=3, dilated=True)
    kernels = {layer.name: layer.kernel_size for layer in network.layers if isinstance(layer, layers.Conv2DTranspose)}
    assert kernels == {"upscore_block3_pool": (4, 4), "logits": (16, 16)}
    assert network.get_layer("fuse_block4_pool").output.shape == (None, 4, 6, 3)
