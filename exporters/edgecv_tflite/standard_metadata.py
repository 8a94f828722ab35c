"""The standard TFLite metadata that MediaPipe Tasks, ML Kit and the Task Library read.

`metadata_schema_generated.py` was made from `metadata_schema.fbs` (Apache-2.0, MediaPipe) with
``flatc --python --gen-object-api --gen-onefile``. The label file that it names is appended to the model
together with edgecv's own metadata, by the runtime that opens the format.
"""

import importlib
from collections.abc import Sequence
from typing import Any

from edgecv.deployable import Deployable
from edgecv.runtimes.tflite_layouts import MEDIAPIPE, SCORES

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
_BOX_PROPERTIES, _BOUNDARIES, _RATIO = 3, 1, 0
# What MediaPipe calls the outputs of a detector.
_DETECTOR_NAMES = {
    "boxes": "location",
    "classes": "category",
    "scores": "score",
    "count": "number of detections",
}
_KINDS_OF_LABELS = {
    "probabilities": _TENSOR_AXIS_LABELS,
    "logits": _TENSOR_AXIS_LABELS,
    SCORES: _TENSOR_AXIS_LABELS,
    "classes": _TENSOR_VALUE_LABELS,
    "mask": _TENSOR_VALUE_LABELS,
}
# `ImageSegmenterOptions` of image_segmenter_metadata_schema.fbs (Apache-2.0, MediaPipe): one table of two fields.
_SEGMENTER, _SEGMENTER_IDENTIFIER = "SEGMENTER_METADATA", b"V001"
_NONE, _SOFTMAX = 0, 2


def add_standard_metadata(model: Any, deployable: Deployable) -> None:
    """Describe inputs and outputs in the model's ``TFLITE_METADATA`` buffer."""
    from tensorflow.lite.python import schema_py_generated as schema

    model.metadata = [entry for entry in model.metadata or [] if entry.name != _BUFFER_NAME]
    buffer = schema.BufferT()
    buffer.data = list(_packed(_model_metadata(deployable, _outputs(model, deployable))))
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name = _BUFFER_NAME
    entry.buffer = len(model.buffers) - 1
    model.metadata.append(entry)


def _outputs(model: Any, deployable: Deployable) -> list[tuple[str, str]]:
    """Return the names of the outputs in the file's order, and what the metadata call them."""
    names = {int(entry.tensorIndex): entry.name.decode() for entry in model.signatureDefs[0].outputs}
    ordered = [names[int(index)] for index in model.subgraphs[0].outputs]
    renamed = model.signatureDefs[0].signatureKey.decode() == MEDIAPIPE and deployable.task == "detection"
    return [(name, _DETECTOR_NAMES[name] if renamed else name) for name in ordered]


def _packed(metadata: Any) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(metadata.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def _model_metadata(deployable: Deployable, outputs: Sequence[tuple[str, str]]) -> Any:
    # Generated code is untyped.
    schema: Any = importlib.import_module("edgecv_tflite.metadata_schema_generated")
    graph = schema.SubGraphMetadataT()
    graph.inputTensorMetadata = [_input(schema, deployable)]
    graph.outputTensorMetadata = [_output(schema, deployable, name, theirs) for name, theirs in outputs]
    if SCORES in dict(outputs):
        graph.customMetadata = [_activation(schema, deployable)]
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
    means, scales = (scaling.mean, scaling.scale) if scaling else ((0.0,), (1.0,))
    count = max(len(means), len(scales))  # readers demand as many of the one as of the other
    options.mean = list(means) * (count // len(means))
    options.std = [1 / scale for scale in scales] * (count // len(scales))
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


def _output(schema: Any, deployable: Deployable, name: str, theirs: str) -> Any:
    content = schema.ContentT()
    if name in ("boxes", "box") and deployable.task in ("detection", "localisation"):
        content.contentPropertiesType = _BOX_PROPERTIES
        content.contentProperties = schema.BoundingBoxPropertiesT()
        # Left, top, right, bottom.
        content.contentProperties.index = [0, 1, 2, 3]
        content.contentProperties.type, content.contentProperties.coordinateType = _BOUNDARIES, _RATIO
    else:
        content.contentPropertiesType = _FEATURE_PROPERTIES
        content.contentProperties = schema.FeaturePropertiesT()
    tensor = schema.TensorMetadataT()
    tensor.name = theirs
    tensor.content = content
    if name in ("probabilities", "scores", "box", "objectness"):
        tensor.stats = _range(schema, 0.0, 1.0)
    if deployable.labels and name in _KINDS_OF_LABELS:
        labels = schema.AssociatedFileT()
        labels.name = _LABEL_FILE
        labels.type = _KINDS_OF_LABELS[name]
        tensor.associatedFiles = [labels]
    return tensor


def _activation(schema: Any, deployable: Deployable) -> Any:
    """Say what makes probabilities of a segmenter's scores."""
    import flatbuffers

    head = deployable.segmentation
    builder = flatbuffers.Builder(64)
    version = builder.CreateString(_PARSER_VERSION)
    builder.StartObject(2)
    builder.PrependInt8Slot(0, _SOFTMAX if head is not None and head.activation == "none" else _NONE, _NONE)
    builder.PrependUOffsetTRelativeSlot(1, version, 0)
    builder.Finish(builder.EndObject(), _SEGMENTER_IDENTIFIER)
    custom = schema.CustomMetadataT()
    custom.name, custom.data = _SEGMENTER, list(builder.Output())
    return custom


def _range(schema: Any, low: float, high: float) -> Any:
    stats = schema.StatsT()
    stats.min = [low]
    stats.max = [high]
    return stats
