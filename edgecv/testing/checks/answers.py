"""Whether artifacts answer as their originals do, on every kind of network and in every precision."""

import functools
from typing import TYPE_CHECKING, Any

from edgecv.errors import VerificationError, one_line
from edgecv.exporting import tolerance_of_exporter, unverified_because
from edgecv.testing.cases import CASES, MOST_DETECTIONS
from edgecv.testing.check import Check, FailedError, SkippedError, demand

if TYPE_CHECKING:
    import numpy as np

    from edgecv.testing.bench import Bench

__all__ = ["CHECKS"]

_GROUP = "Answers"
# What is compared here is not a logit but what came out: as much again is left for the softmax and for shifts of rows.
_SLACK = 10.0
# Cases that each reduced precision is tried on, beside the first.
_REDUCED = ("classifier", "detector", "segmenter")


def _answers(bench: "Bench", case: str, precision: str | None = None) -> None:
    if precision is not None and precision not in bench.factory.precisions:
        raise SkippedError(f"it does not write {precision}")
    if precision is not None and precision == bench.base:
        raise SkippedError(f"{precision} is the precision of all other checks")
    if bench.base == "int8" and CASES[case].unproven_in_int8:
        raise SkippedError(f"int8 cannot be judged by it: {CASES[case].unproven_in_int8}")
    made = bench.made(case, precision)
    if made.error is not None:
        line = one_line(made.error)
        if isinstance(made.error, VerificationError):
            raise FailedError(line)
        raise FailedError(f"exporting raises {type(made.error).__name__}: {line}")
    demand(made.artifact is not None, "it was not written")
    if made.artifact is not None and unverified_because(bench.exporter()) is not None:
        demand(made.artifact.source_report is not None, "neither it nor what it starts from was verified")
    elif made.artifact is not None:
        demand(made.artifact.report is not None, "it was not verified")


def _extremes(bench: "Bench") -> None:
    case = bench.first("every-anchor", "classifier", "segmenter", "several-outputs", *CASES)
    for each in {case: 0, bench.simplest: 0}:
        _compare_plain(bench, each)


def _compare_plain(bench: "Bench", case: str) -> None:
    """Compare the tensors themselves, without any rule that excuses a difference."""
    import numpy as np

    deployable, runner = bench.original(case).deployable, bench.runner(case)
    tolerance = _SLACK * tolerance_of_exporter(bench.exporter()) if bench.base != "int8" else 0.5
    for name, picture in zip(("black", "white"), bench.pictures(case)[-2:], strict=True):
        feed = deployable.feed(picture[None])
        given = runner.run({deployable.input.name: feed})
        for output, expected in deployable.run(feed, checkpoints=True).items():
            if expected.dtype.kind != "f":
                continue
            demand(output in given, f"{case}: there is no {output!r}")
            difference = np.abs(given[output].astype(np.float64) - expected).max() / max(np.abs(expected).max(), 1e-6)
            demand(
                np.isfinite(difference) and difference <= tolerance,
                f"{case}: on an all-{name} picture {output!r} is off by {difference:.1e} of its largest value",
            )


def _nothing_found(bench: "Bench") -> None:
    for given in _detections(bench, "no-detections"):
        demand(int(given["count"][0]) == 0, f"count is {int(given['count'][0])} where no score is above the threshold")
        for name in ("boxes", "scores", "classes"):
            demand(not given[name].any(), f"{name!r} is not all zeros where nothing was found")


def _too_many(bench: "Bench") -> None:
    for given in _detections(bench, "too-many-detections"):
        count = int(given["count"][0])
        demand(count == MOST_DETECTIONS, f"count is {count} where more than {MOST_DETECTIONS} would be found")


def _in_order(bench: "Bench") -> None:
    import numpy as np

    found = 0
    for given in _detections(bench, "detector"):
        count = int(given["count"][0])
        found += count
        boxes, scores, classes = (given[name][0] for name in ("boxes", "scores", "classes"))
        demand(np.all(np.diff(scores[:count]) <= 0), "the detections are not sorted by score, best first")
        demand(not any(rows[count:].any() for rows in (boxes, scores, classes)), "rows past count are not zeros")
        demand(np.all((classes >= 0) & (classes < 3)), "classes are not 0 to 2 for a detector of three classes")
        demand(np.all(boxes[:, :2] <= boxes[:, 2:]), "boxes are not x1, y1, x2, y2")
    demand(found > 0, "nothing is found on any picture")


