"""Non-maximum suppression: the one definition, in operators that every exporter can lower.

Greedy suppression per class, batched: of the candidates, take the best, drop those of its class that overlap
it by more than a threshold, and so on. Three steps:

1. `candidates`: the K best pairs of box and class above the score threshold, best first;
2. `suppress`: the greedy choice among them, as a loop that ends when nothing is left (an exporter whose
   format has an operator for this gives its own, see `Suppress`);
3. the chosen ones, padded to a fixed number of rows.

No box is shifted by its class to keep classes apart: at 80 classes and 640 pixels that costs float32 its digits.

Reference:
    Soft suppression: Bodla et al., "Soft-NMS: Improving Object Detection With One Line of Code", 2017,
    https://arxiv.org/abs/1704.04503, equation 3 (Gaussian).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

from edgecv.decoders.base import plain
from edgecv.errors import OptionError

__all__ = ["Candidates", "Nms", "Suppress", "non_maximum_suppression"]

# Boxes (batch, K, 4), scores (batch, K), classes (batch, K), IoU threshold, number of classes, most detections
# → boolean (batch, K): which are kept. Scores come best first; 0 stands for no candidate. No box is reversed.
Suppress = Callable[[Any, Any, Any, Any, int, int], Any]


# From so many times K anchors on, looking at the K best of them is quicker than looking at all.
_WORTH_CHOOSING = 2
# In place of a union of 0, which has nothing in common with anything; the least normal float32.
_NO_AREA = 2.0**-126


@dataclass(frozen=True, kw_only=True)
class Nms:
    """Settings of non-maximum suppression.

    Attributes:
        score_threshold: Pairs of box and class score above it, in [0, 1].
        iou_threshold: Boxes of one class overlap by at most this intersection over union, in [0, 1].
        max_detections: Rows of the output; at least 1.
        pre_nms_top_k: How many of the best pairs are looked at; at least 1.
        multi_label: A box may be found for several classes; otherwise for its best one only.
        class_agnostic: Boxes suppress each other whatever their classes.
        soft_sigma: Gaussian soft suppression: overlapping boxes lose score by exp(−IoU² / sigma) instead of
            being dropped; None for hard suppression.
    """

    score_threshold: float = 0.25
    iou_threshold: float = 0.6
    max_detections: int = 100
    pre_nms_top_k: int = 1000
    multi_label: bool = True
    class_agnostic: bool = False
    soft_sigma: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):  # NumPy's numbers become Python's, as in a decoder
            object.__setattr__(self, field.name, plain(getattr(self, field.name)))
        for name in ("score_threshold", "iou_threshold"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value <= 1:
                raise OptionError(f"{_option(name)} must be in 0…1, got {value!r}.")
        for name in ("max_detections", "pre_nms_top_k"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise OptionError(f"{_option(name)} must be at least 1, got {value!r}.")
        for name in ("multi_label", "class_agnostic"):
            if not isinstance(getattr(self, name), bool):
                raise OptionError(f"{_option(name)} must be true or false, got {getattr(self, name)!r}.")
        sigma = self.soft_sigma
        if sigma is not None and (not _is_number(sigma) or not 0 < sigma < float("inf")):
            raise OptionError(f"{_option('soft_sigma')} must be above 0, got {sigma!r}.")

    def to_json(self) -> dict[str, Any]:
        """Return the form that metadata have."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Nms":
        """Read what `to_json` writes.

        Raises:
            OptionError: It is no object, a key is unknown or a value is out of range.
        """
        if not isinstance(document, Mapping):
            raise OptionError(f"nms must be a JSON object, got {type(document).__name__}.")
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(document) - set(known))
        if unknown:
            raise OptionError(f"nms has the unknown key {unknown[0]!r}. Known: {', '.join(sorted(known))}.")
        return cls(**document)


class Candidates(NamedTuple):
    """The best pairs of box and class, best first.

    Attributes:
        boxes: float32 ``(batch, K, 4)`` as x1, y1, x2, y2.
        scores: float32 ``(batch, K)``; 0 where there are no more.
        classes: int32 ``(batch, K)``.
    """

    boxes: Any
    scores: Any
    classes: Any


