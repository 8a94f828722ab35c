"""Greedy suppression by TFLite's own NonMaxSuppressionV4, for readers that take a graph without loops.

The definition's loop (`edgecv.blockwise`) is what every other TFLite file has. It lies in subgraphs of its own, though,
and MediaPipe Tasks open files of a single one.

Each class is suppressed by itself: boxes moved apart by class, so that one operator serves all, lose digits.
"""

from typing import Any

import numpy as np

__all__ = ["suppress"]


def suppress(boxes: Any, scores: Any, classes: Any, threshold: Any, overlap: Any, kinds: int, rows: int) -> Any:
    """Trace the operators: `edgecv.nms.Suppress` for TensorFlow's tensors and a batch of one picture."""
    import tensorflow as tf

    boxes, scores, classes = boxes[0], scores[0], classes[0]
    # The operator drops what overlaps by as much as its threshold, edgecv what overlaps by more.
    most = np.nextafter(np.float32(overlap), np.float32(2))
    # Candidates come best first; the operator takes equal scores in any order, so that it gets their ranks.
    ranks = tf.cast(tf.range(tf.size(scores), 0, -1), tf.float32)
    ranks = tf.where(scores > threshold, ranks, 0.0)
    if kinds > 1:
        numbers = np.arange(kinds, dtype=np.int32)[:, None]
        apart = tf.unstack(tf.where(tf.equal(classes[None], numbers), ranks[None], 0.0), num=kinds)
    else:
        apart = [ranks]
    places, counts = [], []
    for own in apart:
        chosen, count = tf.raw_ops.NonMaxSuppressionV4(
            boxes=boxes,
            scores=own,
            max_output_size=rows,
            iou_threshold=most,
            score_threshold=np.float32(0),
            pad_to_max_output_size=True,
        )
        places.append(chosen)
        counts.append(count)
    # Rows past the last name place 0 and add nothing to it.
    found = tf.cast(np.arange(rows, dtype=np.int32)[None] < tf.stack(counts)[:, None], tf.float32)
    kept = tf.scatter_nd(tf.reshape(tf.stack(places), (-1, 1)), tf.reshape(found, (-1,)), tf.shape(scores))
    return tf.expand_dims(kept, 0)
