"""Non-maximum suppression: the one definition, in operators that every exporter can lower.

Greedy suppression per class, batched: of the candidates, take the best, drop those of its class that overlap
it by more than a threshold, and so on. Three steps:

1. the K best pairs of box and class above the score threshold, best first;
2. the greedy choice among them, in blocks (see `blockwise`; an exporter whose format has an operator for this gives its
   own, see `Suppress`);
3. the chosen ones, padded to a fixed number of rows.

Most pictures are settled by far fewer than K candidates. So the first steps are done with a few, and again with K
only where those were used up, or where something is not finite: dropping NaN takes longer than all the rest.

No box is shifted by its class to keep classes apart: at 80 classes and 640 pixels that costs float32 its digits.

Reference:
    Soft suppression: Bodla et al., "Soft-NMS: Improving Object Detection With One Line of Code", 2017,
    https://arxiv.org/abs/1704.04503, equation 3 (Gaussian).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

from edgecv.blockwise import gather_rows, ordered, suppress_blocks
from edgecv.errors import OptionError
from edgecv.plain_values import plain

__all__ = ["Candidates", "Nms", "Suppress", "non_maximum_suppression"]

# Boxes (batch, K, 4), scores (batch, K), classes (batch, K), score threshold, IoU threshold, number of classes, most
# detections → float32 (batch, K): 1 for those that are kept, else 0. Scores come best first; those that are not above
# the threshold are no candidates. No box is reversed.
Suppress = Callable[[Any, Any, Any, Any, Any, int, int], Any]


# From so many times K anchors on, looking at the K best of them is quicker than looking at all.
_WORTH_CHOOSING = 2
# So many times the rows asked for, candidates are enough on most pictures.
_FEW = 2
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
        scores: float32 ``(batch, K)``; not above the threshold where there are no more.
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
        suppress: Hard suppression in place of `suppress_blocks`.

    Returns:
        ``boxes (batch, max_detections, 4)``, ``scores (batch, max_detections)``, ``classes`` of the same shape
        and ``count (batch,)``, both int32; sorted by score, rows past ``count`` are zeros. A box or score
        that is not finite is dropped.
    """
    threshold = nms.score_threshold if score_threshold is None else ops.maximum(score_threshold, 0.0)
    overlap = nms.iou_threshold if iou_threshold is None else iou_threshold
    if nms.soft_sigma is None and suppress is None:
        return _hard(boxes, scores, threshold, overlap, nms, ops)
    most, rows = _sizes(scores, nms)
    if suppress is None or nms.soft_sigma is not None:
        found = _candidates(boxes, scores, threshold, most, nms, ops)
        kept, places = _soft(found, threshold, rows, nms, ops)
    else:
        found = _candidates(boxes, scores, threshold, most, nms, ops, fewest=rows)
        classes = 1 if nms.class_agnostic else int(scores.shape[-1])
        keep = suppress(ordered(found.boxes, ops), found.scores, found.classes, threshold, overlap, classes, rows)
        kept, places = ops.top_k(found.scores * keep, rows)
    return _padded(found, kept, places, nms.max_detections, ops)


def _sizes(scores: Any, nms: Nms) -> tuple[int, int]:
    """Return how many candidates are looked at, and how many of them are chosen at most."""
    most = min(nms.pre_nms_top_k, int(scores.shape[1]) * (int(scores.shape[2]) if nms.multi_label else 1))
    return most, min(nms.max_detections, most)


def _hard(boxes: Any, scores: Any, threshold: Any, overlap: Any, nms: Nms, ops: Any) -> dict[str, Any]:
    """Suppress in blocks: of the few best candidates first, and of all only where those do not settle it."""
    most, rows = _sizes(scores, nms)

    def chosen(count: int, *, finite: bool = False) -> tuple[dict[str, Any], Any]:
        """Return the detections among so many candidates, and whether more might add to a picture's."""
        found = _candidates(boxes, scores, threshold, count, nms, ops, finite=finite)
        found = found._replace(scores=ops.where(found.scores > threshold, found.scores, 0.0))
        kept, places = suppress_blocks(*found, overlap, ops, rows=rows, agnostic=nms.class_agnostic)
        lacking = ops.logical_and(found.scores[:, -1:] > 0.0, ops.equal(kept[:, rows - 1 :], 0.0))
        return _padded(found, kept, places, nms.max_detections, ops), ops.any(lacking)

    few = _FEW * rows
    if _WORTH_CHOOSING * few > most:
        return chosen(most)[0]
    first, lacking = chosen(few, finite=True)
    # A sum is finite only where all that is added is.
    finite = ops.abs(ops.sum(scores) + ops.sum(boxes)) < float("inf")
    enough = ops.logical_and(finite, ops.logical_not(lacking))
    return dict(ops.cond(enough, lambda: first, lambda: chosen(most)[0]))


