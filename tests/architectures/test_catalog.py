"""Every network's size against a number from outside, and the description against the network."""

import gc
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest

from edgecv import registry
from edgecv.architecture import Architecture
from edgecv.errors import ArchitectureError
from edgecv.labels import builtin_labels

# keras.io/api/applications documents rounded counts; these are the exact totals that the summaries of
# the published networks print, BatchNorm statistics included.
KERAS_TOTALS = {
    "densenet121": 8_062_504,
    "efficientnet_b0": 5_330_571,
    "inception_v3": 23_851_784,
    "mobilenet": 4_253_864,
    "mobilenet_v2": 3_538_984,
    "resnet50": 25_636_712,
    "resnet101": 44_707_176,
    "resnet152": 60_419_944,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "xception": 22_910_480,
}
# Trainable parameters: torchvision's model pages for the ResNets; for the Lite networks the sizes of the
# weight files that their authors published, as timm lists them too; timm's seresnet50 and inception_v4; for
# lenet5_original the paper, section II.B.
TRAINABLE = {
    "inception_v4": 42_679_816,
    "lenet5_original": 60_000,
    "se_resnet50": 28_088_024,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "efficientnet_lite0": 4_652_008,
    "efficientnet_lite1": 5_416_680,
    "efficientnet_lite2": 6_092_072,
}


def squeezed(channels: int) -> int:
    """Numbers of a block: 2 · C² / r weights (Hu et al., section 3.2), and the biases of both layers; r is 16."""
    return 2 * channels**2 // 16 + channels // 16 + channels


def module(before: int, one: int, three: tuple[int, int], five: tuple[int, int], pooled: int) -> int:
    """Numbers of an inception module behind so many channels."""
    ones = one + three[0] + five[0] + pooled
    return before * ones + 9 * three[0] * three[1] + 25 * five[0] * five[1] + ones + three[1] + five[1]


# 6,998,552, as Caffe's bvlc_googlenet without its auxiliary classifiers.
GOOGLENET = (
    (49 * 3 * 64 + 64)
    + (64 * 64 + 64)
    + (9 * 64 * 192 + 192)
    + module(192, 64, (96, 128), (16, 32), 32)
    + module(256, 128, (128, 192), (32, 96), 64)
    + module(480, 192, (96, 208), (16, 48), 64)
    + module(512, 160, (112, 224), (24, 64), 64)
    + module(512, 128, (128, 256), (24, 64), 64)
    + module(512, 112, (144, 288), (32, 64), 64)
    + module(528, 256, (160, 320), (32, 128), 128)
    + module(832, 256, (160, 320), (32, 128), 128)
    + module(832, 384, (192, 384), (48, 128), 128)
    + (1024 * 1000 + 1000)
)
# By hand, layer by layer: kernel height × width × in × out + out.
BY_HAND = {
    # C1, C3 (every map connected), C5, F6, output; in the paper C3 has 1,516 and the pools have weights.
    "lenet5": (25 * 1 * 6 + 6)
    + (25 * 6 * 16 + 16)
    + (25 * 16 * 120 + 120)
    + (120 * 84 + 84)
    + (84 * 10 + 10),  # 61,706
    # Five convolutions; 3 × 3 × 256 values remain of 28 × 28 after three pools; three dense layers.
    "fashion_cnn": (49 * 1 * 64 + 64)
    + (9 * 64 * 128 + 128)
    + (9 * 128 * 128 + 128)
    + (9 * 128 * 256 + 256)
    + (9 * 256 * 256 + 256)
    + (3 * 3 * 256 * 128 + 128)
    + (128 * 64 + 64)
    + (64 * 10 + 10),  # 1,413,834, as in the book
    # Convolutions 2, 4 and 5 see half of the maps before: the towers of the paper, 60,965,224 as Caffe's bvlc_alexnet.
    "alexnet": (121 * 3 * 96 + 96)
    + (25 * 48 * 256 + 256)
    + (9 * 256 * 384 + 384)
    + (9 * 192 * 384 + 384)
    + (9 * 192 * 256 + 256)
    + (6 * 6 * 256 * 4096 + 4096)
    + (4096 * 4096 + 4096)
    + (4096 * 1000 + 1000),
    # Figure 3 of the paper; one tower.
    "zfnet": (49 * 3 * 96 + 96)
    + (25 * 96 * 256 + 256)
    + (9 * 256 * 384 + 384)
    + (9 * 384 * 384 + 384)
    + (9 * 384 * 256 + 256)
    + (6 * 6 * 256 * 4096 + 4096)
    + (4096 * 4096 + 4096)
    + (4096 * 1000 + 1000),
    "googlenet": GOOGLENET,
    # Nine blocks behind the modules' 256, 480, 512, … channels.
    "se_googlenet": GOOGLENET + sum(map(squeezed, (256, 480, 512, 512, 512, 528, 832, 832, 1024))),
    # The paper's 60,000, and ten fixed bitmaps of 84 dots.
    "lenet5_original": 60_000 + 10 * 84,
}
CLASSIFIERS = sorted({*KERAS_TOTALS, *TRAINABLE, *BY_HAND})
DETECTORS = {
    # The float16 constants of the published network, a TFLite file; see plugins/edgecv-weights-ssd.
    "ssd_mobilenet_v2": 4_951_996,
    # BatchNorm has 4 numbers a channel. The body, its last two maps narrowed before, and of each map 24 + 66 outputs.
    "ssd_tiny": sum(
        size * size * before * after + 4 * after
        for size, before, after in (
            (3, 3, 16),
            (3, 16, 32),
            (3, 32, 32),
            (3, 32, 64),
            (3, 64, 64),
            (3, 64, 64),
            (3, 64, 64),
            (1, 64, 64),
            (1, 64, 32),
            (3, 32, 64),
            (1, 64, 32),
            (3, 32, 48),
        )
    )
    + 3 * 3 * 64
    + (64 + 64 + 64 + 48 + 4) * 90,
    # Darknet's weight files hold 20 bytes of header, then every parameter, BatchNorm statistics included, as
    # float32: yolov3.weights has 248,007,048 bytes, yolov3-tiny.weights 35,434,956.
    "yolo_v3": (248_007_048 - 20) // 4,
    "yolo_v3_tiny": (35_434_956 - 20) // 4,
}
# The bodies: VGG16 with 7 × 7 × 512 × 4096 numbers in fc6 and no classes; MobileNetV2 without its 1000 classes.
BODIES = {
    "": KERAS_TOTALS["vgg16"] - (4096 * 1000 + 1000),
    "_mobilenet_v2": KERAS_TOTALS["mobilenet_v2"] - (1280 * 1000 + 1000),
}
# Channels of the scored maps: of the strides 32, 16 and 8.
SCORED = {"": (4096, 512, 256), "_mobilenet_v2": (1280, 576, 192)}


