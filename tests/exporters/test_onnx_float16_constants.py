"""ONNX in float16: a constant that half precision would round is one that it holds, where there is such a one."""

from pathlib import Path

import keras
import numpy as np
import pytest
from edgecv_onnx import OnnxExporter
from keras import layers

import edgecv


@pytest.mark.parametrize(
    ("factor", "operator", "constant"), [(1 / 6, "Div", 6.0), (0.25, "Mul", 0.25), (0.3, "Mul", float(np.float16(0.3)))]
)
def test_a_sixth_is_a_division_by_six(factor: float, operator: str, constant: float, tmp_path: Path) -> None:
    import onnx

    image = keras.Input((8, 8, 3), name="image")
    x = layers.Rescaling(factor, name="scaled")(layers.Activation("relu", name="relu")(image))
    network = keras.Model(image, layers.Conv2D(2, 3, name="last")(x), name="network")
    deployable = edgecv.deploy(network, preprocess="0-1", activation="none")
    path = OnnxExporter(precision="float16").export(deployable, tmp_path / "network.onnx").path
    graph = onnx.load(path).graph
    halves = {
        tensor.name: float(onnx.numpy_helper.to_array(tensor).item())
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT16 and onnx.numpy_helper.to_array(tensor).size == 1
    }
    found = [(node.op_type, halves[name]) for node in graph.node for name in node.input if name in halves]
    assert (operator, constant) in found


def test_a_network_without_weights_is_halved(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3), name="image")
    pooled = layers.GlobalAveragePooling2D(name="pooled")(layers.MaxPooling2D(2, name="smaller")(image))
    deployable = edgecv.deploy(keras.Model(image, pooled, name="network"), preprocess="0-1", activation="none")
    artifact = edgecv.export(deployable, to="onnx", path=tmp_path / "network.onnx", precision="float16")
    assert artifact.report is not None
    assert artifact.report.passed
