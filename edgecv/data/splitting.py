"""Training, validation and test parts: seeded, stratified by class, and no picture in two of them.

Parts that the data have stay: own test pictures stay test, own val pictures val. What is missing is drawn from the
others, in proportion to the ratios. Copies count as one picture, also under other names: two files of the same bytes
go into the same part.

In each class a part gets its exact share, rounded up or down; which way, is decided so that the whole part, too, comes
close to its share. Copies move together, so a class with copies may miss its share by their number.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgecv.data.samples import PARTS, ArraySource, Dataset, FileSource, Part, PictureSource, Sample
from edgecv.errors import OptionError, PictureError

__all__ = ["Split", "parse_ratios", "split"]

Ratios = tuple[float, float, float]


@dataclass(frozen=True)
class Split(Mapping[Part, tuple[Sample, ...]]):
    """The samples of each part, each in the order of the data set.

    Attributes:
        parts: They.
        left_out: Samples that are in no part, because the data's own val or test part has a picture of the same bytes.
    """

    parts: Mapping[Part, tuple[Sample, ...]]
    left_out: tuple[Sample, ...] = ()

    def __getitem__(self, part: Part) -> tuple[Sample, ...]:
        return self.parts[part]

    def __iter__(self) -> Iterator[Part]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)


def parse_ratios(text: str) -> Ratios:
    """Read ``"75/15/10"``: how much becomes train, val and test, in percent or as fractions of 1.

    Raises:
        OptionError: These are no three shares that add up to the whole.
    """
    try:
        train, val, test = (float(word) for word in text.split("/"))
    except ValueError:
        train = val = test = math.nan
    for whole in (100, 1):
        if min(train, val, test) >= 0 and math.isclose(train + val + test, whole, rel_tol=1e-6):
            return train / whole, val / whole, test / whole
    raise OptionError(f"A split is three shares that add up to 100, such as 75/15/10, got {text!r}.")


def split(dataset: Dataset, *, ratios: Ratios = (0.75, 0.15, 0.10), seed: int = 0) -> Split:
    """Divide a data set.

    Args:
        dataset: The data.
        ratios: Shares of train, val and test; they add up to 1.
        seed: Which pictures are drawn. The same seed draws the same ones on every machine and from every folder.

    Raises:
        OptionError: The ratios are no shares, or the seed is negative.
    """
    if len(ratios) != len(PARTS) or not min(ratios) >= 0 or not math.isclose(sum(ratios), 1, rel_tol=1e-6):
        raise OptionError(f"Ratios are three shares that add up to 1, got {ratios}.")
    if seed < 0:
        raise OptionError(f"seed must be 0 or more, got {seed}.")
    groups = _copies(dataset.samples)
    own = {sample.part for sample in dataset.samples} - {None, "train"}
    chosen: dict[str, Part | None] = {}
    pool = []
    for group in groups:
        kept = next((part for part in ("test", "val") if any(each.part == part for each in group)), None)
        if kept is None:
            pool.append(group)
        for sample in group:
            chosen[sample.name] = kept if kept is None or sample.part == kept else None
    for group, part in _drawn(pool, _shares(ratios, own), seed):
        chosen.update((sample.name, part) for sample in group)
    parts = {part: tuple(each for each in dataset.samples if chosen[each.name] == part) for part in PARTS}
    return Split(parts, tuple(each for each in dataset.samples if chosen[each.name] is None))


def _shares(ratios: Ratios, own: Collection[Part | None]) -> Ratios:
    """Return how much of what has no part of its own goes where; nothing into parts that the data have themselves."""
    train, val, test = (0.0 if part in own else ratio for part, ratio in zip(PARTS, ratios, strict=True))
    whole = train + val + test
    return (train / whole, val / whole, test / whole) if whole else (1.0, 0.0, 0.0)


def _drawn(pool: Sequence[Sequence[Sample]], shares: Ratios, seed: int) -> Iterator[tuple[Sequence[Sample], Part]]:
    """Yield groups of copies with the parts that they are drawn into."""
    # By name, not by the order of files; and with a generator whose stream NumPy has frozen (NEP 19).
    ordered = sorted(pool, key=lambda group: group[0].name)
    generator = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
    strata: dict[int, list[Sequence[Sample]]] = defaultdict(list)
    keys = _strata(ordered)
    for index in generator.permutation(len(ordered)).tolist():
        strata[keys[index]].append(ordered[index])
    # Small classes first: the large ones have room to make up for how these were rounded.
    sizes = {key: sum(map(len, groups)) for key, groups in strata.items()}
    due = [0.0] * len(PARTS)
    for key in sorted(strata, key=lambda key: (sizes[key], key)):
        counts = _counts(sizes[key], shares, due)
        yield from _fill(strata[key], counts)


def _counts(size: int, shares: Ratios, due: list[float]) -> list[int]:
    """Divide a class; each part gets its share rounded up or down.

    Args:
        size: How many pictures the class has.
        shares: The share of each part.
        due: What each part lacks from the classes before, in pictures; is brought up to date.
    """
    exact = [size * share for share in shares]
    counts = [math.floor(value + 1e-9) for value in exact]
    due[:] = [lacks + value - count for lacks, value, count in zip(due, exact, counts, strict=True)]
    open_parts = [index for index, value in enumerate(exact) if value - counts[index] > 1e-9]
    # A class that is never trained can't be learned: its first picture is train's.
    by_need = sorted(open_parts, key=lambda index: (index == 0 and counts[0] == 0, due[index], -index), reverse=True)
    for index in by_need[: size - sum(counts)]:
        counts[index] += 1
        due[index] -= 1
    return counts


def _fill(groups: Iterable[Sequence[Sample]], counts: Sequence[int]) -> Iterator[tuple[Sequence[Sample], Part]]:
    """Give groups to parts, large ones first: single pictures fill what is left exactly."""
    left = list(counts)
    for group in sorted(groups, key=len, reverse=True):
        most = max(range(len(left)), key=left.__getitem__)
        index = next((index for index, room in enumerate(left) if room >= len(group)), most)
        left[index] -= len(group)
        yield group, PARTS[index]


def _strata(groups: Sequence[Sequence[Sample]]) -> list[int]:
    """Return the class that each group is divided with: of several, the one with the fewest pictures; -1 for none."""
    found = [_categories(group[0]) for group in groups]
    pictures: dict[int, int] = defaultdict(int)
    for categories in found:
        for category in categories:
            pictures[category] += 1
    return [min(categories, key=lambda category: (pictures[category], category), default=-1) for categories in found]


def _categories(sample: Sample) -> set[int]:
    return {box.category for box in sample.boxes} if sample.category is None else {sample.category}


def _copies(samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    """Gather samples whose pictures have the same bytes."""
    sized: dict[object, list[Sample]] = defaultdict(list)
    for sample in samples:
        sized[_size(sample.picture)].append(sample)
    groups: list[Sequence[Sample]] = []
    for alike in sized.values():
        # Most picture files differ in their sizes already and need not be read.
        if len(alike) == 1:
            groups.append(alike)
            continue
        same: dict[bytes, list[Sample]] = defaultdict(list)
        for sample in alike:
            same[_digest(sample.picture)].append(sample)
        groups += same.values()
    return groups


def _size(source: PictureSource) -> object:
    try:
        if isinstance(source, FileSource):
            return source.path.stat().st_size
    except OSError:  # gone since its labels were read: decoding it says so
        return source.name
    return source.pixels.shape if isinstance(source, ArraySource) else None


def _digest(source: PictureSource) -> bytes:
    known = getattr(source, "digest", None)  # of sources that were read with their labels
    if isinstance(known, bytes):
        return known
    try:
        if isinstance(source, FileSource):
            with source.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        pixels = source.pixels if isinstance(source, ArraySource) else source.read().pixels
        return hashlib.sha256(np.ascontiguousarray(pixels).data).digest()
    except (OSError, PictureError):  # no copy of anything; decoding it says what is wrong
        return source.name.encode("utf-8", "surrogateescape")
