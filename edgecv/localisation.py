"""What a localiser's numbers mean: one class and one box for the whole picture.

Importing this module imports neither Keras nor NumPy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from edgecv.decoders.base import flag, framed_corners, hold_fields, list_of, shape_text, text
from edgecv.errors import OptionError

__all__ = ["LOCALISATIONS", "Localisation"]

# Outputs of a localiser, in their order; the objectness only where it was trained.
LOCALISATIONS = ("probabilities", "box", "objectness")

_BOX_NUMBERS = 4


@dataclass(frozen=True, kw_only=True)
class Localisation:
    """How a classifier-localiser's outputs become class scores and one box.

    The network's outputs, each ``(batch, numbers)``:

    * class scores ``C``, in [0, 1] or as logits that `edgecv.deploying.deploy` adds the activation to;
    * where trained, objectness ``1``, in [0, 1]: whether there is an object at all;
    * the box ``4``: centre x, centre y, width and height in 0…1 of the network's input.

    With ``sqrt_sizes`` the network gives square roots of width and height, as YOLO's loss asks for: an error of a
    pixel weighs more in a small box than in a large one (Redmon et al., "You Only Look Once", 2016, equation 3,
    https://arxiv.org/abs/1506.02640). They are squared first.

    These are the numbers that `edgecv.decoders.SlidingWindow` with ``box="relative"`` takes for its window: a
    localiser's fully convolutional form answers for every window as the localiser does for its picture.

    Attributes:
        sqrt_sizes: Width and height are square roots.
        outputs: Names of the network's outputs in the order above; empty for the network's own order.
    """

    sqrt_sizes: bool = False
    outputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        hold_fields("localisation", self, sqrt_sizes=flag(), outputs=list_of(text(), minimum=0))

    def check(self, shapes: Sequence[tuple[int | None, ...]]) -> int:
        """Refuse a network that gives other numbers.

        Args:
            shapes: Shapes of the network's outputs in the order above, the batch (None) first.

        Returns:
            The number of classes.

        Raises:
            OptionError: There are more or fewer outputs, or one has another shape.
        """
        numbers = [shape[1] if len(shape) == 2 else None for shape in shapes]
        if numbers[:1] == [None] or numbers[1:] not in ([_BOX_NUMBERS], [1, _BOX_NUMBERS]):
            given = ", ".join(map(shape_text, shapes))
            raise OptionError(
                f"localisation: the network's outputs {given} do not fit: it needs class scores (any, C), at most an "
                "objectness (any, 1), and a box (any, 4). The key 'outputs' names them in this order."
            )
        return int(numbers[0] or 0)

    def decode(self, outputs: Sequence[Any], ops: Any) -> dict[str, Any]:
        """Define the decoding of outputs that `check` accepted.

        Args:
            outputs: Tensors in the order above, of any batch; the class scores are already activated.
            ops: The namespace of operations, ``keras.ops``.

        Returns:
            By the names and in the order of `LOCALISATIONS`: the class scores ``(batch, C)`` as they are; the box,
            float32 ``(batch, 4)``: x1, y1, x2, y2 in 0…1 of the input, clipped to it; and where there is one, the
            objectness ``(batch, 1)``.
        """
        scores, *objectness, box = outputs
        return dict(zip(LOCALISATIONS, (scores, self.corners(box, ops), *objectness), strict=False))

    def corners(self, box: Any, ops: Any) -> Any:
        """Turn the network's box numbers ``(batch, 4)`` into float32 x1, y1, x2, y2 in 0…1 of the input, clipped."""
        return framed_corners(ops.cast(box, "float32"), ops, sqrt_sizes=self.sqrt_sizes)

    def to_json(self) -> dict[str, Any]:
        """Return the form that metadata and model files have, with every key."""
        return {"sqrt_sizes": self.sqrt_sizes, "outputs": list(self.outputs)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Localisation":
        """Read what `to_json` writes; missing keys take their defaults.

        Raises:
            OptionError: It is no object, a key is unknown, or a value has the wrong type.
        """
        if not isinstance(document, Mapping):
            raise OptionError(f"localisation must be a JSON object, got {type(document).__name__}.")
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(document) - set(known))
        if unknown:
            raise OptionError(f"localisation has the unknown key {unknown[0]!r}. Known: {', '.join(sorted(known))}.")
        return cls(**document)
