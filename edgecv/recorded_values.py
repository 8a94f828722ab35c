"""How an answer is stored in the metadata: sampled, compressed and as text, in as few bytes as are allowed."""

import base64
import itertools
import math
import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from edgecv.runtime import Arrays

__all__ = ["read_values", "stored_values"]

Array = np.ndarray[Any, np.dtype[Any]]

# A damaged file must not fill the memory.
_MOST_UNPACKED = 2**26


def stored_values(answers: Arrays, room: int, whole: Collection[str]) -> list[dict[str, Any]]:
    """Return what is stored of answers ``(cases, …)``: output → document, one mapping a case.

    Args:
        answers: The answers of all cases.
        room: About how many bytes a case may take of one output; its values are sampled at the smallest step that fits.
        whole: Outputs of which every value is stored.
    """
    stored = {name: _documents(values, None if name in whole else room) for name, values in answers.items()}
    count = len(next(iter(answers.values())))
    return [{name: documents[case] for name, documents in stored.items()} for case in range(count)]


def read_values(cases: Sequence[Mapping[str, Any]]) -> tuple[Arrays, dict[str, int]]:
    """Return the stored values ``(cases, count)`` of every output, and the step at which each was sampled.

    Raises:
        ValueError: They are damaged, as a KeyError or a TypeError say, too.
    """
    answers: Arrays = {}
    steps: dict[str, int] = {}
    for output, first in cases[0]["outputs"].items():
        answers[output] = np.stack([_read(case["outputs"][output]) for case in cases])
        steps[output] = int(first["step"])
        if steps[output] < 1:
            raise ValueError(f"step {steps[output]}")
    return answers, steps


def _documents(values: Array, room: int | None) -> list[dict[str, Any]]:
    flat = values.reshape(len(values), -1)
    small = _narrow(flat)
    step = 1 if room is None else _fitting_step(small, values.shape[1:], room)
    about = {"dtype": flat.dtype.name, "step": step, "packed": small.dtype.name}
    return [{**about, "values": base64.b64encode(_packed(row[::step])).decode()} for row in small]


def _narrow(flat: Array) -> Array:
    """Return whole numbers of 0…255, such as classes, in bytes."""
    if flat.dtype.kind not in "iu" or flat.min(initial=0) < 0 or flat.max(initial=0) > np.iinfo(np.uint8).max:
        return flat
    return flat.astype(np.uint8)


def _fitting_step(flat: Array, sides: Sequence[int], room: int) -> int:
    """Return the smallest step at which each case ``(cases, count)`` is small enough."""
    if flat.dtype.kind == "f":  # rounding leaves nothing that could be compressed
        return _step(-(-flat[0].nbytes // room), sides) if flat[0].nbytes > room else 1
    step = 1
    while (largest := max(len(_packed(row[::step])) for row in flat)) > room and step < flat.shape[1]:
        step = _step(max(step + 1, step * largest // room), sides)
    return step


def _step(least: int, sides: Sequence[int]) -> int:
    """Return the smallest step from ``least`` on that shares no factor with a side.

    Any other would look at the same columns in every row, or at the same classes of every pixel.
    """
    return next(step for step in itertools.count(least) if all(math.gcd(step, side) == 1 for side in sides))


def _packed(values: Array) -> bytes:
    return zlib.compress(values.astype(values.dtype.newbyteorder("<")).tobytes(), 9)


def _read(case: Mapping[str, Any]) -> Array:
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(base64.b64decode(case["values"]), _MOST_UNPACKED)
    except zlib.error as error:
        raise ValueError(f"values are damaged: {error}") from error
    if not unpacker.eof:
        raise ValueError("values are cut, or too many")
    values = np.frombuffer(content, _number(case["packed"]).newbyteorder("<"))
    return values.astype(_number(case["dtype"]))


def _number(name: Any) -> "np.dtype[Any]":
    kind: np.dtype[Any] = np.dtype(name)
    if kind.kind not in "biuf" or kind.itemsize > 8:
        raise ValueError(f"values are of type {kind.name}")
    return kind
