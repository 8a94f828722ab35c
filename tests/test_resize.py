"""The resize inside the graph: its pixels against TensorFlow's, and boxes that come back where they were drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import pytest
from keras import layers, ops

import edgecv
from edgecv.errors import OptionError
from edgecv.nms import Nms
from edgecv.preprocess import Fit, Preprocess
from edgecv.resize import GraphResize
from edgecv.session import load

SIZES = [(48, 64), (37, 91), (131, 45), (1, 1), (1, 200), (333, 20), (64, 64)]
SIZE = (48, 64)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), dtype=np.uint8)


def applied(mode: Any, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(GraphResize(mode=mode).apply(ops.convert_to_tensor(image), SIZE, ops))


@pytest.mark.parametrize("size", SIZES)
def test_stretch_is_tensorflow_s_bilinear_resize(size: tuple[int, int]) -> None:
    import tensorflow as tf

    image = picture(*size)
    expected = tf.image.resize(image.astype(np.float32), SIZE, "bilinear").numpy()
    np.testing.assert_allclose(applied("stretch", image), expected, atol=2e-2)  # of 255: TensorFlow's own rounding


@pytest.mark.parametrize("size", SIZES)
def test_letterbox_keeps_the_picture_whole_between_grey(size: tuple[int, int]) -> None:
    import tensorflow as tf

    image = picture(*size)
    scale = min(SIZE[0] / size[0], SIZE[1] / size[1])
    height, width = (
        min(max(1, int(np.floor(side * scale + 0.5))), most) for side, most in zip(size, SIZE, strict=True)
    )
    top, left = (SIZE[0] - height) // 2, (SIZE[1] - width) // 2
    expected = np.full((1, *SIZE, 3), 114.0, np.float32)
    inner = tf.image.resize(image.astype(np.float32), (height, width), "bilinear").numpy()
    expected[:, top : top + height, left : left + width] = inner
    np.testing.assert_allclose(applied("letterbox", image), expected, atol=2e-2)


@dataclass(frozen=True, kw_only=True)
class Brightest:
    """Finds the one bright rectangle: its sides are where rows and columns begin and end being bright."""

    name: ClassVar[str] = "brightest"
    outputs: tuple[str, ...] = ()

    def check(self, shapes: Sequence[tuple[int | None, ...]], input_size: tuple[int, int]) -> int:
        del shapes, input_size
        return 1

    def decode(self, outputs: Sequence[Any], input_size: tuple[int, int], ops: Any) -> tuple[Any, Any]:
        """Return the one box: a side's place is the sum of what lies before it, to a fraction of a pixel."""
        height, width = input_size
        light = outputs[0][..., 0]  # (batch, height, width), 0 dark, 1 bright, between on the border
        columns, rows = ops.max(light, axis=1), ops.max(light, axis=2)
        sides = []
        for line, length in ((columns, width), (rows, height)):
            places = np.arange(length, dtype=np.float32) + 0.5
            total = ops.sum(line, axis=1)
            centre = ops.sum(line * places, axis=1) / ops.maximum(total, 1e-6)
            sides.append((centre - total / 2, centre + total / 2, float(length)))
        (x1, x2, wide), (y1, y2, high) = sides
        box = ops.stack([x1 / wide, y1 / high, x2 / wide, y2 / high], axis=-1)
        scores = ops.clip(ops.max(columns, axis=1), 0.0, 1.0)
        return ops.expand_dims(ops.clip(box, 0.0, 1.0), 1), ops.reshape(scores, (-1, 1, 1))


def detector(**options: Any) -> Any:
    """A detector of a red rectangle on black, 96 × 128 pixels."""
    image = keras.Input((96, 128, 3), name="image")
    # Red less green: a letterbox's grey is no light.
    red = layers.Conv2D(1, 1, use_bias=False, name="red")
    network = keras.Model(image, red(image), name="rectangle")
    red.set_weights([np.array([1, -1, 0], np.float32).reshape(1, 1, 3, 1)])
    fit = Fit(mode=options.pop("fit", "stretch"))
    scaling = Preprocess(style="0-1", scale=(1 / 255,), fit=fit)
    return edgecv.deploy(network, preprocess=scaling, decoder=Brightest(), nms=Nms(max_detections=3), **options)


def drawn(height: int, width: int, box: tuple[int, int, int, int]) -> np.ndarray[Any, Any]:
    pixels = np.zeros((height, width, 3), np.uint8)
    x1, y1, x2, y2 = box
    pixels[y1:y2, x1:x2, 0] = 255
    return pixels


DRAWN = [
    ((97, 129), (20, 31, 77, 64)),
    ((113, 131), (40, 20, 101, 90)),
    ((75, 201), (60, 10, 140, 55)),
    ((151, 91), (20, 40, 70, 120)),
    ((96, 128), (1, 1, 127, 95)),
]


@pytest.mark.parametrize("form", ["onnx", "tflite"])
@pytest.mark.parametrize("way", ["in the graph", "on the host"])
@pytest.mark.parametrize("mode", ["letterbox", "stretch"])
def test_a_drawn_box_comes_back_within_half_a_pixel(form: str, way: str, mode: Any, tmp_path: Path) -> None:
    inside = way == "in the graph"
    original = detector(resize=mode) if inside else detector(fit=mode)
    artifact = edgecv.export(original, to=form, path=tmp_path / f"rectangle.{form}", verify=False)
    session = load(artifact.path)
    for (height, width), box in DRAWN:
        (found,) = session.predict(drawn(height, width, box))
        assert np.max(np.abs(np.array(found["box"]) - box)) <= 0.5, (height, width)


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_pictures_of_any_size_go_in(form: str, tmp_path: Path) -> None:
    artifact = edgecv.export(detector(resize="letterbox"), to=form, path=tmp_path / f"any.{form}", verify=False)
    session = load(artifact.path)
    assert session.metadata["input"]["shape"] == [1, None, None, 3]
    for height, width in [(1, 1), (1, 300), (2000, 3), (240, 320)]:
        found = session.predict(drawn(height, width, (0, 0, width, height)))
        np.testing.assert_allclose(found[0]["box"], [0, 0, width, height], atol=0.01 * max(height, width))


def test_a_resize_in_the_graph_needs_pictures() -> None:
    with pytest.raises(OptionError, match=r"^--resize needs pictures as input: use it with --input uint8\.$"):
        detector(resize="stretch", input_dtype="float32")
    with pytest.raises(OptionError, match=r"^resize must be one of letterbox, stretch, got 'crop'\.$"):
        detector(resize="crop")
