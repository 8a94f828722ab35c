"""What a TFLite artifact is made of, read by TensorFlow, the metadata schema and a zip reader."""

import importlib
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from edgecv_tflite import TfliteExporter
from keras import layers

import edgecv
from edgecv.errors import ConversionError, OptionError
from edgecv.exporter import Exporter
from edgecv.registry import runtime_for

# Made by flatc, without types.
metadata_schema: Any = importlib.import_module("edgecv_tflite.metadata_schema_generated")


def exported(deployable: Any, folder: Path) -> edgecv.Artifact:
    return edgecv.export(deployable, to="tflite", path=folder / "network.tflite")


def opened(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(str(path))


def model_of(path: Path) -> Any:
    from tensorflow.lite.tools import flatbuffer_utils

    return flatbuffer_utils.convert_bytearray_to_object(bytearray(path.read_bytes()))


def standard_metadata(path: Path) -> Any:
    model = model_of(path)
    (entry,) = [entry for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    content = bytes(model.buffers[entry.buffer].data)
    assert content[4:8] == b"M001"
    return metadata_schema.ModelMetadataT.InitFromObj(metadata_schema.ModelMetadata.GetRootAs(content, 0))


def test_the_exporter_is_one() -> None:
    exporter: Exporter = TfliteExporter()
    assert isinstance(exporter, Exporter)


@pytest.mark.parametrize("batch", [1, 4, None], ids=["1", "4", "dynamic"])
def test_the_signature_has_the_contract_s_names(batch: int | None, networks: Any, tmp_path: Path) -> None:
    artifact = exported(networks.deployable("separable", batch=batch, top_k=2), tmp_path)
    interpreter = opened(artifact.path)
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["image"], "outputs": ["classes", "scores"]}
    }
    (image,) = interpreter.get_input_details()
    assert (image["name"], image["dtype"]) == ("image", np.uint8)
    assert image["shape_signature"].tolist() == [batch or -1, 24, 24, 3]
    outputs = [(output["name"], output["dtype"]) for output in interpreter.get_output_details()]
    assert outputs == [("scores", np.float32), ("classes", np.int32)]


def test_a_dynamic_batch_is_resized(networks: Any, tmp_path: Path) -> None:
    deployable = networks.deployable("two_outputs", batch=None)
    interpreter = opened(exported(deployable, tmp_path).path)
    runner = interpreter.get_signature_runner()
    pictures = np.random.default_rng(0).integers(0, 256, (3, 16, 20, 3), np.uint8)
    for count in (1, 3, 2):
        answers = runner(image=pictures[:count])
        assert {name: values.shape for name, values in answers.items()} == {
            "field": (count, 8, 10, 2),
            "vector": (count, 3),
        }
        for name, expected in deployable.run(pictures[:count]).items():
            np.testing.assert_allclose(answers[name], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["lenet5", "separable", "residual", "multilabel", "two_outputs"])
def test_operators_are_builtin_and_weights_finite(name: str, networks: Any, tmp_path: Path) -> None:
    path = exported(networks.deployable(name), tmp_path).path
    model = model_of(path)
    assert all(not code.customCode for code in model.operatorCodes)
    found = runtime_for(".tflite")
    assert found is not None
    assert found[1].custom_operators(path) == []
    assert not {operator for operator in found[1].operators(path) if operator.startswith("FLEX")}
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if data is not None and len(data) and tensor.type == 0:  # TensorType.FLOAT32
            assert np.all(np.isfinite(np.frombuffer(bytes(data), np.float32))), tensor.name


@pytest.mark.parametrize("name", ["lenet5", "separable", "residual", "multilabel", "two_outputs"])
def test_every_layer_that_computes_is_mapped_to_a_tensor_that_is_there(
    name: str, networks: Any, tmp_path: Path
) -> None:
    deployable = networks.deployable(name)
    artifact = exported(deployable, tmp_path)
    names = [tensor.name.decode() for tensor in model_of(artifact.path).subgraphs[0].tensors]
    assert len(set(names)) == len(names)
    assert set(artifact.layers.values()) <= set(names)
    # Flattening and pooling may need no operation of their own, all others do.
    computing = {layer.name for layer in deployable.network.layers if layer.weights}
    assert computing <= set(artifact.layers)


