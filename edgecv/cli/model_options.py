"""Options that say which network, with which weights, becomes which Deployable; shared by several commands."""

import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgecv.errors import OptionError

if TYPE_CHECKING:
    from edgecv.deployable import Deployable
    from edgecv.preprocess import Preprocess

__all__ = [
    "head_options",
    "import_modules",
    "input_options",
    "make_deployable",
    "parse_size",
    "preprocess_option",
    "read_preprocess",
    "weights_options",
]

Command = TypeVar("Command", bound=Callable[..., Any])


def parse_size(value: str) -> tuple[int, int]:
    """Parse ``224x224`` or ``224`` as height and width in pixels."""
    sides = value.lower().split("x")
    if len(sides) == 1:
        sides *= 2
    if len(sides) != 2 or not all(side.isascii() and side.isdigit() and int(side) for side in sides):
        raise click.BadParameter(f"{value!r} is no size. Give height and width in pixels, such as 224x224.")
    return int(sides[0]), int(sides[1])


def parse_batch(value: str) -> int:
    """Parse a number of pictures; ``dynamic`` is 0."""
    if value == "dynamic":
        return 0
    if not (value.isascii() and value.isdigit() and int(value)):
        raise click.BadParameter(f"{value!r} is no batch. Give a number of pictures from 1, or dynamic.")
    return int(value)


def weights_options(command: Command) -> Command:
    """Add ``--weights``, ``--seed``, ``--classes`` and ``--import``."""
    options = (
        click.option("--weights", default="auto", show_default=True, metavar="auto|imagenet|random|FILE"),
        click.option("--seed", default=0, show_default=True, help="Seed of random weights."),
        click.option("--classes", type=click.IntRange(min=1), help="Number of classes. Default: the architecture's."),
        click.option(
            "--import", "imports", multiple=True, metavar="MODULE", help="Registers custom layers; repeatable."
        ),
    )
    return _added(command, options)


def input_options(command: Command) -> Command:
    """Add ``--input-size``, ``--batch``, ``--input`` and ``--preprocess``."""
    options = (
        click.option("--input-size", type=parse_size, metavar="HxW", help="Height and width in pixels."),
        click.option(
            "--batch", type=parse_batch, default="1", show_default=True, metavar="N|dynamic", help="Pictures per run."
        ),
        click.option(
            "--input",
            "input_dtype",
            type=click.Choice(["uint8", "float32"]),
            default="uint8",
            show_default=True,
            help="uint8: pictures, scaling is inside. float32: the bare network.",
        ),
        preprocess_option,
    )
    return _added(command, options)


def head_options(command: Command) -> Command:
    """Add ``--activation``, ``--top-k`` and ``--labels``."""
    options = (
        click.option(
            "--activation",
            type=click.Choice(["auto", "softmax", "sigmoid", "none"]),
            default="auto",
            show_default=True,
            help="auto adds softmax only where the last layer has no activation.",
        ),
        click.option("--top-k", type=click.IntRange(min=1), help="Give the K best classes instead of all."),
        click.option("--labels", type=click.Path(path_type=Path), help="A text file, one label a line."),
    )
    return _added(command, options)


def preprocess_option(command: Command) -> Command:
    """Add ``--preprocess``."""
    return click.option(
        "--preprocess",
        metavar="none|0-1|tf|torch|caffe|FILE.json",
        help="How the network wants its pixels. Default: what the model carries, else none.",
    )(command)


def import_modules(names: tuple[str, ...]) -> None:
    """Import the modules of ``--import``; what they print goes to stderr, as stdout belongs to results."""
    if names:
        from edgecv.extras import import_keras
        from edgecv.models import import_module

        import_keras()  # quietly, before a module does it
        with contextlib.redirect_stdout(sys.stderr):
            for name in names:
                import_module(name)


def read_preprocess(value: str | None) -> "str | Preprocess | None":
    """Return a style's name as it is; read a JSON file.

    Raises:
        OptionError: There is no such style, or the file cannot be read, is no JSON, or has unknown keys.
    """
    if value is None:
        return None
    from edgecv.preprocess import STYLES, Preprocess

    if value in STYLES:
        return value
    if not value.endswith(".json"):
        raise OptionError(f"--preprocess must be one of {', '.join(STYLES)} or a FILE.json, got {value!r}.")
    try:
        document = json.loads(Path(value).read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"--preprocess {value!r} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise OptionError(f"--preprocess {value!r} is no JSON: {error}.") from error
    return Preprocess.from_json(document)


def make_deployable(model: str, options: Mapping[str, Any]) -> "Deployable":
    """Open MODEL and put it into a Deployable, by the options of this module."""
    from edgecv.deploying import deploy
    from edgecv.labels import read_labels
    from edgecv.models import open_model

    labels = read_labels(options["labels"]) if options["labels"] is not None else None
    preprocess = read_preprocess(options["preprocess"])
    network = open_model(
        model,
        weights=options["weights"],
        seed=options["seed"],
        input_size=options["input_size"],
        classes=options["classes"],
    )
    return deploy(
        network,
        preprocess=preprocess,
        labels=labels,
        activation=options["activation"],
        top_k=options["top_k"],
        input_size=options["input_size"],
        input_dtype=options["input_dtype"],
        batch=options["batch"] or None,
    )


def _added(command: Command, options: tuple[Callable[[Command], Command], ...]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
