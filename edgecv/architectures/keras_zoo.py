"""The networks of ``keras.applications``, built by Keras itself.

Every function takes ``input_shape`` ``(height, width, channels)`` in pixels and ``classes``, and returns
an uncompiled functional model: float32 pictures ``(batch, height, width, channels)``, scaled as
`edgecv.architectures.catalog` records, to float32 probabilities ``(batch, classes)``. The weights are the
initialisers'. What Keras cannot build is a ValueError; `edgecv.architecture.Architecture.build` turns it
into an ArchitectureError. The papers are in the catalog.
"""

import collections
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import applications
from keras.src.backend.common import global_state

__all__ = [
    "densenet121",
    "efficientnet_b0",
    "inception_v3",
    "mobilenet",
    "mobilenet_v2",
    "resnet50",
    "resnet101",
    "resnet152",
    "vgg16",
    "vgg19",
    "xception",
]

Shape = tuple[int, int, int]


def densenet121(input_shape: Shape = (224, 224, 3), *, classes: int = 1000) -> keras.Model:
    """Build DenseNet-121."""
    return _build(applications.DenseNet121, "densenet121", input_shape, classes)


def efficientnet_b0(input_shape: Shape = (224, 224, 3), *, classes: int = 1000) -> keras.Model:
    """Build EfficientNet-B0, which scales 0…255 pictures itself."""
    return _build(applications.EfficientNetB0, "efficientnet_b0", input_shape, classes)


def inception_v3(input_shape: Shape = (299, 299, 3), *, classes: int = 1000) -> keras.Model:
    """Build Inception v3; height and width at least 75."""
    return _build(applications.InceptionV3, "inception_v3", input_shape, classes)


def mobilenet(input_shape: Shape = (224, 224, 3), *, classes: int = 1000) -> keras.Model:
    """Build MobileNet (v1) of width 1."""
    return _build(applications.MobileNet, "mobilenet", input_shape, classes)


def mobilenet_v2(input_shape: Shape = (224, 224, 3), *, classes: int = 1000) -> keras.Model:
    """Build MobileNetV2 of width 1."""
    return _build(applications.MobileNetV2, "mobilenet_v2", input_shape, classes)


def resnet50(input_shape: Shape = (224, 224, 3), *, classes: int = 1000) -> keras.Model:
    """Build ResNet-50."""
    return _build(applications.ResNet50, "resnet50", input_shape, classes)


def resnet101(input_shape: Shape = (224, 224, 3), *, classes: int = 1000) -> keras.Model:
    """Build ResNet-101."""
    return _build(applications.ResNet101, "resnet101", input_shape, classes)


def resnet152(input_shape: Shape = (224, 224, 3), *, classes: int = 1000) -> keras.Model:
    """Build ResNet-152."""
    return _build(applications.ResNet152, "resnet152", input_shape, classes)


def vgg16(input_shape: Shape = (224, 224, 3), *, classes: int = 1000) -> keras.Model:
    """Build VGG-16."""
    return _build(applications.VGG16, "vgg16", input_shape, classes)


def vgg19(input_shape: Shape = (224, 224, 3), *, classes: int = 1000) -> keras.Model:
    """Build VGG-19."""
    return _build(applications.VGG19, "vgg19", input_shape, classes)


def xception(input_shape: Shape = (299, 299, 3), *, classes: int = 1000) -> keras.Model:
    """Build Xception; height and width at least 71."""
    return _build(applications.Xception, "xception", input_shape, classes)


def _build(function: Callable[..., Any], name: str, input_shape: Shape, classes: int) -> keras.Model:
    with _fresh_names():
        image = keras.Input(input_shape, name="image")
        built = function(weights=None, input_tensor=image, input_shape=input_shape, classes=classes, name=name)
        # Keras declares the input as a list of one; called with a bare tensor, such a model warns.
        return keras.Model(image, built.outputs[0], name=name)


@contextlib.contextmanager
def _fresh_names() -> Iterator[None]:
    """Number unnamed layers from the start, whatever was built before in this process.

    Inception v3, Xception and others leave layers to Keras' global counter (``conv2d_17``). The names
    reach artifacts, and random weights are seeded by them, so that they must not depend on history.
    Keras 3.12 to 3.15 keep the counter under this key and offer no public way to set it aside.
    """
    key = "object_name_uids"
    before = global_state.get_global_attribute(key)
    global_state.set_global_attribute(key, collections.defaultdict(int))
    try:
        yield
    finally:
        global_state.set_global_attribute(key, before)
