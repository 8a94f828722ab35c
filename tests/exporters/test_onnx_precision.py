"""ONNX artifacts in float16 and int8, read by the onnx package and run by ONNX Runtime."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from edgecv_onnx import OnnxExporter
from edgecv_onnx.graph import Graph
from edgecv_onnx.rounding import round_weights
from keras import layers
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import edgecv
from edgecv.artifact import Artifact
from edgecv.calibration import Calibration
from edgecv.deployable import Deployable
from edgecv.errors import ConversionError, OptionError, VerificationError
from edgecv.photos import shipped_photos
from edgecv.quantizable import refuse_quantised
from edgecv.runtimes.onnxruntime import OnnxRuntime

PAIRS = ("QuantizeLinear", "DequantizeLinear")


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    """Twelve small pictures of stripes and blobs, each of another size."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    paths = []
    for index in range(12):
        coarse = random.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        paths.append(folder / f"{index}.png")
        Image.fromarray(coarse).resize((40 + index, 36), Image.Resampling.BILINEAR).save(paths[-1])
    return Calibration(paths=tuple(paths))


def write(deployable: Deployable, path: Path, precision: str, **options: Any) -> tuple[Any, Artifact]:
    artifact = OnnxExporter(precision=precision, **options).export(deployable, path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain for entry in model.opset_import} == {""}
    return model, artifact


def pictures(deployable: Deployable, calibration: Calibration) -> Any:
    return np.concatenate(list(calibration.feeds(deployable)))


def element_types(model: Any) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    infos = (*inferred.value_info, *inferred.input, *inferred.output)
    found = {info.name: info.type.tensor_type.elem_type for info in infos}
    return {**found, **{tensor.name: tensor.data_type for tensor in model.graph.initializer}}


def producers(model: Any) -> dict[str, Any]:
    return {name: node for node in model.graph.node for name in node.output}


@pytest.mark.parametrize(
    ("name", "allowed"),
    [("lenet5", 0.2), ("separable", 0.1), ("two_outputs", 0.1), ("localiser", 0.1)],
)
def test_int8_answers_like_float32(
    name: str, allowed: float, networks: Any, calibration: Calibration, tmp_path: Path
) -> None:
    deployable = networks.deployable(name, batch=None)
    write(deployable, tmp_path / "int8.onnx", "int8", calibration=calibration)
    images = pictures(deployable, calibration)
    given, wanted = OnnxRuntime().open(tmp_path / "int8.onnx").run({"image": images}), deployable.run(images)
    for output, values in wanted.items():
        assert given[output].dtype == values.dtype
        assert np.sqrt(np.mean((given[output] - values) ** 2)) < allowed * np.sqrt(np.mean(values**2))
        assert np.max(np.std(given[output], axis=0)) > 0.5 * np.max(np.std(values, axis=0))  # no constant


def test_int8_weights_are_stored_with_7_bits_and_a_scale_a_channel(
    networks: Any, calibration: Calibration, tmp_path: Path
) -> None:
    model, _ = write(networks.deployable("separable"), tmp_path / "int8.onnx", "int8", calibration=calibration)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    made = producers(model)
    weighted = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(weighted) == 3
    for node in weighted:
        kernel, bias = (made[name] for name in node.input[1:])
        values, scale = (constants[name] for name in kernel.input[:2])
        assert values.dtype == np.int8
        assert np.max(np.abs(values)) <= 64  # 255 x 64 x 2 fits 16 bits
        assert scale.size == (values.shape[0] if node.op_type == "Conv" else values.shape[1])
        assert constants[bias.input[0]].dtype == np.int32
    floats = [name for name, value in constants.items() if value.dtype == np.float32 and value.ndim > 1]
    assert floats == ["pipeline/Sub:constant_1"]  # the scaling of the picture


