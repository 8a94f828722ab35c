"""Options that say which network, with which weights, becomes which Deployable; shared by several commands."""

import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgecv.errors import OptionError

if TYPE_CHECKING:
    from edgecv.decoders import Decoder
    from edgecv.deployable import Deployable
    from edgecv.nms import Nms
    from edgecv.preprocess import Preprocess

__all__ = [
    "detection_options",
    "head_options",
    "import_modules",
    "input_options",
    "make_deployable",
    "parse_size",
    "preprocess_option",
    "read_preprocess",
    "weights_options",
]

# Bodla et al., 2017, section 4: the value of their experiments.
_SOFT_SIGMA = 0.5

_NMS_VALUES = ("score_threshold", "iou_threshold", "max_detections", "pre_nms_top_k")
_NMS_FLAGS = ("class_agnostic", "best_class", "soft_nms")

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
        click.option(
            "--weights",
            default="auto",
            show_default=True,
            metavar="auto|imagenet|random|FILE",
            help="`edgecv list architectures` names the published ones, such as a detector's openimages.",
        ),
        click.option("--seed", default=0, show_default=True, help="Seed of random weights."),
        click.option("--classes", type=click.IntRange(min=1), help="Number of classes. Default: the architecture's."),
        click.option(
            "--import", "imports", multiple=True, metavar="MODULE", help="Registers custom layers; repeatable."
        ),
    )
    return _added(command, options)


def input_options(command: Command) -> Command:
    """Add ``--input-size``, ``--batch``, ``--input``, ``--resize`` and ``--preprocess``."""
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
        click.option(
            "--resize",
            type=click.Choice(["letterbox", "stretch"]),
            help="Put the resize into the graph: pictures of any size go in.",
        ),
        preprocess_option,
    )
    return _added(command, options)


def head_options(command: Command) -> Command:
    """Add ``--task``, ``--activation``, ``--top-k`` and ``--labels``."""
    options = (
        click.option(
            "--task",
            type=click.Choice(["segmentation", "other"]),
            help="What the outputs mean, where the model does not carry it: other leaves them as they are.",
        ),
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


def detection_options(command: Command) -> Command:
    """Add ``--fcn``, ``--decoder`` and the settings of non-maximum suppression."""
    options = (
        click.option("--fcn", is_flag=True, help="Turn a classifier into a detector that slides over larger pictures."),
        click.option("--window", type=click.Choice(["pool", "cell"]), help="With --fcn, as in `fcn`. Default: pool."),
        click.option("--scales", type=parse_scales, metavar="1,0.75,…", help="With --fcn: sizes at which it looks."),
        click.option("--decoder", metavar="NAME|FILE.json", help="How a detector's outputs become boxes."),
        click.option("--nms/--no-nms", default=True, show_default=True, help="Non-maximum suppression in the graph."),
        click.option("--score-threshold", type=float, metavar="0…1", help="Default: 0.25."),
        click.option("--iou-threshold", type=float, metavar="0…1", help="Default: 0.6."),
        click.option("--max-detections", type=int, metavar="M", help="Rows of the output. Default: 100."),
        click.option("--pre-nms-top-k", type=int, metavar="K", help="Best pairs of box and class. Default: 1000."),
        click.option("--class-agnostic", is_flag=True, help="Boxes suppress those of other classes, too."),
        click.option("--best-class", is_flag=True, help="A box is found for its best class only."),
        click.option("--soft-nms", is_flag=True, help="Overlapping boxes lose score (Gaussian, sigma 0.5) instead."),
    )
    return _added(command, options)


def parse_scales(value: str) -> tuple[float, ...]:
    """Parse ``1,0.75,0.5``."""
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} are no scales. Give numbers such as 1,0.75,0.5.") from error


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
    nms = _nms(options)
    name = None
    network = open_model(
        model,
        weights=options["weights"],
        seed=options["seed"],
        # A classifier keeps the size that it was trained at; as an FCN it then looks at a larger picture.
        input_size=None if options["fcn"] else options["input_size"],
        classes=options["classes"],
    )
    if options["fcn"]:
        from edgecv.fcn import to_fcn

        _refuse_segmenter(network, options)
        name = network.edgecv_info.name
        network = to_fcn(network, window=options["window"] or "pool")
    elif options["window"] is not None:
        raise OptionError("--window is for a classifier that becomes an FCN: use it with --fcn.")
    decoder = _decoder(network, options)
    if decoder is None:
        _refuse_detection_options(network, options)
    return deploy(
        network,
        name=name,
        task=options["task"],
        preprocess=preprocess,
        labels=labels,
        activation=options["activation"],
        top_k=options["top_k"],
        input_size=options["input_size"],
        input_dtype=options["input_dtype"],
        batch=options["batch"] or None,
        decoder=decoder,
        nms=nms,
        resize=options["resize"],
    )


def _decoder(network: Any, options: Mapping[str, Any]) -> "Decoder | None":
    """Return the decoder that the options ask for, else the network's own; None for what is no detector."""
    from edgecv.decoders import SlidingWindow, read_decoder

    info = getattr(network, "edgecv_info", None)
    own = info.decoder if info else None
    if options["decoder"] is not None:
        own = read_decoder(options["decoder"])
    if options["scales"] is None:
        return own
    if not isinstance(own, SlidingWindow):
        raise OptionError("--scales is for the decoder sliding_window: use it with --fcn or an FCN's file.")
    return replace(own, scales=options["scales"])


def _refuse_segmenter(network: Any, options: Mapping[str, Any]) -> None:
    info = getattr(network, "edgecv_info", None)
    if "segmentation" in (options["task"], info.task if info else None):
        raise OptionError(
            f"--fcn makes a detector of a classifier; {network.name!r} is a segmenter, whose mask covers the picture "
            "already. Leave it out."
        )


def _refuse_detection_options(network: Any, options: Mapping[str, Any]) -> None:
    given = [*_nms_options(options), *(() if options["nms"] else ("no_nms",))]
    if given:
        raise OptionError(
            f"--{given[0].replace('_', '-')} is for detectors; {network.name!r} is none. "
            "Give --decoder, make one of a classifier with --fcn, or leave it out."
        )


def _nms_options(options: Mapping[str, Any]) -> list[str]:
    """Return which settings of suppression were given."""
    values = [name for name in _NMS_VALUES if options[name] is not None]
    return [*values, *(name for name in _NMS_FLAGS if options[name])]


def _nms(options: Mapping[str, Any]) -> "Nms | None":
    """Return the settings of suppression; None for ``--no-nms``, which goes with none of them."""
    from edgecv.nms import Nms

    given = _nms_options(options)
    if not options["nms"]:
        if given:
            raise OptionError(f"--{given[0].replace('_', '-')} has no meaning with --no-nms. Leave one of them out.")
        return None
    if options["soft_nms"] and options["iou_threshold"] is not None:
        raise OptionError("--iou-threshold has no meaning with --soft-nms, which drops no box. Leave one of them out.")
    return Nms(
        **{name: options[name] for name in given if name in _NMS_VALUES},
        class_agnostic=options["class_agnostic"],
        multi_label=not options["best_class"],
        soft_sigma=_SOFT_SIGMA if options["soft_nms"] else None,
    )


def _added(command: Command, options: tuple[Callable[[Command], Command], ...]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
