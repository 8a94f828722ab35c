"""From a tensor of an artifact to the Keras layers that it comes from, or the part of the pipeline around them."""

from collections.abc import Mapping, Sequence
from typing import Any

from edgecv.targets.graph import Operator

__all__ = ["Layers"]

_PIPELINE = "pipeline"
_BEFORE_NMS = "pre_nms/"
# What converters put behind the name of a group of layers.
_SEPARATORS = ("/", "_", ":", ";")


class Layers:
    """Which layers the operators of an artifact come from.

    Converters keep the names of layers in those of tensors (the metadata's map says which); what is around the network
    is named by its part: scaling before it, decoding and NMS, or the activation, behind it.
    """

    def __init__(self, operators: Sequence[Operator], metadata: Mapping[str, Any]) -> None:
        """Follow the graph from its beginning.

        Args:
            operators: All, in the order in which they run.
            metadata: What edgecv wrote into the file; empty where it did not.
        """
        layers = metadata.get("layers")
        self._groups: dict[str, list[str]] = {}
        for layer, tensor in layers.items() if isinstance(layers, Mapping) else ():
            self._groups.setdefault(_group(str(tensor)), []).append(str(layer))
        self._outputs = {str(each.get("name")) for each in metadata.get("outputs") or () if isinstance(each, Mapping)}
        self._detects = metadata.get("task") == "detection"
        self._behind: dict[str, str] = {}
        for operator in operators:
            self._follow(operator)

    def of(self, operator: Operator) -> str:
        """Return the layers of an operator, as text; where the file says nothing of layers, its tensor's name."""
        names = operator.inside or tuple(tensor.name for tensor in operator.outputs)
        for name in names:
            group = self._match(name)
            if group is not None:
                return ", ".join(self._groups[group])
        for name in names:
            if name in self._behind and self._groups and self._is_pipeline(name):
                return f"{_PIPELINE}: {self._behind[name]}"
        return names[0] if names else ""

    def _is_pipeline(self, name: str) -> bool:
        return name.startswith((_PIPELINE, _BEFORE_NMS)) or name in self._outputs or self._behind[name] == "NMS"

    def _match(self, name: str) -> str | None:
        """Return the longest group whose name a tensor's begins with."""
        if name in self._groups:
            return name
        fitting = [group for group in self._groups if name.startswith(tuple(group + each for each in _SEPARATORS))]
        return max(fitting, key=len, default=None)

    def _follow(self, operator: Operator) -> None:
        """Say of what an operator computes whether it is before the network, in it, or how far behind it."""
        read = {self._behind.get(tensor.name, "scaling") for tensor in operator.fed}
        for tensor in operator.outputs:
            if tensor.name.startswith(_BEFORE_NMS):
                part = "decoding"
            elif self._match(tensor.name) is not None:
                part = "network"
            elif any(each.name.startswith(_BEFORE_NMS) for each in operator.fed) or "NMS" in read:
                part = "NMS"
            elif read & {"network", "decoding", "activation"}:
                part = "decoding" if self._detects else "activation"
            else:
                part = "scaling"
            self._behind[tensor.name] = part


def _group(tensor: str) -> str:
    """Return the name of the group in a tensor's: ``stem+stem_bn/Conv:0`` is of ``stem+stem_bn``."""
    return tensor.rpartition("/")[0] if ":" in tensor else tensor
