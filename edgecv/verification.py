"""Verification: run the artifact and the original on the same pictures and compare.

What the artifact runs in is the Runtime that the device uses; what it is compared with is the Deployable.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.artifact import Artifact
from edgecv.comparison import TOLERANCES, Comparison, compare, compare_top_k, match_boxes
from edgecv.detection import CHECKPOINTS
from edgecv.detection_proof import compare_anchors, compare_detections
from edgecv.errors import DigestError, OptionError
from edgecv.localisation import LOCALISATIONS
from edgecv.metadata import check_digest
from edgecv.nms import Nms
from edgecv.observed import Observer, Run
from edgecv.original import Pictures, gather_pictures, original_answers
from edgecv.quiet import quiet_frameworks
from edgecv.report import Check, Report
from edgecv.resize import GraphResize
from edgecv.runtime import Arrays, Runner, Runtime
from edgecv.runtimes.container import damaged
from edgecv.runtimes.feeds import run_engine
from edgecv.segmentation import CHECKPOINT, SegmentationHead
from edgecv.segmentation_proof import compare_segmentation
from edgecv.session import runtime_of
from edgecv.trial import attempt

if TYPE_CHECKING:
    from edgecv.deployable import Deployable

__all__ = ["LOCALISED", "Head", "refuted", "verify", "verify_runner"]

Array = np.ndarray[Any, np.dtype[Any]]

DYNAMIC_BATCH = 3
# How a localiser's outputs beside its class scores are compared: the box as it is, the objectness as one logit.
LOCALISED: Mapping[str, Mapping[str, Any]] = {
    LOCALISATIONS[1]: {"activation": "none"},
    LOCALISATIONS[2]: {"activation": "sigmoid", "least_scale": 1.0},
}
# What an artifact may say of itself that leaves its inputs and outputs as they are.
_RUNS_ALL_THE_SAME = ("preprocess", "postprocess", "labels")


@dataclass(frozen=True, kw_only=True)
class Head:
    """What comparing needs to know of the outputs.

    Attributes:
        task: What they mean.
        activation: What the first output went through.
        top_k: How many classes a classifier gives; None for all.
        nms: Settings of suppression, where a detector has it inside.
        score_activation: What a detector's scores went through last.
        fixed_boxes: A detector's anchors have the same boxes on every picture.
        segmentation: How a segmenter's scores become its mask.
        resize: The resize inside the graph.
    """

    task: str
    activation: str
    top_k: int | None
    nms: Nms | None = None
    score_activation: str = "none"
    fixed_boxes: bool = False
    segmentation: SegmentationHead | None = None
    resize: GraphResize | None = None

    @classmethod
    def of(cls, task: str, postprocess: Mapping[str, Any], graph_resize: Mapping[str, Any] | None = None) -> "Head":
        """Read it from `Deployable.postprocess` and `graph_resize`, as they stand in an artifact's metadata, too.

        Raises:
            OptionError: A key is missing, or its value is out of range.
        """
        lacking = [key for key in ("activation", "top_k") if key not in postprocess]
        if lacking:
            raise OptionError(f"postprocess has no key {lacking[0]!r}.")
        nms, segmentation = postprocess.get("nms"), postprocess.get("segmentation")
        return cls(
            task=task,
            activation=postprocess["activation"],
            top_k=postprocess["top_k"],
            nms=Nms.from_json(nms) if nms else None,
            score_activation=postprocess.get("score_activation", "none"),
            fixed_boxes=postprocess.get("fixed_boxes", False),
            segmentation=SegmentationHead.from_json(segmentation) if segmentation else None,
            resize=GraphResize(mode=graph_resize["mode"]) if graph_resize else None,
        )

    def activation_of(self, name: str) -> str:
        """Return what an output or checkpoint went through last."""
        if self.segmentation is not None:
            return self.segmentation.activation if name == CHECKPOINT else "none"
        if self.task == "detection":
            return self.score_activation if name in ("scores", CHECKPOINTS[1]) else "none"
        if self.task == "localisation":
            return {"box": "none", "objectness": "sigmoid"}.get(name, self.activation)
        return self.activation


def verify(
    artifact: Artifact | Path | str,
    *,
    against: "Deployable | None" = None,
    images: Iterable[Path | str | Array] | None = None,
    devices: Sequence[str] = ("cpu",),
    observe: Observer | None = None,
    go_on: bool = False,
) -> Report:
    """Prove that an artifact answers like the original.

    Args:
        artifact: The artifact.
        against: The original. Without it the artifact's digest is checked and the answers of the
            original that are recorded in it are demanded again.
        images: Pictures to verify on; the default are the photos that ship with edgecv. Seeded noise is added.
        devices: Devices to run on: ``"cpu"``, ``"cuda"``.
        observe: Is called with what each run answered.
        go_on: Compare the answers even where the digest, the scaling, the decoding or the labels are others.

    Raises:
        ArtifactError: The file cannot be parsed or has no edgecv metadata.
        DeviceError: A device is not there.
        PictureError: A picture cannot be read.
    """
    path = artifact.path if isinstance(artifact, Artifact) else Path(artifact)
    name, runtime = runtime_of(path)
    metadata = runtime.read_metadata(path)
    damage = _damage(path, metadata, name)
    if damage is not None and (against is None or not go_on):
        return damage
    if damage is not None:
        for device in devices:
            attempt(path, device)
    if against is None:
        from edgecv.recorded import verify_recorded

        return verify_recorded(path, metadata, name, runtime, devices, observe=observe)
    contradiction = _check_statements(name, metadata, against)
    if contradiction is not None and not (go_on and contradiction.worst.output in _RUNS_ALL_THE_SAME):
        return merge([each for each in (damage, contradiction) if each is not None])
    pictures = gather_pictures(against, images)
    with quiet_frameworks():
        answers = original_answers(against, pictures)
    inside = metadata.get("checkpoints") or ()
    runners = [open_quietly(runtime, path, device, inside) for device in devices]
    if metadata.get("precision") == "int8":
        from edgecv.quantized_verification import QuantizedVerification

        quantized = QuantizedVerification(against, pictures, answers)
        measured = [quantized.verify(runner, name, observe) for runner in runners]
    else:
        tolerance = tolerance_of(path, metadata)
        measured = [verify_runner(runner, name, against, pictures, answers, tolerance, observe) for runner in runners]
    return merge([*(each for each in (damage, contradiction) if each is not None), *measured])


def _damage(path: Path, metadata: Mapping[str, Any], name: str) -> Report | None:
    """Return a report that fails where the file's bytes are not those that were sealed."""
    try:
        check_digest(path, metadata)
    except DigestError:
        return refuted(name, "digest", "the file is damaged: its bytes disagree with its digest")
    return None


