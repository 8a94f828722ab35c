"""MediaPipe's person segmenter: operations, sizes, random weights; the real ones: plugins/edgecv-weights-selfie."""

import itertools
import re
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import edgecv
from edgecv import registry
from edgecv.architectures.selfie_segmentation import selfie_segmentation
from edgecv.errors import ArchitectureError, WeightsError
from edgecv.labels import builtin_labels
from edgecv.photos import shipped_photos
from edgecv.pictures import fit_picture
from edgecv.training.pixels import PixelCrossEntropy
from edgecv.training.takeover import built
from edgecv.weights import load_weights

SELFIE = registry.load_architecture("selfie_segmentation")
SIZE = (96, 128)


def drawn(*, classes: int = 2, seed: int = 0, size: tuple[int, int] = SIZE) -> Any:
    return edgecv.build("selfie_segmentation", weights="random", classes=classes, seed=seed, input_size=size)


def photos(size: tuple[int, int] = SIZE) -> Any:
    return np.stack([fit_picture(photo, SELFIE.preprocess.fit, size) for photo in shipped_photos().values()])


def scaled(pixels: Any) -> Any:
    return SELFIE.preprocess.apply(pixels.astype(np.float32), np)


def test_operations_are_those_of_the_published_graph() -> None:
    """The operators of selfie_segmentation.tflite, counted; its last one, LOGISTIC, is left out here."""
    published = {
        "CONV_2D": 43,
        "DEPTHWISE_CONV_2D": 11,
        "HARD_SWISH": 11,
        "RELU": 22,
        "LOGISTIC": 11 - 1,
        "AVERAGE_POOL_2D": 10,
        "MUL": 10,
        "ADD": 14,
        "RESIZE_BILINEAR": 3,
        "Convolution2DTransposeBias": 1,
    }
    operators = {
        "Conv2D": "CONV_2D",
        "DepthwiseConv2D": "DEPTHWISE_CONV_2D",
        "hard_silu": "HARD_SWISH",
        "relu": "RELU",
        "sigmoid": "LOGISTIC",
        "GlobalAveragePooling2D": "AVERAGE_POOL_2D",
        "Multiply": "MUL",
        "Add": "ADD",
        "UpSampling2D": "RESIZE_BILINEAR",
        "Conv2DTranspose": "Convolution2DTransposeBias",
    }
    layers = SELFIE.build().layers
    found = [type(layer).__name__ for layer in layers]
    found += [layer.activation.__name__ for layer in layers if hasattr(layer, "activation")]
    assert Counter(operators[name] for name in found if name in operators) == published


# Shapes of the maps in the published graph: 128, 64, 32 and 16 pixels a side, with so many channels.
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("stem_hard_silu", (128, 128, 16)),
        ("block0_project_conv", (64, 64, 16)),
        ("block2_add", (32, 32, 24)),
        ("block7_add", (16, 16, 32)),
        ("context_scale", (16, 16, 128)),
        ("decode8_refined", (32, 32, 24)),
        ("decode4_refined", (64, 64, 16)),
        ("decode2_refined", (128, 128, 16)),
        ("logits", (256, 256, 1)),
    ],
)
def test_maps_have_the_published_shapes(layer: str, shape: tuple[int, int, int]) -> None:
    assert SELFIE.build().get_layer(layer).output.shape == (None, *shape)


@pytest.mark.parametrize("size", [(144, 256), (32, 48)])  # the first is the landscape form's
@pytest.mark.parametrize(("classes", "channels"), [(2, 1), (3, 3), (21, 21)])
def test_every_pixel_gets_an_answer(size: tuple[int, int], classes: int, channels: int) -> None:
    model = SELFIE.build(input_size=size, classes=classes)
    assert model.output_shape == (None, *size, channels)
    assert model.output_names == ["logits"]


def test_two_labels_name_the_two_classes() -> None:
    assert builtin_labels("selfie") == ("background", "person")
    assert edgecv.deploy(drawn(size=(32, 32))).labels == ("background", "person")


