"""The NPUs that Vela compiles for, the systems of its own configuration, and what is usual for each family.

The names and the usual choices are those of Vela 5.2 (``config_files/Arm/vela.ini``, and what it takes where nothing is
said); they are always said to it, so that an estimate never rests on a default.
"""

from collections import Counter
from collections.abc import Sequence

__all__ = ["MEMORY_MODES", "SYSTEMS", "TARGETS", "counted", "default_memory", "default_system", "family", "in_words"]

TARGETS = (
    "ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256", "ethos-u65-512",
    "ethos-u85-128", "ethos-u85-256", "ethos-u85-512", "ethos-u85-1024", "ethos-u85-2048",
)  # fmt: skip
SYSTEMS = {
    "u55": ("Ethos_U55_Deep_Embedded", "Ethos_U55_High_End_Embedded"),
    "u65": ("Ethos_U65_Client_Server", "Ethos_U65_Embedded", "Ethos_U65_High_End", "Ethos_U65_Mid_End"),
    "u85": (
        "Ethos_U85_SYS_DRAM_High", "Ethos_U85_SYS_DRAM_Low", "Ethos_U85_SYS_DRAM_Mid",
        "Ethos_U85_SYS_Flash_High", "Ethos_U85_SYS_Flash_Low",
    ),
}  # fmt: skip
MEMORY_MODES = (
    "Dedicated_Sram", "Dedicated_Sram_256KB", "Dedicated_Sram_384KB", "Dedicated_Sram_512KB",
    "Shared_Sram", "Sram_Only",
)  # fmt: skip
_USUAL = {
    "u55": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "u65": ("Ethos_U65_Client_Server", "Dedicated_Sram_384KB"),
    "u85": ("Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_384KB"),
}


def family(target: str) -> str:
    """Return the family of an NPU: u55, u65 or u85."""
    return target.split("-")[1]


def default_system(target: str) -> str:
    """Return the system that is usual around an NPU."""
    return _USUAL[family(target)][0]


def default_memory(target: str) -> str:
    """Return the memory mode that is usual for an NPU."""
    return _USUAL[family(target)][1]


def counted(operators: Sequence[tuple[str, str]]) -> list[str]:
    """Return operators and their layers as texts, alike ones once with their number."""
    counts = Counter(operators)
    return [f"{name}{f' × {count}' if count > 1 else ''} ({layer})" for (name, layer), count in counts.items()]


def in_words(operators: Sequence[tuple[str, str]], *, most: int) -> str:
    """Return the same as one text, of which the rest is counted."""
    parts = counted(operators)
    more = f" and {len(parts) - most} more kinds" if len(parts) > most else ""
    return "; ".join(parts[:most]) + more
