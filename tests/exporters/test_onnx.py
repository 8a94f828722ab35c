"""What an ONNX artifact is made of, read by the onnx package."""

import functools
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from edgecv_onnx import OnnxExporter
from edgecv_onnx.graph import Graph, with_nested
from edgecv_onnx.loops import settle_loops
from edgecv_onnx.names import rename
from edgecv_onnx.write import lowest_opset
from keras import layers
from onnx import TensorProto, helper, numpy_helper

import edgecv
from edgecv.deployable import Deployable
from edgecv.errors import ConversionError, OptionError
from edgecv.exporter import Exporter
from edgecv.lowering import LoweredGraph
from edgecv.nms import Nms
from edgecv.weights.random import randomize

Export = Callable[..., tuple[Any, edgecv.Artifact]]


@pytest.fixture
def export(networks: Any, tmp_path: Path) -> Export:
    """Export a shared network by name, or a Deployable; give the model and the artifact."""

    def run(source: str | Deployable, *, opset: int | None = None, **options: Any) -> tuple[Any, edgecv.Artifact]:
        deployable = networks.deployable(source, **options) if isinstance(source, str) else source
        artifact = edgecv.export(deployable, to="onnx", path=tmp_path / "network.onnx", opset=opset)
        model = onnx.load(artifact.path)
        onnx.checker.check_model(model, full_check=True)
        assert {entry.domain for entry in model.opset_import} == {""}
        return model, artifact

    return run


def operators(model: Any) -> list[str]:
    return [node.op_type for node in model.graph.node]


def borders(values: Any) -> list[tuple[str, int, list[int | str]]]:
    return [
        (value.name, value.type.tensor_type.elem_type, [side.dim_param or side.dim_value for side in shape_of(value)])
        for value in values
    ]


def shape_of(value: Any) -> Any:
    return value.type.tensor_type.shape.dim


def test_the_exporter_is_one() -> None:
    exporter: Exporter = OnnxExporter()
    assert isinstance(exporter, Exporter)


@pytest.mark.parametrize(("batch", "side"), [(1, 1), (4, 4), (None, "N")], ids=["1", "4", "dynamic"])
def test_a_classifier_takes_pictures_and_gives_probabilities(
    batch: int | None, side: int | str, export: Export
) -> None:
    model, _ = export("separable", batch=batch)
    assert borders(model.graph.input) == [("image", TensorProto.UINT8, [side, 24, 24, 3])]
    assert borders(model.graph.output) == [("probabilities", TensorProto.FLOAT, [side, 5])]


def test_top_k_gives_int32_classes(export: Export) -> None:
    model, _ = export("separable", top_k=2)
    assert borders(model.graph.output) == [
        ("scores", TensorProto.FLOAT, [1, 2]),
        ("classes", TensorProto.INT32, [1, 2]),
    ]


def test_other_networks_keep_their_output_names(export: Export) -> None:
    model, _ = export("two_outputs", batch=None)
    assert borders(model.graph.output) == [
        ("field", TensorProto.FLOAT, ["N", 8, 10, 2]),
        ("vector", TensorProto.FLOAT, ["N", 3]),
    ]


def test_float32_input_is_the_bare_network(export: Export) -> None:
    model, _ = export("separable", input_dtype="float32")
    assert borders(model.graph.input) == [("image", TensorProto.FLOAT, [1, 24, 24, 3])]
    assert operators(model)[:2] == ["Transpose", "Conv"]


def test_normalization_padding_and_transposes_are_folded(export: Export) -> None:
    separable, _ = export("separable")
    assert operators(separable) == [
        "Cast", "Transpose", "Sub", "Conv", "Relu", "Conv", "Relu", "GlobalAveragePool", "Squeeze", "Gemm", "Softmax",
    ]  # fmt: skip
    residual, _ = export("residual")
    # The second transpose gives the flattened features Keras' order.
    assert operators(residual) == [
        "Cast", "Transpose", "Sub", "Conv", "Relu", "Conv", "Add", "Relu", "MaxPool", "Transpose", "Reshape", "Gemm",
        "Softmax",
    ]  # fmt: skip
    (stem,) = [node for node in residual.graph.node if node.name == "pad+stem+stem_bn/Conv"]
    pads = next(list(attribute.ints) for attribute in stem.attribute if attribute.name == "pads")
    assert pads == [0, 2, 1, 1]  # ZeroPadding2D(((0, 1), (2, 1))): top, left, bottom, right


def test_scaling_of_channels_is_done_channels_first(tmp_path: Path) -> None:
    inputs = keras.Input((12, 10, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.5, 0.6, 0.7], name="normalization")(x)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    network = keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)), name="scaled")
    artifact = edgecv.export(edgecv.deploy(network, preprocess="none"), to="onnx", path=tmp_path / "x.onnx")
    graph = onnx.load(tmp_path / "x.onnx").graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    steps = [node for node in graph.node if node.name.startswith("normalization")]
    assert sorted(node.op_type for node in steps) == ["Add", "Mul"]
    assert [shapes[name] for node in steps for name in node.input if name in shapes] == [(1, 3, 1, 1)] * 2
    assert artifact.layers["normalization"] == steps[-1].output[0]


