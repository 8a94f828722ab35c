"""From what verification measured to what a page shows."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import edgecv
from edgecv.comparison import TOLERANCES
from edgecv.errors import OptionError
from edgecv.findings import finding_rows
from edgecv.html_report.charts import number, on_decades, readable
from edgecv.html_report.elements import BINS_A_DECADE, FIRST, LAST, ElementErrors, element_errors
from edgecv.html_report.findings import bisection_finding, budget_finding, gather_layers
from edgecv.html_report.page import (
    Bar,
    BarGroup,
    CheckRow,
    Fact,
    Finding,
    Histogram,
    LayerErrors,
    ReportPage,
    Section,
    Verdict,
)
from edgecv.html_report.shown import MOST_BYTES, show_pictures
from edgecv.observed import Run
from edgecv.printable import short
from edgecv.report import Check, Report
from edgecv.timing import Timing
from edgecv.verification import Head

if TYPE_CHECKING:
    from edgecv.bisect import Bisection
    from edgecv.layer_errors import LayerError
    from edgecv.quantization import Quantization, Speeds

__all__ = ["Circumstances", "Proof", "gather_page"]

_METRICS = {
    "top1_agreement": "Pictures with the same best class",
    "box_match": "Boxes with a counterpart",
    "pixel_agreement": "Pixels of the same class",
}
_INT8 = (
    "in int8 every value moves, so the error of an output (rms) is held to what the output varies by between the "
    "pictures, and the task decides; 'input' is the distance to the answers for the pictures as they are, against that "
    "to the answers for altered ones"
)
_NAMES = {"onnx": "ONNX", "tflite": "TFLite"}


@dataclass(frozen=True, kw_only=True)
class Proof:
    """An artifact and what is known of it.

    Attributes:
        form: Name of its format.
        precision: Of its weights and arithmetic.
        metadata: What it says of itself, or would.
        report: What verification measured; None where it was not verified.
        runs: The answers of both sides, in the order of the runs.
        shortfall: Why it is not what was asked for; empty where it is.
        unverified: Why nothing here can run it; empty where something can. ``report`` is then of its source.
        findings: What the exporter found out.
        path: The file; None where it was not written.
        nbytes: Its size; None where it was not written.
        sha256: Of the file.
        seconds: Time that the export took.
        timing: Of a run.
        quantization: How it was quantised.
        speeds: Sizes and times of the files that it was made from.
        bisection: Where it diverges.
        layers: The errors layer by layer, where measured.
    """

    form: str
    precision: str
    metadata: Mapping[str, Any]
    report: Report | None
    runs: tuple[Run, ...] = ()
    shortfall: str = ""
    unverified: str = ""
    findings: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    nbytes: int | None = None
    sha256: str = ""
    seconds: float = 0.0
    timing: Timing | None = None
    quantization: "Quantization | None" = None
    speeds: "Speeds | None" = None
    bisection: "Bisection | None" = None
    layers: "Sequence[LayerError]" = ()

    @property
    def title(self) -> str:
        """What it is called in the page."""
        precision = "" if self.precision in ("", "float32") else f" {self.precision}"
        return f"{_NAMES.get(self.form, self.form)}{precision}"


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What a page says beside its artifacts.

    Attributes:
        original: What the artifacts were compared with, in words.
        command: The command line, word by word.
        made: When.
        machine: On what.
        original_bytes: Size of the original's weights in float32; None where it is not at hand.
    """

    original: str
    command: Sequence[str]
    made: datetime
    machine: tuple[Fact, ...] = ()
    original_bytes: int | None = None


def gather_page(proofs: Sequence[Proof], circumstances: Circumstances) -> ReportPage:
    """Return the page of artifacts of one original; pictures share what a page may weigh."""
    share = MOST_BYTES // len(proofs)
    metadata = proofs[0].metadata
    model = str(metadata.get("model", "network"))
    return ReportPage(
        title=f"{model}: {_listed([proof.title for proof in proofs])}",
        verdict=_overall(proofs),
        facts=_original_facts(metadata, _compared_with(proofs, circumstances)),
        bars=_bars(proofs, circumstances.original_bytes),
        sections=tuple(_section(number, proof, share) for number, proof in enumerate(proofs)),
        command=shlex.join(circumstances.command),
        machine=circumstances.machine,
        made=f"{circumstances.made:%Y-%m-%d %H:%M %Z}, edgecv {edgecv.__version__}",
    )


