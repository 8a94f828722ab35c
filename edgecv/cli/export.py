"""`edgecv export MODEL --to FORMAT`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecv.cli.common import emit_json, json_option, report_file, report_option, status, warn
from edgecv.cli.exporter_options import ExportCommand, take_exporter_options
from edgecv.cli.model_options import (
    detection_options,
    head_options,
    import_modules,
    input_options,
    make_deployable,
    weights_options,
)
from edgecv.cli.quantization_options import (
    QuantizationOptions,
    describe_quantization,
    quantization_lines,
    quantization_options,
)
from edgecv.errors import BudgetError, EdgecvError, OptionError, ShortfallError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgecv.artifact import Artifact
    from edgecv.deployable import Deployable
    from edgecv.exporter import Exporter
    from edgecv.html_report.report_file import ReportFile
    from edgecv.pipeline import Original

__all__ = ["export"]


@click.command(cls=ExportCommand)
@click.argument("model")
@click.option("--to", "formats", multiple=True, required=True, metavar="FORMAT", help="See `edgecv list exporters`.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="A file for one format, a folder for several. Default: MODEL[-precision].suffix in the current folder.",
)
@weights_options
@input_options
@head_options
@detection_options
@click.option("--precision", default="float32", show_default=True, metavar="float32|float16|int8")
@quantization_options
@click.option("--images", type=click.Path(path_type=Path), help="Real pictures to verify on: a folder.")
@click.option("--verify/--no-verify", default=True, show_default=True, help="Run it and compare with the original.")
@click.option("--device", "devices", multiple=True, default=("cpu",), show_default=True, help="Device to verify on.")
@click.option("--cases/--no-cases", default=True, show_default=True, help="Record cases to verify it by on a device.")
@report_option
@json_option
def export(
    model: str,
    formats: tuple[str, ...],
    output: Path | None,
    precision: str,
    images: Path | None,
    verify: bool,
    devices: tuple[str, ...],
    cases: bool,
    report_path: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Write MODEL in one or more formats, each proven to answer like the original.

    MODEL is an architecture's name (`edgecv list architectures`), a .keras or .h5 file, or a SavedModel folder.
    `edgecv export --to FORMAT --help` shows the options of a format, too.
    """
    from edgecv.pictures import find_pictures
    from edgecv.pipeline import Original
    from edgecv.runtimes.folder import is_artifact_folder

    page = report_file(report_path)
    if len(set(formats)) != len(formats):
        raise OptionError(f"--to names a format twice: {', '.join(formats)}.")
    quantization = QuantizationOptions(options, precision=precision, verify=verify)
    exporters = quantization.make_exporters(formats, take_exporter_options(formats, options))
    into_folder = output is not None and output.is_dir() and not is_artifact_folder(output)
    if output is not None and len(formats) > 1 and not into_folder:
        raise OptionError(f"-o {str(output)!r} is no folder; with several formats it must be one that exists.")
    if output is not None and not into_folder:
        _check_paths({formats[0]: output}, exporters)
    for name, exporter in exporters.items():
        _check_installed(name, exporter, verify)
    pictures = find_pictures([str(images)]) if images is not None else None
    import_modules(options["imports"])
    with status("building the original"):
        deployable = make_deployable(model, options)
        for note in deployable.notes:
            warn(note)
        paths = {
            name: output if output is not None and not into_folder else _default_path(output, deployable, exporter)
            for name, exporter in exporters.items()
        }
        _check_paths(paths, exporters)
        budget = quantization.budget(deployable)
        original = Original(deployable, pictures, verify=verify, cases=cases, held_out=quantization.held_out)
    settings = {"verify": verify, "devices": devices, "cases": cases, "budget": budget}
    written = _write(original, exporters, paths, page, settings)
    for name, artifact in written.artifacts.items():
        quantization.tell_of(name, artifact)
    if page is not None:
        with status(f"writing {page.path.name}"):
            page.write_export(original, exporters, written.artifacts, written.failures)
    if as_json:
        _emit(original, exporters, written)
    else:
        _print(exporters, written)
    _end(written)


@dataclass(frozen=True, kw_only=True)
class _Written:
    """How the formats ended, by name.

    Attributes:
        artifacts: Those that were written.
        failures: Why the others were not.
        missed: The budgets that artifacts among those written miss.
    """

    artifacts: "dict[str, Artifact]" = field(default_factory=dict)
    failures: dict[str, VerificationError | ShortfallError] = field(default_factory=dict)
    missed: list[BudgetError] = field(default_factory=list)


def _write(
    original: "Original",
    exporters: "Mapping[str, Exporter]",
    paths: "Mapping[str, Path]",
    page: "ReportFile | None",
    settings: "Mapping[str, Any]",
) -> _Written:
    """Write every format; one that does not pass stops no other."""
    from edgecv.pipeline import export as run_export

    written = _Written()
    for name, exporter in exporters.items():
        observe = page.observer(name) if page else None
        try:
            with status(f"writing {paths[name].name}") as tell:
                written.artifacts[name] = run_export(
                    original, to=exporter, name=name, path=paths[name], tell=tell, observe=observe, **settings
                )
        except (VerificationError, ShortfallError) as error:
            written.failures[name] = error
        except BudgetError as error:
            written.artifacts[name] = error.artifact
            written.missed.append(error)
        except EdgecvError:
            _tell_before_error(exporters, written)
            raise
    return written