def test_nodes_are_named_after_their_layers(export: Export) -> None:
    model, artifact = export("separable")
    assert [node.name for node in model.graph.node] == [
        "pipeline/Cast", "stem/Transpose", "pipeline/Sub", "stem+stem_bn/Conv", "stem_relu/Relu",
        "depthwise+depthwise_bn/Conv", "depthwise_relu/Relu", "pool/GlobalAveragePool", "pool/Squeeze", "head/Gemm",
        "head/Softmax",
    ]  # fmt: skip
    assert artifact.layers == {
        "stem": "stem+stem_bn/Conv:0",
        "stem_bn": "stem+stem_bn/Conv:0",
        "stem_relu": "stem_relu/Relu:0",
        "depthwise": "depthwise+depthwise_bn/Conv:0",
        "depthwise_bn": "depthwise+depthwise_bn/Conv:0",
        "depthwise_relu": "depthwise_relu/Relu:0",
        "pool": "pool/Squeeze:0",
        "head": "probabilities",
    }


@pytest.mark.parametrize("name", ["lenet5", "separable", "residual", "multilabel", "two_outputs"])
def test_every_layer_that_computes_is_mapped_to_a_tensor_that_is_there(
    name: str, export: Export, networks: Any
) -> None:
    model, artifact = export(name)
    computing = [layer.name for layer in networks.build(name).layers if type(layer).__name__ != "InputLayer"]
    assert sorted(artifact.layers) == sorted(computing)
    tensors = {output for node in model.graph.node for output in node.output}
    assert set(artifact.layers.values()) <= tensors


def test_layers_of_a_nested_model_are_named_by_their_path(export: Export) -> None:
    picture = keras.Input((12, 12, 3))
    inner = keras.Input((12, 12, 3))
    body = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, name="conv")(inner))
    backbone = keras.Model(inner, layers.ReLU(name="relu")(body), name="backbone")
    x = layers.Dense(3, name="head")(layers.GlobalAveragePooling2D(name="pool")(backbone(picture)))
    network = keras.Model(picture, x, name="whole")
    randomize(network, edgecv.Preprocess())
    model, artifact = export(edgecv.deploy(network, preprocess="none"))
    assert "backbone/conv+backbone/norm/Conv" in [node.name for node in model.graph.node]
    assert artifact.layers["backbone/norm"] == "backbone/conv+backbone/norm/Conv:0"
    assert artifact.layers["backbone/relu"] == "backbone/relu/Relu:0"


@pytest.mark.parametrize("name", ["separable", "residual", "multilabel"])
def test_weights_are_finite_initializers_that_every_node_reads(name: str, export: Export) -> None:
    model, _ = export(name)
    read = {given for node in model.graph.node for given in node.input}
    for tensor in model.graph.initializer:
        assert tensor.name in read
        value = numpy_helper.to_array(tensor)
        assert value.dtype != np.float64
        assert np.all(np.isfinite(value))
    assert not {tensor.name for tensor in model.graph.initializer} & {given.name for given in model.graph.input}


def test_the_opset_is_the_lowest_that_suffices(export: Export) -> None:
    model, artifact = export("separable")
    # Pooling and convolutions are of operator set 11 in onnx' changelog; the IR of that set is 6.
    assert (model.opset_import[0].version, model.ir_version) == (11, 6)
    assert artifact.details["opset"] == 11


def test_the_opset_suffices_for_a_loop_s_body_too() -> None:
    # Trilu came with operator set 14; Loop means the same since 13.
    body = helper.make_graph([helper.make_node("Trilu", ["a"], ["b"])], "body", [], [])
    loop = helper.make_node("Loop", ["most", "", "x"], ["y"], body=body)
    assert lowest_opset(Graph(nodes=[loop], constants={}, inputs=[], outputs=[], opset=15)) == 14


def test_a_loop_s_order_depends_on_what_it_computes_alone() -> None:
    """Two counters and a limit that stays: in any order of variables and nodes, the settled loop is the same."""

    def settled(order: Sequence[int], names: Sequence[str]) -> bytes:
        value = functools.partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT, shape=[])
        variables = [
            ("zero", helper.make_node("Add", [f"{names[0]}_in", "limit_in"], [f"{names[0]}_out"])),
            ("zero", helper.make_node("Mul", [f"{names[1]}_in", "limit_in"], [f"{names[1]}_out"])),
            ("most", helper.make_node("Identity", ["limit_in"], ["limit_out"])),
        ]
        chosen = [(*variables[place], [*names, "limit"][place]) for place in order]
        body = helper.make_graph(
            [helper.make_node("Identity", ["go_in"], ["go_out"]), *(node for _, node, _ in chosen)],
            "body",
            [value(f"{name}_in") for name in ("turn", "go", *(name for *_, name in chosen))],
            [value(f"{name}_out") for name in ("go", *(name for *_, name in chosen))],
        )
        inputs = ["turns", "yes", *(start for start, *_ in chosen)]
        loop = helper.make_node("Loop", inputs, [name for *_, name in chosen], body=body)
        total = helper.make_node("Sub", names, ["total"])
        starts = {"zero": np.zeros((), np.float32), "most": np.ones((), np.float32)}
        constants = {**starts, "turns": np.array(3), "yes": np.array(True)}
        graph = Graph(nodes=[loop, total], constants=constants, inputs=[], outputs=[value("total")], opset=13)
        settle_loops(graph)
        layers = LoweredGraph(
            function=None, graph_def=None, input_name="", output_names={}, checkpoints={}, thresholds={}, kernels={},
            kernel_names={}, layers={},
        )  # fmt: skip
        rename(graph, layers)
        return b"".join(node.SerializeToString(deterministic=True) for node in graph.nodes)

    expected = settled((0, 1, 2), ("a", "b"))
    for order in itertools.permutations(range(3)):
        assert settled(order, ("x", "y")) == expected