def tolerance_of(path: Path, metadata: Mapping[str, Any]) -> float:
    """Return the largest relative difference that an artifact's precision allows.

    Raises:
        ArtifactError: Its metadata name no precision that has one.
    """
    precision = metadata.get("precision")
    if precision not in TOLERANCES:
        raise damaged(path, f"'precision' must be one of {', '.join(TOLERANCES)}, got {precision!r}")
    own = metadata.get("tolerance")
    stricter = isinstance(own, int | float) and 0 < own < TOLERANCES[precision]
    return float(own) if stricter and own is not None else TOLERANCES[precision]


def open_quietly(runtime: Runtime, path: Path, device: str, expose: Sequence[str] = ()) -> Runner:
    """Open an artifact without the engine's chatter (LiteRT tells of each delegate that it makes)."""
    with quiet_frameworks():
        return runtime.open(path, device=device, expose=expose)


def verify_runner(
    runner: Runner,
    name: str,
    deployable: "Deployable",
    pictures: Pictures,
    answers: Arrays,
    tolerance: float,
    observe: Observer | None = None,
) -> Report:
    """Compare an opened artifact with the original's answers, at its batch size or at 1 and 3."""
    batches = (1, DYNAMIC_BATCH) if deployable.batch is None else (deployable.batch,)
    head = Head.of(deployable.task, deployable.postprocess(), deployable.graph_resize())
    reports: list[Report] = []
    for batch in batches:
        given = run_batched(runner, deployable.feed(pictures.values), batch)
        compared = compare_outputs(head, answers, given, tolerance)
        reports.append(make_report(runner, name, compared, pictures.names, batch, tolerance))
        if observe is not None:
            observe(observed(runner, name, batch, pictures, answers, given, tolerance))
    return merge(reports)


