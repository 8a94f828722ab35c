"""What a decoder is, and what all decoders share: rules for their keys, shapes in words, boxes from centres.

A decoder turns the numbers of a detector's head into boxes and scores. It is data: a frozen dataclass whose
fields are the keys of the ``--decoder`` file. Its arithmetic is written once, in ``keras.ops``, and runs in Keras
and in every exported graph; whatever does not depend on the picture (anchors, grids) is a NumPy constant.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from edgecv.errors import OptionError
from edgecv.plain_values import plain

__all__ = [
    "Decoder",
    "Rule",
    "activated",
    "cell_indices",
    "check_fields",
    "check_softmax",
    "choice",
    "constant",
    "corners",
    "flag",
    "flat",
    "framed_corners",
    "grid_of",
    "hold_fields",
    "joined",
    "list_of",
    "number",
    "plain",
    "shape_text",
    "text",
    "undoable",
    "whole",
]

# No picture is wider, and sums of this size are exact in float64.
_LARGEST = 1_000_000


class Decoder(Protocol):
    """How a network's outputs become boxes and scores.

    Implementations are frozen, keyword-only dataclasses: their fields are the keys of the JSON file. One whose
    scores come straight out of a sigmoid also has ``score_activation``, ``"sigmoid"``: verification then compares
    them on logits. One that takes boxes and scores out of one tensor also has ``is_joint(outputs)``, true where it does
    with so many outputs: in 8 bits they would share a scale.

    Attributes:
        name: Its name on the command line and in metadata.
    """

    name: ClassVar[str]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the network's outputs in the decoder's order; empty for the network's own order."""

    def check(self, shapes: Sequence[tuple[int | None, ...]], input_size: tuple[int, int]) -> int:
        """Refuse a network that the decoder does not fit.

        Args:
            shapes: Shapes of the network's outputs in the decoder's order, the batch (None) first.
            input_size: ``(height, width)`` of the network's input in pixels.

        Returns:
            The number of classes, background taken out.

        Raises:
            OptionError: Rank, channels, grid or number of anchors do not fit; the message has both numbers.
        """

    def decode(self, outputs: Sequence[Any], input_size: tuple[int, int], ops: Any) -> tuple[Any, Any]:
        """Define the decoding of outputs that `check` accepted.

        Args:
            outputs: Tensors in the decoder's order, of any batch.
            input_size: ``(height, width)`` of the network's input in pixels.
            ops: The namespace of operations, ``keras.ops``.

        Returns:
            ``boxes``, float32 ``(batch, anchors, 4)``: x1, y1, x2, y2 in 0…1 of the input, clipped to it; and
            ``scores``, float32 ``(batch, anchors, classes)``, classes from 0, background taken out.
        """


@dataclass(frozen=True)
class Rule:
    """What a field may hold.

    Attributes:
        text: The rule in words, for "must be …".
        plural: The same for several.
        fits: Whether a value keeps it.
    """

    text: str
    plural: str
    fits: Callable[[Any], bool]


def check_fields(decoder: Decoder, **rules: Rule) -> None:
    """Hold a decoder's fields to their rules; lists become tuples and NumPy's numbers become Python's.

    Raises:
        OptionError: A field breaks its rule.
    """
    hold_fields(f"decoder {decoder.name!r}", decoder, **rules)


def hold_fields(what: str, subject: Any, **rules: Rule) -> None:
    """Hold the fields of any frozen dataclass to their rules, as `check_fields` does; ``what`` begins the message.

    Raises:
        OptionError: A field breaks its rule.
    """
    for name, rule in rules.items():
        given = getattr(subject, name)
        value = plain(given)
        if not rule.fits(value):
            raise OptionError(f"{what}: {name} must be {rule.text}, got {_short(given)}.")
        object.__setattr__(subject, name, value)


def undoable(activation: str) -> str:
    """Return the activation where scores can be compared without it, ``none`` elsewhere."""
    # A softmax over classes and background cannot be undone without the background.
    return "sigmoid" if activation == "sigmoid" else "none"


