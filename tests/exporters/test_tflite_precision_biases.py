"""TFLite in int8: what rounding the kernels adds on average goes into the biases; of NaN nothing is learnt."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edgecv_tflite.quantize
import keras
import numpy as np
import pytest
from edgecv_tflite import TfliteExporter
from keras import layers
from PIL import Image

import edgecv
from edgecv.calibration import Calibration
from edgecv.deployable import Deployable
from edgecv.errors import ConversionError
from edgecv.pictures import read_picture
from edgecv.runtimes.litert import LiteRtRuntime

LAYERS: dict[str, Callable[[], keras.Layer]] = {
    "convolution": lambda: layers.Conv2D(4, 3, name="layer"),
    "strided": lambda: layers.Conv2D(4, 3, strides=2, activation="relu", use_bias=False, name="layer"),
    "grouped": lambda: layers.Conv2D(6, 3, groups=3, name="layer"),
    "depthwise": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, name="layer"),
    "transposed": lambda: layers.Conv2DTranspose(4, 4, strides=2, padding="same", name="layer"),
    "dense": lambda: layers.Dense(4, name="layer"),
    "dense without bias": lambda: layers.Dense(4, use_bias=False, name="layer"),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    from sklearn.datasets import load_sample_images

    folder = tmp_path_factory.mktemp("pictures")
    china, flower = load_sample_images().images
    paths = (folder / "0.png", folder / "1.png", folder / "2.png")
    for path, pixels in zip(paths, (china, flower, china[::2, ::-1]), strict=True):
        Image.fromarray(pixels).resize((32, 32)).save(path)
    return paths


def network(kind: str) -> keras.Model:
    """Return a layer of filters in which one large weight leaves less than half a step to all others."""
    image = keras.Input((32, 32, 3), name="image")
    x = layers.Flatten(name="flatten")(layers.AveragePooling2D(4)(image)) if kind.startswith("dense") else image
    layer = LAYERS[kind]()
    model = keras.Model(image, layer(x), name="network")
    kernel, *rest = layer.get_weights()
    kernel[...] = 0.003 * np.random.default_rng(0).uniform(0.5, 1, kernel.shape)
    channels = {"depthwise": (2, 3), "transposed": (2,)}.get(kind, (kernel.ndim - 1,))
    first = tuple(slice(None) if axis in channels else 0 for axis in range(kernel.ndim))
    kernel[first] = 1.0
    layer.set_weights([kernel, *rest])
    return model


def means(deployable: Deployable, paths: tuple[Path, ...], path: Path) -> tuple[Any, Any]:
    """Return the mean of each channel over the pictures, of the original and of the artifact."""
    runner = LiteRtRuntime().open(path, threads=1)
    images = np.stack([read_picture(each).pixels for each in paths])
    (original,) = deployable.run(images).values()
    answers = [next(iter(runner.run({"image": image[None]}).values())) for image in images]
    axes = tuple(range(original.ndim - 1))
    return original.mean(axis=axes), np.concatenate(answers).mean(axis=axes)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_channel_keeps_its_mean_though_its_kernel_is_rounded(
    kind: str, pictures: tuple[Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployable = edgecv.deploy(network(kind), preprocess="0-1", activation="none")
    exporter = TfliteExporter(precision="int8", calibration=Calibration(paths=pictures))
    original, corrected = means(deployable, pictures, exporter.export(deployable, tmp_path / "corrected.tflite").path)
    monkeypatch.setattr(edgecv_tflite.quantize, "correct", lambda *_: None)
    _, rounded = means(deployable, pictures, exporter.export(deployable, tmp_path / "rounded.tflite").path)
    assert np.abs(rounded / original - 1).max() > 0.01
    assert np.abs(corrected - original).max() < 0.25 * np.abs(rounded - original).max()


def test_a_network_that_gives_nan_names_the_layer(pictures: tuple[Path, ...], tmp_path: Path) -> None:
    model = network("convolution")
    kernel, bias = model.get_layer("layer").get_weights()
    kernel[0, 0, 0, 0] = np.nan
    model.get_layer("layer").set_weights([kernel, bias])
    exporter = TfliteExporter(precision="int8", calibration=Calibration(paths=pictures))
    message = "network cannot be written as int8: layer gives NaN or infinity on a calibration picture."
    with pytest.raises(ConversionError, match=f"^{re.escape(message)}$"):
        exporter.export(edgecv.deploy(model, preprocess="0-1", activation="none"), tmp_path / "network.tflite")
    assert list(tmp_path.iterdir()) == []


def test_a_bias_that_several_layers_share_is_corrected_for_each(pictures: tuple[Path, ...], tmp_path: Path) -> None:
    image = keras.Input((32, 32, 3), name="image")
    shared = layers.Conv2D(3, 3, padding="same", bias_initializer="ones", name="shared")
    first = shared(image)
    second = shared(layers.MaxPooling2D(2, name="smaller")(first))
    outputs = [layers.GlobalAveragePooling2D(name=name)(x) for name, x in (("a", first), ("b", second))]
    deployable = edgecv.deploy(keras.Model(image, outputs, name="network"), preprocess="0-1", activation="none")
    exporter = TfliteExporter(precision="int8", calibration=Calibration(paths=pictures))
    runner = LiteRtRuntime().open(exporter.export(deployable, tmp_path / "network.tflite").path, threads=1)
    pixels = read_picture(pictures[0]).pixels[None]
    given = runner.run({"image": pixels})
    for name, values in deployable.run(pixels).items():
        assert given[name] == pytest.approx(values, abs=0.02 * float(np.abs(values).max()))