def make_report(
    runner: Runner,
    name: str,
    compared: Mapping[str, Comparison],
    pictures: Sequence[str],
    batch: int,
    tolerance: float,
) -> Report:
    """Put what was compared in runs of one batch size into a report."""
    task = {}
    for comparison in compared.values():
        metrics = {
            "top1_agreement": comparison.top1,
            "box_match": comparison.box_match,
            "pixel_agreement": comparison.pixels,
        }
        task.update({metric: value for metric, value in metrics.items() if value is not None})
    return Report(
        checks=tuple(
            make_check(runner, name, output, comparison, pictures, batch, tolerance)
            for output, comparison in compared.items()
        ),
        task=task,
        notes=tuple(dict.fromkeys(comparison.note for comparison in compared.values() if comparison.note)),
    )


def observed(
    runner: Runner,
    name: str,
    batch: int,
    pictures: Pictures,
    answers: Arrays,
    given: Arrays,
    tolerance: float,
    steps: Mapping[str, int] | None = None,
) -> Run:
    """Put the answers of both sides into an observer's form."""
    return Run(
        runtime=name,
        device=runner.device,
        provider=runner.provider,
        batch=batch,
        names=tuple(pictures.names),
        pictures=pictures.values,
        answers=answers,
        given=given,
        tolerance=tolerance,
        steps=steps or {},
    )


def run_batched(runner: Runner, feed: Array, batch: int) -> Arrays:
    """Run all pictures, ``batch`` at a time; the last run is filled up with the first pictures."""
    name = runner.inputs[0].name
    count = len(feed)
    missing = -count % batch
    filled = np.concatenate([feed, feed[np.arange(missing) % count]]) if missing else feed
    runs = [run_engine(runner, {name: filled[start : start + batch]}) for start in range(0, len(filled), batch)]
    return {output: np.concatenate([run[output] for run in runs])[:count] for output in runs[0]}


def make_check(
    runner: Runner,
    name: str,
    output: str,
    comparison: Comparison,
    pictures: Sequence[str],
    batch: int,
    tolerance: float,
) -> Check:
    """Put a comparison into a report's form."""
    return Check(
        runtime=name,
        device=runner.device,
        provider=runner.provider,
        images=len(pictures),
        batch=batch,
        output=output,
        max_abs_diff=comparison.max_abs_diff,
        relative_diff=comparison.relative_diff,
        cosine=comparison.cosine,
        tolerance=tolerance if comparison.tolerance is None else comparison.tolerance,
        worst=pictures[comparison.worst],
        problem=comparison.problem,
    )


def _check_statements(name: str, metadata: Mapping[str, Any], original: "Deployable") -> Report | None:
    """Compare what the artifact says of itself with the original; a report that fails where they differ."""
    expected: dict[str, Any] = {
        "task": original.task,
        "input": original.input.to_json(),
        "outputs": list(original.output_names),
        "preprocess": original.preprocess.to_json(),
        "postprocess": original.postprocess(),
        "graph_resize": original.graph_resize(),
        "labels": list(original.labels),
    }
    said = {**metadata, "outputs": [output["name"] for output in metadata["outputs"]]}
    # Whether an activation is the network's own or was added after it makes no other artifact of it.
    for document in (expected, said):
        document["postprocess"] = {**(document.get("postprocess") or {}), "added_activation": None}
    for key, value in expected.items():
        if said.get(key) != value:
            return refuted(name, key, f"the artifact's {key} is not the original's")
    return None


