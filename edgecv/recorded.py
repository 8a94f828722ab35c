"""The proof that travels inside an artifact: a few answers, to be demanded again on any device.

The pictures are not stored: they are `patterns.pattern` of recorded seeds, made by integers alone, so the same on
every device. The answers are the original's. Those of an int8 artifact are its own at export, where its task metric
was held against the original's: how they are compared stands at the top of `kernel_proof.py`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.comparison import Comparison
from edgecv.detection import DETECTIONS
from edgecv.detection_proof import AT_A_LIMIT
from edgecv.errors import ArtifactError
from edgecv.kernel_proof import KERNEL_TOLERANCE, compare_kernels, scales_of
from edgecv.observed import Observer
from edgecv.original import Pictures, picture_size
from edgecv.patterns import pattern
from edgecv.preprocess import Preprocess
from edgecv.recorded_values import read_values, stored_values
from edgecv.report import Report
from edgecv.runtime import Arrays, Runner, Runtime
from edgecv.runtimes.container import damaged, making_sense
from edgecv.verification import (
    Head,
    compare_outputs,
    make_report,
    merge,
    observed,
    open_quietly,
    refuted,
    run_batched,
    tolerance_of,
)

if TYPE_CHECKING:
    from edgecv.deployable import Deployable

__all__ = [
    "case_pictures",
    "hangs_on_rounding",
    "own_cases",
    "record_cases",
    "recorded_pictures",
    "verify_recorded",
]

Array = np.ndarray[Any, np.dtype[Any]]

_KIND = "pattern:"
_SEEDS = (0, 1, 2)
# Each takes a picture of memory.
_MOST_CASES = 16
# The cases' JSON text in a file: 2 % of it, or this many bytes where that is less.
_SHARE, _LEAST_TEXT = 50, 16_000
# Bytes that a case takes of one output: at most, at least where fewer cases would leave more, and at all.
_MOST_ROOM, _FAIR_ROOM, _LEAST_ROOM = 16_384, 256, 8


def case_pictures(deployable: "Deployable") -> Pictures:
    """Return the pictures of the cases that an artifact of ``deployable`` records."""
    size = picture_size(deployable.input.shape, deployable.input_size)
    values = [pattern(seed, (*size, deployable.channels)) for seed in _SEEDS]
    return Pictures(names=tuple(f"{_KIND}{seed}" for seed in _SEEDS), values=np.stack(values))


def record_cases(pictures: Pictures, answers: Arrays, nbytes: int) -> list[dict[str, Any]]:
    """Return the cases for the metadata: as much as 2 % of the file hold, or 16 kB.

    Values are sampled at the smallest step that fits. Fewer cases come before fewer than 64 values an output.

    Args:
        pictures: Of `case_pictures`.
        answers: The answers to them, with checkpoints.
        nbytes: Size of the artifact without them.
    """
    most = max(_LEAST_TEXT, nbytes // _SHARE)
    for count in range(len(pictures.names), 0, -1):
        chosen = Pictures(names=pictures.names[:count], values=pictures.values[:count])
        rows = {name: values[:count] for name, values in answers.items()}
        cases = _largest(chosen, rows, most, _FAIR_ROOM if count > 1 else _LEAST_ROOM)
        if cases:
            return cases
    return []


def hangs_on_rounding(report: Report) -> bool:
    """Tell whether cases fail only where boxes lie at limits, so that the next rounding may decide otherwise."""
    failed = [check for check in report.checks if not check.passed]
    return bool(failed) and all(AT_A_LIMIT in check.problem for check in failed)


def own_cases(
    deployable: "Deployable", runner: Runner, pictures: Pictures, answers: Arrays, nbytes: int
) -> dict[str, Any]:
    """Return the cases of an int8 artifact, with its own answers, and how far the range of each output reaches.

    Args:
        deployable: The original.
        runner: The artifact, opened with its checkpoints.
        pictures: Of `case_pictures`.
        answers: The original's answers to the pictures of verification, which tell the ranges.
        nbytes: Size of the artifact without them.
    """
    own = run_batched(runner, deployable.feed(pictures.values), deployable.batch or 1)
    head = Head.of(deployable.task, deployable.postprocess(), deployable.graph_resize())
    return {"scales": scales_of(head, answers), "cases": record_cases(pictures, own, nbytes)}


def verify_recorded(
    path: Path,
    metadata: Mapping[str, Any],
    name: str,
    runtime: Runtime,
    devices: Sequence[str],
    *,
    tolerance: float | None = None,
    observe: Observer | None = None,
) -> Report:
    """Run the recorded cases on every device.

    Args:
        path: The artifact.
        metadata: Its metadata.
        name: Name of the runtime.
        runtime: Opens it.
        devices: Devices to run on.
        tolerance: Largest relative difference; by default that of the artifact's precision.
        observe: Is called with what each run answered.

    Raises:
        ArtifactError: The artifact records no cases, or such that no longer can be run, or its metadata are damaged.
    """
    cases = _cases(path, metadata)
    recorded = _read(path, metadata, cases)
    if tolerance is not None:
        recorded = replace(recorded, tolerance=tolerance)
    inside = metadata.get("checkpoints") or ()
    reports = []
    for device in devices:
        runner = open_quietly(runtime, path, device, inside)
        given = run_batched(runner, recorded.feed, recorded.batch)
        # Settings that a float32 cannot hold: what they make of the answers is judged.
        with making_sense(path, "its recorded cases"), np.errstate(over="ignore", invalid="ignore"):
            reports.append(_check(runner, name, recorded, given, observe))
    return merge(reports)


def recorded_pictures(path: Path, metadata: Mapping[str, Any]) -> Pictures:
    """Return the recorded pictures, made again.

    Raises:
        ArtifactError: The artifact records no cases, or such that no longer can be run, or its metadata are damaged.
    """
    return _remade(path, metadata, _cases(path, metadata))


def _largest(pictures: Pictures, answers: Arrays, most: int, least_room: int) -> list[dict[str, Any]]:
    """Return the cases with the most values whose text is at most ``most`` bytes; none where even the fewest do."""
    fitting: list[dict[str, Any]] = []
    low, high = least_room, _MOST_ROOM
    while low <= high:
        # What fits is usually all, or most of it.
        room = high if high == _MOST_ROOM else (low + high) // 2
        cases = _documents(pictures, answers, room)
        if len(json.dumps(cases)) <= most:
            fitting, low = cases, room + 1
        else:
            high = room - 1
    return fitting


def _documents(pictures: Pictures, answers: Arrays, room: int) -> list[dict[str, Any]]:
    whole = DETECTIONS if "count" in answers else ()
    stored = stored_values(answers, room, whole)
    return [
        {"picture": name, "sha256": _sha256(picture), "outputs": outputs}
        for name, picture, outputs in zip(pictures.names, pictures.values, stored, strict=True)
    ]


def _cases(path: Path, metadata: Mapping[str, Any]) -> list[Any]:
    """Return the recorded cases.

    Raises:
        ArtifactError: There are none.
    """
    verification = metadata.get("verification") or {}
    if not verification and metadata.get("source_verification"):
        raise ArtifactError(
            f"{str(path)!r} is whole, its digest agrees; but nothing here can run it: "
            "what it is made of was verified in its place when it was exported."
        )
    if not verification:
        raise ArtifactError(f"{str(path)!r} records no verification. Export it with --verify, or give --against MODEL.")
    cases = verification.get("cases")
    if not cases:
        raise ArtifactError(
            f"{str(path)!r} records no cases: its digest agrees, and nothing more can be said. "
            "Give --against MODEL, or export it without --no-cases."
        )
    if not isinstance(cases, list) or len(cases) > _MOST_CASES:
        raise damaged(path, f"its recorded cases are no list of at most {_MOST_CASES}")
    return cases


def _remade(path: Path, metadata: Mapping[str, Any], cases: Sequence[Any]) -> Pictures:
    with making_sense(path, "its recorded cases"):
        names = [str(case["picture"]) for case in cases]
        other = [name for name in names if not name.startswith(_KIND)]
        shape = metadata["input"]["shape"]
        resize = metadata.get("graph_resize") or {}
        size = picture_size(shape, (resize.get("height", 0), resize.get("width", 0)))
        if not other:
            values = [pattern(int(name.removeprefix(_KIND)), (*size, shape[3])) for name in names]
            if any(case["sha256"] != _sha256(picture) for case, picture in zip(cases, values, strict=True)):
                raise ValueError("a pattern is another one")
            return Pictures(names=tuple(names), values=np.stack(values))
    raise ArtifactError(
        f"{str(path)!r} records a case of {other[0]!r}, which this edgecv cannot make. "
        "Export it again, or give --against MODEL."
    )


@dataclass(frozen=True, kw_only=True)
class _Recorded:
    """What an artifact records: what is asked, and what was answered.

    Attributes:
        head: What comparing needs to know of the outputs.
        pictures: What is asked.
        feed: What the artifact's input takes of them, ``(pictures, height, width, channels)``.
        batch: Pictures per run.
        tolerance: Largest relative difference.
        answers: One row a picture, flat and sampled.
        steps: Output → the step at which its flattened values were sampled.
        scales: Output → how far its range reaches, where the answers are the artifact's own; empty otherwise.
    """

    head: Head
    pictures: Pictures
    feed: Array
    batch: int
    tolerance: float
    answers: Arrays
    steps: dict[str, int]
    scales: dict[str, float] = field(default_factory=dict)


def _read(path: Path, metadata: Mapping[str, Any], cases: Sequence[Any]) -> _Recorded:
    pictures = _remade(path, metadata, cases)
    feed = pictures.values
    with making_sense(path, "its recorded cases"):
        if metadata["input"]["dtype"] == "float32":
            feed = Preprocess.from_json(metadata["preprocess"]).apply(feed.astype(np.float32), np)
        answers, steps = read_values(cases)
        head = Head.of(metadata["task"], metadata["postprocess"], metadata.get("graph_resize"))
        scales = {name: float(scale) for name, scale in metadata["verification"].get("scales", {}).items()}
    lacking = [name for name in _wanted(metadata, own=bool(scales)) if name not in answers]
    if lacking:
        raise damaged(path, f"its recorded cases lack {lacking[0]!r}")
    return _Recorded(
        head=head,
        pictures=pictures,
        feed=feed,
        batch=metadata["input"]["shape"][0] or 1,
        tolerance=KERNEL_TOLERANCE if scales else tolerance_of(path, metadata),
        answers=answers,
        steps=steps,
        scales=scales,
    )


def _wanted(metadata: Mapping[str, Any], *, own: bool) -> list[str]:
    """Return the outputs and checkpoints that must be recorded; of the original's top-k, all classes are."""
    top_k = metadata["postprocess"]["top_k"] is not None and not own
    outputs = [] if top_k else [output["name"] for output in metadata["outputs"]]
    return [*outputs, *(metadata.get("checkpoints") or ())]