@pytest.mark.parametrize("name", ["detector", "segmenter"])
def test_decoding_scaling_and_softmax_stay_float_in_both_precisions(
    name: str, networks: Any, calibration: Calibration, tmp_path: Path
) -> None:
    deployable = networks.deployable(name)
    for precision in ("float16", "int8"):
        model, artifact = write(deployable, tmp_path / f"{precision}.onnx", precision, calibration=calibration)
        kinds = element_types(model)
        low = (TensorProto.FLOAT16, TensorProto.UINT8, TensorProto.INT8)
        outside = [
            node
            for node in model.graph.node
            if node.name.startswith("pipeline/") or node.op_type in ("Softmax", "Sigmoid")
        ]
        assert any(node.name.startswith("pipeline/") for node in outside)
        tensors = [tensor for node in outside for tensor in (*node.input, *node.output) if tensor != "image"]
        assert [tensor for tensor in tensors if kinds.get(tensor) in low] == []
        assert all(kinds[checkpoint] == TensorProto.FLOAT for checkpoint in artifact.checkpoints)
        assert all(kinds[info.name] in (TensorProto.FLOAT, TensorProto.INT32) for info in model.graph.output)


def test_boxes_and_scores_of_a_detector_share_no_scale(networks: Any, calibration: Calibration, tmp_path: Path) -> None:
    model, _ = write(networks.deployable("detector"), tmp_path / "x.onnx", "int8", calibration=calibration)
    made = producers(model)
    scales = {
        node.input[1]
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and made[node.input[0]].name.endswith(("_boxes/Conv", "_scores/Conv"))
    }
    assert len(scales) == 4


def test_float_layers_stay_float(networks: Any, calibration: Calibration, tmp_path: Path) -> None:
    deployable = networks.deployable("separable")
    model, artifact = write(
        deployable, tmp_path / "x.onnx", "int8", calibration=calibration, float_layers=("depthwise",)
    )
    made = producers(model)
    (node,) = [node for node in model.graph.node if node.name.startswith("depthwise+depthwise_bn")
               and node.op_type == "Conv"]  # fmt: skip
    assert node.input[1] not in made  # a float constant
    kinds = element_types(model)
    assert kinds[node.input[1]] == TensorProto.FLOAT
    assert artifact.layers["depthwise"] == "depthwise+depthwise_bn/Conv:0"
    assert kinds["depthwise+depthwise_bn/Conv:0"] == TensorProto.FLOAT


