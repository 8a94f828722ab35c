"""What the graph of an ONNX file and the exporter's options make of a model's configuration."""

from typing import TYPE_CHECKING, Any

from edgecv.errors import ConversionError

from edgecv_triton.config import Config, Tensor

if TYPE_CHECKING:
    from edgecv_triton import TritonExporter

__all__ = ["configure"]

# ONNX's names of element types → Triton's.
_TYPES = {
    "FLOAT": "FP32", "FLOAT16": "FP16", "DOUBLE": "FP64", "UINT8": "UINT8", "INT8": "INT8", "UINT16": "UINT16",
    "INT16": "INT16", "UINT32": "UINT32", "INT32": "INT32", "UINT64": "UINT64", "INT64": "INT64", "BOOL": "BOOL",
}  # fmt: skip
# Outputs with one value a label; with top-k, the values say which label they are of.
_OF_LABELS = "probabilities"


def configure(graph: Any, exporter: "TritonExporter", *, name: str, labels: bool, task: str) -> Config:
    """Return the configuration of a model.

    The server batches where every input and output begins with a dynamic axis. It takes no optional inputs then, as
    its ONNX Runtime backend says; thresholds keep their baked values. Without, they are optional inputs.
    """
    defaults = {each.name for each in graph.initializer}
    required = [info for info in graph.input if info.name not in defaults]
    optional = [info for info in graph.input if info.name in defaults]
    batched = exporter.max_batch_size > 0 and all(_shape(info)[:1] == (-1,) for info in (*required, *graph.output))
    first = 1 if batched else 0
    inputs = [_tensor(info, first) for info in required]
    if not batched:
        inputs += [_tensor(info, 0, optional=True) for info in optional]
    return Config(
        name=name,
        max_batch_size=exporter.max_batch_size if batched else 0,
        inputs=inputs,
        outputs=[
            _tensor(info, first, labels=labels and task == "classification" and info.name == _OF_LABELS)
            for info in graph.output
        ],
        batching=_batching(exporter) if batched and exporter.dynamic_batching else None,
        instances=(f"count: {exporter.instances}", f"kind: KIND_{exporter.kind.upper()}"),
        version_policy=_policy(exporter),
    )


def _batching(exporter: "TritonExporter") -> list[str]:
    lines = []
    if exporter.preferred_batch:
        lines.append(f"preferred_batch_size: [ {', '.join(map(str, exporter.preferred_batch))} ]")
    if exporter.queue_delay:
        lines.append(f"max_queue_delay_microseconds: {exporter.queue_delay}")
    return lines


def _policy(exporter: "TritonExporter") -> str:
    return {
        "latest": "latest { num_versions: 1 }",
        "all": "all { }",
        "specific": f"specific {{ versions: [ {exporter.version} ] }}",
    }[exporter.version_policy]


def _tensor(info: Any, first: int, *, optional: bool = False, labels: bool = False) -> Tensor:
    from onnx import TensorProto

    kind = TensorProto.DataType.Name(info.type.tensor_type.elem_type)
    if kind not in _TYPES:
        raise ConversionError(f"Triton has no type for {info.name!r}, which is {kind}.")
    # A number has one value for Triton, which knows no tensors without axes.
    dims = _shape(info)[first:] or (1,)
    return Tensor(name=info.name, data_type=f"TYPE_{_TYPES[kind]}", dims=dims, optional=optional, labels=labels)


def _shape(info: Any) -> tuple[int, ...]:
    return tuple(int(side.dim_value) if side.HasField("dim_value") else -1 for side in info.type.tensor_type.shape.dim)
