"""IDX files: MNIST, Fashion-MNIST and their kin.

``train-images-idx3-ubyte`` beside ``train-labels-idx1-ubyte``, and the same with ``t10k-``, ``test-`` or ``val-``; also
with ``.gz``, a dot for the second dash, and a word before (``emnist-letters-train-images-…``).

Reference:
    Yann LeCun, Corinna Cortes, Christopher Burges, "The MNIST database of handwritten digits": "The IDX file format",
    http://yann.lecun.com/exdb/mnist/.
"""

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgecv.data.checking import Checks
from edgecv.data.layout import class_names, entries, part_of, rank
from edgecv.data.problems import Problems
from edgecv.data.samples import ArraySource, Dataset, Part, Sample
from edgecv.errors import DataError

__all__ = ["FASHION", "Idx"]

Bytes = np.ndarray[Any, np.dtype[np.uint8]]

# The classes of Fashion-MNIST in order: Xiao, Rasul, Vollgraf, "Fashion-MNIST", 2017, table 2,
# https://arxiv.org/abs/1708.07747.
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

_NAME = re.compile(
    r"(?P<before>.*?)(?P<part>train|t10k|test|val|valid|validation)-(?P<kind>images|labels)"
    r"[-.]idx[134]-ubyte(?:\.gz)?",
    re.IGNORECASE,
)
_UNSIGNED_BYTE = 0x08
_REMEDY = "Fetch it again."


class Idx:
    """Reads IDX files."""

    name: ClassVar[str] = "idx"
    summary: ClassVar[str] = "train-images-idx3-ubyte and its like, also .gz"

    def recognises(self, path: Path) -> bool:
        """Tell from the files' names."""
        return any(map(_match, entries(path))) if path.is_dir() else _match(path) is not None

    def read(self, path: Path, problems: Problems) -> Dataset:
        """Read it; see `Format.read`. A file that is named stands for its part alone, pictures and labels."""
        pairs = [_load(pair) for pair in _pairs(path)]
        highest = max((int(pair.labels.max(initial=0)) for pair in pairs), default=0)
        classes = _classes(path if path.is_dir() else path.parent, highest)
        samples = [sample for pair in pairs for sample in _samples(pair, len(classes), problems)]
        return Dataset(path=str(path), format=self.name, task="classification", classes=classes, samples=tuple(samples))


@dataclass(frozen=True)
class _Pair:
    """The two files of a part."""

    part: Part | None
    images: Path
    labels: Path


@dataclass(frozen=True, eq=False)
class _Loaded:
    """Their contents.

    Attributes:
        pair: The files.
        images: uint8 ``(count, height, width)`` or ``(count, height, width, 3)``.
        labels: uint8 ``(count,)``.
    """

    pair: _Pair
    images: Bytes
    labels: Bytes


def _match(path: Path) -> re.Match[str] | None:
    return _NAME.fullmatch(path.name)


def _pairs(path: Path) -> list[_Pair]:
    folder, chosen = (path, None) if path.is_dir() else (path.parent, _match(path))
    if chosen is None and not path.is_dir():
        raise DataError(f"{str(path)!r} is no name of an IDX file. Call it train-images-idx3-ubyte, for example.")
    found: dict[tuple[str, str], dict[str, Path]] = {}
    for file in entries(folder):
        match = _match(file)
        if match and (chosen is None or _key(match) == _key(chosen)):
            # Sorted: the one with .gz comes last; the other can be mapped into memory.
            found.setdefault(_key(match), {}).setdefault(match["kind"].lower(), file)
    words = sorted({before for before, _ in found})
    if len(words) > 1:
        raise DataError(
            f"{str(path)!r} holds {len(words)} data sets ({', '.join(map(repr, words))}). "
            "Put the files of one into a folder of its own."
        )
    return [
        _pair(part, files) for (_, part), files in sorted(found.items(), key=lambda item: rank(part_of(item[0][1])))
    ]


def _key(match: re.Match[str]) -> tuple[str, str]:
    return match["before"], match["part"].lower()


