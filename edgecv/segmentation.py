"""The head of a segmenter: scores of every pixel become the number of its class.

Importing this module imports neither Keras nor NumPy.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgecv.errors import OptionError

__all__ = ["CHECKPOINT", "MASK", "BestClass", "SegmentationHead"]

# The output of a segmenter.
MASK = "mask"
# The tensor inside an artifact that verification reads: each pixel's scores, of which the mask tells the best.
CHECKPOINT = "pre_argmax/logits"

# Maps scores ``(batch, height, width, classes)`` to each pixel's best class, the first of equal ones, int32.
BestClass = Callable[[Any], Any]

# A logit above 0 and a probability above a half say the same.
_THRESHOLDS = {"none": 0.0, "sigmoid": 0.5}


@dataclass(frozen=True, kw_only=True)
class SegmentationHead:
    """How scores of pixels become a mask.

    The network's one output is ``(batch, rows, columns, channels)``, of the input's height and width or of fewer
    rows and columns, which are then brought to the input's size by bilinear interpolation between pixel centres.
    Several channels are one score a class: the best one's number is the pixel's, of equal ones the lowest. One
    channel is the score of class 1 against class 0: a logit above 0, or a probability above 0.5, is class 1.

    Attributes:
        channels: Of the network's output.
        activation: What the scores went through last in the network: ``softmax``, ``sigmoid`` or ``none``.
        output_size: Rows and columns of the network's output.
    """

    channels: int
    activation: str
    output_size: tuple[int, int]

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise OptionError(f"segmentation: channels must be at least 1, got {self.channels}.")
        known = tuple(_THRESHOLDS) if self.channels == 1 else ("softmax", *_THRESHOLDS)
        if self.activation not in known:
            raise OptionError(
                f"segmentation: activation of {self.channels} channels must be one of {', '.join(known)}, "
                f"got {self.activation!r}."
            )

    @property
    def classes(self) -> int:
        """Number of classes that pixels can have."""
        return max(2, self.channels)

    @property
    def threshold(self) -> float:
        """Above which the score of the one channel means class 1."""
        return _THRESHOLDS[self.activation]

    def apply(
        self,
        scores: Any,
        input_size: tuple[int, int],
        ops: Any,
        *,
        place: Callable[[Any], Any] = lambda mask: mask,
        best_class: BestClass | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Define the mask.

        Args:
            scores: The network's output.
            input_size: ``(height, width)`` of the network's input, in pixels.
            ops: ``keras.ops``.
            place: Maps masks ``(batch, height, width)`` of the input's size to what the caller sees.
            best_class: A backend's own operation; the default is one of ``keras.ops``.

        Returns:
            The output, int32 ``(batch, height, width)``, and the checkpoint, float32 ``(batch, height, width,
            channels)`` at the input's size, by name.
        """
        scores = ops.cast(scores, "float32")
        if self.output_size != tuple(input_size):
            scores = ops.image.resize(scores, tuple(input_size), interpolation="bilinear", data_format="channels_last")
        if self.channels == 1:
            mask = ops.cast(scores[..., 0] > self.threshold, "int32")
        else:
            mask = (best_class or _best_class)(scores)
        return {MASK: place(mask)}, {CHECKPOINT: scores}

    def to_json(self) -> dict[str, Any]:
        """Return the form that metadata have, with every key."""
        return {"channels": self.channels, "activation": self.activation, "output_size": list(self.output_size)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "SegmentationHead":
        """Read what `to_json` writes.

        Raises:
            OptionError: A key is missing, or its value makes no sense.
        """
        try:
            height, width = document["output_size"]
            return cls(
                channels=int(document["channels"]),
                activation=document["activation"],
                output_size=(int(height), int(width)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise OptionError(f"segmentation makes no sense: {type(error).__name__}: {error}.") from error


def _best_class(scores: Any) -> Any:
    from keras import ops

    # keras.ops.argmax ranks -0 below 0 (Keras 3.15), which no engine does. Of equal ones the first comes first here.
    return ops.cast(ops.squeeze(ops.top_k(scores, 1)[1], -1), "int32")