@pytest.mark.parametrize(
    ("size", "classes", "message"),
    [
        ((100, 128), 2, "selfie_segmentation needs a height and a width that are multiples of 16, got 100x128."),
        ((64, 250), 2, "selfie_segmentation needs a height and a width that are multiples of 16, got 64x250."),
        ((16, 64), 2, "selfie_segmentation needs an input of at least 32x32 pixels, got 16x64."),
        ((64, 64), 1, "selfie_segmentation needs at least 2 classes, background included, got 1."),
    ],
)
def test_what_cannot_be_built_is_refused(size: tuple[int, int], classes: int, message: str) -> None:
    with pytest.raises(ArchitectureError, match=f"^{re.escape(message)}$"):
        SELFIE.build(input_size=size, classes=classes)


def test_answers_stay_float32_where_all_else_is_float16() -> None:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = selfie_segmentation((32, 32, 3), classes=3)
    finally:
        keras.config.set_dtype_policy(policy)
    assert model.get_layer("block0_project_conv").output.dtype == "float16"
    assert model.output.dtype == "float32"


@pytest.mark.parametrize(("classes", "seed"), [(2, 0), (2, 1), (5, 0)])
def test_masks_of_random_weights_vary_over_a_photo_and_from_one_to_the_next(classes: int, seed: int) -> None:
    masks = edgecv.deploy(drawn(classes=classes, seed=seed)).run(photos())["mask"]
    assert masks.shape == (len(photos()), *SIZE)
    for mask in masks:
        shares = np.bincount(mask.ravel(), minlength=classes) / mask.size
        assert len(shares) == classes
        assert shares.max() < 0.9
    pairs = [(one != other).mean() for one, other in itertools.pairwise(masks)]
    assert min(pairs) > 0.02


def test_random_logits_are_centred_on_the_photos() -> None:
    """The last layer is a transposed convolution: it is calibrated as any other last layer."""
    model = drawn()
    logits = np.asarray(model(scaled(photos())))
    assert abs(logits.mean()) < 1
    assert 1 < logits.std() < 3


def test_the_mask_is_where_the_logit_is_above_zero() -> None:
    model = drawn()
    mask = edgecv.deploy(model).run(photos())["mask"]
    np.testing.assert_array_equal(mask, np.asarray(model(scaled(photos())))[..., 0] > 0)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("to", ["onnx", "tflite"])
def test_export_is_proven(to: str, classes: int, tmp_path: Path) -> None:
    artifact = edgecv.export(edgecv.deploy(drawn(classes=classes)), to=to, path=tmp_path / f"selfie.{to}")
    assert artifact.report is not None
    assert artifact.report.passed
    results = edgecv.load(artifact.path).predict(shipped_photos()["astronaut"])
    height, width = shipped_photos()["astronaut"].shape[:2]
    assert len(results) > 1
    assert sum(result["pixels"] for result in results) == height * width


def test_other_classes_keep_all_but_the_last_layer_of_a_trained_network() -> None:
    base = drawn(size=(64, 64))
    network = built(SELFIE, base, input_size=(256, 256), classes=4)
    known = {variable.path: np.asarray(variable) for variable in base.weights}
    for variable in network.weights:
        same = np.array_equal(np.asarray(variable), known[variable.path])
        assert same != variable.path.startswith("logits/"), variable.path


def test_a_few_steps_teach_it_a_disc() -> None:
    """The signal and its gradient pass all layers: the loss halves, and most pixels are right."""
    keras.utils.set_random_seed(0)
    rows, columns = np.mgrid[:64, :64]
    disc = np.hypot(rows - 40, columns - 20) < 15
    generator = np.random.default_rng(0)
    picture = (disc[..., None] * 0.6 + generator.uniform(0, 0.4, (64, 64, 3))).astype("float32")[None]
    model = drawn(size=(64, 64))
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss=PixelCrossEntropy(), jit_compile=False)
    target = disc[None].astype("int32")
    losses = model.fit(picture, target, epochs=25, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2
    assert ((np.asarray(model(picture))[0, :, :, 0] > 0) == disc).mean() > 0.9


@pytest.mark.parametrize("weights", ["mediapipe", "auto"])
def test_without_the_distribution_the_reason_names_it(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load_weights_provider", lambda _: None)
    model = SELFIE.build(input_size=(32, 32))
    message = (
        "Published weights of selfie_segmentation come in a distribution of their own, which is not installed. "
        "Run: pip install ./plugins/edgecv-weights-selfie"
    )
    if weights == "auto":
        record = load_weights(SELFIE, model, weights=weights)
        assert (record.source, record.note) == ("random (seed 0)", message)
        return
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        load_weights(SELFIE, model, weights=weights)
