"""`edgecv verify ARTIFACT`."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from edgecv.cli.bisecting import bisect_options, check_bisect_options, print_bisection, run_bisect
from edgecv.cli.common import emit_json, json_option, report_file, report_option, status, warn
from edgecv.cli.model_options import import_modules, preprocess_option, read_preprocess, weights_options
from edgecv.errors import OptionError, UnsupportedLayerError, VerificationError

if TYPE_CHECKING:
    from edgecv.bisect import Bisection
    from edgecv.decoders import SlidingWindow
    from edgecv.deployable import Deployable
    from edgecv.html_report.report_file import ReportFile
    from edgecv.preprocess import Preprocess
    from edgecv.report import Report

__all__ = ["verify"]


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--against", metavar="MODEL", help="The original: an architecture's name, a model file, a SavedModel.")
@click.option("--images", type=click.Path(path_type=Path), help="Real pictures to verify on: a folder.")
@click.option("--device", "devices", multiple=True, default=("cpu",), show_default=True, help="Repeatable.")
@weights_options
@preprocess_option
@bisect_options
@report_option
@json_option
def verify(
    artifact: Path,
    against: str | None,
    images: Path | None,
    devices: tuple[str, ...],
    report_path: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Prove that ARTIFACT answers like the original; exit 1 where it does not.

    Without --against the digest is checked and the original's answers that are recorded in the artifact
    are demanded again: that needs neither Keras nor TensorFlow. A .keras file is a fully convolutional
    network, proven cell by cell against its classifier.

    --bisect finds the first layer after which the artifact answers differently, also in a damaged file.
    """
    check_bisect_options(artifact, against, options)
    page = report_file(report_path)
    if artifact.suffix == ".keras":
        _verify_fcn(artifact, against, images, devices, page, as_json, options)
        return
    with status("verifying"):
        original, report, bisection = _verified(artifact, against, images, devices, page, options)
    if page is not None:
        from edgecv.session import runtime_of

        with status(f"writing {page.path.name}"):
            metadata = runtime_of(artifact)[1].read_metadata(artifact)
            page.write_verification(artifact, metadata, report, against, deployable=original, bisection=bisection)
    extra = {"bisect": bisection.to_json() if bisection else None} if options["bisect"] else {}
    _tell(artifact, report, as_json, partial(_print, bisection=bisection), extra)


def _verified(
    artifact: Path,
    against: str | None,
    images: Path | None,
    devices: tuple[str, ...],
    page: "ReportFile | None",
    options: dict[str, Any],
) -> "tuple[Deployable | None, Report, Bisection | None]":
    """Return the original, where there is one, what was measured, and where it diverges, where that was asked for."""
    from edgecv.pictures import find_pictures
    from edgecv.verification import verify as run_verify

    if images is not None and against is None:
        raise click.UsageError("--images needs --against MODEL: only recorded pictures have recorded answers.")
    pictures = find_pictures([str(images)]) if images is not None else None
    observe = page.observer(artifact.name) if page else None
    try:
        original = _original(artifact, against, options) if against is not None else None
    except VerificationError as error:
        return None, error.report, None
    go_on = options["bisect"]
    report = run_verify(artifact, against=original, images=pictures, devices=devices, observe=observe, go_on=go_on)
    if original is None or not go_on:
        return original, report, None
    return original, report, run_bisect(artifact, original, report, pictures, devices[0], options)


def _verify_fcn(
    file: Path,
    against: str | None,
    images: Path | None,
    devices: tuple[str, ...],
    page: "ReportFile | None",
    as_json: bool,
    options: dict[str, Any],
) -> None:
    from edgecv.cli.fcn import print_fcn_report, verify_fcn

    if against is None:
        raise click.UsageError(f"{str(file)!r} is a network and no artifact: name its classifier with --against MODEL.")
    if devices != ("cpu",):
        raise click.UsageError(f"--device is for artifacts; a network is proven on the cpu, got {', '.join(devices)}.")
    with status("verifying"):
        report = verify_fcn(file, against, images, options)
    if page is not None:
        page.write_verification(file, {"model": file.stem, "task": "fully convolutional"}, report, against)
    _tell(file, report, as_json, print_fcn_report)


def _tell(
    file: Path,
    report: "Report",
    as_json: bool,
    show: Callable[[Path, "Report"], None],
    extra: Mapping[str, Any] | None = None,
) -> None:
    if as_json:
        emit_json({**report.to_json(), **(extra or {})})
    else:
        show(file, report)
    if not report.passed:
        raise click.exceptions.Exit(1)


