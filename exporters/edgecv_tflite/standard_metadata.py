"""The standard TFLite metadata that MediaPipe Tasks, ML Kit and the Task Library read.

`metadata_schema_generated.py` was made from `metadata_schema.fbs` (Apache-2.0, MediaPipe) with
``flatc --python --gen-object-api --gen-onefile``. The label file that it names is appended to the model
together with edgecv's own metadata, by the runtime that opens the format.
"""

import importlib
from typing import Any

from edgecv.deployable import Deployable

__all__ = ["add_standard_metadata"]

_BUFFER_NAME = b"TFLITE_METADATA"
_IDENTIFIER = b"M001"
_PARSER_VERSION = "1.0.0"
_LABEL_FILE = "labels.txt"
# Values of the schema's enumerations and unions.
_IMAGE_PROPERTIES, _NORMALIZATION = 2, 1
_FEATURE_PROPERTIES = 1
_RGB, _GRAYSCALE = 1, 2
_TENSOR_AXIS_LABELS, _TENSOR_VALUE_LABELS = 2, 3


def add_standard_metadata(model: Any, deployable: Deployable) -> None:
    """Describe inputs and outputs in the model's ``TFLITE_METADATA`` buffer."""
    from tensorflow.lite.python import schema_py_generated as schema

    model.metadata = [entry for entry in model.metadata or [] if entry.name != _BUFFER_NAME]
    buffer = schema.BufferT()
    buffer.data = list(_packed(_model_metadata(deployable)))
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name = _BUFFER_NAME
    entry.buffer = len(model.buffers) - 1
    model.metadata.append(entry)


def _packed(metadata: Any) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(metadata.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def _model_metadata(deployable: Deployable) -> Any:
    # Generated code is untyped.
    schema: Any = importlib.import_module("edgecv_tflite.metadata_schema_generated")
    graph = schema.SubGraphMetadataT()
    graph.inputTensorMetadata = [_input(schema, deployable)]
    graph.outputTensorMetadata = [_output(schema, deployable, name) for name in deployable.output_names]
    metadata = schema.ModelMetadataT()
    metadata.name = deployable.name
    metadata.description = f"{deployable.task}, exported and verified by edgecv"
    metadata.author = "edgecv"
    metadata.subgraphMetadata = [graph]
    metadata.minParserVersion = _PARSER_VERSION
    return metadata


def _input(schema: Any, deployable: Deployable) -> Any:
    properties = schema.ImagePropertiesT()
    properties.colorSpace = _RGB if deployable.channels == 3 else _GRAYSCALE
    content = schema.ContentT()
    content.contentPropertiesType = _IMAGE_PROPERTIES
    content.contentProperties = properties
    # A float input expects the caller to scale; with uint8 the graph scales by itself.
    scaling = deployable.preprocess if deployable.input_dtype == "float32" else None
    options = schema.NormalizationOptionsT()
    options.mean = list(scaling.mean) if scaling else [0.0]
    options.std = [1 / scale for scale in scaling.scale] if scaling else [1.0]
    unit = schema.ProcessUnitT()
    unit.optionsType = _NORMALIZATION
    unit.options = options
    tensor = schema.TensorMetadataT()
    tensor.name = "image"
    tensor.description = f"{deployable.input_dtype} picture, {'RGB' if deployable.channels == 3 else 'luminance'}"
    tensor.content = content
    tensor.processUnits = [unit]
    tensor.stats = _range(schema, 0.0, 255.0)
    return tensor


def _output(schema: Any, deployable: Deployable, name: str) -> Any:
    content = schema.ContentT()
    content.contentPropertiesType = _FEATURE_PROPERTIES
    content.contentProperties = schema.FeaturePropertiesT()
    tensor = schema.TensorMetadataT()
    tensor.name = name
    tensor.content = content
    if name in ("probabilities", "scores", "box", "objectness"):
        tensor.stats = _range(schema, 0.0, 1.0)
    kinds = {"probabilities": _TENSOR_AXIS_LABELS, "logits": _TENSOR_AXIS_LABELS, "classes": _TENSOR_VALUE_LABELS}
    if deployable.labels and name in kinds:
        labels = schema.AssociatedFileT()
        labels.name = _LABEL_FILE
        labels.type = kinds[name]
        tensor.associatedFiles = [labels]
    return tensor


def _range(schema: Any, low: float, high: float) -> Any:
    stats = schema.StatsT()
    stats.min = [low]
    stats.max = [high]
    return stats
