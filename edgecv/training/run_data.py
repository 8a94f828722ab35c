"""The data of a run: read, checked, split, and known again when the run goes on."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecv.data.checking import check_pictures, check_trainable, without
from edgecv.data.mask_files import MaskSource
from edgecv.data.problems import BrokenDataError
from edgecv.data.reading import open_data
from edgecv.data.samples import PARTS, ArraySource, Dataset, FileSource, Part, PictureSource, Sample
from edgecv.data.splitting import split
from edgecv.errors import DataError
from edgecv.training.listener import Listener
from edgecv.training.run_dir import read_run
from edgecv.training.settings import Settings

__all__ = ["RunData", "data_of_run", "few_of_each_class", "read_data"]


@dataclass(frozen=True, kw_only=True)
class RunData:
    """What a run learns from.

    Attributes:
        dataset: All of it that can be read.
        parts: Its samples by part.
    """

    dataset: Dataset
    parts: Mapping[Part, tuple[Sample, ...]]

    def fingerprint(self) -> str:
        """Return the sha256 of classes, labels (masks, too) and parts, and of how large the pictures' files are.

        Folders are left out: data may move.
        """
        digest = hashlib.sha256(json.dumps(self.dataset.classes).encode())
        for part in PARTS:
            for sample in self.parts[part]:
                boxes = [(box.x1, box.y1, box.x2, box.y2, box.category) for box in sample.boxes]
                label: list[Any] = [part, Path(sample.name).name, sample.category, boxes, _content(sample.picture)]
                # Only where there are some, so that other runs keep their fingerprint.
                if sample.mask is not None:
                    label.append(_content(sample.mask))
                uncounted = [number for number, box in enumerate(sample.boxes) if not box.counts]
                if uncounted:
                    label.append(uncounted)
                digest.update(json.dumps(label).encode())
        return digest.hexdigest()


def read_data(settings: Settings, listener: Listener) -> RunData:
    """Read and split the data that a run's settings name, every picture decoded once.

    Raises:
        BrokenDataError: Labels or pictures are broken, and the settings do not skip them.
        DataError: There are no data, or a network cannot learn from them.
    """
    dataset = open_data(settings.data, format=settings.format, skip_broken=settings.skip_broken)
    check_trainable(dataset)
    listener.note(f"{len(dataset.samples)} pictures of {len(dataset.classes)} classes ({dataset.format})")
    dataset = _readable(dataset, settings, listener)
    if dataset.skipped:
        listener.note(f"{dataset.skipped} broken labels or pictures are left out")
    parts = _parts(dataset, settings, listener)
    if not parts["train"]:
        raise DataError(f"Nothing is left of {dataset.path!r} to train on. Change --split or give more pictures.")
    if len(parts["train"]) < settings.batch:
        listener.note(f"{len(parts['train'])} training pictures are fewer than a batch of {settings.batch}: one step")
    return RunData(dataset=dataset, parts=parts)


def data_of_run(path: Path, *, data: str | None = None) -> tuple[Dataset, Mapping[Part, tuple[Sample, ...]]]:
    """Return the data that a run was trained on, split as they were then.

    Args:
        path: RUN_DIR.
        data: Where the data are now; None for where they were.
    """
    settings = Settings.from_json(read_run(path)["settings"])
    dataset = open_data(data or settings.data, format=settings.format, skip_broken=settings.skip_broken)
    dataset = _readable(dataset, settings, Listener())
    return dataset, _parts(dataset, settings, Listener())


def few_of_each_class(samples: Sequence[Sample], count: int, seed: int) -> tuple[Sample, ...]:
    """Return at most so many samples a class, drawn by the seed, in their old order."""
    chosen: list[int] = []
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(samples))
    taken: dict[int, int] = {}
    for index in order:
        category = _category(samples[index])
        if taken.get(category, 0) < count:
            taken[category] = taken.get(category, 0) + 1
            chosen.append(int(index))
    return tuple(samples[index] for index in sorted(chosen))


def _readable(dataset: Dataset, settings: Settings, listener: Listener) -> Dataset:
    """Return a data set without broken pictures; refuse them where they are not to be skipped."""
    with listener.working("checking pictures", len(dataset.samples)) as advance:
        problems = check_pictures(dataset, progress=advance)
    if problems and not settings.skip_broken:
        raise BrokenDataError(dataset.path, problems)
    dataset = without(dataset, problems)
    check_trainable(dataset)
    return dataset


def _parts(dataset: Dataset, settings: Settings, listener: Listener) -> dict[Part, tuple[Sample, ...]]:
    found = split(dataset, ratios=settings.split, seed=settings.seed)
    if found.left_out:
        listener.note(f"{len(found.left_out)} pictures are left out: the test or validation part has them, too")
    parts = dict(found)
    if settings.per_class is not None:
        for part in ("train", "val"):
            parts[part] = few_of_each_class(parts[part], settings.per_class, settings.seed)
    return parts


def _category(sample: Sample) -> int:
    """Return a sample's class, of several boxes the lowest; -1 for none."""
    if sample.category is not None:
        return sample.category
    return min((box.category for box in sample.boxes), default=-1)


def _content(source: PictureSource) -> str | int | None:
    """Return what tells a changed picture without decoding it; None where nothing does."""
    if isinstance(source, MaskSource):
        return hashlib.sha256(source.path.read_bytes()).hexdigest()  # it is the label
    if isinstance(source, FileSource):
        return source.path.stat().st_size
    if isinstance(source, ArraySource):
        return hashlib.sha256(np.ascontiguousarray(source.pixels).data).hexdigest()
    return None