def _candidates(
    boxes: Any,
    scores: Any,
    threshold: Any,
    most: int,
    nms: Nms,
    ops: Any,
    *,
    finite: bool = False,
    fewest: int | None = None,
) -> Candidates:
    """Return the best pairs, best first; of equal scores the one of the lower anchor, then class, comes first.

    Args:
        boxes: float32 ``(batch, anchors, 4)``.
        scores: float32 ``(batch, anchors, classes)``.
        threshold: Pairs at or below it fill up the rows; their scores are the threshold at most.
        most: How many pairs to return.
        nms: The settings.
        ops: ``keras.ops``.
        finite: Boxes and scores are taken for numbers, and passes over all of them are saved. If they are none, the
            answer is wrong, but of the same form.
        fewest: Return no more pairs than a picture has above the threshold, but so many at least. Then their number
            is known at run time only.
    """
    anchors, classes = int(scores.shape[1]), int(scores.shape[2])
    # 0 for a box of numbers, else NaN, which no score survives that it is added to.
    flaws = 0.0 if finite else ops.sum(boxes - boxes, axis=-1)
    flawed = scores if finite else scores + ops.expand_dims(flaws, -1)
    if classes == 1 or not nms.multi_label:
        best = _numbers(ops.max(scores, axis=-1), ops) if finite else ops.max(_numbers(flawed, ops), axis=-1)
        best, places = _best(ops.maximum(best, threshold), threshold, most, fewest, ops)
        kinds = _best_class(_numbers(gather_rows(scores, places, ops), ops), ops)
        return Candidates(gather_rows(boxes, places, ops), best, kinds)
    if anchors > _WORTH_CHOOSING * most:
        # A pair among the K best has an anchor among the K whose best class is best. Sorting a thousand
        # anchors is quicker than sorting all pairs; in their old order, so that ties stay as they were.
        peaks = ops.max(scores if finite else _numbers(scores, ops), axis=-1)
        _, chosen = ops.top_k(ops.maximum(_numbers(peaks + flaws, ops), threshold), most)
        chosen = -ops.top_k(-chosen, most)[0]
        boxes, flawed = gather_rows(boxes, chosen, ops), gather_rows(scores, chosen, ops)
        if not finite:
            flawed = flawed + ops.expand_dims(gather_rows(flaws, chosen, ops), -1)
        anchors = most
    pairs = ops.reshape(ops.maximum(_numbers(flawed, ops), threshold), (-1, anchors * classes))
    best, places = _best(pairs, threshold, most, fewest, ops)
    owners = ops.floor_divide(places, classes)
    return Candidates(gather_rows(boxes, owners, ops), best, places - owners * classes)


def _best(scores: Any, threshold: Any, most: int, fewest: int | None, ops: Any) -> tuple[Any, Any]:
    """Return the best scores and their places, ``(batch, most)``, or fewer where fewer are above the threshold."""
    if fewest is None:
        return tuple(ops.top_k(scores, most))
    above = ops.sum(ops.cast(scores > threshold, "float32"), axis=-1)
    count = ops.clip(ops.max(above), float(fewest), float(most))
    return tuple(ops.top_k(scores, ops.cast(count, "int32")))


def _numbers(scores: Any, ops: Any) -> Any:
    """Return the scores with 0 where one is NaN or infinity: no comparison with NaN is true."""
    return ops.where(scores < float("inf"), scores, 0.0)


def _best_class(scores: Any, ops: Any) -> Any:
    """Return each anchor's best class, int32 ``(batch, anchors)``."""
    # keras.ops.argmax becomes an operation on bits that converters do not know (Keras 3.15).
    return ops.cast(ops.squeeze(ops.top_k(scores, 1)[1], -1), "int32")


def _soft(found: Candidates, threshold: Any, rows: int, nms: Nms, ops: Any) -> tuple[Any, Any]:
    """Return scores and places among the candidates of the chosen ones, both ``(batch, rows)``, 0 past the last."""
    count = int(found.scores.shape[1])
    numbers = ops.reshape(ops.arange(count, dtype="int32"), (1, count))
    slots = ops.reshape(ops.arange(rows, dtype="int32"), (1, rows))
    sides = _sides(found.boxes, ops)
    scale = -1.0 / (nms.soft_sigma or 1.0)

    def some_left(turn: Any, left: Any, *_: Any) -> Any:
        return ops.logical_and(turn < rows, ops.max(left) > threshold)

    def take_best(turn: Any, left: Any, kept: Any, places: Any) -> tuple[Any, Any, Any, Any]:
        best, at = ops.top_k(left, 1)
        at = ops.cast(at, "int32")
        slot = ops.logical_and(ops.equal(slots, turn), best > threshold)
        kept, places = ops.where(slot, best, kept), ops.where(slot, at, places)
        chosen = ops.equal(numbers, at)
        iou = _overlaps(sides, [_at(side, chosen, ops) for side in sides], ops)
        rivals = (
            ops.equal(found.classes, gather_rows(found.classes, at, ops)) if not nms.class_agnostic else numbers >= 0
        )
        left = ops.where(chosen, 0.0, left)
        left = ops.where(rivals, left * ops.exp(iou * iou * scale), left)
        return turn + 1, left, kept, places

    empty = ops.zeros_like(found.scores[:, :rows])
    start = (ops.zeros((), dtype="int32"), found.scores, empty, ops.cast(empty, "int32"))
    _, _, kept, places = ops.while_loop(some_left, take_best, start)
    return kept, places


def _sides(boxes: Any, ops: Any) -> list[Any]:
    """Return left, top, right and bottom, each ``(batch, K)``, of boxes put in order."""
    whole = ordered(boxes, ops)
    return [whole[..., index] for index in range(4)]


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
    boxes = ops.where(ops.expand_dims(alive, -1), gather_rows(found.boxes, places, ops), 0.0)
    classes = ops.where(alive, gather_rows(found.classes, places, ops), 0)
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


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _option(name: str) -> str:
    return name.replace("_", "-")
