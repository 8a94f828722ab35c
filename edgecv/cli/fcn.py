"""`edgecv fcn MODEL -o OUT.keras`, and its proof for `edgecv verify OUT.keras --against MODEL`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecv.cli.common import emit_json, json_option, status, warn
from edgecv.cli.model_options import import_modules, parse_size, read_preprocess, weights_options

if TYPE_CHECKING:
    from edgecv.report import Report

__all__ = ["fcn", "print_fcn_report", "verify_fcn"]


@click.command()
@click.argument("model")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="A .keras file.")
@click.option(
    "--window",
    type=click.Choice(["pool", "cell"]),
    default="pool",
    show_default=True,
    help="pool: what sliding the classifier gives. cell: an answer for each cell of the feature map.",
)
@weights_options
@click.option(
    "--input-size", type=parse_size, metavar="HxW", help="Height and width in pixels of an architecture's window."
)
@json_option
def fcn(
    model: str, output: Path, window: Any, input_size: tuple[int, int] | None, as_json: bool, **options: Any
) -> None:
    """Rewrite a classifier into a fully convolutional network for pictures of any size.

    MODEL is an architecture's name, or a .keras or .h5 file. The weights are copied; nothing is trained.
    """
    from edgecv.errors import ModelError, OptionError
    from edgecv.fcn import to_fcn
    from edgecv.files import writable_folder
    from edgecv.models import open_model, save_model
    from edgecv.registry import architecture_names

    if output.suffix != ".keras":
        raise OptionError(f"The output must end in .keras, got {output.name!r}.")
    writable_folder(output)
    if model not in architecture_names() and (Path(model) / "saved_model.pb").exists():
        raise ModelError(f"{model!r} is a SavedModel, which has no layers that fcn could rewrite. Give a .keras file.")
    import_modules(options["imports"])
    with status(f"rewriting {model}"):
        network = open_model(
            model,
            weights=options["weights"],
            seed=options["seed"],
            input_size=input_size,
            classes=options["classes"],
        )
        rewritten = to_fcn(network, window=window)
        for note in rewritten.edgecv_info.notes:
            warn(note)
        save_model(rewritten, output)
    _say(output, rewritten, as_json)


def verify_fcn(file: Path, against: str, images: Path | None, options: dict[str, Any]) -> "Report":
    """Prove an FCN's file against its classifier.

    Args:
        file: What ``edgecv fcn`` wrote.
        against: The classifier: an architecture's name or a file.
        images: A folder of pictures.
        options: Those of `weights_options` and `preprocess_option`.
    """
    from edgecv.decoders import SlidingWindow
    from edgecv.extras import import_keras
    from edgecv.models import open_model
    from edgecv.pictures import find_pictures
    from edgecv.quiet import quiet_frameworks
    from edgecv.registry import architecture_names

    pictures = find_pictures([str(images)]) if images is not None else None
    preprocess = read_preprocess(options["preprocess"])
    import_modules(options["imports"])
    import_keras()
    from edgecv.fcn_proof import prove
    from edgecv.preprocess import STYLES

    network = open_model(str(file))
    decoder = network.edgecv_info.decoder
    named = against in architecture_names() and isinstance(decoder, SlidingWindow) and decoder.offset == (0, 0)
    classifier = open_model(
        against,
        weights=options["weights"],
        seed=options["seed"],
        input_size=decoder.window if named else None,
        classes=options["classes"],
    )
    for note in classifier.edgecv_info.notes:
        warn(note)
    scaling = STYLES[preprocess] if isinstance(preprocess, str) else preprocess
    with quiet_frameworks():
        return prove(network, classifier, images=pictures, preprocess=scaling)


def print_fcn_report(file: Path, report: "Report") -> None:
    """Say for each rule how many cells it compared and how far they were apart."""
    from edgecv.fcn_measure import CellCheck
    from edgecv.fcn_proof import RULES

    for check in report.checks:
        cells = check.cells if isinstance(check, CellCheck) else 0
        verdict = "ok  " if check.passed else "FAIL"
        click.echo(
            f"{verdict} {RULES.get(check.output, check.output)}: {cells} cells on {check.images} pictures, "
            f"relative difference {check.relative_diff:.1e} (at most {check.tolerance:.0e})"
        )
    for note in report.notes:
        warn(note)
    if not report.passed:
        click.echo(f"Error: {str(file)!r} is not verified: {report.worst.problem}.", err=True)


def _say(output: Path, network: Any, as_json: bool) -> None:
    info = network.edgecv_info
    decoder = info.decoder
    if as_json:
        emit_json(
            {
                "path": str(output),
                "model": info.name,
                "parameters": network.count_params(),
                "weights": info.weights_source,
                "stride": list(decoder.stride),
                "window": list(decoder.window),
                "offset": list(decoder.offset),
                "outputs": list(decoder.outputs),
                "bytes": output.stat().st_size,
            }
        )
        return
    stride, window = ("x".join(map(str, pair)) for pair in (decoder.stride, decoder.window))
    offset = ",".join(map(str, decoder.offset))
    click.echo(f"{output}  stride {stride}, window {window}, offset {offset} pixels  weights: {info.weights_source}")
