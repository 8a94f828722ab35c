"""What an accuracy budget is judged by: the task metric on labelled pictures, or agreement with the float original.

Both sides run through the same `Session`, from the pictures on as the device gets them.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgecv.agreement import match_boxes_of
from edgecv.artifact import hash_file
from edgecv.errors import DataError, OptionError
from edgecv.greedy import iou
from edgecv.nms import Nms
from edgecv.pictures import Picture, read_picture
from edgecv.quiet import quiet_frameworks
from edgecv.results import Prediction
from edgecv.session import Session

if TYPE_CHECKING:
    from edgecv.data.samples import Dataset, Sample
    from edgecv.deployable import Deployable
    from edgecv.evaluation.selection import ChosenPart

__all__ = [
    "AgreementJudge",
    "Judge",
    "LabelJudge",
    "LabelledPictures",
    "judge_metric",
    "open_labelled",
    "without_pictures",
]

Array = np.ndarray[Any, np.dtype[Any]]

# Task → metric with labels, and without.
_METRICS = {
    "classification": ("top1", "top1_agreement"),
    "localisation": ("both_right", "box_match"),
    "detection": ("AP50", "box_match"),
    "segmentation": ("miou", "pixel_agreement"),
}
_OVERLAP = 0.5


@dataclass(frozen=True, kw_only=True)
class LabelledPictures:
    """Labelled pictures to judge on.

    Attributes:
        dataset: The data.
        samples: Those of it that are judged on.
        part: Which part of the data they are.
    """

    dataset: "Dataset"
    samples: "Sequence[Sample]"
    part: str = "all"


class Judge(Protocol):
    """Measures both sides on the same pictures.

    Attributes:
        metric: Its name; 1 is best.
        judged_on: What the pictures are, in words.
    """

    @property
    def metric(self) -> str:
        """Name of the metric; 1 is best."""

    @property
    def judged_on(self) -> str:
        """What the pictures are, in words."""

    @property
    def pictures(self) -> int:
        """How many there are."""

    def original(self) -> float:
        """Return the float original's value; it runs once."""

    def judge(self, session: Session) -> float:
        """Return an artifact's value."""


def judge_metric(task: str, *, labelled: bool) -> str:
    """Return the metric by which a task is judged.

    Raises:
        OptionError: The task has none.
    """
    if task not in _METRICS:
        raise OptionError(f"A network of the task {task!r} has no metric to judge int8 by. Leave --max-drop out.")
    return _METRICS[task][0 if labelled else 1]


def open_labelled(
    path: str,
    *,
    format: str | None = None,  # noqa: A002
    part: "ChosenPart | None" = None,
) -> LabelledPictures:
    """Read labelled pictures to judge on; by default the data's own test part, else all.

    Raises:
        DataError: They cannot be read.
    """
    from edgecv.data.problems import BrokenDataError
    from edgecv.data.reading import open_data
    from edgecv.evaluation.selection import select

    try:
        dataset = open_data(path, format=format)
    except BrokenDataError as error:  # its remedy is an option of other commands: a budget is judged on sound labels
        raise DataError(f"{str(error).removesuffix(error.remedy)}Mend them, or give other --data.") from error
    chosen, samples = select(dataset, part=part)
    return LabelledPictures(dataset=dataset, samples=samples, part=chosen)


def without_pictures(given: LabelledPictures, hashes: frozenset[str]) -> tuple[LabelledPictures, int]:
    """Leave out the pictures with one of these sha256, which calibrated; return how many they were, too."""
    kept = [sample for sample in given.samples if _hash(sample) not in hashes]
    return dataclasses.replace(given, samples=kept), len(given.samples) - len(kept)


def _hash(sample: "Sample") -> str:
    path = getattr(sample.picture, "path", None)  # a picture inside a larger file is no calibration picture
    try:
        return hash_file(path) if isinstance(path, Path) else ""
    except OSError:  # reading it says what is wrong
        return ""


class LabelJudge:
    """The task metric on labelled pictures, as `edgecv evaluate` measures it."""

    def __init__(self, deployable: "Deployable", given: LabelledPictures) -> None:
        from edgecv.evaluation.tasks import check_labels

        self._deployable = deployable
        self._given = given
        self._original: float | None = None
        self.metric = judge_metric(deployable.task, labelled=True)
        check_labels(deployable.task, given.dataset, given.samples)

    @property
    def judged_on(self) -> str:
        """The data and their part."""
        return f"{self._given.dataset.path} ({self._given.part})"

    @property
    def pictures(self) -> int:
        """How many there are."""
        return len(self._given.samples)

    def original(self) -> float:
        """Return the float original's value."""
        if self._original is None:
            self._original = self.judge(_session(self._deployable))
        return self._original

    def judge(self, session: Session) -> float:
        """Return an artifact's value.

        Raises:
            DataError: The labels do not suit the network, or give no figure.
        """
        from edgecv.evaluation.evaluate import evaluate

        with quiet_frameworks():
            evaluation = evaluate(session, self._given.dataset, self._given.samples)
        value = evaluation.measured.figures()[self.metric]
        if value is None:
            raise DataError(f"{self._given.dataset.path!r} gives no {self.metric}: no label counts. Give other data.")
        return value