def _check(runner: Runner, name: str, recorded: _Recorded, given: Arrays, observe: Observer | None) -> Report:
    pictures, batch, tolerance = recorded.pictures, recorded.batch, recorded.tolerance
    # Of the original's top-k all classes are recorded, of which the artifact gives the best.
    top_k = recorded.head.top_k is not None and not recorded.scales
    lacking = [output for output in (("scores", "classes") if top_k else recorded.answers) if output not in given]
    if lacking:
        return refuted(name, lacking[0], "the artifact does not give it")
    if observe is not None:
        observe(observed(runner, name, batch, pictures, recorded.answers, given, tolerance, recorded.steps))
    return make_report(runner, name, _compare(recorded, given), pictures.names, batch, tolerance)


def _compare(recorded: _Recorded, given: Arrays) -> dict[str, Comparison]:
    head, answers, steps = recorded.head, recorded.answers, recorded.steps
    if recorded.scales:
        return compare_kernels(head, answers, given, recorded.scales, steps)
    if head.segmentation is None and head.nms is None:
        given = {
            output: values.reshape(len(values), -1)[:, :: steps.get(output, 1)] for output, values in given.items()
        }
    elif head.nms is not None:
        answers = {output: _shaped(values, given.get(output)) for output, values in answers.items()}
    # That the outputs vary between pictures was shown at export, on all pictures.
    return compare_outputs(head, answers, given, recorded.tolerance, vacuity=False, steps=steps)


def _shaped(values: Array, like: Array | None) -> Array:
    """Give recorded values the artifact's shape, where all of them were recorded."""
    return values.reshape(like.shape) if like is not None and like.size == values.size else values


def _sha256(picture: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()