def whole(minimum: int) -> Rule:
    """Make the rule of a whole number of at least ``minimum``."""
    bound = "" if minimum == -_LARGEST else f" of at least {minimum}"

    def fits(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= _LARGEST

    return Rule(f"a whole number{bound}", f"whole numbers{bound}", fits)


def number(*, above: float | None = None, minimum: float = -_LARGEST, maximum: float = _LARGEST) -> Rule:
    """Make the rule of a finite number in ``minimum``…``maximum``, and greater than ``above`` where that is given."""

    def fits(value: Any) -> bool:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        return minimum <= value <= maximum and (above is None or value > above)

    bounds = [f"above {above:g}"] if above is not None else []
    bounds += [f"at least {minimum:g}"] if minimum > -_LARGEST else []
    bounds += [f"at most {maximum:g}"] if maximum < _LARGEST else []
    words = " " + " and ".join(bounds) if bounds else ""
    return Rule(f"a number{words}", f"numbers{words}", fits)


def flag() -> Rule:
    """Make the rule of true or false."""
    return Rule("true or false", "true or false", lambda value: isinstance(value, bool))


def choice(*known: str) -> Rule:
    """Make the rule of one of several words."""
    words = f"one of {', '.join(known)}"
    return Rule(words, words, lambda value: isinstance(value, str) and value in known)


def text() -> Rule:
    """Make the rule of a text that is not empty."""
    return Rule("a text", "texts", lambda value: isinstance(value, str) and value != "")


def list_of(rule: Rule, *, count: int | None = None, minimum: int = 1) -> Rule:
    """Make the rule of a list of ``count`` values, or of ``minimum`` or more, each of which keeps ``rule``."""

    def fits(value: Any) -> bool:
        if not isinstance(value, tuple) or not all(rule.fits(item) for item in value):
            return False
        return len(value) >= minimum if count is None else len(value) == count

    amount = f"{count} " if count is not None else ("one or more " if minimum == 1 else "")
    return Rule(f"a list of {amount}{rule.plural}", f"lists of {amount}{rule.plural}", fits)


def shape_text(shape: Sequence[int | None]) -> str:
    """Write a shape for a message, such as ``(any, 8, 8, 5)``."""
    return "(" + ", ".join("any" if side is None else str(side) for side in shape) + ")"


def grid_of(decoder: Decoder, index: int, shape: Sequence[int | None]) -> tuple[int, int, int]:
    """Return height, width and channels of an output that must be a grid ``(batch, height, width, channels)``.

    Raises:
        OptionError: It is none, or its size is not known.
    """
    if len(shape) != 4 or None in shape[1:]:
        raise OptionError(
            f"decoder {decoder.name!r}: output {index} has the shape {shape_text(shape)}, "
            "it must be a grid (batch, height, width, channels) of known size."
        )
    _, height, width, channels = shape
    return int(height or 0), int(width or 0), int(channels or 0)


def flat(tensor: Any, ops: Any, *, per_cell: int = 1) -> Any:
    """Flatten a grid ``(batch, height, width, channels)`` to float32 ``(batch, anchors, channels / per_cell)``.

    Anchors run by row, then column, then box of the cell.
    """
    height, width, channels = tensor.shape[1:]
    tensor = ops.reshape(tensor, (-1, height * width * per_cell, channels // per_cell))
    return ops.cast(tensor, "float32")


def activated(scores: Any, activation: str, ops: Any) -> Any:
    """Let scores ``(…, classes)`` go through ``none``, ``sigmoid`` or ``softmax``."""
    if activation == "softmax":
        return ops.softmax(scores)
    return ops.sigmoid(scores) if activation == "sigmoid" else scores


def check_softmax(decoder: Decoder, activation: str, numbers: int) -> None:
    """Refuse a softmax over one number, which is 1 for every anchor.

    Raises:
        OptionError: That is what is asked for.
    """
    if activation == "softmax" and numbers == 1:
        raise OptionError(
            f"decoder {decoder.name!r}: a softmax over 1 class gives every anchor the score 1. "
            "Set activation to sigmoid."
        )


def joined(tensors: Sequence[Any], ops: Any) -> Any:
    """Put tensors ``(batch, anchors, …)`` one behind the other, those of all scales into one."""
    return tensors[0] if len(tensors) == 1 else ops.concatenate(tensors, axis=1)


def cell_indices(grid: tuple[int, int]) -> Any:
    """Return column and row, float64 ``(cells, 2)``, of the cells of a ``(rows, columns)`` grid, row by row."""
    import numpy as np

    rows, columns = np.mgrid[: grid[0], : grid[1]].reshape(2, -1)
    return np.stack([columns, rows], axis=-1).astype("float64")


def constant(values: Any, ops: Any) -> Any:
    """Put NumPy values into the graph as float32."""
    return ops.convert_to_tensor(values.astype("float32"))


def corners(centres: Any, halves: Any, ops: Any) -> Any:
    """Turn centres and half sizes, ``(…, 2)`` in 0…1, into clipped boxes ``(…, 4)``."""
    boxes = ops.concatenate([centres - halves, centres + halves], axis=-1)
    return ops.clip(boxes, 0.0, 1.0)


def framed_corners(box: Any, ops: Any, *, sqrt_sizes: bool, frames: tuple[Any, Any] | None = None) -> Any:
    """Turn a localiser's boxes ``(…, 4)`` into clipped corners ``(…, 4)``: x1, y1, x2, y2 in 0…1 of the input.

    Args:
        box: Centre x, centre y, width, height in 0…1 of a frame.
        ops: The namespace of operations.
        sqrt_sizes: Width and height are square roots, and are squared first.
        frames: Origins and sizes of the frames in 0…1 of the input, x first, NumPy, to be broadcast against
            ``(…, 2)``; None where the frame is the input itself.
    """
    centres, sizes = ops.split(box, 2, axis=-1)
    if sqrt_sizes:
        sizes = sizes * sizes
    if frames is None:
        return corners(centres, sizes * 0.5, ops)
    origins, spans = frames
    centres = centres * constant(spans, ops) + constant(origins, ops)
    return corners(centres, sizes * constant(spans / 2, ops), ops)


def _short(value: Any) -> str:
    words = repr(list(value)) if isinstance(value, tuple) else repr(value)
    return words if len(words) <= 80 else f"{words[:77]}..."
