"""The verb evaluate: run labelled pictures through a session and measure the answers.

Keras networks, ONNX and TFLite files come as the same `Session`, and are measured by the same lines.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgecv.data.samples import Dataset, Sample
from edgecv.errors import OptionError
from edgecv.evaluation.answers import Answers
from edgecv.evaluation.batching import in_batches
from edgecv.evaluation.class_map import count_classes, match_classes
from edgecv.evaluation.tasks import MEASURES, Measured, check_labels, used_classes
from edgecv.session import Session

__all__ = ["LIMITING_SCORE", "Evaluation", "evaluate"]

# Pictures a run where any number goes in: enough to hide what a run costs beside its arithmetic.
_BATCH = 32
# Above it the end of the curve is cut off noticeably: COCO's detectors are measured from about 0.001 on.
LIMITING_SCORE = 0.01
_LOW_SCORE = 0.001


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What was measured, and on what.

    Attributes:
        task: The network's task.
        measured: The figures, and all that plots need.
        about: More keys of the document: network, runtime, data.
        skipped: Pictures that could not be read and were left out.
        seconds: Time from decoded pictures to answers; 0 where only files were compared.
        notes: What the user should know.
    """

    task: str
    measured: Measured
    about: Mapping[str, Any] = field(default_factory=dict)
    skipped: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The figures of each class."""
        return self.measured.rows()

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``evaluate --json``."""
        images = self.measured.images
        document: dict[str, Any] = {"task": self.task, **self.measured.figures(), "images": images, **self.about}
        if self.seconds:
            document["pictures_per_second"] = round(images / self.seconds, 2)
        confusion = getattr(self.measured, "confusion", None)
        more = confusion() if confusion is not None else {}
        return {**document, "skipped": self.skipped, "notes": list(self.notes), "per_class": self.rows, **more}


def evaluate(
    session: Session,
    dataset: Dataset,
    samples: Sequence[Sample],
    *,
    progress: Callable[[], None] | None = None,
    batch: int | None = None,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    skip_broken: bool = False,
) -> Evaluation:
    """Measure a network on labelled pictures.

    Args:
        session: The opened network.
        dataset: Names the classes.
        samples: The pictures to answer, of the data set.
        progress: Called after each picture.
        batch: Pictures a run where the network takes any number; by default 32, of detectors 1. No answer depends
            on its neighbours by more than rounding.
        score_threshold: Detection: in place of the network's own.
        iou_threshold: Detection: in place of the network's own.
        skip_broken: Go on without pictures that cannot be read.

    Raises:
        DataError: There are no pictures, their labels do not suit the network's task, or it does not know a class.
        OptionError: The network has no task that can be measured, or a threshold cannot be changed.
        PictureError: A picture cannot be read.
        ArtifactError: The network answers with what is no number.
        MissingExtraError: A detector is measured and pycocotools is not installed.
    """
    task = str(session.metadata["task"])
    if task not in MEASURES:
        raise OptionError(
            f"{str(session.path)!r} has the task {task!r}, which cannot be evaluated. Known: {', '.join(MEASURES)}."
        )
    labels = [str(label) for label in session.metadata.get("labels") or ()]
    used = used_classes(task, samples)
    classes = match_classes(dataset.classes, labels, count=count_classes(session.metadata), used=used)
    check_labels(task, dataset, samples)
    session = in_batches(session, batch or (1 if task == "detection" else _BATCH))
    session.set_thresholds(score=score_threshold, iou=iou_threshold)
    answers = Answers(session, samples, classes, progress or _nothing, skip_broken)
    measured = MEASURES[task](answers, dataset)
    return Evaluation(
        task=task,
        measured=measured,
        about=_about(session, dataset),
        skipped=answers.skipped + dataset.skipped,
        seconds=answers.milliseconds / 1000,
        notes=_notes(session, score_threshold),
    )


def _about(session: Session, dataset: Dataset) -> dict[str, Any]:
    return {
        "model": session.metadata["model"],
        "data": {"path": dataset.path, "format": dataset.format},
        "runtime": {
            "name": session.runtime,
            "device": session.device,
            "provider": session.provider,
            "batch": session.batch_size,
        },
        "precision": session.metadata.get("precision"),
    }


def _notes(session: Session, score_threshold: float | None) -> tuple[str, ...]:
    if session.metadata["task"] != "detection":
        return ()
    nms = (session.metadata.get("postprocess") or {}).get("nms") or {}
    baked = nms.get("score_threshold", 0.0)
    used = baked if score_threshold is None else score_threshold
    if used <= LIMITING_SCORE:
        return ()
    whose = "baked in" if score_threshold is None else "asked for"
    return (
        f"The score threshold {used:g}, {whose}, limits the AP: boxes that score less are never seen. "
        f"Published figures are measured with --score-threshold {_LOW_SCORE} or less.",
    )


def _nothing() -> None:
    """Show no progress."""