def non_maximum_suppression(
    boxes: Any,
    scores: Any,
    nms: Nms,
    ops: Any,
    *,
    score_threshold: Any = None,
    iou_threshold: Any = None,
    suppress: Suppress | None = None,
) -> dict[str, Any]:
    """Choose the detections of each picture.

    Args:
        boxes: float32 ``(batch, anchors, 4)`` as x1, y1, x2, y2 in 0…1 of the input.
        scores: float32 ``(batch, anchors, classes)``.
        nms: The settings.
        ops: ``keras.ops``.
        score_threshold: Scalar tensor in place of the setting.
        iou_threshold: Scalar tensor in place of the setting.
        suppress: Hard suppression in place of `_hard`.

    Returns:
        ``boxes (batch, max_detections, 4)``, ``scores (batch, max_detections)``, ``classes`` of the same shape
        and ``count (batch,)``, both int32; sorted by score, rows past ``count`` are zeros. A box or score
        that is not finite is dropped.
    """
    threshold = nms.score_threshold if score_threshold is None else ops.maximum(score_threshold, 0.0)
    overlap = nms.iou_threshold if iou_threshold is None else iou_threshold
    found = _candidates(boxes, scores, threshold, nms, ops)
    rows = min(nms.max_detections, found.scores.shape[1])
    if suppress is not None and nms.soft_sigma is None:
        classes = 1 if nms.class_agnostic else int(scores.shape[-1])
        keep = suppress(_ordered(found.boxes, ops), found.scores, found.classes, overlap, classes, rows)
        kept, places = ops.top_k(ops.where(keep, found.scores, 0.0), rows)
    elif nms.soft_sigma is None:
        kept, places = _hard(found, threshold, overlap, rows, nms, ops)
    else:
        kept, places = _soft(found, threshold, nms.soft_sigma, rows, nms, ops)
    return _padded(found, kept, places, nms.max_detections, ops)


def _candidates(boxes: Any, scores: Any, threshold: Any, nms: Nms, ops: Any) -> Candidates:
    """Return the K best pairs; of equal scores the one of the lower anchor, then class, comes first."""
    anchors, classes = int(scores.shape[1]), int(scores.shape[2])
    most = nms.pre_nms_top_k
    # 1 for a box of numbers, else 0: products are quicker than choices, and no score is NaN or infinite there.
    finite = ops.min(ops.cast(ops.abs(boxes) < float("inf"), "float32"), axis=-1)
    if classes == 1 or not nms.multi_label:
        best, kinds = _best_class(_numbers(scores, ops), ops)
        best, places = ops.top_k(ops.maximum(best, threshold) * finite, min(most, anchors))
        best = ops.where(best > threshold, best, 0.0)
        return Candidates(_rows(boxes, places, ops), best, _rows(kinds, places, ops))
    if anchors > _WORTH_CHOOSING * most:
        # A pair among the K best has an anchor among the K whose best class is best. Sorting a thousand
        # anchors is quicker than sorting all pairs; in their old order, so that ties stay as they were.
        peaks = ops.max(_numbers(scores, ops), axis=-1)
        _, chosen = ops.top_k(ops.maximum(peaks, threshold) * finite, most)
        chosen = -ops.top_k(-chosen, most)[0]
        boxes, scores, finite = (_rows(each, chosen, ops) for each in (boxes, scores, finite))
        anchors = most
    scores = ops.maximum(_numbers(scores, ops), threshold) * ops.expand_dims(finite, -1)
    pairs = ops.reshape(scores, (-1, anchors * classes))
    best, places = ops.top_k(pairs, min(most, anchors * classes))
    best = ops.where(best > threshold, best, 0.0)
    owners = ops.floor_divide(places, classes)
    return Candidates(_rows(boxes, owners, ops), best, places - owners * classes)


def _numbers(scores: Any, ops: Any) -> Any:
    """Return the scores with 0 where one is NaN or infinity: no comparison with NaN is true."""
    return ops.where(scores < float("inf"), scores, 0.0)


def _best_class(scores: Any, ops: Any) -> tuple[Any, Any]:
    """Return score and class, both ``(batch, anchors)``, of each anchor's best class."""
    # keras.ops.argmax becomes an operation on bits that converters do not know (Keras 3.15).
    best, kinds = ops.top_k(scores, 1)
    return ops.squeeze(best, -1), ops.cast(ops.squeeze(kinds, -1), "int32")


def _hard(found: Candidates, threshold: Any, overlap: Any, rows: int, nms: Nms, ops: Any) -> tuple[Any, Any]:
    """Return scores and places among the candidates of the chosen ones, both ``(batch, rows)``, 0 past the last."""
    count = int(found.scores.shape[1])
    numbers = ops.reshape(ops.arange(count, dtype="int32"), (1, count))
    sides = _sides(found.boxes, ops)
    # All that a turn needs of its best one, so that it is fetched at once.
    columns = [*sides, _area(sides), ops.cast(found.classes, "float32")]
    table = ops.stack(columns, axis=-1)

    def some_left(turn: Any, left: Any) -> Any:
        return ops.logical_and(turn < rows, ops.max(left) > threshold)

    def take_best(turn: Any, left: Any) -> tuple[Any, Any]:
        best, at = ops.top_k(left, 1)
        at = ops.cast(at, "int32")
        *corners, area, kind = ops.split(ops.reshape(_rows(table, at, ops), (-1, len(columns))), len(columns), axis=-1)
        common = _common(sides, corners, ops)
        iou = common / ops.maximum(columns[4] + area - common, _NO_AREA)
        # Of a picture that is done, the best one is none; nothing overlaps by 2.
        gone = iou > ops.where(best > threshold, overlap, 2.0)
        if not nms.class_agnostic:
            gone = ops.logical_and(gone, ops.equal(columns[5], kind))
        # The chosen ones go on as negative numbers.
        return turn + 1, ops.where(ops.equal(numbers, at), -ops.abs(best), ops.where(gone, 0.0, left))

    _, left = ops.while_loop(some_left, take_best, (ops.zeros((), dtype="int32"), found.scores))
    kept, places = ops.top_k(-left, rows)
    return ops.where(kept > 0.0, kept, 0.0), places