def segmenter(body: str, scored: int, *, dilated: bool) -> int:
    """Numbers of an FCN of 21 classes: body, 1 × 1 scores with biases, kernels twice as wide as they enlarge."""
    scores = sum(channels * 21 + 21 for channels in SCORED[body][:scored])
    factors = {1: [32], 2: [2, 16], 3: [2, 2, 8]}[scored]
    if dilated:  # the coarsest map has the stride of the next
        factors = {1: [16], 2: [16], 3: [2, 8]}[scored]
    return BODIES[body] + scores + sum((2 * factor) ** 2 * 21 * 21 for factor in factors)


FCNS = {
    f"fcn{side}s{body}{form}": segmenter(body, scored, dilated=bool(form))
    for side, scored in ((32, 1), (16, 2), (8, 3))
    for body in BODIES
    for form in ("", "_dilated")
}
# The float16 constants of the published network, a TFLite file; see plugins/edgecv-weights-selfie.
SEGMENTERS = FCNS | {"selfie_segmentation": 106_401}
NAMES = sorted((*CLASSIFIERS, *DETECTORS, *SEGMENTERS))
FRAMEWORKS = {"keras", "tensorflow", "jax", "torch", "onnx"}


@pytest.fixture(autouse=True)
def _cheap_initialisers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting needs no random numbers: 600 million of them would take most of the time."""

    def zeros(_: object, shape: tuple[int, ...], dtype: str | None = None, **__: object) -> object:
        return keras.ops.zeros(shape, dtype)

    for initialiser in ("GlorotUniform", "HeNormal", "VarianceScaling", "RandomNormal", "RandomUniform"):
        monkeypatch.setattr(getattr(keras.initializers, initialiser), "__call__", zeros)


@pytest.fixture
def freed() -> Iterator[None]:
    """Give a network's memory back: it is a cycle of few objects of many bytes, of which Python would keep 8 GB."""
    yield
    gc.collect()


def test_every_registered_architecture_of_edgecv_is_counted_here() -> None:
    ours = [
        name
        for name in registry.architecture_names()
        if registry.distribution("edgecv.architectures", name)[0] == "edgecv"
    ]
    assert ours == NAMES


@pytest.mark.usefixtures("freed")
@pytest.mark.parametrize("name", NAMES)
def test_network_is_what_its_description_says(name: str) -> None:
    architecture = registry.load_architecture(name)
    model = architecture.build()
    trainable = sum(math.prod(weight.shape) for weight in model.trainable_weights)

    assert architecture.name == model.name == name
    assert model.count_params() == architecture.parameters
    assert architecture.parameters == KERAS_TOTALS.get(name, architecture.parameters)
    assert trainable == TRAINABLE.get(name, trainable)
    assert architecture.parameters == BY_HAND.get(name, architecture.parameters)
    assert architecture.parameters == DETECTORS.get(name, architecture.parameters)
    assert model.input_shape == (None, *architecture.input_shape)
    assert model.layers[0].name == "image"
    assert "https://" in architecture.reference or "3rd edition" in architecture.reference
    assert architecture.parameters == SEGMENTERS.get(name, architecture.parameters)
    checks = {"classification": check_classifier, "detection": check_detector, "segmentation": check_segmenter}
    checks[architecture.task](architecture, model)


