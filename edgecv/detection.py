"""The head of a detector: outputs of the network become boxes, and boxes become detections."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgecv.nms import Nms, Suppress, non_maximum_suppression

if TYPE_CHECKING:
    from edgecv.decoders import Decoder

__all__ = ["CHECKPOINTS", "DETECTIONS", "THRESHOLDS", "DetectionHead"]

# Outputs of a detector, in their order.
DETECTIONS = ("boxes", "scores", "classes", "count")

# Tensors inside an artifact that verification reads: what goes into suppression, at every anchor.
CHECKPOINTS = ("pre_nms/boxes", "pre_nms/scores")
# Settings that a format with optional inputs lets the caller change at run time.
THRESHOLDS = ("score_threshold", "iou_threshold")


@dataclass(frozen=True, kw_only=True)
class DetectionHead:
    """Decoder and suppression.

    Attributes:
        decoder: How the network's outputs become boxes and scores.
        nms: Non-maximum suppression; None where the artifact gives every anchor.
        score_activation: What the scores went through last and can be compared without: ``softmax``,
            ``sigmoid`` or ``none``.
    """

    decoder: "Decoder"
    nms: Nms | None
    score_activation: str = "none"

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in the artifact's order."""
        return DETECTIONS[:2] if self.nms is None else DETECTIONS

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """Names of the tensors in the artifact that go into suppression; none where they are the outputs."""
        return () if self.nms is None else CHECKPOINTS

    @property
    def fixed_boxes(self) -> bool:
        """Whether the boxes of the anchors are the same on every picture."""
        return bool(getattr(self.decoder, "fixed_boxes", False))

    def is_joint(self, outputs: int) -> bool:
        """Tell whether one of the network's outputs, so many, holds boxes and scores together."""
        is_joint = getattr(self.decoder, "is_joint", None)
        return is_joint is not None and bool(is_joint(outputs))

    def sizes(self, input_size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Return the ``(height, width)`` at which the network runs, one a scale of the decoder."""
        sizes = getattr(self.decoder, "sizes", None)
        return (input_size,) if sizes is None else tuple(sizes(input_size))

    def apply(
        self,
        outputs: Sequence[Any],
        input_size: tuple[int, int],
        ops: Any,
        *,
        place: Callable[[Any], Any],
        thresholds: Mapping[str, Any],
        suppress: Suppress | None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Decode and suppress.

        Args:
            outputs: The network's, in the decoder's order.
            input_size: ``(height, width)`` of the network's input, in pixels.
            ops: ``keras.ops``.
            place: Maps boxes ``(batch, anchors, 4)`` from 0…1 of the input to 0…1 of what the caller sees.
            thresholds: Scalar tensors in place of settings, by the names of `THRESHOLDS`.
            suppress: A format's own operator in place of the definition's loop.

        Returns:
            The outputs, and the checkpoints, by name.
        """
        boxes, scores = self.decoder.decode(outputs, input_size, ops)
        boxes = place(boxes)
        if self.nms is None:
            return {"boxes": boxes, "scores": scores}, {}
        found = non_maximum_suppression(boxes, scores, self.nms, ops, suppress=suppress, **thresholds)
        return found, dict(zip(CHECKPOINTS, (boxes, scores), strict=True))