def _soft(found: Candidates, threshold: Any, sigma: float, rows: int, nms: Nms, ops: Any) -> tuple[Any, Any]:
    """Return scores and places among the candidates of the chosen ones, both ``(batch, rows)``, 0 past the last."""
    count = int(found.scores.shape[1])
    numbers = ops.reshape(ops.arange(count, dtype="int32"), (1, count))
    slots = ops.reshape(ops.arange(rows, dtype="int32"), (1, rows))
    sides = _sides(found.boxes, ops)

    def some_left(turn: Any, left: Any, *_: Any) -> Any:
        return ops.logical_and(turn < rows, ops.max(left) > threshold)

    def take_best(turn: Any, left: Any, kept: Any, places: Any) -> tuple[Any, Any, Any, Any]:
        best, at = ops.top_k(left, 1)
        at = ops.cast(at, "int32")
        slot = ops.logical_and(ops.equal(slots, turn), best > threshold)
        kept, places = ops.where(slot, best, kept), ops.where(slot, at, places)
        chosen = ops.equal(numbers, at)
        iou = _overlaps(sides, [_at(side, chosen, ops) for side in sides], ops)
        rivals = ops.equal(found.classes, _rows(found.classes, at, ops)) if not nms.class_agnostic else numbers >= 0
        left = ops.where(chosen, 0.0, left)
        left = ops.where(rivals, left * ops.exp(iou * iou * (-1.0 / sigma)), left)
        return turn + 1, left, kept, places

    empty = ops.zeros_like(found.scores[:, :rows])
    start = (ops.zeros((), dtype="int32"), found.scores, empty, ops.cast(empty, "int32"))
    _, _, kept, places = ops.while_loop(some_left, take_best, start)
    return kept, places


def _ordered(boxes: Any, ops: Any) -> Any:
    """Return boxes ``(batch, K, 4)`` whose right side is not left of the left one: a reversed box has no area."""
    first = boxes[..., :2]
    return ops.concatenate([first, ops.maximum(first, boxes[..., 2:])], axis=-1)


def _sides(boxes: Any, ops: Any) -> list[Any]:
    """Return left, top, right and bottom, each ``(batch, K)``, of boxes put in order."""
    ordered = _ordered(boxes, ops)
    return [ordered[..., index] for index in range(4)]


def _at(values: Any, chosen: Any, ops: Any) -> Any:
    """Return each row's value where ``chosen`` is true, ``(batch, 1)``."""
    return ops.sum(ops.where(chosen, values, 0.0), axis=1, keepdims=True)


def _overlaps(sides: list[Any], one: list[Any], ops: Any) -> Any:
    """Return the intersection over union of each box with one, ``(batch, K)``; 0 where there is no union."""
    common = _common(sides, one, ops)
    return common / ops.maximum(_area(sides) + _area(one) - common, _NO_AREA)


def _common(sides: list[Any], one: list[Any], ops: Any) -> Any:
    """Return the area that each box has in common with one, ``(batch, K)``."""
    width = ops.minimum(sides[2], one[2]) - ops.maximum(sides[0], one[0])
    height = ops.minimum(sides[3], one[3]) - ops.maximum(sides[1], one[1])
    return ops.maximum(width, 0.0) * ops.maximum(height, 0.0)


def _area(sides: list[Any]) -> Any:
    return (sides[2] - sides[0]) * (sides[3] - sides[1])


def _padded(found: Candidates, kept: Any, places: Any, most: int, ops: Any) -> dict[str, Any]:
    alive = kept > 0.0
    boxes = ops.where(ops.expand_dims(alive, -1), _rows(found.boxes, places, ops), 0.0)
    classes = ops.where(alive, _rows(found.classes, places, ops), 0)
    lacking = most - int(kept.shape[1])
    if lacking:
        boxes = ops.pad(boxes, ((0, 0), (0, lacking), (0, 0)))
        kept, classes = (ops.pad(each, ((0, 0), (0, lacking))) for each in (kept, classes))
    return {
        "boxes": boxes,
        "scores": kept,
        "classes": ops.cast(classes, "int32"),
        "count": ops.sum(ops.cast(alive, "int32"), axis=1),
    }


def _rows(values: Any, places: Any, ops: Any) -> Any:
    """Return of each picture the rows at ``places (batch, count)`` of ``values (batch, rows, …)``."""
    rows = int(values.shape[1])
    rest = tuple(int(side) for side in values.shape[2:])
    flat = ops.reshape(values, (-1, *rest))
    if values.shape[0] != 1:
        # One gather from all pictures' rows: no format but TFLite has a batched one.
        first = ops.arange(ops.shape(values)[0], dtype="int32") * rows
        places = ops.cast(places, "int32") + ops.expand_dims(first, -1)
    return ops.take(flat, places, axis=0)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _option(name: str) -> str:
    return name.replace("_", "-")
