"""Greedy suppression of sorted candidates, block by block, in operators that every exporter can lower.

Candidates come best first, so that whether one is kept hangs on those before it alone. A block of them is judged
at once: first by the ones kept so far, then by each other, as the fixed point of

    a candidate is kept if no kept one before it, of its class, overlaps it by more than the threshold

which is iterated from "all are kept". Each iteration turns an upper bound into a lower one and back; where two in
a row agree, both are right. The next block begins at the first candidate where they do not.
One turn of the loop decides dozens of candidates, where taking the best one at a time decides a single one.

Reference:
    Zheng et al., "Enhancing Geometric Factors in Model Learning and Inference for Object Detection and Instance
    Segmentation", 2020, section III-C (Cluster-NMS), https://arxiv.org/abs/2005.03572
"""

from typing import Any

__all__ = ["gather_rows", "ordered", "suppress_blocks"]

# Candidates a turn; more of them cost more overlaps, fewer cost more turns.
_BLOCK = 64
# Of suppressions that hang on each other, so many are followed in one turn.
_ITERATIONS = 3
# Columns of the table: four sides, area, class, score, place among the candidates.
_COLUMNS, _SCORE, _PLACE = 8, 6, 7
# More than two overlaps can differ: what is moved by it suppresses nothing.
_APART = 2.0


def suppress_blocks(
    boxes: Any, scores: Any, classes: Any, overlap: Any, ops: Any, *, rows: int, agnostic: bool
) -> tuple[Any, Any]:
    """Choose among candidates, best first.

    Args:
        boxes: float32 ``(batch, K, 4)`` as x1, y1, x2, y2.
        scores: float32 ``(batch, K)``, none above one before it; 0 stands for no candidate.
        classes: int32 ``(batch, K)``.
        overlap: Boxes of one class overlap by at most this intersection over union, in [0, 1].
        ops: ``keras.ops``.
        rows: Most that are chosen, at most K.
        agnostic: Boxes suppress each other whatever their classes.

    Returns:
        Scores and places among the candidates of the chosen ones, both ``(batch, rows)``, 0 past the last.
    """
    import numpy as np

    count = int(scores.shape[1])
    block = min(_BLOCK, count)
    table = _table(boxes, scores, classes, block, ops)

    def turn(start: Any, kept: Any) -> tuple[Any, Any, Any]:
        judged = gather_rows(table, start + np.arange(block, dtype=np.int32)[None], ops)
        keep, sure = _judge(kept, judged, overlap, ops, agnostic=agnostic)
        judged = judged * ops.transpose(keep, (0, 2, 1))
        both = judged if kept is None else ops.concatenate([kept, judged], axis=1)
        if both.shape[1] < rows:
            both = ops.pad(both, ((0, 0), (0, rows - int(both.shape[1])), (0, 0)))
        best, places = ops.top_k(_column(both, _SCORE, ops), rows)
        # A picture that is done waits behind its last candidate for the others of the batch.
        start = ops.minimum(start + ops.cast(sure, "int32"), count)
        following = gather_rows(_column(table, _SCORE, ops), start, ops)
        more = ops.logical_and(following > 0.0, ops.equal(best[:, rows - 1 :], 0.0))
        return start, gather_rows(both, places, ops), ops.any(more)

    # The first turn, often the only one, has no kept ones to look at.
    state = turn(ops.cast(ops.zeros_like(scores[:, :1]), "int32"), None)
    _, kept, _ = ops.while_loop(lambda *state: state[2], lambda *state: turn(state[0], state[1]), state)
    return _column(kept, _SCORE, ops), ops.cast(_column(kept, _PLACE, ops), "int32")


def gather_rows(values: Any, places: Any, ops: Any) -> Any:
    """Return of each picture the rows at ``places (batch, count)`` of ``values (batch, rows, …)``."""
    if values.shape[0] == 1:
        # Flattening would copy the values.
        return ops.take(values, ops.squeeze(places, 0), axis=1)
    rows = ops.shape(values)[1]
    rest = tuple(int(side) for side in values.shape[2:])
    # One gather from all pictures' rows: no format but TFLite has a batched one.
    first = ops.arange(ops.shape(values)[0], dtype="int32") * rows
    places = ops.cast(places, "int32") + ops.expand_dims(first, -1)
    return ops.take(ops.reshape(values, (-1, *rest)), places, axis=0)