def test_tensors_are_named_after_their_layers(networks: Any, tmp_path: Path) -> None:
    artifact = exported(networks.deployable("separable"), tmp_path)
    names = {tensor.name.decode() for tensor in model_of(artifact.path).subgraphs[0].tensors}
    group = "depthwise+depthwise_bn+depthwise_relu"
    assert {group, f"{group}/kernel", f"{group}/bias", "head/kernel", "head/bias", "image", "probabilities"} <= names
    assert artifact.layers["depthwise_bn"] == group


def test_the_standard_metadata_describe_pictures_and_labels(networks: Any, tmp_path: Path) -> None:
    labels = ["bee", "cat", "dog", "eel", "fox"]
    artifact = exported(networks.deployable("separable", labels=labels), tmp_path)
    metadata = standard_metadata(artifact.path)
    assert metadata.name == b"separable"
    (graph,) = metadata.subgraphMetadata
    (image,) = graph.inputTensorMetadata
    assert image.name == b"image"
    assert image.content.contentProperties.colorSpace == metadata_schema.ColorSpaceType.RGB
    (unit,) = image.processUnits
    # The graph scales by itself: (x - 0) / 1 is what a reader must do.
    assert (unit.options.mean.tolist(), unit.options.std.tolist()) == ([0.0], [1.0])
    (output,) = graph.outputTensorMetadata
    (file,) = output.associatedFiles
    assert (output.name, file.name) == (b"probabilities", b"labels.txt")
    assert file.type == metadata_schema.AssociatedFileType.TENSOR_AXIS_LABELS
    with zipfile.ZipFile(artifact.path) as archive:
        assert archive.read("labels.txt").decode().splitlines() == labels
        document = json.loads(archive.read("edgecv.json"))
    assert document["labels"] == labels
    assert document["input"] == {"name": "image", "shape": [1, 24, 24, 3], "dtype": "uint8"}


def test_the_standard_metadata_of_a_float_input_say_how_to_scale(networks: Any, tmp_path: Path) -> None:
    deployable = networks.deployable("residual", input_dtype="float32")
    metadata = standard_metadata(exported(deployable, tmp_path).path)
    (image,) = metadata.subgraphMetadata[0].inputTensorMetadata
    (unit,) = image.processUnits
    # keras.applications' torch style: means and deviations of ImageNet in 0…255.
    np.testing.assert_allclose(unit.options.mean, [123.675, 116.28, 103.53], rtol=1e-6)
    np.testing.assert_allclose(unit.options.std, [58.395, 57.12, 57.375], rtol=1e-6)


def test_a_grayscale_picture_is_said_to_be_one(networks: Any, tmp_path: Path) -> None:
    metadata = standard_metadata(exported(networks.deployable("lenet5"), tmp_path).path)
    (image,) = metadata.subgraphMetadata[0].inputTensorMetadata
    assert image.content.contentProperties.colorSpace == metadata_schema.ColorSpaceType.GRAYSCALE


def test_a_precision_that_is_not_there_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^tflite writes float32, float16, int8, not 'float8'\.$"):
        TfliteExporter(precision="float8")


def test_the_source_must_be_a_deployable(tmp_path: Path) -> None:
    message = "tflite starts from a Deployable, not from another artifact."
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        TfliteExporter().export(edgecv.Artifact(path=tmp_path), tmp_path / "network.tflite")


def test_an_operation_without_a_builtin_form_is_named_with_its_layer(tmp_path: Path) -> None:
    class Odd(layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            import tensorflow as tf

            return tf.raw_ops.Betainc(a=tf.abs(x) + 1, b=tf.abs(x) + 1, x=tf.sigmoid(x))

    image = keras.Input((8, 8, 3))
    x = layers.Dense(2)(layers.Flatten()(Odd(name="odd")(image)))
    deployable = edgecv.deploy(keras.Model(image, x, name="net"), preprocess="none")
    message = (
        "net cannot be written as TFLite: operation 'Betainc' in layer 'odd' has no builtin TFLite form. "
        "Replace it in the network."
    )
    with pytest.raises(ConversionError, match=f"^{re.escape(message)}$"):
        edgecv.export(deployable, to="tflite", path=tmp_path / "net.tflite", verify=False)
    assert list(tmp_path.iterdir()) == []
