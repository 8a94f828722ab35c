"""Tiny artifacts of both formats, made by the formats' own libraries."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

# What every artifact's metadata hold, for tests that put their own into a file.
DOCUMENT: dict[str, Any] = {
    "edgecv_version": "0.1.0",
    "model": "tiny",
    "task": "classification",
    "weights": {"source": "random", "sha256": "0" * 64},
    "sha256": "0" * 64,
    "labels": ["red", "green", "blue"],
    "input": {"name": "image", "shape": [1, 4, 4, 3], "dtype": "uint8"},
    "outputs": [{"name": "probabilities", "shape": [1, 3], "dtype": "float32"}],
    "preprocess": {"style": "none", "order": "rgb", "mean": [0.0], "scale": [1.0], "resize": {"mode": "stretch"}},
    "postprocess": {"activation": "none", "top_k": None},
    "precision": "float32",
    "verification": None,
    "layers": {},
}


@pytest.fixture(scope="session")
def bare_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file without edgecv metadata: the mean of each colour over 4 × 4 pixels, as a share of 255."""
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    path.write_bytes(tiny_onnx(1))
    return path


@pytest.fixture(scope="session")
def bare_tflite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network as a TFLite file."""
    path = tmp_path_factory.mktemp("tflite") / "tiny.tflite"
    path.write_bytes(tiny_tflite(1))
    return path


@pytest.fixture(params=["onnx", "tflite"])
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A private copy of the tiny file, in each format."""
    source: Path = request.getfixturevalue(f"bare_{request.param}")
    path = tmp_path / f"tiny.{request.param}"
    path.write_bytes(source.read_bytes())
    return path


@pytest.fixture
def artifact(bare: Path) -> Path:
    """A private copy of the tiny file with sealed metadata, in each format."""
    from edgecv import metadata, registry

    found = registry.runtime_for(bare.suffix)
    assert found is not None
    metadata.seal(bare, DOCUMENT, found[1])
    return bare


def tiny_onnx(batch: int | str) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("Div", ["means", "white"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, 4, 4, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(np.float32(255), "white")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


def tiny_tflite(batch: int | None) -> bytes:
    import tensorflow as tf

    class Tiny(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([batch, 4, 4, 3], tf.uint8, name="image")])  # type: ignore[untyped-decorator]
        def __call__(self, image: Any) -> dict[str, Any]:
            return {"probabilities": tf.reduce_mean(tf.cast(image, tf.float32), axis=[1, 2]) / 255.0}

    module = Tiny()
    function = module.__call__.get_concrete_function()
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([function], module).convert())
