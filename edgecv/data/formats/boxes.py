"""What the formats of boxes have in common."""

from collections.abc import Sequence

from edgecv.data.samples import DataTask, Sample

__all__ = ["task_of"]


def task_of(samples: Sequence[Sample]) -> DataTask:
    """Return what boxes can teach: to find the one object of each picture, or any number."""
    single = all(len(sample.boxes) == 1 and not sample.boxes[0].crowd for sample in samples)
    return "localisation" if single and samples else "detection"
