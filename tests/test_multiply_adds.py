"""Multiply-adds against networks that were counted by hand or by their authors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgecv
from edgecv import registry
from edgecv.errors import ArtifactError
from edgecv.runtimes import onnx_costs


def counted(path: Path, shape: tuple[int, ...]) -> Any:
    found = registry.runtime_for(path.suffix)
    assert found is not None
    return found[1].multiply_adds(path, {"image": np.zeros(shape, np.uint8)})  # type: ignore[attr-defined]


def made(tmp_path: Path, nodes: list[Any], weights: dict[str, Any], given: dict[str, Any], output: str) -> Path:
    """Write an ONNX file of some nodes, without the shapes of what is inside."""
    from onnx import TensorProto, helper, numpy_helper

    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in given.items()]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    path = tmp_path / "made.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    )
    return path


def test_a_network_counts_the_same_in_keras_and_in_both_formats(networks: Any, tmp_path: Path) -> None:
    from edgecv.keras_costs import multiply_adds

    deployable = networks.deployable("separable")
    # By hand: the stem gives 12 x 12 x 8 values of 3 x 3 x 3 each, the depthwise layer of 3 x 3 each, the head 5 of 8.
    by_hand = 12 * 12 * 8 * 27 + 12 * 12 * 8 * 9 + 5 * 8
    assert multiply_adds(deployable) == by_hand
    for form in ("onnx", "tflite"):
        path = tmp_path / f"separable.{form}"
        edgecv.export(deployable, to=form, path=path, verify=False)
        assert counted(path, (1, 24, 24, 3)) == by_hand


def test_transposed_and_grouped_convolutions_count_in_keras_and_in_both_formats(tmp_path: Path) -> None:
    import keras
    from keras import layers

    from edgecv.keras_costs import multiply_adds

    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 1)(image)  # 8 x 8 x 4 values of 3
    x = layers.Conv2D(6, 3, padding="same", groups=2)(x)  # 8 x 8 x 6 values of 3 x 3 x 2
    x = layers.Conv2DTranspose(5, 3, 2, padding="same")(x)  # each of 8 x 8 x 6 goes into 3 x 3 x 5
    model = keras.Model(image, x, name="up")
    deployable = edgecv.deploy(model, task="other", preprocess="none")
    by_hand = 8 * 8 * 4 * 3 + 8 * 8 * 6 * 18 + 8 * 8 * 6 * 45
    assert multiply_adds(deployable) == by_hand
    for form in ("onnx", "tflite"):
        path = tmp_path / f"up.{form}"
        edgecv.export(deployable, to=form, path=path, verify=False)
        assert counted(path, (1, 8, 8, 3)) == by_hand


def test_attention_and_products_over_the_first_side_count_in_keras_and_in_both_formats(tmp_path: Path) -> None:
    import keras
    from keras import layers

    from edgecv.keras_costs import multiply_adds

    image = keras.Input((4, 4, 3))
    x = layers.Dense(8)(layers.Reshape((16, 3))(image))
    attended = layers.MultiHeadAttention(2, 4)(x, x)
    model = keras.Model(image, layers.Dot(axes=(1, 1))([x, attended]), name="attention")
    deployable = edgecv.deploy(model, task="other", preprocess="none")
    # 16 places: 3 to 8; queries, keys, values and what comes out 8 to 8; two heads of 4, twice; 8 x 8 over all places.
    by_hand = 16 * 3 * 8 + 4 * 16 * 8 * 8 + 2 * (2 * 16 * 16 * 4) + 8 * 8 * 16
    assert multiply_adds(deployable) == by_hand
    for form in ("onnx", "tflite"):
        path = tmp_path / f"attention.{form}"
        edgecv.export(deployable, to=form, path=path, verify=False)
        assert counted(path, (1, 4, 4, 3)) == by_hand


def test_convolutions_in_one_and_three_dimensions_count_in_keras_and_in_both_formats(tmp_path: Path) -> None:
    import keras
    from keras import layers

    from edgecv.keras_costs import multiply_adds

    image = keras.Input((4, 4, 3))
    x = layers.Conv1D(6, 3)(layers.Reshape((16, 3))(image))  # 14 x 6 values of 3 x 3
    x = layers.Conv3D(5, 2)(layers.Reshape((2, 7, 3, 2))(x))  # 1 x 6 x 2 x 5 values of 2 x 2 x 2 x 2
    deployable = edgecv.deploy(keras.Model(image, x, name="solid"), task="other", preprocess="none")
    by_hand = 14 * 6 * 9 + 6 * 2 * 5 * 16
    assert multiply_adds(deployable) == by_hand
    for form in ("onnx", "tflite"):
        path = tmp_path / f"solid.{form}"
        edgecv.export(deployable, to=form, path=path, verify=False)
        assert counted(path, (1, 4, 4, 3)) == by_hand


@pytest.mark.parametrize(
    ("equation", "shapes", "count"),
    [
        ("abc,cd->abd", [[2, 3, 4], [4, 5]], 2 * 3 * 4 * 5),
        ("...ab,bc->...ac", [[6, 2, 3, 4], [4, 5]], 6 * 2 * 3 * 4 * 5),
        ("...a,...a->...", [[1, 3, 4], [2, 3, 4]], 2 * 3 * 4),
        ("ab,bc->ac", [[None, 3], [3, 4]], 0),
        ("ab->ba", [[2, 3]], 0),
    ],
)
def test_a_sum_of_products_counts_all_its_indices(equation: str, shapes: Any, count: int) -> None:
    from edgecv.keras_costs import _count_einsum

    assert _count_einsum(equation, shapes) == count


def test_matrix_products_of_tensors_count(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [
        helper.make_node("MatMul", ["a", "b"], ["product"]),  # 2 x 4 x 5 values of 3
        helper.make_node("Reshape", ["product", "flat"], ["row"]),
        helper.make_node("Gemm", ["row", "weights"], ["out"], transB=1),  # 2 x 7 values of 20
    ]
    weights = {"flat": np.array([2, 20]), "weights": np.zeros((7, 20), np.float32)}
    path = made(tmp_path, nodes, weights, {"a": [2, 4, 3], "b": [2, 3, 5]}, "out")
    feeds = {"a": np.zeros((2, 4, 3), np.float32), "b": np.zeros((2, 3, 5), np.float32)}
    found = registry.load_runtime("onnxruntime")
    assert found.multiply_adds(path, feeds) == 2 * 4 * 5 * 3 + 2 * 7 * 20  # type: ignore[attr-defined]


def test_weights_are_seen_through_their_dequantization(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [
        helper.make_node("DequantizeLinear", ["stored", "scale"], ["weights"]),
        helper.make_node("Conv", ["image", "weights"], ["out"]),
    ]
    weights = {"stored": np.zeros((4, 3, 3, 3), np.int8), "scale": np.float32(1)}
    path = made(tmp_path, nodes, weights, {"image": [1, 3, 6, 6]}, "out")
    asked: list[str] = []

    def run(names: Any) -> dict[str, Any]:
        asked.extend(names)
        return {"out": np.zeros((1, 4, 4, 4))}

    assert onnx_costs.multiply_adds(path, run) == 4 * 4 * 4 * 27
    assert asked == ["out"]


def test_a_node_without_weights_is_a_damaged_file(tmp_path: Path) -> None:
    from onnx import helper

    path = made(tmp_path, [helper.make_node("Conv", ["image"], ["out"])], {}, {"image": [1, 3, 6, 6]}, "out")
    message = f"^'{path}' has a node that lacks a tensor. Export it again.$"
    with pytest.raises(ArtifactError, match=message):
        onnx_costs.multiply_adds(path, lambda _: {})


@pytest.mark.parametrize(
    ("name", "count"),
    [
        # Sandler et al., "MobileNetV2", 2018, table 4: 300 M; by hand from its table 2 and Keras' layers: 300,774,272.
        ("MobileNetV2", 300_774_272),
        # He et al., "Deep Residual Learning", 2015, table 1: 3.8 x 10^9, which leaves out shortcuts' projections.
        pytest.param("ResNet50", 3_857_973_248, marks=pytest.mark.slow),
    ],
)
def test_known_networks_have_the_counts_of_their_authors(name: str, count: int) -> None:
    import keras

    from edgecv.keras_costs import multiply_adds

    model = getattr(keras.applications, name)(weights=None)
    assert multiply_adds(edgecv.deploy(model, preprocess="none")) == count
