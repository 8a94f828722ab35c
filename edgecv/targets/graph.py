"""Operators of an artifact with all that a target asks of them, whatever the format."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Graph", "Operator", "Tensor"]


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor.

    Attributes:
        name: Its name.
        dtype: NumPy name of its type; ``"unknown"`` where the file does not say.
        shape: Its dimensions; None where dynamic. None as a whole where unknown.
        constant: Its values stand in the file.
        scales: Of its quantisation: several where it is quantised by channel.
        zero_points: Of its quantisation.
        values: Integers that stand in the file, where they are few: axes, sizes, orders.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None = None
    constant: bool = False
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    values: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Operator:
    """An operator.

    Attributes:
        name: Such as ``"CONV_2D"`` or ``"Conv"``; foreign ones with their domain.
        inputs: What it reads; None where one was left out.
        outputs: What it computes.
        version: TFLite: the operator's version. ONNX: the opset of its domain.
        options: Its attributes, where a target asks for them.
        custom: It is not one of the format's standard operators.
        inside: Names of the tensors that the operator computes in whose body it is; empty in the main graph.
    """

    name: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    version: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    custom: bool = False
    inside: tuple[str, ...] = ()

    @property
    def given(self) -> tuple[Tensor, ...]:
        """The inputs that were not left out."""
        return tuple(tensor for tensor in self.inputs if tensor is not None)

    @property
    def fed(self) -> tuple[Tensor, ...]:
        """The inputs whose values are not in the file."""
        return tuple(tensor for tensor in self.given if not tensor.constant)


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A whole file.

    Attributes:
        operators: All of them, those of bodies behind the operator that they belong to.
        inputs: What the file takes.
        outputs: What it gives.
        opsets: ONNX: domain → version.
        ir_version: ONNX: version of the file format.
    """

    operators: tuple[Operator, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    opsets: Mapping[str, int] = field(default_factory=dict)
    ir_version: int = 0