def _overall(proofs: Sequence[Proof]) -> Verdict:
    verdicts = [_verdict(proof) for proof in proofs]
    if len(proofs) == 1:
        return verdicts[0]
    failed = [proof.title for proof, verdict in zip(proofs, verdicts, strict=True) if verdict.state == "failed"]
    if failed:
        others = len(proofs) - len(failed)
        rest = f"; the other {'one does' if others == 1 else f'{others} do'}" if others else ""
        do = "does" if len(failed) == 1 else "do"
        return Verdict(state="failed", word="Failed", sentence=f"{_listed(failed)} {do} not answer as demanded{rest}.")
    unproven = [proof.title for proof, verdict in zip(proofs, verdicts, strict=True) if verdict.state == "unproven"]
    if len(unproven) == len(proofs):
        return Verdict(state="unproven", word="Not verified", sentence="Nothing was compared with the original.")
    if unproven:
        sentence = f"{_listed(unproven)} {'was' if len(unproven) == 1 else 'were'} not compared with the original."
        return Verdict(state="unproven", word="Not verified", sentence=sentence)
    names = _listed([proof.title for proof in proofs])
    worst = max(proofs, key=lambda proof: _worst_ratio(proof.report))
    return Verdict(
        state="passed", word="Passed", sentence=f"{names} answer like the original. {_most(worst, whose=worst.title)}"
    )


def _verdict(proof: Proof) -> Verdict:
    report = proof.report
    if proof.shortfall:
        return Verdict(state="failed", word="Failed", sentence=f"{proof.title} was not written: {proof.shortfall}.")
    if proof.unverified:
        source = " What it was made of answers like the original." if report is not None and report.passed else ""
        return Verdict(
            state="unproven",
            word="Not verified",
            sentence=f"{proof.title} was not run: {readable(proof.unverified)}.{source}",
        )
    if report is None:
        return Verdict(
            state="unproven", word="Not verified", sentence=f"{proof.title} was written without being compared."
        )
    if report.passed and proof.quantization is not None and proof.quantization.met is False:
        missed = proof.quantization.missed()
        return Verdict(state="failed", word="Budget missed", sentence=f"{proof.title} was written, but {missed}.")
    if report.passed:
        return Verdict(
            state="passed", word="Passed", sentence=f"{proof.title} answers like the original. {_most(proof)}"
        )
    why = _why(report.worst) if report.checks else "nothing was checked"
    return Verdict(state="failed", word="Failed", sentence=f"{proof.title} does not answer like the original: {why}.")


def _why(check: Check) -> str:
    where = f", in {check.output} on {check.worst}" if check.images else ""
    return f"{readable(check.problem)}{where}"


def _most(proof: Proof, whose: str = "") -> str:
    """Say in a sentence how far a passed artifact is from failing."""
    assert proof.report is not None
    check = proof.report.worst
    of = f" ({whose})" if whose else ""
    metrics = [f"{_METRICS.get(name, name)}: {value:.2%}" for name, value in proof.report.task.items()]
    said = f" {metrics[0]}." if metrics and not whose else ""
    if not _is_judged(check):
        return said.strip()
    if proof.precision not in TOLERANCES:
        return f"{metrics[0]}{of}." if metrics else ""
    return f"The largest relative difference{of} is {number(check.relative_diff)}{_margin(check)}.{said}"


def _margin(check: Check) -> str:
    """Say how far a difference is from what is allowed."""
    allowed = number(check.tolerance)
    times = check.tolerance / check.relative_diff if check.relative_diff else 0.0
    return f", {times:.0f} times less than allowed ({allowed})" if times >= 2 else f"; {allowed} is allowed"


def _is_judged(check: Check) -> bool:
    return check.tolerance > 0 and math.isfinite(check.tolerance)


def _worst_ratio(report: Report | None) -> float:
    ratios = [check.relative_diff / check.tolerance for check in report.checks if _is_judged(check)] if report else []
    return max(ratios, default=0.0)


def _compared_with(proofs: Sequence[Proof], circumstances: Circumstances) -> str:
    return circumstances.original if any(proof.report is not None for proof in proofs) else "nothing"


def _original_facts(metadata: Mapping[str, Any], original: str) -> tuple[Fact, ...]:
    weights = metadata.get("weights") or {}
    facts = [
        Fact(name="Model", value=f"{metadata.get('model', 'unknown')}, {metadata.get('task', 'no task')}"),
        Fact(name="Compared with", value=original),
        Fact(name="Weights", value=str(weights.get("source", "unknown"))),
        Fact(name="sha256 of the weights", value=str(weights.get("sha256", "unknown")), code=True),
    ]
    if "input" in metadata:
        facts.append(Fact(name="Input", value=_tensor(metadata["input"])))
    if "outputs" in metadata:
        facts.append(Fact(name="Outputs", value="; ".join(_tensor(output) for output in metadata["outputs"])))
    if metadata.get("labels"):
        facts.append(Fact(name="Labels", value=_few_labels(metadata["labels"])))
    return tuple(facts)