def test_a_float_layer_that_is_none_is_refused(networks: Any, calibration: Calibration, tmp_path: Path) -> None:
    exporter = OnnxExporter(precision="int8", calibration=calibration, float_layers=("stem", "stm"))
    with pytest.raises(OptionError, match=r"^float_layers names 'stm', which is no layer of 'separable'\.$"):
        exporter.export(networks.deployable("separable"), tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_int8_needs_pictures_and_opset_13(calibration: Calibration) -> None:
    message = r"^onnx in int8 needs real pictures to calibrate on\. Give --calibration DIR\.$"
    with pytest.raises(OptionError, match=message):
        OnnxExporter(precision="int8")
    with pytest.raises(OptionError, match=r"^onnx in int8 needs opset 13 or above, got 12\.$"):
        OnnxExporter(precision="int8", calibration=calibration, opset=12)


@pytest.mark.parametrize("name", ["separable", "segmenter"])
def test_exposing_every_layer_of_an_int8_file_changes_no_answer(
    name: str, networks: Any, calibration: Calibration, tmp_path: Path
) -> None:
    deployable = networks.deployable(name, batch=None)
    _, artifact = write(deployable, tmp_path / "x.onnx", "int8", calibration=calibration)
    images = pictures(deployable, calibration)
    plain = OnnxRuntime().open(artifact.path).run({"image": images})
    inside = [tensor for tensor in dict.fromkeys(artifact.layers.values()) if tensor not in plain]
    exposed = OnnxRuntime().open(artifact.path, expose=inside).run({"image": images})
    for output, values in plain.items():
        np.testing.assert_array_equal(exposed[output], values)
    assert {values.dtype.name for tensor, values in exposed.items() if tensor in inside} == {"float32"}


def test_a_layer_exposed_from_both_precisions_carries_what_keras_gives(
    networks: Any, calibration: Calibration, tmp_path: Path
) -> None:
    deployable = networks.deployable("separable", batch=None)
    images = pictures(deployable, calibration)
    layer = deployable.network.get_layer("depthwise_relu")
    inner = keras.Model(deployable.network.input, layer.output)
    wanted = np.asarray(inner(deployable.preprocess.apply(images.astype(np.float32), np)))
    for precision, allowed in (("float16", 0.005), ("int8", 0.05)):
        _, artifact = write(deployable, tmp_path / f"{precision}.onnx", precision, calibration=calibration)
        tensor = artifact.layers["depthwise_relu"]
        given = OnnxRuntime().open(artifact.path, expose=[tensor]).run({"image": images})[tensor]
        assert given.dtype == np.float32
        difference = np.transpose(given, (0, 2, 3, 1)) - wanted
        assert np.sqrt(np.mean(difference**2)) < allowed * np.sqrt(np.mean(wanted**2))


def test_float16_halves_the_weights_and_casts_every_tensor_once(networks: Any, tmp_path: Path) -> None:
    model, _ = write(networks.deployable("residual"), tmp_path / "x.onnx", "float16")
    kinds = element_types(model)
    weights = [name for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul") for name in node.input]
    assert {kinds[name] for name in weights} == {TensorProto.FLOAT16}
    made = producers(model)
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    assert casts
    assert len({node.input[0] for node in casts}) == len(casts)
    assert not [node for node in casts if node.input[0] in made and made[node.input[0]].op_type == "Cast"]


def test_float16_is_verified(networks: Any, tmp_path: Path) -> None:
    artifact = edgecv.export(networks.deployable("separable"), to="onnx", path=tmp_path / "x.onnx", precision="float16")
    assert artifact.report is not None
    assert artifact.report.passed


def test_rounding_to_float16_keeps_the_mean_of_a_filter() -> None:
    random = np.random.default_rng(0)
    kernel, bias = random.normal(size=(8, 16, 3, 3)).astype(np.float32), random.normal(size=8).astype(np.float32)
    graph = Graph(
        nodes=[helper.make_node("Conv", ["x", "kernel", "bias"], ["y"], name="conv")],
        constants={"kernel": kernel, "bias": bias},
        inputs=[],
        outputs=[],
        opset=13,
    )
    mean = random.uniform(0, 3, 16)

    def moved(weights: Any) -> Any:
        lost = (weights.astype(np.float64) - kernel).sum(axis=(2, 3)) @ mean
        return np.abs(lost + bias.astype(np.float16).astype(np.float64) - bias)

    nearest = kernel.astype(np.float16)
    round_weights(graph, graph.nodes, {"x": mean})
    rounded = graph.constants["kernel"]
    np.testing.assert_array_equal(rounded, rounded.astype(np.float16).astype(np.float32))
    assert np.max(np.abs(rounded - kernel)) < 2 * np.max(np.abs(nearest - kernel))
    assert np.max(moved(rounded)) < 0.02 * np.max(moved(nearest))


def test_values_beyond_float16_fail_verification(tmp_path: Path) -> None:
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(4, 3, name="large", kernel_initializer=keras.initializers.RandomNormal(0, 3000, seed=0))(image)
    x = layers.Conv2D(4, 3, name="small", kernel_initializer=keras.initializers.RandomNormal(0, 1e-4, seed=1))(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    network = keras.Model(image, layers.Dense(3, name="head")(x), name="overflowing")
    deployable = edgecv.deploy(network, preprocess="none")
    with pytest.raises(VerificationError, match=r"^overflowing as onnx does not answer like the original: "):
        edgecv.export(deployable, to="onnx", path=tmp_path / "x.onnx", precision="float16")
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_gives_nan_is_not_calibrated(calibration: Calibration, tmp_path: Path) -> None:
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(4, 3, name="stem", bias_initializer=keras.initializers.Constant(np.inf))(image)
    network = keras.Model(image, layers.Dense(3, name="head")(layers.Flatten(name="flat")(x)), name="broken")
    with pytest.raises(
        ConversionError,
        match=r"^broken cannot be written as int8: stem gives NaN or infinity on a calibration picture\.$",
    ):
        write(edgecv.deploy(network, preprocess="none"), tmp_path / "x.onnx", "int8", calibration=calibration)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_a_network_that_keras_has_quantised_is_refused() -> None:
    image = keras.Input((16, 16, 3), name="image")
    network = keras.Model(image, layers.Dense(3, name="head")(layers.Flatten()(image)), name="done")
    network.quantize("int8")
    with pytest.raises(
        OptionError,
        match=r"^'done' is already quantised: its layer 'head' holds int8 weights\. "
        r"Give the network from before quantize\(\)\.$",
    ):
        refuse_quantised(edgecv.deploy(network, preprocess="none"))


@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize("kind", ["solid", "transposed"])
def test_networks_without_flat_convolutions_are_written_in_every_precision(
    kind: str, precision: str, calibration: Calibration, tmp_path: Path
) -> None:
    keras.utils.set_random_seed(1)  # four filters of other seeds may all be below 0 on any picture, and prove nothing
    image = keras.Input((12, 12, 3), name="image")
    if kind == "solid":
        x = layers.Conv3D(4, 2, activation="relu")(layers.Reshape((12, 12, 3, 1))(image))
        x = layers.Dense(3, name="head")(layers.Flatten()(x))
    else:  # no layer whose weights' rounding is corrected
        x = layers.Conv2DTranspose(4, 3, strides=2)(image)
        x = layers.GlobalMaxPooling2D()(x)
    deployable = edgecv.deploy(keras.Model(image, x, name=kind), preprocess="0-1", task="other", batch=None)
    write(deployable, tmp_path / "x.onnx", precision, calibration=calibration)
    images = pictures(deployable, calibration)
    (given,) = OnnxRuntime().open(tmp_path / "x.onnx").run({"image": images}).values()
    (wanted,) = deployable.run(images).values()
    assert wanted.std() > 0
    assert np.sqrt(np.mean((given - wanted) ** 2)) < 0.1 * np.sqrt(np.mean(wanted**2))


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_the_same_export_gives_the_same_bytes(
    precision: str, networks: Any, calibration: Calibration, tmp_path: Path
) -> None:
    paths = [tmp_path / "first.onnx", tmp_path / "second.onnx"]
    for path in paths:
        write(networks.deployable("separable"), path, precision, calibration=calibration)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == paths


@pytest.mark.parametrize(
    "options",
    [{"input_dtype": "float32"}, {"resize": "letterbox"}, {"top_k": 2}, {"batch": 4}],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_options_of_the_graph_work_in_every_precision(
    precision: str, options: dict[str, Any], networks: Any, calibration: Calibration, tmp_path: Path
) -> None:
    deployable = networks.deployable("separable", **options)
    write(deployable, tmp_path / "x.onnx", precision, calibration=calibration)
    images = pictures(deployable, calibration)[: deployable.batch or 1]
    given, wanted = OnnxRuntime().open(tmp_path / "x.onnx").run({"image": images}), deployable.run(images)
    assert {name: (values.shape, values.dtype) for name, values in given.items()} == {
        name: (values.shape, values.dtype) for name, values in wanted.items()
    }


@pytest.mark.slow
def test_convolutions_that_give_boxes_and_scores_in_one_tensor_stay_float(
    calibration: Calibration, tmp_path: Path
) -> None:
    deployable = edgecv.deploy(edgecv.build("yolo_v3_tiny", weights="random", input_size=(96, 96)))
    model, _ = write(deployable, tmp_path / "x.onnx", "int8", calibration=calibration)
    made = producers(model)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    heads = {node.name for node in convolutions if node.input[1] not in made}
    assert heads == {"head32_output/Conv", "head16_output/Conv"}
    assert len(convolutions) == 13  # Redmon and Farhadi's yolov3-tiny.cfg


@pytest.mark.slow
def test_efficientnet_lite0_keeps_its_answers_in_three_tenths_of_the_bytes(tmp_path: Path) -> None:
    deployable = edgecv.deploy(edgecv.build("efficientnet_lite0"))
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, pixels in shipped_photos().items():
        Image.fromarray(pixels).save(photos / f"{name}.png")
    calibration = Calibration(paths=tuple(sorted(photos.iterdir())))
    _, full = write(deployable, tmp_path / "float32.onnx", "float32")
    _, half = write(deployable, tmp_path / "float16.onnx", "float16")
    _, small = write(deployable, tmp_path / "int8.onnx", "int8", calibration=calibration)
    assert small.nbytes <= 0.30 * full.nbytes
    assert half.nbytes <= 0.51 * full.nbytes
    images = pictures(deployable, calibration)[2:]  # without the black and the white one
    wanted, after16, after8 = (
        np.concatenate([OnnxRuntime().open(each.path).run({"image": image[None]})["probabilities"] for image in images])
        for each in (full, half, small)
    )
    np.testing.assert_array_equal(after16.argmax(1), wanted.argmax(1))
    assert np.sum(after8.argmax(1) == wanted.argmax(1)) >= len(images) - 1
    assert np.max(np.abs(after8 - wanted)) < 0.25
