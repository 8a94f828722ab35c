"""The tables of targets: data with their source and date, one JSON file each."""

import functools
import json
from pathlib import Path
from typing import Any

__all__ = ["load_table", "provenance"]

_FOLDER = Path(__file__).parent / "tables"


@functools.cache
def load_table(name: str) -> dict[str, Any]:
    """Return a table; ``source``, ``version`` and ``date`` stand in every one."""
    table: dict[str, Any] = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return table


def provenance(table: dict[str, Any]) -> str:
    """Return where a table comes from, and of when."""
    return f"{table['source']} ({table['date']})"
