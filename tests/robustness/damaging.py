"""Damage artifacts, by a seed: cut, flipped, swapped, lost, doubled, blanked bytes; in a folder also lost files."""

import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["KINDS", "Case", "cases", "damage"]

KINDS = ("truncate", "flip", "word", "flip_many", "swap", "drop", "double", "blank", "noise")
_WORDS = (0, 1, 2, 3, 100, 0x7FFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One damaged artifact.

    Attributes:
        sample: Name of the artifact that is damaged.
        kind: What is done to it, one of `KINDS`.
        seed: Says where.
        sealed: The digest is made anew behind the damage, so that it agrees; the metadata stay whole.
    """

    sample: str
    kind: str
    seed: int
    sealed: bool

    def __str__(self) -> str:
        return f"{self.sample}:{self.kind}:{self.seed}{':sealed' if self.sealed else ''}"


def cases(samples: list[str], count: int, *, sealed: bool = False, first: int = 0) -> list[Case]:
    """Return damaged artifacts, every sample in turn, every kind in turn for each sample."""
    places = range(first, first + count)
    return [
        Case(
            sample=samples[place % len(samples)],
            kind=KINDS[place // len(samples) % len(KINDS)],
            seed=place,
            sealed=sealed,
        )
        for place in places
    ]


def damage(case: Case, samples: Path, folder: Path) -> Path | None:
    """Write a damaged artifact into an empty folder; None where nothing of it can be sealed again."""
    source = samples / case.sample
    path = folder / source.name
    chance = random.Random(f"{case.sample} {case.kind} {case.seed}")
    if source.is_dir():
        shutil.copytree(source, path)
        files = sorted(each for each in path.iterdir() if not case.sealed or each.name != "edgecv.json")
        target = chance.choice(files)
    else:
        shutil.copy(source, path)
        target = path
    content = target.read_bytes()
    kept = b""
    if case.sealed and not source.is_dir():
        end = _model_end(path, content)
        content, kept = content[:end], content[end:]
    target.write_bytes(_damaged(content, case.kind, chance) + kept)
    return path if not case.sealed or _sealed(path, source) else None


def _damaged(content: bytes, kind: str, chance: random.Random) -> bytes:
    size = len(content)
    begin = chance.randrange(size)
    # Half of what is done is done to the beginning or the end: there the structure is, in the middle the weights are.
    if chance.random() < 0.5:
        near = min(size, 1500)
        begin = chance.choice((chance.randrange(near), size - 1 - chance.randrange(near)))
    length = min(chance.choice((1, 2, 4, 16, 64, 300)), size - begin)
    piece = content[begin : begin + length]
    before, behind = content[:begin], content[begin + length :]
    if kind == "truncate":
        return before
    if kind == "word":
        begin = begin // 4 * 4
        return content[:begin] + chance.choice(_WORDS).to_bytes(4, "little") + content[begin + 4 :]
    if kind in ("flip", "flip_many"):
        changed = bytearray(content)
        changed[begin] ^= 1 << chance.randrange(8)
        for _ in range(chance.randrange(2, 40) if kind == "flip_many" else 0):
            changed[chance.randrange(size)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        return bytes(changed)
    if kind == "swap":
        other = chance.randrange(size)
        low, high = sorted((begin, other))
        length = min(length, high - low, size - high)
        return (
            content[:low]
            + content[high : high + length]
            + content[low + length : high]
            + content[low : low + length]
            + content[high + length :]
        )
    filling = {"drop": b"", "double": piece * 2, "blank": bytes(length), "noise": chance.randbytes(length)}
    return before + filling[kind] + behind


def _model_end(path: Path, content: bytes) -> int:
    """Return where the metadata begin."""
    from edgecv.runtimes import onnx_container, tflite_container

    if path.suffix == ".onnx":
        return min(field.start for field, _ in onnx_container._entries(content))
    return tflite_container._zip_start(path) or len(content)


def _sealed(path: Path, source: Path) -> bool:
    from edgecv import metadata, registry
    from edgecv.errors import EdgecvError

    found = registry.runtime_for(source.suffix, source)
    assert found is not None
    document: dict[str, Any] = found[1].read_metadata(source)
    try:
        metadata.seal(path, document, found[1])
    except EdgecvError:
        return False
    return True
