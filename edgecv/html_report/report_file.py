"""The page of a command: it is checked before the work, hears what verification sees, and is written at the end."""

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv.errors import EdgecvError, OptionError, OutputError, ShortfallError, VerificationError, one_line
from edgecv.extras import require
from edgecv.files import replace_whole, writable_folder
from edgecv.observed import Observer, Run

if TYPE_CHECKING:
    from edgecv.artifact import Artifact
    from edgecv.bisect import Bisection
    from edgecv.deployable import Deployable
    from edgecv.exporter import Exporter
    from edgecv.html_report.gather import Proof
    from edgecv.layer_errors import LayerError
    from edgecv.pipeline import Original
    from edgecv.report import Report

__all__ = ["ReportFile"]

# Pictures on which the errors of layers are measured.
_MEASURED_ON = 4


class ReportFile:
    """A report that will be written.

    Attributes:
        path: Where.
    """

    def __init__(self, path: Path, command: Sequence[str] | None = None) -> None:
        """Check that it can be written.

        Args:
            path: The file.
            command: The words of the command; by default this process's.

        Raises:
            OptionError: The suffix is none of a page.
            OutputError: It cannot be written there.
            MissingExtraError: Jinja2 is not installed.
        """
        require("jinja2", extra="report", purpose="A report")
        if path.suffix not in (".html", ".htm"):
            raise OptionError(f"--report must be a FILE.html, got {str(path)!r}.")
        writable_folder(path)
        if path.is_dir():
            raise OutputError(f"Cannot write {str(path)!r}: it is a folder. Name a file with --report.")
        self.path = path
        self._command = ["edgecv", *sys.argv[1:]] if command is None else list(command)
        self._runs: dict[str, list[Run]] = defaultdict(list)

    def observer(self, name: str) -> Observer:
        """Return what verification of the artifact of this name is to be given."""
        return self._runs[name].append

    def write_export(
        self,
        original: "Original",
        exporters: Mapping[str, "Exporter"],
        artifacts: Mapping[str, "Artifact"],
        failures: Mapping[str, VerificationError | ShortfallError],
    ) -> None:
        """Write the page of an export: a section for each format, also for those that failed.

        Raises:
            OutputError: It cannot be written any more.
        """
        from edgecv.exporting import unverified_because
        from edgecv.html_report.gather import Proof
        from edgecv.pipeline import describe

        common = describe(original)
        proofs = {}
        for name, exporter in exporters.items():
            artifact, failure = artifacts.get(name), failures.get(name)
            proof = Proof(
                form=name,
                precision=exporter.precision,
                metadata=common,
                report=failure.report if isinstance(failure, VerificationError) else None,
                runs=tuple(self._runs[name]),
            )
            if isinstance(failure, ShortfallError):
                proof = replace(proof, shortfall=one_line(failure), findings=failure.findings)
            if artifact is not None:
                proof = replace(
                    proof,
                    report=artifact.report or artifact.source_report,
                    unverified=(unverified_because(exporter) or "") if artifact.report is None else "",
                    findings=artifact.findings,
                    path=artifact.path,
                    nbytes=artifact.nbytes,
                    sha256=artifact.sha256,
                    seconds=artifact.seconds,
                    quantization=artifact.quantization,
                    speeds=artifact.quantization.speeds if artifact.quantization is not None else artifact.speeds,
                    layers=_layer_errors(original.deployable, artifact.path, self._runs[name], exporter.precision),
                )
            proofs[name] = proof
        network: Any = original.deployable.network
        self._write(proofs, "the Keras network, run here", 4 * int(network.count_params()))

    def write_verification(
        self,
        path: Path,
        metadata: Mapping[str, Any],
        report: "Report",
        against: str | None,
        *,
        deployable: "Deployable | None" = None,
        bisection: "Bisection | None" = None,
    ) -> None:
        """Write the page of one artifact.

        Args:
            path: The artifact.
            metadata: What it says of itself.
            report: What verification measured.
            against: The original, as the user named it; None where its recorded answers were demanded.
            deployable: The original, where it is at hand.
            bisection: Where the artifact diverges.

        Raises:
            OutputError: It cannot be written any more.
        """
        from edgecv.artifact import Artifact
        from edgecv.html_report.gather import Proof

        artifact, runs = Artifact(path=path), self._runs[path.name]
        precision = str(metadata.get("precision", ""))
        proof = Proof(
            form=str(metadata.get("format", path.suffix.lstrip("."))),
            precision=precision,
            metadata=metadata,
            report=report,
            runs=tuple(runs),
            path=path,
            nbytes=artifact.nbytes,
            sha256=artifact.sha256,
            bisection=bisection,
            layers=bisection.layers if bisection else _layer_errors(deployable, path, runs, precision),
        )
        original = "the original's answers that the artifact carries" if against is None else f"{against}, run in Keras"
        self._write({path.name: proof}, original, None)

    def _write(self, proofs: Mapping[str, "Proof"], original: str, original_bytes: int | None) -> None:
        from edgecv.html_report.gather import Circumstances, gather_page
        from edgecv.html_report.machine import machine_facts
        from edgecv.html_report.render import render

        circumstances = Circumstances(
            original=original,
            command=self._command,
            made=datetime.now(UTC),
            machine=machine_facts(),
            original_bytes=original_bytes,
        )
        page = render(gather_page(_timed(proofs), circumstances))
        with replace_whole(self.path) as temporary:
            temporary.write_text(page, encoding="utf-8")


def _layer_errors(
    deployable: "Deployable | None", path: Path, runs: Sequence[Run], precision: str
) -> "Sequence[LayerError]":
    """Measure where an int8 artifact's error grows, on a few pictures; in float it is rounding everywhere."""
    if deployable is None or not runs or precision != "int8":
        return ()
    from edgecv.layer_errors import layer_errors

    photos = [row for row, name in enumerate(runs[0].names) if not name.startswith("noise:")][:_MEASURED_ON]
    try:
        return layer_errors(deployable, path, deployable.feed(runs[0].pictures[photos])) if photos else ()
    except EdgecvError:  # a plugin's format, whose tensors cannot be seen: the page goes without
        return ()


def _timed(proofs: Mapping[str, "Proof"]) -> list["Proof"]:
    """Time what is written and passed: how fast a wrong answer comes is of no interest."""
    from edgecv.html_report.latency import time_artifacts

    written = {
        name: (proof.path, proof.runs[0])
        for name, proof in proofs.items()
        if proof.path is not None
        and proof.runs
        and proof.report is not None
        and proof.report.passed
        and not proof.unverified
    }
    times = time_artifacts(written)
    return [replace(proof, timing=times.get(name)) for name, proof in proofs.items()]