def _detections(bench: "Bench", case: str) -> "list[dict[str, np.ndarray[Any, Any]]]":
    runner = bench.runner(case)
    runs = [runner.run({"image": picture[None]}) for picture in bench.pictures(case)]
    lacking = [name for name in ("boxes", "scores", "classes", "count") if name not in runs[0]]
    demand(not lacking, f"there is no output {lacking[:1]}: suppression is not inside")
    return runs


def _batch(bench: "Bench") -> None:
    import numpy as np

    pictures = bench.pictures("dynamic-batch")
    runner = bench.runner("dynamic-batch")
    together = runner.run({"image": pictures})
    for index, picture in enumerate(pictures):
        alone = runner.run({"image": picture[None]})
        for name, values in alone.items():
            demand(len(together[name]) == len(pictures), f"{name!r} has {len(together[name])} rows for {len(pictures)}")
            demand(
                np.allclose(together[name][index], values[0], rtol=1e-3, atol=1e-5),
                f"{name!r} of a picture depends on its neighbours in the batch",
            )


def _verified_again(bench: "Bench") -> None:
    import edgecv
    from edgecv.quiet import quiet_frameworks

    bench.must_run()
    case = bench.simplest
    path = bench.artifact(case).path
    with quiet_frameworks():
        recorded = edgecv.verify(path)
        anew = edgecv.verify(path, against=bench.original(case).deployable)
    demand(recorded.passed, f"`edgecv verify` of the recorded answers fails: {recorded.summary()}")
    demand(anew.passed, f"`edgecv verify --against` fails: {anew.summary()}")


_WRONG_ANSWER = (
    "Look first at what is about pictures: order of channels, scaling, layout, padding; then bisect: "
    "`edgecv verify ARTIFACT --against MODEL --bisect` names the first layer. "
)
_OR_REFUSE = "What the format cannot do, `unsupported(deployable)` says in one line."


def _case_checks() -> list[Check]:
    checks = [
        Check(
            name=f"answers-{case.name}",
            group=_GROUP,
            demands=f"{case.says[0].upper()}{case.says[1:]} is exported and answers like the original.",
            remedy=_WRONG_ANSWER + _OR_REFUSE,
            run=functools.partial(_answers, case=case.name),
        )
        for case in CASES.values()
    ]
    checks += [
        Check(
            name=f"answers-{precision}-{case}",
            group=_GROUP,
            demands=f"{CASES[case].says[0].upper()}{CASES[case].says[1:]} answers like the original in {precision}.",
            remedy=f"Keep what reduced precision breaks in float32, such as scaling, decoding and NMS; or take "
            f"{precision} out of `precisions`. " + _OR_REFUSE,
            run=functools.partial(_answers, case=case, precision=precision),
        )
        for precision in ("float32", "float16", "int8")
        for case in _REDUCED
        if precision != "float32"
    ]
    return checks


CHECKS = (
    *_case_checks(),
    Check(
        name="answers-black-and-white",
        group=_GROUP,
        demands="Pictures of only 0 or only 255 are answered as by the original, output by output.",
        remedy="Look for arithmetic in uint8, which wraps around, and for scaling by 256 or 254.",
        run=_extremes,
    ),
    Check(
        name="answers-nothing-found",
        group=_GROUP,
        demands="A detector that finds nothing gives count 0 and rows of zeros.",
        remedy="Give fixed shapes, and set rows past count to zero.",
        run=_nothing_found,
    ),
    Check(
        name="answers-too-many-found",
        group=_GROUP,
        demands="A detector gives max_detections where it finds more.",
        remedy="Cut after suppression, best scores first.",
        run=_too_many,
    ),
    Check(
        name="answers-in-order",
        group=_GROUP,
        demands="Detections are sorted by score, boxes are x1, y1, x2, y2, rows past count are zeros.",
        remedy="Write the graph of `Deployable.graph` as it is, suppression included.",
        run=_in_order,
    ),
    Check(
        name="answers-batch",
        group=_GROUP,
        demands="In a dynamic batch every picture is answered as it is alone.",
        remedy="Look for a reshape with a fixed first dimension, and for statistics over the batch.",
        run=_batch,
    ),
    Check(
        name="verified-again",
        group=_GROUP,
        demands="`edgecv verify` passes on the written artifact, with the original and without.",
        remedy="Make read_metadata give what write_metadata was given, and open() run what was verified.",
        run=_verified_again,
    ),
)