def ordered(boxes: Any, ops: Any) -> Any:
    """Return boxes ``(batch, K, 4)`` whose right side is not left of the left one: a reversed box has no area."""
    first, last = ops.split(boxes, 2, axis=-1)
    return ops.concatenate([first, ops.maximum(first, last)], axis=-1)


def _table(boxes: Any, scores: Any, classes: Any, more: int, ops: Any) -> Any:
    """Return all that a turn needs of a candidate in one row, so that it is fetched at once, and empty rows more."""
    import numpy as np

    sides = ordered(boxes, ops)
    first, last = ops.split(sides, 2, axis=-1)
    width, height = ops.split(last - first, 2, axis=-1)
    places = ops.zeros_like(scores) + np.arange(int(scores.shape[1]), dtype=np.float32)
    kinds = ops.cast(classes, "float32") * _APART
    table = ops.concatenate(
        [sides, width * height, *(ops.expand_dims(each, -1) for each in (kinds, scores, places))], -1
    )
    return ops.pad(table, ((0, 0), (0, more), (0, 0)))


def _judge(kept: Any, judged: Any, overlap: Any, ops: Any, *, agnostic: bool) -> tuple[Any, Any]:
    """Judge a block by the kept ones and by itself.

    Returns:
        1 for each candidate that is kept, ``(batch, 1, block)``, and how many are decided, ``(batch, 1)``; those past
        the decided ones have 0.
    """
    import numpy as np

    block = int(judged.shape[1])
    # A candidate suppresses later ones only.
    limits = np.tril(np.full((block, block), _APART, np.float32))
    judges, before = judged, []
    if kept is not None:
        rows = int(kept.shape[1])
        judges = ops.concatenate([kept, judged], axis=1)
        limits = np.concatenate([np.zeros((rows, block), np.float32), limits])
        # Any number above 0 stands for a kept one.
        before = [ops.reshape(_column(kept, _SCORE, ops), (-1, 1, rows))]
    columns = ops.split(ops.transpose(judged, (0, 2, 1)), _COLUMNS, axis=1)
    excess = _excess(ops.split(judges, _COLUMNS, axis=-1), columns, limits + overlap, ops, agnostic=agnostic)
    alive = ops.cast(columns[_SCORE] > 0.0, "float32")
    last = keep = ops.where(ops.sum(excess, axis=1, keepdims=True) > 0.0, 0.0, alive)
    for _ in range(_ITERATIONS - 1):
        last = keep
        against = ops.matmul(ops.concatenate([*before, keep], axis=-1), excess)
        keep = ops.where(against > 0.0, 0.0, alive)
    numbers = np.arange(block, dtype=np.float32)[None, None]
    sure = ops.min(ops.where(ops.equal(keep, last), float(block), numbers), axis=-1)
    return ops.where(numbers < ops.expand_dims(sure, -1), keep, 0.0), sure


def _excess(judges: list[Any], judged: list[Any], limits: Any, ops: Any, *, agnostic: bool) -> Any:
    """Return by how much each overlap is above its limit, 0 where it is not: ``(batch, judges, judged)``.

    It is no number where neither box has an area, or where both areas overflow. Such a box is never suppressed, and
    what is no number is not above 0.
    """
    width = ops.relu(ops.minimum(judges[2], judged[2]) - ops.maximum(judges[0], judged[0]))
    height = ops.relu(ops.minimum(judges[3], judged[3]) - ops.maximum(judges[1], judged[1]))
    common = width * height
    iou = common / (judges[4] + judged[4] - common)
    if not agnostic:
        iou = iou - ops.abs(judges[5] - judged[5])
    return ops.relu(iou - limits)


def _column(table: Any, index: int, ops: Any) -> Any:
    """Return a column ``(batch, rows)`` of a table."""
    return ops.squeeze(ops.split(table, _COLUMNS, axis=-1)[index], -1)