def _tensor(info: Mapping[str, Any]) -> str:
    sides = " × ".join("any" if side is None else str(side) for side in info["shape"])
    return f"{info['name']}: {info['dtype']}, {sides}"


def _few_labels(labels: Sequence[Any]) -> str:
    few = ", ".join(short(str(label)) for label in labels[:4])
    return few if len(labels) <= 4 else f"{few} and {len(labels) - 4:,} more"


def _bars(proofs: Sequence[Proof], original_bytes: int | None) -> tuple[BarGroup, ...]:
    groups = []
    sizes = [(proof.title, float(proof.nbytes), False) for proof in proofs if proof.nbytes is not None]
    if sizes:
        original = [("Weights in float32", float(original_bytes), True)] if original_bytes else []
        groups.append(
            BarGroup(title="Size", bars=_group([*original, *sizes], _megabytes), caption=_not_written(proofs))
        )
    times = [(proof.title, proof.timing.p50_ms, False) for proof in proofs if proof.timing is not None]
    if times:
        groups.append(BarGroup(title="Time of a run", bars=_group(times, _milliseconds), caption=_timed(proofs)))
    return tuple(groups)


def _group(values: Sequence[tuple[str, float, bool]], text: Any) -> tuple[Bar, ...]:
    longest = max(value for _, value, _ in values) or 1.0
    first = values[0][1]
    return tuple(
        Bar(
            label=label,
            length=value / longest,
            text=text(value),
            detail=f"{value / first:.2f} ×" if number and first else "",
            reference=reference,
        )
        for number, (label, value, reference) in enumerate(values)
    )


def _megabytes(value: float) -> str:
    return f"{value / 1e6:.2f} MB" if value >= 1e5 else f"{value / 1e3:.1f} kB"


def _milliseconds(value: float) -> str:
    return f"{value:.2f} ms" if value < 100 else f"{value:.0f} ms"


def _not_written(proofs: Sequence[Proof]) -> str:
    missing = [proof.title for proof in proofs if proof.nbytes is None]
    return f"{_listed(missing)} was not written." if missing else ""


def _timed(proofs: Sequence[Proof]) -> str:
    times = [proof.timing for proof in proofs if proof.timing is not None]
    runs = sum(timing.runs for timing in times)
    devices = sorted({run.device for proof in proofs for run in proof.runs})
    unsure = "" if all(timing.converged for timing in times) else " The machine was busy: read them as rough."
    turns = ", in turn" if len(times) > 1 else ""
    return f"Median of {runs} runs{turns}, on the {_listed(devices)}; the picture is decoded already.{unsure}"


def _section(number: int, proof: Proof, most_bytes: int) -> Section:
    report = proof.report
    head = _head(proof.metadata)
    run, errors = _drawn(proof.runs, head)
    section = Section(
        anchor=f"artifact-{number + 1}",
        title=proof.title,
        verdict=_verdict(proof),
        facts=_artifact_facts(proof),
        checks=tuple(_row(check) for check in report.checks) if report else (),
        notes=_notes(proof),
        bars=_speed_bars(proof),
        findings=_findings(proof),
        layers=_layers(proof),
    )
    if run is None or head is None:
        return section
    largest = np.max([each.largest for each in errors], axis=0) if errors else None
    shown, note = show_pictures(head, run, proof.metadata, largest, most_bytes=most_bytes)
    histograms = tuple(_histogram(each, run, proof.precision) for each in errors)
    return replace(section, histograms=histograms, shown=shown, shown_note=note)


def _notes(proof: Proof) -> tuple[str, ...]:
    notes = [readable(note) for note in proof.report.notes] if proof.report else []
    if proof.report is not None and proof.runs and proof.precision not in TOLERANCES:
        notes.insert(0, _INT8)
    return tuple(notes)


def _speed_bars(proof: Proof) -> tuple[BarGroup, ...]:
    """Return float against what was written, as the export measured them."""
    speeds = proof.speeds
    if speeds is None:
        return ()
    words = {"float32": "float32", "all_int8": "all in int8", "written": "written"}
    slower = "This file is slower than float32 on this machine." if speeds.slower_than_float else ""
    groups = []
    for title, values, text, caption in (
        ("Size against float32", speeds.sizes, _megabytes, "Before metadata are put in."),
        ("Time against float32", speeds.p50_ms, _milliseconds, f"Medians of runs in turn on this machine. {slower}"),
    ):
        shown = [(words[each], float(values[each]), each == "float32") for each in words if each in values]
        if shown:
            groups.append(BarGroup(title=title, bars=_group(shown, text), caption=caption.strip()))
    return tuple(groups)


