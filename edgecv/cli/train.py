"""`edgecv train ARCHITECTURE --data PATH -o RUN_DIR`."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgecv.cli.common import Advance, device_option, emit_json, json_option, progress, say, warn
from edgecv.cli.model_options import import_modules, parse_size

if TYPE_CHECKING:
    from edgecv.data.problems import BrokenDataError
    from edgecv.training.running import RunResult
    from edgecv.training.settings import Settings

__all__ = ["train"]

# Options that are no settings: they may differ between a run and its continuation.
_NOT_SETTINGS = frozenset({"output", "resume", "force", "device", "cache", "show_augmented", "imports", "as_json"})
_MEBIBYTE = 2**20


def _split(_: click.Context, __: click.Parameter, value: str | None) -> tuple[float, float, float] | None:
    from edgecv.data.splitting import parse_ratios

    return None if value is None else parse_ratios(value)


def _parse_unfreeze(value: str) -> int | None:
    if value == "all":
        return None
    if not (value.isascii() and value.isdigit() and int(value)):
        raise click.BadParameter(f"{value!r} is neither all nor a number of layers from 1.")
    return int(value)


def _parse_scales(value: str) -> tuple[int, int]:
    low, dash, high = value.partition("-")
    if not dash or not (low + high).isascii() or not (low.isdigit() and high.isdigit()):
        raise click.BadParameter(f"{value!r} is no range of sizes such as 320-608.")
    return int(low), int(high)


@click.command()
@click.argument("architecture", required=False)
@click.option("--data", metavar="PATH", help="Labelled pictures: a folder, a file of labels, or tfds:NAME.")
@click.option("-o", "--output", "output", type=click.Path(path_type=Path), help="RUN_DIR.")
@click.option("--resume", is_flag=True, help="Go on with the run that is there.")
@click.option("--force", is_flag=True, help="Replace the run that is there.")
@click.option("--format", "format", metavar="NAME", help="Of the data. Default: recognised.")
@click.option(
    "--task",
    type=click.Choice(["classification", "localisation", "detection", "segmentation"]),
    help="Default: the network's own, or what the labels can teach a classifier.",
)
@click.option("--split", callback=_split, metavar="75/15/10", help="Training, validation and test part.")
@click.option("--seed", type=int, help="Of split, weights, order, augmentation and dropout. Default: 0.")
@click.option(
    "--multi-scale",
    is_flag=False,
    flag_value="320-608",
    type=_parse_scales,
    metavar="LOW-HIGH",
    help="YOLO: train at changing sizes, by 32 pixels; without a value from 320 to 608.",
)
@click.option("--anchors", metavar="auto|default|FILE.json", help="YOLO: found in the data by default.")
@click.option("--class-loss", type=click.Choice(["auto", "hard-negatives", "focal"]), help="SSD. Default: auto.")
@click.option("--per-class", type=int, metavar="N", help="Train and validate on at most N pictures a class.")
@click.option("--skip-broken", is_flag=True, help="Go on without broken labels and pictures.")
@click.option("--input-size", type=parse_size, metavar="HxW", help="Default: the architecture's.")
@click.option("--weights", metavar="auto|imagenet|random|FILE|RUN_DIR", help="To start from. Default: auto.")
@click.option("--import", "imports", multiple=True, metavar="MODULE", help="Import it first: layers of --weights.")
@click.option("--epochs", type=int, help="Of all stages together. Default: 20.")
@click.option("--batch", type=int, help="Pictures per step. Default: 32.")
@click.option("--learning-rate", type=float, help="At its peak. Default: 0.001.")
@click.option("--optimizer", type=click.Choice(["adam", "adamw", "nadam", "sgd"]), help="Default: adam.")
@click.option("--weight-decay", type=float, help="Decoupled from the gradient. Default: 0.")
@click.option("--schedule", type=click.Choice(["cosine", "constant"]), help="Of the learning rate. Default: cosine.")
@click.option("--warmup", type=float, metavar="EPOCHS", help="In which the rate rises. Default: 0.")
@click.option("--freeze-epochs", type=int, help="In which only a new head learns. Default: half of them.")
@click.option("--unfreeze", type=_parse_unfreeze, metavar="all|N", help="Layers that learn afterwards. Default: all.")
@click.option("--fine-tune-rate", type=float, help="Their learning rate. Default: a tenth.")
@click.option("--train-batchnorm", is_flag=True, help="Published weights: BatchNorm learns then, too.")
@click.option("--dropout", type=float, help="Default: the architecture's own, 0.2 before a new head.")
@click.option("--label-smoothing", type=float, help="Default: 0.")
@click.option("--augment", metavar="none|light|standard|FILE.json", help="Default: none.")
@click.option("--show-augmented", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw them; train nothing.")
@click.option("--objectness", is_flag=True, help="Localisation: learn whether there is an object, too.")
@click.option("--sqrt-sizes", is_flag=True, help="Localisation: learn roots of width and height.")
@click.option("--box-weight", type=float, help="Localisation and detection: weight of the box's loss. Default: 1.")
@click.option("--patience", type=int, help="Stop after so many epochs without a better one. Default: 0, never.")
@click.option("--mixed-precision", type=click.Choice(["auto", "on", "off"]), help="Default: auto.")
@click.option("--deterministic/--no-deterministic", default=True, help="Same numbers on every run. Default: yes.")
@click.option("--cache", type=click.IntRange(min=0), metavar="MIB", help="Memory for resized pictures. Default: 1024.")
@device_option
@json_option
@click.pass_context
def train(ctx: click.Context, /, **options: Any) -> None:
    """Train a classifier, localiser, detector or segmenter into RUN_DIR, which `edgecv export` takes.

    Each epoch ends in a checkpoint: a run that was stopped in any way goes on with --resume.
    """
    from edgecv.data.problems import BrokenDataError
    from edgecv.training.running import train as run

    import_modules(options["imports"])
    settings = _settings(ctx, options)
    try:
        if options["show_augmented"] is not None:
            _show_augmented(settings, options["show_augmented"])
            return
        result = run(
            settings,
            options["output"],
            resume=options["resume"],
            force=options["force"],
            device=options["device"],
            cache_bytes=None if options["cache"] is None else options["cache"] * _MEBIBYTE,
            listener=_terminal_listener(),
        )
    except BrokenDataError as error:
        _tell(error)
        raise
    _report(result, as_json=options["as_json"])


def _settings(ctx: click.Context, options: Mapping[str, Any]) -> "Settings":
    """Return the settings: what is given, over those of the run that goes on, over the defaults."""
    from edgecv.training.run_dir import read_run
    from edgecv.training.settings import Settings

    given = {
        name: value
        for name, value in options.items()
        if name not in _NOT_SETTINGS and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if options["output"] is None and options["show_augmented"] is None:
        raise click.UsageError("-o RUN_DIR missing: edgecv train ARCHITECTURE --data PATH -o RUN_DIR.")
    if options["resume"]:
        if options["force"]:
            raise click.UsageError("--resume goes on with a run, --force replaces it. Leave one of them out.")
        return Settings.from_json({**read_run(options["output"])["settings"], **given})
    missing = [what for what, key in (("ARCHITECTURE", "architecture"), ("--data", "data")) if options[key] is None]
    if missing:
        raise click.UsageError(f"{' and '.join(missing)} missing: edgecv train ARCHITECTURE --data PATH -o RUN_DIR.")
    return Settings(**given)


def _tell(error: "BrokenDataError") -> None:
    for problem in error.problems:
        say(str(problem))


def _show_augmented(settings: "Settings", path: Path) -> None:
    from edgecv.training.running import show_augmented

    show_augmented(settings, path)
    click.echo(str(path))


def _nothing(what: str | None = None) -> None:
    """Move no bar: before training begins there is none."""


def _terminal_listener() -> Any:
    """Make what shows a bar with the time that is left on a terminal, and a line an epoch everywhere."""
    from edgecv.training.listener import Listener

    class Told(Listener):
        def __init__(self) -> None:
            self._stack = contextlib.ExitStack()
            self._advance: Advance = _nothing
            self._epochs = 0

        def begin(self, *, epochs: int, done: int, steps: int) -> None:
            self._epochs = epochs
            if done:
                say(f"going on after epoch {done} of {epochs}")
            self._advance = self._stack.enter_context(progress("training", (epochs - done) * steps))

        def step(self, epoch: int, step: int, loss: float) -> None:  # noqa: ARG002
            self._advance(f"epoch {epoch + 1}/{self._epochs}  loss {loss:.4g}")

        def epoch(self, row: Mapping[str, Any], *, best: bool) -> None:
            figures = "  ".join(f"{_short(name)} {value:.4g}" for name, value in row.items() if _is_figure(name, value))
            mark = "  (best)" if best else ""
            say(f"epoch {row['epoch']}/{self._epochs} {row['stage']}  {figures}  {row['seconds']:.0f} s{mark}")

        def end(self) -> None:
            self._stack.close()

        def note(self, text: str) -> None:
            say(text)

        @contextlib.contextmanager
        def working(self, what: str, total: int) -> Iterator[Callable[[], None]]:
            with progress(what, total) as advance:
                yield advance

    return Told()


def _is_figure(name: str, value: object) -> bool:
    return isinstance(value, float) and name != "seconds"


def _short(name: str) -> str:
    return name.replace("learning_rate", "rate")


def _report(result: "RunResult", *, as_json: bool) -> None:
    document = {
        "run": str(result.path),
        "model": str(result.path / "model.keras"),
        **{key: result.document[key] for key in ("architecture", "task", "epochs", "stopped", "seconds", "best")},
        "data": result.document["data"],
        "evaluation": result.evaluation.to_json() if result.evaluation else None,
        "history": list(result.history),
    }
    if as_json:
        emit_json(document)
        return
    best = "  ".join(f"{name} {value:.4g}" for name, value in document["best"].items() if value is not None)
    click.echo(f"{result.path}  best: {best}")
    if result.evaluation is None:
        warn("There is no test part: nothing was evaluated.")
        return
    figures = {key: value for key, value in document["evaluation"].items() if isinstance(value, int | float)}
    click.echo("test part: " + "  ".join(f"{name} {value:.4g}" for name, value in figures.items()))
