"""VOC's lists of pictures, which make its parts."""

from collections.abc import Collection, Iterator
from pathlib import Path

from edgecv.data.checking import Checks
from edgecv.data.problems import Problems
from edgecv.data.samples import Part
from edgecv.errors import DataError

__all__ = ["parts_of_sets"]

# ``trainval`` comes after both: what neither has, is trained with. ``default`` is of no part.
_SETS: dict[str, Part | None] = {"train": "train", "val": "val", "test": "test", "trainval": "train", "default": None}


def parts_of_sets(folder: Path, stems: Collection[str], problems: Problems) -> dict[str, Part | None] | None:
    """Return the part of each picture that the lists name.

    Args:
        folder: ``ImageSets/Main``.
        stems: Names of the XML files, without their suffix.
        problems: Takes those that have no XML file, and those that are in two parts.

    Returns:
        The parts by stem; None where there are no such lists.
    """
    files = {name: file for name in _SETS if (file := folder / f"{name}.txt").is_file()}
    if not files:
        return None
    known = set(stems)
    checks = Checks(problems)
    parts: dict[str, Part | None] = {}
    for name, file in files.items():
        for line, stem in _lines(file, known):
            if name == "trainval" and parts.get(stem, "test") != "test":
                continue
            if stem not in known:
                problems.add(file, line, f"picture {stem!r} has no XML file")
            elif checks.unique(f"picture {stem!r}", file=file, line=line):
                parts[stem] = _SETS[name]
    return parts


def _lines(file: Path, known: Collection[str]) -> Iterator[tuple[int, str]]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{str(file)!r} is not UTF-8 text, so no list of pictures. Mend or remove it.") from error
    for number, line in enumerate(lines, 1):
        stem = line.strip()
        name, _, flag = stem.rpartition(" ")
        if stem not in known and flag in ("-1", "0", "1"):  # whether a class is there
            stem = name.strip()
        if stem:
            yield number, stem