def _findings(proof: Proof) -> tuple[Finding, ...]:
    findings = [] if proof.quantization is None else [budget_finding(proof.quantization)]
    return tuple(findings if proof.bisection is None else [*findings, bisection_finding(proof.bisection)])


def _layers(proof: Proof) -> LayerErrors | None:
    # Where the error grows most is no proof of a fault.
    proven = proof.bisection is not None and proof.bisection.verdict != "growth"
    found = proof.bisection.found if proof.bisection is not None and proven else None
    kept = [each.layer for each in proof.quantization.float_layers] if proof.quantization is not None else []
    return gather_layers(proof.layers, kept_float=kept, found=found)


def _head(metadata: Mapping[str, Any]) -> Head | None:
    try:
        return Head.of(metadata["task"], metadata["postprocess"], metadata.get("graph_resize"))
    except (KeyError, OptionError):  # a fully convolutional network, or an artifact that lacks it
        return None


def _drawn(runs: Sequence[Run], head: Head | None) -> tuple[Run | None, list[ElementErrors]]:
    """Return the run that is drawn: of several, the one that differs most."""
    if not runs or head is None:
        return None, []
    measured = [(run, element_errors(head, run)) for run in runs]
    return max(measured, key=lambda each: max((float(one.largest.max()) for one in each[1]), default=math.inf))


def _histogram(errors: ElementErrors, run: Run, precision: str) -> Histogram:
    pictures = sorted(zip(run.names, errors.largest.tolist(), strict=True), key=lambda each: -each[1])
    # Of int8 outputs as a whole are judged, not their elements.
    judged = precision in TOLERANCES and run.tolerance > 0 and math.isfinite(run.tolerance)
    return Histogram(
        output=errors.output,
        counts=tuple(errors.counts.tolist()),
        first=FIRST,
        bins_a_decade=BINS_A_DECADE,
        equal=errors.equal,
        total=errors.total,
        pictures=tuple(pictures),
        tolerance=run.tolerance if judged else None,
        note=f"{run.runtime} on {run.device}, batch {run.batch}",
    )


def _artifact_facts(proof: Proof) -> tuple[Fact, ...]:
    facts = [
        Fact(name="File", value=str(proof.path) if proof.path else "not written", code=proof.path is not None),
        Fact(name="Format", value=f"{_NAMES.get(proof.form, proof.form)}, {proof.precision or 'no precision said'}"),
    ]
    if proof.nbytes is not None:
        facts.append(Fact(name="Size", value=f"{proof.nbytes:,} bytes"))
    if proof.sha256:
        facts.append(Fact(name="sha256", value=proof.sha256, code=True))
    ran = dict.fromkeys(f"{run.runtime} on {run.device}, by {run.provider}" for run in proof.runs)
    if ran:
        facts.append(Fact(name="Ran in", value="; ".join(ran)))
    if proof.runs:
        noise = sum(name.startswith("noise:") for name in proof.runs[0].names)
        beside = f", {noise} of them seeded noise" if noise else ""
        facts.append(Fact(name="Pictures", value=f"{len(proof.runs[0].names)}{beside}"))
    facts += _metrics(proof.report)
    facts += [Fact(name=name[:1].upper() + name[1:], value=value) for name, value in finding_rows(proof.findings)]
    written = proof.metadata.get("edgecv_version")
    if written and written != edgecv.__version__:
        facts.append(Fact(name="Written by", value=f"edgecv {written}"))
    if proof.seconds:
        proven = ", verification included" if proof.report is not None else ""
        facts.append(Fact(name="Export took", value=f"{proof.seconds:.1f} s{proven}"))
    return tuple(facts)


def _row(check: Check) -> CheckRow:
    judged = _is_judged(check)
    return CheckRow(
        output=check.output,
        where=f"{check.runtime} on {check.device}" if check.images else check.runtime,
        batch=str(check.batch) if check.batch else "–",
        relative=number(check.relative_diff),
        tolerance=number(check.tolerance) if judged else "–",
        cosine=f"{check.cosine:.6f}" if math.isfinite(check.relative_diff) else "–",
        worst=check.worst,
        passed=check.passed,
        problem=readable(check.problem),
        length=on_decades(check.relative_diff, FIRST, LAST),
        limit=on_decades(check.tolerance, FIRST, LAST) if judged else None,
    )


def _metrics(report: Report | None) -> tuple[Fact, ...]:
    task = report.task if report else {}
    return tuple(
        Fact(name=_METRICS.get(name, name.replace("_", " ").capitalize()), value=f"{value:.2%}")
        for name, value in task.items()
    )


def _listed(names: Sequence[str]) -> str:
    """Return names as a sentence lists them."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
