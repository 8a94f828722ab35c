"""What an exporter found out about its artifact (`Artifact.findings`), as people read it."""

from collections.abc import Mapping
from typing import Any

from edgecv.printable import short

__all__ = ["finding_rows"]

_ABBREVIATIONS = ("cpu", "dram", "gpu", "npu", "sram")


def finding_rows(findings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return name and value of each finding: ``npu_operators`` becomes ``NPU operators``, a list one line."""
    return [(_in_words(short(str(name))), _shown(value)) for name, value in findings.items()]


def _in_words(name: str) -> str:
    return " ".join(word.upper() if word in _ABBREVIATIONS else word for word in name.split("_"))


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(_shown(each) for each in value) or "none"
    return short(str(value))
