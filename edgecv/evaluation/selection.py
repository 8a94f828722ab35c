"""Which pictures of a data set to measure on."""

from collections.abc import Sequence
from typing import Literal, TypeVar

from edgecv.data.samples import Dataset, Part, Sample
from edgecv.data.splitting import split

__all__ = ["ChosenPart", "select", "spread"]

ChosenPart = Literal["test", "val", "train", "all"]

Item = TypeVar("Item")
Ratios = tuple[float, float, float]


def select(
    dataset: Dataset, *, part: ChosenPart | None = None, ratios: Ratios | None = None, seed: int | None = None
) -> tuple[ChosenPart, Sequence[Sample]]:
    """Choose the part to measure on.

    Args:
        dataset: The data.
        part: What is asked for; by default the test part of the split, where one is asked for, else the data's own
            test part, else all.
        ratios: Shares of a split, which keeps the parts that the data have themselves; by default 75/15/10, where
            a part is asked for that the data do not have.
        seed: Of the split; 0 by default.

    Returns:
        The part, and its pictures in the data's order.

    Raises:
        OptionError: The ratios are no shares, or the seed is negative.
    """
    if part is None:
        part = "test" if ratios is not None or dataset.of_part("test") else "all"
    if part == "all":
        return part, dataset.samples
    return part, _of_split(dataset, part, ratios, seed)


def spread(samples: Sequence[Item], most: int | None) -> Sequence[Item]:
    """Return at most ``most`` samples, evenly spread: the first ones are often all of one class."""
    if most is None or most >= len(samples):
        return samples
    return [samples[place * len(samples) // most] for place in range(most)]


def _of_split(dataset: Dataset, part: Part, ratios: Ratios | None, seed: int | None) -> Sequence[Sample]:
    shares = {} if ratios is None else {"ratios": ratios}
    return split(dataset, seed=seed or 0, **shares)[part]