def check_classifier(architecture: Architecture, model: Any) -> None:
    assert architecture.name in CLASSIFIERS
    assert architecture.decoder is None
    assert model.output_shape == (None, architecture.classes)
    assert model.layers[-1].name == "predictions"
    assert model.layers[-1].activation is keras.activations.softmax


def check_segmenter(architecture: Architecture, model: Any) -> None:
    assert architecture.name in SEGMENTERS
    assert architecture.decoder is None
    assert model.output_shape[:3] == (None, *architecture.input_shape[:2])
    # One number tells two classes apart.
    assert model.output_shape[3] == (architecture.classes if architecture.name in FCNS else 1)
    assert architecture.preprocess.fit.mode == ("letterbox" if architecture.name in FCNS else "stretch")
    assert architecture.labels is not None
    assert len(builtin_labels(architecture.labels)) == architecture.classes


def check_detector(architecture: Architecture, model: Any) -> None:
    assert architecture.name in DETECTORS
    assert architecture.decoder is not None
    assert architecture.decoder.check(model.output_shape, architecture.input_shape[:2]) == architecture.classes
    assert architecture.labels is not None
    assert len(builtin_labels(architecture.labels)) == architecture.classes


@pytest.mark.parametrize("name", NAMES)
def test_preprocess_fits_the_network_s_channels(name: str) -> None:
    architecture = registry.load_architecture(name)
    architecture.preprocess.check_channels(architecture.input_shape[2])


# Those of the other networks come in distributions of their own.
@pytest.mark.parametrize("name", [*CLASSIFIERS, *FCNS])
def test_published_weights_have_a_provider(name: str) -> None:
    architecture = registry.load_architecture(name)
    assert ("imagenet" in architecture.weights) == (name in registry.names("edgecv.weights"))


# keras.applications' own preprocess_input says which of the three scalings each family uses.
@pytest.mark.parametrize(
    "name", ["densenet121", "inception_v3", "mobilenet", "mobilenet_v2", "resnet50", "vgg16", "vgg19", "xception"]
)
def test_scaling_equals_keras_own(name: str) -> None:
    module = getattr(keras.applications, {"densenet121": "densenet", "resnet50": "resnet"}.get(name, name))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 5, 6, 3)).astype("float32")
    ours = registry.load_architecture(name).preprocess.apply(pixels, np)
    np.testing.assert_allclose(ours, module.preprocess_input(pixels.copy()), rtol=1e-5, atol=1e-5)


def test_listing_imports_no_framework() -> None:
    code = (
        "import sys; from edgecv import registry; "
        "[registry.load_architecture(name) for name in registry.architecture_names()]; print(*sys.modules)"
    )
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not FRAMEWORKS & set(loaded)


def test_layer_names_do_not_depend_on_what_was_built_before() -> None:
    build = registry.load_architecture("xception").build
    first, second = ([weight.path for weight in build().weights] for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", ["alexnet", "inception_v4", "zfnet"])
def test_the_smallest_size_can_be_built(name: str) -> None:
    architecture = registry.load_architecture(name)
    side = architecture.minimum
    assert architecture.build(input_size=(side, side), classes=2).output_shape == (None, 2)


def test_other_sizes_and_classes() -> None:
    model = registry.load_architecture("mobilenet_v2").build(input_size=(96, 128), classes=7)
    assert (model.input_shape, model.output_shape) == ((None, 96, 128, 3), (None, 7))


@pytest.mark.parametrize(
    ("name", "size", "classes", "message"),
    [
        ("lenet5", (28, 28), None, "lenet5 needs an input of at least 32x32 pixels, got 28x28."),
        ("lenet5_original", (28, 27), None, "lenet5_original needs an input of at least 28x28 pixels, got 28x27."),
        ("alexnet", (66, 227), None, "alexnet needs an input of at least 67x67 pixels, got 66x227."),
        ("fashion_cnn", (7, 28), None, "fashion_cnn needs an input of at least 8x8 pixels, got 7x28."),
        ("inception_v3", (74, 299), None, "inception_v3 needs an input of at least 75x75 pixels, got 74x299."),
        ("resnet18", None, 0, "resnet18 needs at least 1 class, got 0."),
        ("ssd_mobilenet_v2", (31, 300), None, "ssd_mobilenet_v2 needs an input of at least 32x32 pixels, got 31x300."),
    ],
)
def test_what_cannot_be_built_is_refused(
    name: str, size: tuple[int, int] | None, classes: int | None, message: str
) -> None:
    with pytest.raises(ArchitectureError, match=f"^{re.escape(message)}$"):
        registry.load_architecture(name).build(input_size=size, classes=classes)