def _pair(word: str, files: dict[str, Path]) -> _Pair:
    for kind, other in (("images", "labels"), ("labels", "images")):
        if kind not in files:
            there = files[other]
            rank = "idx1" if kind == "labels" else "idx3"
            wanted = re.sub(r"idx\d", rank, there.name.replace(other, kind))
            raise DataError(f"Beside {str(there)!r} there are no {kind}. Put {wanted!r} there.")
    return _Pair(part_of(word), files["images"], files["labels"])


def _load(pair: _Pair) -> _Loaded:
    images, labels = _array(pair.images), _array(pair.labels)
    if not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)) or 0 in images.shape[1:]:
        raise DataError(f"IDX file {str(pair.images)!r} of shape {list(images.shape)} holds no pictures. {_REMEDY}")
    if labels.ndim != 1:
        raise DataError(f"IDX file {str(pair.labels)!r} of shape {list(labels.shape)} holds no labels. {_REMEDY}")
    if len(images) != len(labels):
        raise DataError(
            f"IDX files disagree: {len(images)} pictures in {str(pair.images)!r}, {len(labels)} labels in "
            f"{str(pair.labels)!r}. Fetch both again."
        )
    return _Loaded(pair, images, labels)


def _array(path: Path) -> Bytes:
    """Read a file, or map it into memory where it is not compressed.

    Raises:
        DataError: It is no IDX file of bytes, is damaged, or longer or shorter than its header says.
    """
    compressed = path.suffix.lower() == ".gz"
    try:
        with gzip.open(path) if compressed else path.open("rb") as file:
            shape = _shape(path, file)
            start, count = 4 + 4 * len(shape), math.prod(shape)
            # One byte more than there should be, and never what a damaged header asks for.
            content = file.read(count + 1) if compressed else b""
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"IDX file {str(path)!r} is damaged: {error}. {_REMEDY}") from error
    there = len(content) if compressed else path.stat().st_size - start
    if there != count:
        size = "more" if there > count else f"{there:,}"
        raise DataError(
            f"IDX file {str(path)!r} should hold {count:,} bytes after its header, and holds {size}. {_REMEDY}"
        )
    if compressed or not count:
        return np.frombuffer(content, np.uint8).reshape(shape)
    return np.memmap(path, np.uint8, mode="r", offset=start, shape=shape)


def _shape(path: Path, file: Any) -> tuple[int, ...]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or not 1 <= magic[3] <= 4:
        raise DataError(f"{str(path)!r} is no IDX file: it begins with {magic.hex() or 'nothing'}. {_REMEDY}")
    if magic[2] != _UNSIGNED_BYTE:
        raise DataError(f"IDX file {str(path)!r} has numbers of type 0x{magic[2]:02x}. Give unsigned bytes, 0x08.")
    dimensions = file.read(4 * magic[3])
    if len(dimensions) < 4 * magic[3]:
        raise DataError(f"IDX file {str(path)!r} ends in its header. {_REMEDY}")
    return tuple(int(size) for size in np.frombuffer(dimensions, ">u4"))


def _classes(folder: Path, highest: int) -> tuple[str, ...]:
    named = class_names(folder)
    if named:
        return named
    if "fashion" in folder.resolve().name.lower() and highest < len(FASHION):
        return FASHION
    return tuple(map(str, range(highest + 1)))


def _samples(loaded: _Loaded, classes: int, problems: Problems) -> Iterator[Sample]:
    checks = Checks(problems)
    images, labels = str(loaded.pair.images), str(loaded.pair.labels)
    size = (int(loaded.images.shape[1]), int(loaded.images.shape[2]))
    # Views of a plain array are made faster than those of a memmap, and keep it mapped all the same.
    for index, (pixels, category) in enumerate(zip(np.asarray(loaded.images), loaded.labels.tolist(), strict=True)):
        if category >= classes:
            checks.category_number(category, classes, file=f"{labels}[{index}]", line=None)
            continue
        yield Sample(
            picture=ArraySource(f"{images}[{index}]", pixels),
            category=category,
            size=size,
            part=loaded.pair.part,
            origin=f"{labels}[{index}]",
        )