@pytest.mark.parametrize("batch", [1, None], ids=["1", "dynamic"])
def test_soft_suppression_is_a_loop_of_default_operators_without_an_overlap_to_set(
    batch: int | None, export: Export
) -> None:
    model, artifact = export("detector", batch=batch, nms=Nms(soft_sigma=0.5))
    (loop,) = [node for node in model.graph.node if node.op_type == "Loop"]
    nodes = list(with_nested(model.graph.node))
    assert len(nodes) > len(model.graph.node)
    assert {node.domain for node in nodes} == {""}
    assert loop in nodes
    # It lowers scores and drops nothing: the file has no such input, and nobody says that it had.
    assert [value.name for value in model.graph.input] == ["image", "score_threshold"]
    assert artifact.optional_inputs == ("score_threshold",)


@pytest.mark.parametrize(("opset", "ir"), [(11, 6), (13, 7), (15, 8), (17, 8), (18, 8)])
def test_the_opset_can_be_chosen(opset: int, ir: int, export: Export) -> None:
    model, artifact = export("separable", opset=opset)
    assert (model.opset_import[0].version, model.ir_version) == (opset, ir)
    assert artifact.details["opset"] == opset


@pytest.mark.parametrize("opset", [10, 19, 0])
def test_an_opset_out_of_range_is_refused(opset: int) -> None:
    with pytest.raises(OptionError, match=rf"^opset must be 11 to 18, got {opset}\.$"):
        OnnxExporter(opset=opset)


@pytest.mark.parametrize("batch", [1, None], ids=["1", "dynamic"])
def test_a_resize_gives_the_size_that_no_float32_factor_gives(batch: int | None, tmp_path: Path) -> None:
    image = keras.Input((288, 352, 3), name="image")
    x = layers.Conv2D(2, 3, 2, padding="same", name="stem")(layers.Resizing(224, 288, name="smaller")(image))
    network = keras.Model(image, x, name="resized")
    assert int(352 * float(np.float32(288 / 352))) == 287
    artifact = edgecv.export(edgecv.deploy(network, preprocess="0-1", batch=batch), to="onnx", path=tmp_path / "r.onnx")
    model = onnx.load(artifact.path)
    onnx.checker.check_model(model, full_check=True)
    assert artifact.outputs[0].shape == (batch, 112, 144, 2)


def test_a_precision_that_is_not_there_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^onnx writes float32, float16, int8, not 'float8'\.$"):
        OnnxExporter(precision="float8")


def test_the_source_must_be_a_deployable(tmp_path: Path) -> None:
    message = "onnx starts from a Deployable, not from another artifact."
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        OnnxExporter().export(edgecv.Artifact(path=tmp_path), tmp_path / "network.onnx")


def test_an_operation_that_onnx_has_not_is_named_with_its_layer(tmp_path: Path) -> None:
    class Odd(layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            import tensorflow as tf

            return tf.raw_ops.Betainc(a=tf.abs(x) + 1, b=tf.abs(x) + 1, x=tf.sigmoid(x))

    image = keras.Input((8, 8, 3))
    x = layers.Dense(2)(layers.Flatten()(Odd(name="odd")(image)))
    deployable = edgecv.deploy(keras.Model(image, x, name="net"), preprocess="none")
    with pytest.raises(
        ConversionError, match=r"^net cannot be written as ONNX: .*Betainc.*odd.*$|^net .*odd.*Betainc.*$"
    ):
        edgecv.export(deployable, to="onnx", path=tmp_path / "net.onnx", verify=False)
    assert list(tmp_path.iterdir()) == []


def test_what_is_left_inside_a_loop_is_named_with_its_layer(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    x = layers.Dense(2)(layers.LSTM(4, name="memory")(layers.Reshape((8, 24))(image)))
    deployable = edgecv.deploy(keras.Model(image, x, name="net"), preprocess="none")
    message = (
        "net cannot be written as ONNX: operation 'TensorListReserve' in layer 'memory' has no ONNX form. "
        "Replace it in the network."
    )
    with pytest.raises(ConversionError, match=f"^{re.escape(message)}$"):
        edgecv.export(deployable, to="onnx", path=tmp_path / "net.onnx", verify=False)
    assert list(tmp_path.iterdir()) == []