class AgreementJudge:
    """How often an artifact answers like the float original, on pictures without labels."""

    def __init__(self, deployable: "Deployable", paths: Sequence[Path]) -> None:
        self._deployable = deployable
        self._paths = list(paths)
        self._answers: list[Any] | None = None
        self.metric = judge_metric(deployable.task, labelled=False)

    @property
    def judged_on(self) -> str:
        """What the pictures are, in words."""
        return "calibration pictures that were held out"

    @property
    def pictures(self) -> int:
        """How many there are."""
        return len(self._paths)

    def original(self) -> float:
        """Return 1: the original agrees with itself.

        Raises:
            OptionError: It finds nothing on any of the pictures, so that nothing can agree.
        """
        if self._answers is None:
            with quiet_frameworks():
                self._answers = list(self._run(_session(self._deployable)))
            if self._deployable.task == "detection" and sum(_agreed(each, each)[1] for each in self._answers) == 0:
                self._answers = None
                raise OptionError(
                    "The float original finds no confident box on the calibration pictures that were held out: "
                    "agreement says nothing. Give pictures of what it detects, or labelled ones with --data."
                )
        return 1.0

    def judge(self, session: Session) -> float:
        """Return the share of pictures, boxes or pixels on which an artifact agrees."""
        self.original()
        assert self._answers is not None
        with quiet_frameworks():
            counts = [_agreed(*pair) for pair in zip(self._answers, self._run(session), strict=True)]
        return sum(agreed for agreed, _ in counts) / max(1, sum(total for _, total in counts))

    def _run(self, session: Session) -> Iterator[Any]:
        # Pictures that go in as they are have sizes of their own.
        step = 1 if self._deployable.resize is not None else session.batch_size
        for start in range(0, len(self._paths), step):
            pictures = [read_picture(path) for path in self._paths[start : start + step]]
            if self._deployable.segmentation is not None:
                yield from _masks(session, pictures)
            else:
                threshold = _threshold(session)
                yield from (_Answer.of(each, threshold) for each in session.predict_pictures(pictures, top_k=1))


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What is compared of an answer: boxes ``(count, 4)``, scores and classes ``(count,)``."""

    boxes: Array | None
    scores: Array
    classes: Array
    threshold: float = 0.0

    @classmethod
    def of(cls, prediction: Prediction, threshold: float | None) -> "_Answer":
        results = prediction.results
        boxed = threshold is not None or any("box" in each for each in results)
        return cls(
            boxes=np.array([each["box"] for each in results], np.float32).reshape(-1, 4) if boxed else None,
            scores=np.array([each["score"] for each in results], np.float32),
            classes=np.array([each["class"] for each in results], np.int64),
            # A localiser's one box is always judged.
            threshold=-1.0 if threshold is None else threshold,
        )


def _agreed(one: Any, other: Any) -> tuple[int, int]:
    """Return how much of two answers to a picture agrees, and of how much."""
    if isinstance(one, np.ndarray):
        return int(np.sum(one == other)), one.size
    if one.boxes is None:
        return int(one.classes[0] == other.classes[0]), 1
    if one.threshold < 0:
        same = one.classes[0] == other.classes[0] and iou(one.boxes[0], other.boxes)[0] >= _OVERLAP
        return int(same), 1
    sides = [(each.boxes, each.scores, each.classes) for each in (one, other)]
    return match_boxes_of(sides[0], sides[1], one.threshold)


def _masks(session: Session, pictures: Sequence[Picture]) -> Iterator[Array]:
    """Yield masks at the input's size, as small as their classes allow."""
    feed = session.feed(pictures)
    lacking = session.batch_size - len(pictures)
    if lacking > 0:
        feed = np.concatenate([feed, np.repeat(feed[-1:], lacking, axis=0)])
    for mask in session.run(feed)["mask"][: len(pictures)]:
        yield mask.astype(np.uint8) if mask.max(initial=0) <= np.iinfo(np.uint8).max else mask


def _threshold(session: Session) -> float | None:
    """Return a detector's score threshold; None for any other task."""
    if session.metadata["task"] != "detection":
        return None
    return Nms.from_json((session.metadata.get("postprocess") or {}).get("nms") or {}).score_threshold


def _session(deployable: "Deployable") -> Session:
    from edgecv.keras_session import keras_session

    with quiet_frameworks():
        return keras_session(deployable, compiled=True)