def refuted(name: str, subject: str, problem: str) -> Report:
    """Return a report that fails before anything was run."""
    check = Check(
        runtime=name,
        device="none",
        provider="none",
        images=0,
        batch=0,
        output=subject,
        max_abs_diff=math.inf,
        relative_diff=math.inf,
        cosine=0.0,
        tolerance=0.0,
        worst="no picture",
        problem=problem,
    )
    return Report(checks=(check,))


def merge(reports: Sequence[Report]) -> Report:
    """Put the reports of several devices together; a task metric is the worst of them."""
    names = {name for report in reports for name in report.task}
    return Report(
        checks=tuple(check for report in reports for check in report.checks),
        task={name: min(report.task[name] for report in reports if name in report.task) for name in sorted(names)},
        notes=tuple(dict.fromkeys(note for report in reports for note in report.notes)),
    )


def compare_outputs(
    head: Head,
    answers: Arrays,
    given: Arrays,
    tolerance: float,
    *,
    vacuity: bool = True,
    steps: Mapping[str, int] | None = None,
) -> dict[str, Comparison]:
    """Compare every output of the original with the artifact's.

    Of top-k only the scores with their classes are compared; a detector's answers as `compare_detections` tells, a
    segmenter's as `compare_segmentation`. ``steps`` is the step at which an original's values were sampled.
    """
    if head.segmentation is not None:
        return compare_segmentation(
            answers, given, head.segmentation, tolerance, resize=head.resize, vacuity=vacuity, steps=steps
        )
    if head.nms is not None:
        activation, fixed = head.score_activation, head.fixed_boxes
        return compare_detections(
            answers, given, head.nms, tolerance, activation=activation, fixed_boxes=fixed, vacuity=vacuity, steps=steps
        )
    if head.top_k is not None:
        (original,) = answers.values()
        scores, classes = given["scores"], given["classes"]
        return {
            "scores": compare_top_k(
                original, scores, classes, activation=head.activation, tolerance=tolerance, vacuity=vacuity
            )
        }
    if head.task == "detection":
        return _compare_anchors(head, answers, given, tolerance, vacuity=vacuity)
    if head.task == "localisation":
        return _compare_localisation(head.activation, answers, given, tolerance, vacuity=vacuity)
    activation, classifies = head.activation, head.task == "classification"
    return {
        output: compare(
            original, given[output], activation=activation, tolerance=tolerance, classes=classifies, vacuity=vacuity
        )
        for output, original in answers.items()
    }


def _compare_anchors(
    head: Head, answers: Arrays, given: Arrays, tolerance: float, *, vacuity: bool
) -> dict[str, Comparison]:
    """Compare the boxes and scores of a detector without suppression, anchor by anchor."""
    return {
        output: compare_anchors(
            original,
            given[output],
            activation=head.score_activation if output == "scores" else "none",
            scores=output == "scores",
            tolerance=tolerance,
            vacuity=vacuity and not (head.fixed_boxes and output == "boxes"),
        )
        for output, original in answers.items()
    }


def _compare_localisation(
    activation: str, answers: Arrays, given: Arrays, tolerance: float, *, vacuity: bool
) -> dict[str, Comparison]:
    """Compare class scores as a classifier's and the objectness as one logit, without activations; boxes as they are.

    Of a sigmoid's value itself ONNX Runtime is off by 1.2e-7: far from 0, relative to a value of 1e-4.
    """
    compared = {
        output: compare(
            original,
            given[output],
            tolerance=tolerance,
            vacuity=vacuity,
            classes=output not in LOCALISED,
            **LOCALISED.get(output, {"activation": activation}),
        )
        for output, original in answers.items()
    }
    box = LOCALISATIONS[1]
    if answers[box].shape == given[box].shape:
        matched = match_boxes(answers[box], given[box], tolerance)
        compared[box] = dataclasses.replace(compared[box], box_match=matched)
    return compared