def _emit(original: "Original", exporters: "Mapping[str, Exporter]", written: _Written) -> None:
    weights = {"source": original.deployable.weights_source, "sha256": original.weights_sha256}
    documents = [
        _document(original, name, exporter, written.artifacts[name])
        if name in written.artifacts
        else _failed_document(original, name, exporter, written.failures[name])
        for name, exporter in exporters.items()
    ]
    emit_json({"model": original.deployable.name, "weights": weights, "artifacts": documents})


def _print(exporters: "Mapping[str, Exporter]", written: _Written) -> None:
    for name, artifact in written.artifacts.items():
        click.echo(_line(artifact, exporters[name]))
        for line in (*quantization_lines(artifact), *_finding_lines(artifact.findings)):
            click.echo(f"    {line}")
    for failure in written.failures.values():
        for line in _finding_lines(failure.findings) if isinstance(failure, ShortfallError) else ():
            click.echo(f"    {line}")


def _end(written: _Written) -> None:
    """Say what did not pass, and exit with 1 where something did not."""
    for miss in written.missed:
        click.echo(f"Error: {miss}. The best that was found was written.", err=True)
    for failure in written.failures.values():
        click.echo(f"Error: {failure}. Nothing was written.", err=True)
    if written.failures or written.missed:
        raise click.exceptions.Exit(1)


def _check_installed(name: str, exporter: "Exporter", verify: bool) -> None:
    """Say what is missing before the long work starts."""
    from edgecv.exporting import runtime_of_exporter, source_exporter, unverified_because

    by_source = unverified_because(exporter) is not None
    runtime = runtime_of_exporter(exporter) if verify and not by_source else None
    if exporter.source != "deployable":
        _check_installed(exporter.source, source_exporter(exporter), verify=verify and by_source)
    for plugin in (exporter, runtime[1] if runtime is not None else None):
        missing = getattr(plugin, "missing", None)
        reason = missing() if missing is not None else None
        if reason is not None:
            what = "written" if plugin is exporter else "verified"
            raise EdgecvError(f"{name} cannot be {what} here: {reason}")


def _default_path(folder: Path | None, deployable: "Deployable", exporter: "Exporter") -> Path:
    from edgecv.exporting import default_name

    return (folder or Path()) / default_name(deployable, exporter)


def _check_paths(paths: dict[str, Path], exporters: "Mapping[str, Exporter]") -> None:
    """Refuse what cannot be written before the long work starts."""
    from edgecv.errors import OutputError
    from edgecv.exporting import check_path
    from edgecv.files import writable_folder

    for name, path in paths.items():
        twice = [other for other, same in paths.items() if same == path and other != name]
        if twice:
            raise OptionError(f"{name} and {twice[0]} would both write {str(path)!r}. Export them one by one with -o.")
        writable_folder(path)
        if not exporters[name].suffix:
            check_path(path, name, exporters[name])
        elif path.is_dir():
            raise OutputError(f"Cannot write {str(path)!r}: it is a folder. Name a file with -o.")


def _tell_before_error(exporters: "Mapping[str, Exporter]", written: _Written) -> None:
    """Tell how the formats before the one that cannot be written ended; stdout stays empty."""
    for name, artifact in written.artifacts.items():
        warn(f"Before the error: {_line(artifact, exporters[name])}")
    for failure in written.failures.values():
        warn(f"Before the error: {failure}. Nothing was written.")


def _line(artifact: "Artifact", exporter: "Exporter") -> str:
    from edgecv.exporting import unverified_because

    proof = artifact.report.summary() if artifact.report else "not verified"
    if artifact.source_report is not None:
        source = f"its {exporter.source} source is {artifact.source_report.summary()}"
        proof = f"not verified, {unverified_because(exporter)}; {source}"
    images = f" on {artifact.report.checks[0].images} pictures" if artifact.report else ""
    return f"{artifact.path}  {artifact.nbytes / 1e6:.1f} MB  {artifact.seconds:.1f} s  {proof}{images}"


def _finding_lines(findings: "Mapping[str, Any]") -> list[str]:
    from edgecv.findings import finding_rows

    return [f"{name}: {value}" for name, value in finding_rows(findings)]


def _document(original: "Original", name: str, exporter: "Exporter", artifact: "Artifact") -> dict[str, Any]:
    return {
        "path": str(artifact.path),
        "format": name,
        "precision": exporter.precision,
        "bytes": artifact.nbytes,
        "sha256": artifact.sha256,
        "seconds": round(artifact.seconds, 3),
        "inputs": [original.deployable.input.to_json()],
        "optional_inputs": list(artifact.optional_inputs),
        "outputs": [output.to_json() for output in artifact.outputs],
        "quantization": describe_quantization(artifact),
        "findings": dict(artifact.findings),
        "verification": artifact.report.to_json() if artifact.report else None,
        "source_verification": artifact.source_report.to_json() if artifact.source_report else None,
    }


def _failed_document(
    original: "Original", name: str, exporter: "Exporter", failure: VerificationError | ShortfallError
) -> dict[str, Any]:
    """Return the keys of `_document` for an artifact that was not written."""
    return {
        "path": None,
        "format": name,
        "precision": exporter.precision,
        "bytes": None,
        "sha256": None,
        "seconds": None,
        "inputs": [original.deployable.input.to_json()],
        "optional_inputs": [],
        "outputs": [output.to_json() for output in original.outputs],
        "quantization": None,
        "findings": failure.findings if isinstance(failure, ShortfallError) else {},
        "verification": failure.report.to_json() if isinstance(failure, VerificationError) else None,
        "source_verification": None,
    }
