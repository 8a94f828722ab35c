"""Whose class is whose: the classes of the data by the numbers of the network."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgecv.errors import DataError

__all__ = ["ClassMap", "count_classes", "match_classes"]

_SHOWN = 5  # names that a message lists


@dataclass(frozen=True)
class ClassMap:
    """From the network's classes to those of the data.

    Attributes:
        numbers: The network's class number → that of the data; those that the data do not have are left out.
    """

    numbers: Mapping[int, int]

    def of(self, number: int) -> int:
        """Return the data's number of a class of the network; −1 where the data do not have it."""
        return self.numbers.get(number, -1)


def match_classes(
    classes: Sequence[str], labels: Sequence[str], *, count: int | None = None, used: Collection[int] | None = None
) -> ClassMap:
    """Match the classes of data with those of a network.

    By name where names agree; capitals, and underscores for spaces, make no difference unless they have to. By
    number where no name agrees and there are as many of both.

    Args:
        classes: Names of the data's classes.
        labels: The network's labels, or empty.
        count: How many classes the network has; None where that is not known.
        used: Numbers of the classes that labels have; the network need not know others that are only listed. None
            demands all.

    Raises:
        DataError: The network does not know a class that is used, or knows two of its name.
    """
    count = len(labels) or count
    by_number = ClassMap({number: number for number in range(len(classes))})
    if tuple(classes) == tuple(labels) or (not labels and count in (None, len(classes))):
        return by_number
    if not labels:
        raise DataError(
            f"The data have {len(classes)} classes and the network {count}, and it has no labels to match them by. "
            "Give it labels, or data of its classes."
        )
    found = [_places(name, labels) for name in classes]
    if not any(found) and len(classes) == len(labels):
        return by_number
    for number, (name, places) in enumerate(zip(classes, found, strict=True)):
        if not places and any(found) and used is not None and number not in used:
            continue
        if not places:
            raise _unknown(name, labels)
        if len(places) > 1:
            raise DataError(
                f"The network has {len(places)} classes called {name!r}: {', '.join(map(str, places))}. "
                "Give it labels that differ."
            )
    return ClassMap({places[0]: number for number, places in enumerate(found) if places})


def count_classes(metadata: Mapping[str, Any]) -> int | None:
    """Return how many classes a network has, as far as its metadata say so."""
    if metadata.get("labels"):
        return len(metadata["labels"])
    shapes = {output["name"]: output["shape"] for output in metadata["outputs"]}
    if "classes" in shapes:  # the best ones only
        return None
    scores = shapes.get("probabilities") or shapes.get("logits") or shapes.get("scores")
    if scores is None and len(shapes) == 1 and metadata["task"] == "classification":
        (scores,) = shapes.values()
    return scores[-1] if scores else None


def _places(name: str, labels: Sequence[str]) -> list[int]:
    """Return the numbers of the labels of a name; of those that it resembles where none is equal."""
    equal = [number for number, label in enumerate(labels) if label == name]
    return equal or [number for number, label in enumerate(labels) if _plain(label) == _plain(name)]


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def _unknown(name: str, labels: Sequence[str]) -> DataError:
    close = difflib.get_close_matches(name, labels, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    more = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
    return DataError(
        f"The network does not know class {name!r} of the data.{hint} It knows {', '.join(labels[:_SHOWN])}{more}. "
        "Rename the class, or leave it out."
    )
