"""From a network to a Deployable: what it takes, what its outputs mean, and what is refused."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

from edgecv.architecture import Task
from edgecv.decoders import read_decoder
from edgecv.decoders.base import shape_text
from edgecv.deployable import ActivationOption, Deployable, InputType, ModelInfo
from edgecv.errors import ModelError, OptionError
from edgecv.input_sizes import at_size
from edgecv.localisation import Localisation
from edgecv.network_outputs import flat_tensors
from edgecv.nms import Nms
from edgecv.output_head import read_head
from edgecv.preprocess import STYLES, Preprocess, for_whole_pictures
from edgecv.resize import GraphResize, ResizeMode

if TYPE_CHECKING:
    import keras

    from edgecv.decoders import Decoder

__all__ = ["GivenTask", "deploy"]

# What can be said of a network that does not know its task; all others show by an option, or by what comes out.
GivenTask = Literal["segmentation", "other"]

# The command line shows notes itself; a program that sets up no logging sees them on stderr.
_LOGGER = logging.getLogger("edgecv")

# Sizes of tensors are 32-bit numbers in LiteRT.
_MOST_VALUES = 2**31 - 1


def deploy(
    network: "keras.Model",
    *,
    name: str | None = None,
    task: GivenTask | None = None,
    preprocess: str | Preprocess | None = None,
    labels: Sequence[str] | None = None,
    activation: ActivationOption = "auto",
    top_k: int | None = None,
    input_size: tuple[int, int] | None = None,
    input_dtype: InputType = "uint8",
    batch: int | None = 1,
    decoder: "Decoder | str | None" = None,
    nms: Nms | None = Nms(),
    localisation: Localisation | None = None,
    resize: ResizeMode | None = None,
) -> Deployable:
    """Put a network into a Deployable.

    Args:
        network: A Keras model with one picture input ``(batch, height, width, channels)``. Auxiliary classifiers
            of edgecv's own architectures are taken off.
        name: Name in metadata; the default is the network's.
        task: What the outputs mean, where the network does not say so: ``segmentation`` takes the one output
            ``(batch, height, width, classes)`` of a user's own segmenter for scores of pixels; ``other`` leaves the
            outputs as they are.
        preprocess: A style (``none``, ``0-1``, ``tf``, ``torch``, ``caffe``) or a `Preprocess`. What
            `edgecv.build` made knows its own; for any other network the default is ``none``.
        labels: One name a class.
        activation: ``auto`` adds softmax only where the last layer of a classifier has no activation.
        top_k: Classification: outputs become the K best ``scores`` and ``classes``.
        input_size: ``(height, width)`` in pixels; needed where the network takes any size. Detectors and segmenters
            may be given another one than they were built for.
        input_dtype: ``uint8`` or ``float32`` (the bare network).
        batch: Pictures per run, or None for a dynamic batch.
        decoder: How a detector's outputs become boxes: a decoder, its name, or the path of a JSON file; the default
            is what the network knows of itself.
        nms: Detection: settings of non-maximum suppression; None leaves it out.
        localisation: How a localiser's outputs become one class and one box; the default is what the network knows
            of itself.
        resize: Put the resize into the graph, which then takes pictures of any size.

    Raises:
        ModelError: The network has no picture input or no outputs.
        OptionError: An option does not fit the network.
    """
    info: ModelInfo = getattr(network, "edgecv_info", None) or ModelInfo(name=name or str(network.name))
    _check_option("input type", input_dtype, get_args(InputType))
    _check_option("activation", activation, get_args(ActivationOption))
    if task is not None:
        _check_option("task", task, get_args(GivenTask))
        info = _of_task(info, task)
    if batch is not None and batch < 1:
        raise OptionError(f"batch must be at least 1 or dynamic, got {batch}.")
    boxes = _boxes(info, decoder, localisation)
    built = network = _without_auxiliary(network, info.task)
    if input_size is not None and (info.task == "segmentation" or _finds_many(boxes)):
        network = _at_size(network, input_size)
    size, channels = _picture_input(network, input_size)
    _check_values(batch or 1, size, channels)
    scaling, notes = _scaling(info, preprocess)
    if built is not network:
        notes = (*notes, f"{info.name} was built for another size than {size[0]}x{size[1]}: measure it there anew.")
    scaling.check_channels(channels)
    head = read_head(network, info, boxes, nms=nms, option=activation, size=size, channels=channels)
    if boxes is not None or head.segmentation is not None:
        scaling = for_whole_pictures(scaling)
    for note in (*notes, *head.notes):
        _LOGGER.warning(note)
    return Deployable(
        network=network,
        name=name or info.name,
        task=head.task,
        input_size=size,
        channels=channels,
        preprocess=scaling,
        output_names=head.output_names(network, top_k),
        input_dtype=input_dtype,
        batch=batch,
        added_activation=head.added,
        activation=head.activation,
        top_k=_checked_top_k(top_k, head.task, head.classes),
        detection=head.detection,
        localisation=head.localisation,
        segmentation=head.segmentation,
        resize=_checked_resize(resize, head.task, input_dtype),
        labels=_checked_labels(tuple(labels) if labels is not None else info.labels, head.classes),
        weights_source=info.weights_source,
        notes=(*info.notes, *notes, *head.notes),
        pictures=info.pictures,
    )


def _boxes(
    info: ModelInfo, decoder: "Decoder | str | None", localisation: Localisation | None
) -> "Decoder | Localisation | None":
    """Return how the outputs become boxes, or one box; what the caller says goes before what the network knows."""
    if decoder is not None and localisation is not None:
        raise OptionError("decoder is for many boxes and localisation for one. Leave one of them out.")
    if decoder is not None:
        return read_decoder(decoder) if isinstance(decoder, str) else decoder
    known = info.decoder or info.localisation
    return localisation or known or (Localisation() if info.task == "localisation" else None)


def _of_task(info: ModelInfo, task: GivenTask) -> ModelInfo:
    """Return what is known of a network, for the task that the caller says it has."""
    if info.decoder is not None or info.localisation is not None:
        kind = "detector" if info.decoder is not None else "localiser"
        raise OptionError(f"--task {task} does not fit: {info.name} is a {kind} by what it says of itself.")
    return replace(info, task=task)


def _check_option(what: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise OptionError(f"{what} must be one of {', '.join(known)}, got {value!r}.")


def _without_auxiliary(network: "keras.Model", task: Task | None) -> "keras.Model":
    """Return a classifier without the outputs that served its training only."""
    if task != "classification":
        return network
    from edgecv.architectures.auxiliary import without_auxiliary

    return without_auxiliary(network)


def _finds_many(boxes: "Decoder | Localisation | None") -> bool:
    return boxes is not None and not isinstance(boxes, Localisation)


def _at_size(network: "keras.Model", size: tuple[int, int]) -> "keras.Model":
    """Return a detector or segmenter for pictures of another size than it was built for; others are left alone."""
    fixed = tuple(network.inputs[0].shape[1:3]) if len(getattr(network, "inputs", None) or ()) == 1 else size
    if fixed == size or None in fixed or min(size) < 1:
        return network
    return at_size(network, size)


def _picture_input(network: "keras.Model", wanted: tuple[int, int] | None) -> tuple[tuple[int, int], int]:
    name = network.name
    # A subclassed model that was never called has neither.
    if not getattr(network, "built", False) or not hasattr(network, "inputs"):
        raise ModelError(f"Model {name!r} has no known input. Call it once on a picture before saving it.")
    inputs = flat_tensors(network.inputs or [])
    if len(inputs) != 1:
        raise ModelError(f"Model {name!r} has {len(inputs)} inputs; edgecv needs one, a batch of pictures.")
    if not flat_tensors(network.outputs or []):
        raise ModelError(f"Model {name!r} has no outputs. Save a model that returns at least one tensor.")
    shape = tuple(inputs[0].shape)
    if len(shape) != 4 or shape[3] not in (1, 3):
        raise ModelError(
            f"Model {name!r} takes {shape_text(shape)}, which is no batch of pictures. "
            "Give a model of input (batch, height, width, 3) or (batch, height, width, 1)."
        )
    return _size(name, shape[1:3], wanted), int(shape[3])


def _size(name: str, fixed: Sequence[int | None], wanted: tuple[int, int] | None) -> tuple[int, int]:
    if wanted is None:
        if None in fixed:
            raise OptionError(f"Model {name!r} takes pictures of any size. Choose one with --input-size HxW.")
        return int(fixed[0] or 0), int(fixed[1] or 0)
    if min(wanted) < 1:
        raise OptionError(f"input size must be at least 1x1, got {wanted[0]}x{wanted[1]}.")
    if any(side not in (None, want) for side, want in zip(fixed, wanted, strict=True)):
        raise OptionError(
            f"Model {name!r} takes {fixed[0]}x{fixed[1]} pictures only, not {wanted[0]}x{wanted[1]}. "
            "Leave --input-size out, or build the network at that size."
        )
    return wanted


def _check_values(batch: int, size: tuple[int, int], channels: int) -> None:
    values = batch * size[0] * size[1] * channels
    if values > _MOST_VALUES:
        raise OptionError(
            f"{batch} pictures of {size[0]}x{size[1]} are {values:,} values, and tensors hold at most "
            f"{_MOST_VALUES:,}. Choose a smaller input size or batch."
        )


def _scaling(info: ModelInfo, preprocess: str | Preprocess | None) -> tuple[Preprocess, tuple[str, ...]]:
    if isinstance(preprocess, Preprocess):
        return preprocess, ()
    if preprocess is not None:
        _check_option("preprocess", preprocess, tuple(STYLES))
        fit = info.preprocess.fit if info.preprocess else Preprocess().fit
        style = STYLES[preprocess]
        return Preprocess(style=style.style, order=style.order, mean=style.mean, scale=style.scale, fit=fit), ()
    if info.preprocess is not None:
        return info.preprocess, ()
    return Preprocess(), (
        f"{info.name} does not say how its pictures are scaled: the network gets 0…255 RGB. "
        "Use --preprocess if it was trained on anything else.",
    )


def _checked_resize(mode: ResizeMode | None, task: Task, input_dtype: InputType) -> GraphResize | None:
    if mode is None:
        return None
    if input_dtype != "uint8":
        raise OptionError("--resize needs pictures as input: use it with --input uint8.")
    if task == "other":
        raise OptionError(
            "--resize is for classifiers, detectors, localisers and segmenters, this network's task is other."
        )
    return GraphResize(mode=mode)


def _checked_top_k(top_k: int | None, task: Task, classes: int | None) -> int | None:
    if top_k is None:
        return None
    if task != "classification":
        raise OptionError("--top-k is for classifiers; this network is no classifier.")
    if classes is None or not 1 <= top_k <= classes:
        raise OptionError(f"top-k must be between 1 and the number of classes, {classes}, got {top_k}.")
    return top_k


def _checked_labels(labels: tuple[str, ...], classes: int | None) -> tuple[str, ...]:
    if labels and classes is not None and len(labels) != classes:
        raise OptionError(f"There are {len(labels)} labels for {classes} classes. Give one label a class.")
    return labels
