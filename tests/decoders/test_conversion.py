"""Every decoding converts: to operators of ONNX's own domain at opset 11 and to builtin operators of TFLite."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
import tf2onnx
from ai_edge_litert.interpreter import Interpreter
from keras import ops

from edgecv.decoders import AnchorFree, Decoder, SlidingWindow, Ssd, YoloGrid, YoloV3

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

OPSET = 11
# Boxes and scores lie in 0…1. Keras, ONNX Runtime and LiteRT each have an exponential of their own, which is a few
# units in the last place (1e-7) off; numbers up to 5 and sums of 16 of them multiply that by less than 100.
TOLERANCE = 1e-5

WINDOW = SlidingWindow(stride=(8, 16), window=(16, 32), offset=(-4, 0))
SCALED = SlidingWindow(
    stride=(16, 16), window=(16, 16), box="relative", sqrt_sizes=True, scales=(1.0, 0.5), outputs=("c", "o", "b")
)
CASES: dict[str, tuple[Decoder, list[Shape], tuple[int, int]]] = {
    "window": (WINDOW, [(4, 3, 5)], (40, 64)),
    "window, objectness": (WINDOW, [(4, 3, 5), (4, 3, 1)], (40, 64)),
    "window, one tensor": (
        SlidingWindow(stride=(16, 16), window=(16, 16), box="relative"),
        [(2, 3, 10)],
        (32, 48),
    ),
    "window, scales": (SCALED, [(2, 4, 3), (2, 4, 1), (2, 4, 4), (1, 2, 3), (1, 2, 1), (1, 2, 4)], (32, 64)),
    "ssd": (Ssd(strides=(16, 32), reduce_lowest_layer=True), [(51, 4), (51, 7)], (40, 40)),
    "ssd, softmax": (
        Ssd(strides=(16, 32), order="xywh", activation="softmax", reduce_lowest_layer=True),
        [(30, 4), (30, 7)],
        (48, 32),
    ),
    "yolo_grid": (YoloGrid(anchors=((1, 2), (0.5, 0.25), (3, 1))), [(2, 3, 22)], (64, 96)),
    "yolo_grid, one class": (YoloGrid(anchors=((1, 2), (0.5, 0.25))), [(2, 3, 11)], (64, 96)),
    "yolo_v3": (YoloV3(anchors=(((10, 13), (16, 30)), ((33, 23),))), [(1, 2, 16), (2, 4, 8)], (32, 64)),
    "anchor_free": (AnchorFree(strides=(8, 16)), [(4, 8, 67), (2, 4, 67)], (32, 64)),
    "anchor_free, distances": (AnchorFree(strides=(8,), bins=1), [(4, 8, 4), (4, 8, 3)], (32, 64)),
    "anchor_free, flat": (AnchorFree(strides=(8, 16), activation="softmax"), [(40, 67)], (32, 64)),
}
case = pytest.mark.parametrize("name", CASES)


def inputs(shapes: Sequence[Shape], batch: int) -> list[Array]:
    random = np.random.default_rng(batch)
    return [random.uniform(-5, 5, (batch, *shape)).astype("float32") for shape in shapes]


def eager(name: str, given: Sequence[Array]) -> dict[str, Array]:
    decoder, _, size = CASES[name]
    outputs = decoder.decode([ops.convert_to_tensor(values) for values in given], size, ops)
    return {key: np.asarray(tensor) for key, tensor in zip(("boxes", "scores"), outputs, strict=True)}


def traced(name: str, batch: int | None) -> tuple[Any, list[Any]]:
    decoder, shapes, size = CASES[name]
    signature = [tf.TensorSpec((batch, *shape), "float32", name=f"in{i}") for i, shape in enumerate(shapes)]

    @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
    def run(*tensors: Any) -> dict[str, Any]:
        boxes, scores = decoder.decode(tensors, size, ops)
        return {"boxes": tf.identity(boxes), "scores": tf.identity(scores)}

    return run, signature


def invoke(interpreter: Any, given: Sequence[Array]) -> dict[str, Array]:
    # The converter calls them in0, in1, … and Identity, Identity_1, in the order of the function.
    places = sorted(interpreter.get_input_details(), key=lambda detail: detail["name"])
    for place, values in zip(places, given, strict=True):
        interpreter.resize_tensor_input(place["index"], values.shape, strict=True)
    interpreter.allocate_tensors()
    for place, values in zip(places, given, strict=True):
        interpreter.set_tensor(place["index"], values)
    interpreter.invoke()
    results = sorted(interpreter.get_output_details(), key=lambda detail: detail["name"])
    return {key: interpreter.get_tensor(r["index"]) for key, r in zip(("boxes", "scores"), results, strict=True)}


def assert_close(found: dict[str, Array], expected: dict[str, Array]) -> None:
    assert set(found) == {"boxes", "scores"}
    for key, values in expected.items():
        assert found[key].shape == values.shape
        assert found[key].dtype == np.float32
        np.testing.assert_allclose(found[key], values, atol=TOLERANCE, rtol=0)


@case
def test_the_outputs_keep_their_contract(name: str) -> None:
    decoder, shapes, size = CASES[name]
    classes = decoder.check([(None, *shape) for shape in shapes], size)
    outputs = eager(name, inputs(shapes, 2))
    boxes, scores = outputs["boxes"], outputs["scores"]
    assert boxes.dtype == scores.dtype == np.float32
    assert scores.shape == (*boxes.shape[:2], classes)
    assert boxes.shape[::2] == (2, 4)
    assert boxes.min() >= 0
    assert boxes.max() <= 1
    assert np.ptp(boxes) > 0.5


@case
def test_a_batch_is_decoded_like_its_pictures_one_by_one(name: str) -> None:
    shapes = CASES[name][1]
    run, _ = traced(name, None)
    for batch in (1, 2, 3):
        given = inputs(shapes, batch)
        found = {key: tensor.numpy() for key, tensor in run(*given).items()}
        single = [eager(name, [values[index : index + 1] for values in given]) for index in range(batch)]
        assert_close(found, {key: np.concatenate([picture[key] for picture in single]) for key in found})


@case
def test_float16_and_float64_outputs_become_float32(name: str) -> None:
    given = inputs(CASES[name][1], 1)
    for dtype, tolerance in (("float64", TOLERANCE), ("float16", 0.02)):
        # Numbers up to 5 are rounded to 0.002, which the exponentials of the sizes multiply.
        found = eager(name, [values.astype(dtype) for values in given])
        for key, values in eager(name, given).items():
            assert found[key].dtype == np.float32
            np.testing.assert_allclose(found[key], values, atol=tolerance, rtol=tolerance)


@case
@pytest.mark.parametrize("batch", [1, None])
def test_onnx_gives_the_same(name: str, batch: int | None) -> None:
    run, signature = traced(name, batch)
    model, _ = tf2onnx.convert.from_function(run, input_signature=signature, opset=OPSET)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    for count in (1, 2) if batch is None else (1,):
        given = inputs(CASES[name][1], count)
        feed = {spec.name: values for spec, values in zip(signature, given, strict=True)}
        assert_close(dict(zip(names, session.run(names, feed), strict=True)), eager(name, given))


@case
@pytest.mark.parametrize("batch", [1, None])
def test_builtin_tflite_operators_give_the_same(name: str, batch: int | None) -> None:
    run, _ = traced(name, batch)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([run.get_concrete_function()], run)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    content = converter.convert()
    interpreter = Interpreter(model_content=content)
    for count in (1, 2) if batch is None else (1,):
        given = inputs(CASES[name][1], count)
        assert_close(invoke(interpreter, given), eager(name, given))
