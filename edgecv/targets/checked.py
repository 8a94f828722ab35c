"""The nouns of target checks: what stands in an artifact's way to a target."""

from dataclasses import dataclass
from typing import Any

__all__ = ["Checked", "Obstacle"]


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """Something of an artifact that does not go on a target.

    Attributes:
        op: The operator, as the format calls it; empty where it is about the whole file.
        layer: Paths of the Keras layers that it comes from, with commas between them, or which part of the pipeline
            around the network it is, such as ``"pipeline: NMS"``; empty where it is about the whole file.
        problem: What does not go, and where else it does.
        remedy: What to change.
        tensors: What the operators compute, one name each; of several that are alike, all.
    """

    op: str
    layer: str
    problem: str
    remedy: str
    tensors: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``check --json``."""
        keys = {"op": self.op, "layer": self.layer, "problem": self.problem, "remedy": self.remedy}
        return {**keys, "count": max(len(self.tensors), 1), "tensors": list(self.tensors)}


@dataclass(frozen=True, kw_only=True)
class Checked:
    """An artifact held against a target.

    Attributes:
        target: Name of the target, as it was asked for.
        title: The target as people call it, with the version that its table is of.
        obstacles: What does not go there, in the order of the file.
        operators: Number of operators that were looked at.
        notes: What else people should know, such as what the check cannot see.
        source: Where the table comes from, and when that was looked up.
    """

    target: str
    title: str
    obstacles: tuple[Obstacle, ...]
    operators: int
    notes: tuple[str, ...] = ()
    source: str = ""

    @property
    def passed(self) -> bool:
        """Everything goes there."""
        return not self.obstacles

    @property
    def failing(self) -> int:
        """The number of operators that do not go there."""
        return sum(len(each.tensors) for each in self.obstacles)

    @property
    def summary(self) -> str:
        """One line."""
        if self.passed:
            return f"all {self.operators} operators go on {self.title}"
        kinds = sorted({each.op for each in self.obstacles if each.op})
        named = f": {', '.join(kinds)}" if kinds else f": {self.obstacles[0].problem}"
        count = f"{self.failing} of {self.operators} operators do" if self.failing else "the file does"
        return f"{count} not go on {self.title}{named}"
