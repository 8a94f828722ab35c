"""``edgecv evaluate``: how good a network is, the same way for Keras, ONNX and TFLite."""

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgecv.cli.common import device_option, emit_json, json_option, progress, say, status, threads_option, warn
from edgecv.cli.model_options import (
    detection_options,
    head_options,
    import_modules,
    make_deployable,
    parse_size,
    preprocess_option,
    weights_options,
)

if TYPE_CHECKING:
    from edgecv.data.samples import Dataset, Sample
    from edgecv.deployable import Deployable
    from edgecv.evaluation.evaluate import Evaluation
    from edgecv.session import Session
    from edgecv.training.settings import Settings

__all__ = ["evaluate"]

# Options that an artifact has no use for: they were decided at its export.
_OF_NETWORKS = frozenset(
    {
        "weights", "classes", "imports", "input_size", "preprocess", "task", "activation", "top_k", "labels", "fcn",
        "window", "scales", "decoder", "nms", "max_detections", "pre_nms_top_k", "class_agnostic", "best_class",
        "soft_nms",
    }
)  # fmt: skip
_OF_FILES = frozenset({"predictions", "ground_truth", "plot", "save", "as_json"})


@click.command()
@click.argument("model", metavar="MODEL_OR_ARTIFACT", required=False)
@click.option("--data", metavar="PATH", help="Labelled pictures: a folder, a file of labels, or tfds:NAME.")
@click.option("--format", "data_format", metavar="NAME", help="Format of the data. Default: recognised.")
@click.option(
    "--part",
    type=click.Choice(["test", "val", "train", "all"]),
    help="Default: the data's own test part, else all; for a RUN_DIR the test part of its split.",
)
@click.option("--split", "ratios", metavar="75/15/10", help="Divide the data as train does, with --seed.")
@click.option("--limit", type=click.IntRange(min=1), help="Measure on N pictures, evenly spread over the part.")
@click.option("--skip-broken", is_flag=True, help="Go on without labels and pictures that are broken.")
@click.option("--predictions", type=click.Path(path_type=Path), metavar="FILE.json", help="COCO results to measure.")
@click.option("--ground-truth", type=click.Path(path_type=Path), metavar="FILE.json", help="COCO instances for them.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE.png|DIR",
    help="Draw the figures; of detectors and segmenters also the worst answers.",
)
@click.option("--save", type=click.Path(path_type=Path), metavar="FILE.json", help="Write the JSON document, too.")
@device_option
@threads_option
@click.option(
    "--batch", type=click.IntRange(min=1), help="Pictures per run where any number goes in. Default: 32, detectors 1."
)
@weights_options
@click.option("--input-size", type=parse_size, metavar="HxW", help="Height and width in pixels.")
@preprocess_option
@head_options
@detection_options
@json_option
@click.pass_context
def evaluate(ctx: click.Context, /, **options: Any) -> None:
    """Measure MODEL_OR_ARTIFACT on labelled pictures, or detections in files of COCO's form.

    A model is an architecture's name, a .keras or .h5 file, a RUN_DIR or a SavedModel; an artifact is what `export`
    wrote. With --predictions and --ground-truth no network is needed.
    """
    given = {name for name in options if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    _check_outputs(options)
    if options["predictions"] is not None or options["ground_truth"] is not None:
        evaluation = _of_files(options, given)
    elif options["model"] is None:
        raise click.UsageError("Name a model or an artifact with --data, or --predictions with --ground-truth.")
    else:
        evaluation = _of_network(options, given)
    for note in evaluation.notes:
        warn(note)
    document = evaluation.to_json()
    if options["plot"] is not None:
        from edgecv.evaluation.plots import draw_evaluation

        document["plots"] = [str(file) for file in draw_evaluation(evaluation, options["plot"])]
        say(f"drawn: {', '.join(document['plots'])}")
    if options["save"] is not None:
        _write(options["save"], document)
    if options["as_json"]:
        emit_json(document)
    else:
        _print(evaluation, document)


def _check_outputs(options: Mapping[str, Any]) -> None:
    """Refuse what cannot be written before anything is measured."""
    if options["plot"] is not None:
        from edgecv.evaluation.plots import check_plot_path

        check_plot_path(options["plot"])
    if options["save"] is not None:
        from edgecv.errors import OptionError
        from edgecv.files import writable_folder

        if options["save"].is_dir():
            raise OptionError(f"--save {str(options['save'])!r} is a folder. Name a file that ends in .json.")
        writable_folder(options["save"])


def _of_files(options: Mapping[str, Any], given: set[str]) -> "Evaluation":
    for name in ("predictions", "ground_truth"):
        if options[name] is None:
            raise click.UsageError(f"--{name.replace('_', '-')} is missing: both files are needed.")
    for name in sorted(given - _OF_FILES):
        what = "A network" if name == "model" else _flag(name)
        raise click.UsageError(f"{what} has no use with --predictions: only the files are compared. Leave it out.")
    from edgecv.evaluation.from_files import evaluate_files

    with status("comparing"):
        return evaluate_files(options["predictions"], options["ground_truth"])


def _of_network(options: dict[str, Any], given: set[str]) -> "Evaluation":
    from edgecv.data.problems import BrokenDataError
    from edgecv.evaluation.evaluate import evaluate as run

    artifact = _is_artifact(options["model"])
    if artifact:
        for name in sorted(given & _OF_NETWORKS):
            raise click.UsageError(f"{_flag(name)} is for networks; what an artifact does was decided at its export.")
        if "seed" in given and options["ratios"] is None and options["part"] is None:
            raise click.UsageError("--seed is for --split and --part: an artifact has no random weights. Leave it out.")
    try:
        dataset, part, samples = _pictures(options, given)
    except BrokenDataError as error:
        for problem in error.problems:
            say(str(problem))
        raise
    session = _open_artifact(options) if artifact else _open_network(options)
    if artifact and part == "all" and options["part"] is None:
        _warn_of_learned(session, dataset)
    thresholds = {name: options[name] if artifact else None for name in ("score_threshold", "iou_threshold")}
    with progress("Evaluating", len(samples)) as step:
        evaluation = run(
            session,
            dataset,
            samples,
            progress=step,
            batch=options["batch"],
            skip_broken=options["skip_broken"],
            **thresholds,
        )
    about = dict(evaluation.about)
    return dataclasses.replace(evaluation, about={**about, "data": {**about["data"], "part": part}})


def _warn_of_learned(session: "Session", dataset: "Dataset") -> None:
    """Say that an artifact may be measured on what its network learned from: it does not know how that was split."""
    trained = str(session.metadata["weights"]["source"]).startswith("trained")
    if trained and not dataset.of_part("train"):
        warn(
            "All pictures are measured: if the network learned from some of them, --part test takes those that "
            "`edgecv train` set aside (with its --split and --seed, where given); if not, say --part all."
        )


def _is_artifact(model: str) -> bool:
    from edgecv.registry import architecture_names
    from edgecv.session import known_suffixes

    return Path(model).suffix.lower() in known_suffixes() and model not in architecture_names()


def _pictures(options: Mapping[str, Any], given: set[str]) -> "tuple[Dataset, str, Sequence[Sample]]":
    """Read the data, and choose the part to measure on."""
    from edgecv.data.reading import open_data
    from edgecv.data.splitting import parse_ratios
    from edgecv.evaluation.selection import select, spread
    from edgecv.training.run_data import few_of_each_class
    from edgecv.training.run_dir import is_run_dir

    run = Path(options["model"])
    path, skip_broken = options["data"], options["skip_broken"]
    ratios = parse_ratios(options["ratios"]) if options["ratios"] is not None else None
    seed = options["seed"] if "seed" in given else None
    if is_run_dir(run):
        settings = _settings_of_run(run, path)
        if settings is not None:
            dataset = _data_of_run(settings, options["data_format"], skip_broken)
            part, samples = select(
                dataset,
                part=options["part"],
                ratios=ratios or settings.split,
                seed=settings.seed if seed is None else seed,
            )
            if settings.per_class is not None and part in ("train", "val"):
                samples = few_of_each_class(samples, settings.per_class, settings.seed)
            return dataset, part, spread(samples, options["limit"])
    elif path is None:
        raise click.UsageError("--data is missing: name the labelled pictures.")
    dataset = open_data(path, format=options["data_format"], skip_broken=skip_broken)
    part, samples = select(dataset, part=options["part"], ratios=ratios, seed=seed)
    return dataset, part, spread(samples, options["limit"])


def _settings_of_run(run: Path, path: str | None) -> "Settings | None":
    """Return a run's settings, its data being where they are now; None where others are to be measured on.

    Args:
        run: RUN_DIR.
        path: The data that are asked for; None for the run's own.
    """
    from edgecv.training.run_dir import read_run
    from edgecv.training.settings import Settings

    document = read_run(run)
    settings = Settings.from_json(document["settings"])
    if path is None:
        return settings
    moved = dataclasses.replace(settings, data=path)
    same = os.path.realpath(path) == os.path.realpath(settings.data)
    return moved if same or _are_the_same(moved, document.get("data") or {}) else None


def _are_the_same(settings: "Settings", record: Mapping[str, Any]) -> bool:
    """Tell whether data are those that a run knows, in another place."""
    from edgecv.data.reading import open_data
    from edgecv.errors import EdgecvError
    from edgecv.training.listener import Listener
    from edgecv.training.run_data import read_data

    try:
        dataset = open_data(settings.data, format=settings.format, skip_broken=settings.skip_broken)
        # Reading them as the run did decodes every picture: only where that can be the end of it.
        if len(dataset.samples) + dataset.skipped != record.get("pictures", 0) + record.get("skipped", 0):
            return False
        return read_data(settings, Listener()).fingerprint() == record.get("fingerprint")
    except EdgecvError:  # whatever it is, they are none that a run could learn from
        return False


def _data_of_run(settings: "Settings", data_format: str | None, skip_broken: bool) -> "Dataset":
    """Open the data of a run, without the pictures that it left out before it divided them."""
    from edgecv.data.checking import check_pictures, without
    from edgecv.data.reading import open_data

    skip_broken = skip_broken or settings.skip_broken
    dataset = open_data(settings.data, format=data_format or settings.format, skip_broken=skip_broken)
    if not settings.skip_broken:
        return dataset
    with progress("Checking pictures", len(dataset.samples)) as step:
        problems = check_pictures(dataset, progress=step)
    return without(dataset, problems)


def _open_artifact(options: Mapping[str, Any]) -> "Session":
    from edgecv.quiet import quiet_frameworks
    from edgecv.session import load

    with quiet_frameworks():
        return load(options["model"], device=options["device"], threads=options["threads"])


def _open_network(options: Mapping[str, Any]) -> "Session":
    from edgecv.keras_session import keras_session, use_threads
    from edgecv.quiet import quiet_frameworks

    if options["threads"] is not None:
        use_threads(options["threads"])
    import_modules(options["imports"])
    with status("opening the network"):
        # As `export` would take it, with any number of pictures a run.
        deployable = make_deployable(options["model"], {**options, "input_dtype": "uint8", "batch": 0, "resize": None})
        for note in deployable.notes:
            warn(note)
        if options["score_threshold"] is None:
            deployable = _unlimited(deployable)
        with quiet_frameworks():
            return keras_session(deployable, device=options["device"])


def _unlimited(deployable: "Deployable") -> "Deployable":
    """Return a detector whose score threshold, which nobody has asked for, does not limit its AP."""
    from edgecv.evaluation.evaluate import LIMITING_SCORE

    head = deployable.detection
    if head is None or head.nms is None:
        return deployable
    nms = dataclasses.replace(head.nms, score_threshold=LIMITING_SCORE)
    return dataclasses.replace(deployable, detection=dataclasses.replace(head, nms=nms))


def _flag(name: str) -> str:
    names = {"imports": "import", "data_format": "format", "ratios": "split", "nms": "no-nms"}
    return f"--{names.get(name, name).replace('_', '-')}"


def _write(path: Path, document: Mapping[str, Any]) -> None:
    from edgecv.files import replace_whole

    with replace_whole(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    say(f"written: {path}")


def _print(evaluation: "Evaluation", document: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # In a pipe, names that are cut help nobody.
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 1000)
    click.echo(_headline(document))
    for name, value in evaluation.measured.figures().items():
        click.echo(f"  {name:<20} {_cell(value)}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    rows = evaluation.rows
    for number, name in enumerate(rows[0] if rows else ()):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    click.echo()
    with console.capture() as capture:
        console.print(table)
    click.echo(capture.get(), nl=False)  # which knows what to do where stdout takes ASCII alone


def _headline(document: Mapping[str, Any]) -> str:
    images = f"{document['images']:,} pictures"
    if "predictions" in document:
        return f"{document['predictions']}: {images} of {document['ground_truth']}"
    data, runtime = document["data"], document["runtime"]
    skipped = f", {document['skipped']} skipped" if document["skipped"] else ""
    speed = f", {document['pictures_per_second']:,.1f} pictures/s" if "pictures_per_second" in document else ""
    where = f"{data['path']} ({data['format']}, {data['part']}{skipped})"
    how = f"{runtime['name']} on {runtime['device']}{speed}"
    return f"{document['model']} ({document['task']}): {images} of {where} with {how}"


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
