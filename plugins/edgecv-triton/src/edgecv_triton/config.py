"""Triton's ``config.pbtxt``, as text: what edgecv writes into it, and what a runtime has to know of it.

The names of fields are those of the message ModelConfig.

Reference:
    Triton Inference Server, "Model Configuration", model_config.proto, 2018–2026,
    https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["CONFIG_FILE", "LABEL_FILE", "MODEL_FILE", "Config", "Tensor"]

CONFIG_FILE, LABEL_FILE, MODEL_FILE = "config.pbtxt", "labels.txt", "model.onnx"


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output.

    Attributes:
        name: Its name.
        data_type: Such as ``TYPE_UINT8``.
        dims: Its dimensions, without the batch where the server batches; -1 where dynamic.
        optional: It may be left out of a request.
        labels: Its values are one a label, in the order of the label file.
    """

    name: str
    data_type: str
    dims: tuple[int, ...]
    optional: bool = False
    labels: bool = False

    def to_text(self) -> str:
        """Return the message."""
        lines = [f"name: {_quoted(self.name)}", f"data_type: {self.data_type}", f"dims: {_numbers(self.dims)}"]
        if self.optional:
            lines.append("optional: true")
        if self.labels:
            lines.append(f"label_filename: {_quoted(LABEL_FILE)}")
        return _block(lines)


@dataclass(frozen=True, kw_only=True)
class Config:
    """A model's configuration.

    Attributes:
        name: Name of the model and of its folder.
        max_batch_size: Largest batch that the server makes; 0 where it makes none.
        inputs: The inputs.
        outputs: The outputs.
        batching: Lines of ``dynamic_batching``; None where requests are not joined.
        instances: Lines of ``instance_group``.
        version_policy: The message's text.
    """

    name: str
    max_batch_size: int
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    batching: Sequence[str] | None = None
    instances: Sequence[str] = field(default=("count: 1", "kind: KIND_AUTO"))
    version_policy: str = "latest { num_versions: 1 }"

    def to_text(self) -> str:
        """Return the text of ``config.pbtxt``."""
        parts = [
            f"name: {_quoted(self.name)}",
            'backend: "onnxruntime"',
            f"default_model_filename: {_quoted(MODEL_FILE)}",
            f"max_batch_size: {self.max_batch_size}",
            *(f"{kind} {tensor.to_text()}" for kind, tensors in self._tensors() for tensor in tensors),
            f"version_policy: {{ {self.version_policy} }}",
            f"instance_group {_block(self.instances)}",
        ]
        if self.batching is not None:
            parts.append(f"dynamic_batching {_block(self.batching)}")
        return "\n".join(parts) + "\n"

    def _tensors(self) -> tuple[tuple[str, Sequence[Tensor]], ...]:
        return ("input", self.inputs), ("output", self.outputs)


def _block(lines: Sequence[str]) -> str:
    return "{\n" + "".join(f"  {line}\n" for line in lines) + "}"


def _numbers(values: Sequence[int]) -> str:
    return f"[ {', '.join(map(str, values))} ]"


def _quoted(text: str) -> str:
    # The escapes of JSON are those of protobuf's text format, too; it takes UTF-8 as it is.
    return json.dumps(text, ensure_ascii=False)