def _original(artifact: Path, model: str, options: dict[str, Any]) -> "Deployable":
    """Build the Deployable that the artifact claims to be.

    Raises:
        VerificationError: The model cannot be what the artifact says of it.
    """
    from edgecv.models import open_model
    from edgecv.session import runtime_of
    from edgecv.verification import refuted

    preprocess = read_preprocess(options["preprocess"])
    name, runtime = runtime_of(artifact)
    metadata = runtime.read_metadata(artifact)
    import_modules(options["imports"])
    network = open_model(
        model,
        weights=options["weights"],
        seed=options["seed"],
        # A classifier keeps the size that it was trained at.
        input_size=None if _slides(metadata) else _size(artifact, metadata),
        classes=options["classes"],
    )
    try:
        return _as_said(network, metadata, _size(artifact, metadata), preprocess)
    except (OptionError, UnsupportedLayerError) as error:
        problem = f"{model!r} cannot be its original: {str(error).partition('. ')[0].rstrip('.')}"
        raise VerificationError(problem, refuted(name, "model", problem)) from error


def _size(artifact: Path, metadata: Mapping[str, Any]) -> tuple[int, int]:
    """Return ``(height, width)`` of the network's input."""
    from edgecv.runtimes.container import damaged

    resize, shape = metadata.get("graph_resize"), metadata["input"]["shape"]
    size = (resize["height"], resize["width"]) if resize else tuple(shape[1:3])
    if len(shape) != 4 or None in size:
        raise damaged(artifact, f"its input of shape {shape} is no batch of pictures")
    return size


def _slides(metadata: Mapping[str, Any]) -> bool:
    """Tell whether the artifact's network is a classifier that was made fully convolutional."""
    from edgecv.decoders import SlidingWindow

    decoder = (metadata.get("postprocess") or {}).get("decoder")
    return isinstance(decoder, dict) and decoder.get("decoder") == SlidingWindow.name


def _as_said(
    network: Any, metadata: Mapping[str, Any], size: tuple[int, int], preprocess: "str | Preprocess | None"
) -> "Deployable":
    """Deploy a network with all that the artifact says of itself and the network does not.

    Raises:
        OptionError: They do not fit together; UnsupportedLayerError: it cannot become fully convolutional.
    """
    from edgecv.decoders import SlidingWindow, decoder_from_json
    from edgecv.deploying import GivenTask, deploy
    from edgecv.nms import Nms
    from edgecv.preprocess import Preprocess

    said = metadata.get("postprocess") or {}
    decoder = decoder_from_json(said["decoder"]) if said.get("decoder") else None
    if isinstance(decoder, SlidingWindow):
        network = _fully_convolutional(network, decoder)
    info = getattr(network, "edgecv_info", None)
    for note in info.notes if info else ():
        warn(note)
    if info is not None and info.activation is None and "added_activation" in said:
        # What a SavedModel hides: the artifact knows what it had to add to the same network.
        there = said["activation"] if said["added_activation"] == "none" else "none"
        info = network.edgecv_info = replace(info, activation=there)
    known = info is not None and info.preprocess is not None
    own = info.decoder if info else None
    if isinstance(own, SlidingWindow) and isinstance(decoder, SlidingWindow):
        own = replace(own, scales=decoder.scales)
    resize = metadata.get("graph_resize")
    return deploy(
        network,
        name=metadata["model"],
        # What a user's own network does not say of itself.
        task=metadata["task"] if metadata["task"] in get_args(GivenTask) else None,
        preprocess=preprocess or (None if known else Preprocess.from_json(metadata["preprocess"])),
        labels=None if info is not None and info.labels else metadata.get("labels"),
        activation=said.get("activation", "auto"),
        top_k=said.get("top_k"),
        input_size=size,
        input_dtype=metadata["input"]["dtype"],
        batch=metadata["input"]["shape"][0],
        decoder=own or decoder,
        nms=Nms.from_json(said["nms"]) if said.get("nms") else None,
        resize=resize.get("mode") if resize else None,
    )


def _fully_convolutional(network: Any, decoder: "SlidingWindow") -> Any:
    """Convert a classifier as it was converted at export; an FCN is left as it is."""
    from edgecv.fcn import to_fcn

    info = getattr(network, "edgecv_info", None)
    if info is not None and info.decoder is not None:
        return network
    pooled = to_fcn(network, window="pool")
    own = pooled.edgecv_info.decoder
    same = (own.window, own.offset) == (decoder.window, decoder.offset)
    return pooled if same else to_fcn(network, window="cell")


def _print(artifact: Path, report: "Report", bisection: "Bisection | None" = None) -> None:
    for check in report.checks:
        if not check.images:  # a statement, about which there are no numbers
            click.echo(f"FAIL {check.output}: {check.problem}")
            continue
        verdict = "ok  " if check.passed else "FAIL"
        click.echo(
            f"{verdict} {check.output}: relative difference {check.relative_diff:.1e} "
            f"(at most {check.tolerance:.0e}), cosine {check.cosine:.6f}, {check.images} pictures, "
            f"batch {check.batch}, {check.runtime} on {check.device}"
        )
    for name, value in report.task.items():
        click.echo(f"     {name}: {value:.3f}")
    for note in report.notes:
        warn(note)
    if not report.passed:
        summary = report.summary() if report.checks else "nothing was checked"
        click.echo(f"Error: {str(artifact)!r} is not verified: {summary}.", err=True)
    if bisection is not None:
        print_bisection(bisection)
