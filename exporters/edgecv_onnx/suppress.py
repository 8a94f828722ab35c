"""Greedy suppression by ONNX's own NonMaxSuppression, which engines run in native code.

The definition's loop is right in ONNX too, but each of its turns costs ONNX Runtime some twenty operator calls.
The step travels through TensorFlow and tf2onnx as one operation that stands for it; here, it becomes ONNX operators.
"""

from typing import Any

import numpy as np

__all__ = ["HANDLERS", "suppress"]


def suppress(boxes: Any, scores: Any, classes: Any, threshold: Any, overlap: Any, kinds: int, rows: int) -> Any:
    """Trace the operation that stands for suppression: `edgecv.nms.Suppress` for TensorFlow's tensors.

    CombinedNonMaxSuppression has the right inputs; only ``_convert`` gives it its meaning, the first output
    being 1 where a candidate is kept. `rows`, the most that can be kept of a class, travels as its fourth input.
    """
    import tensorflow as tf

    own = tf.expand_dims(scores, 1)
    if kinds > 1:
        numbers = np.arange(kinds, dtype=np.int32)[:, None]
        own = tf.where(tf.equal(tf.expand_dims(classes, 1), numbers), own, 0.0)
    _, kept, _, _ = tf.raw_ops.CombinedNonMaxSuppression(
        boxes=tf.expand_dims(boxes, 2),
        scores=tf.transpose(own, (0, 2, 1)),  # `_convert` turns it back, and the two cancel
        max_output_size_per_class=rows,
        max_total_size=int(boxes.shape[1] or rows),
        iou_threshold=overlap,
        score_threshold=threshold,
    )
    return kept


def _convert(graph: Any, node: Any, name: str, _: Any) -> None:
    """Write NonMaxSuppression, and ones where it found something.

    Its rows are (picture, class, box); a box stands for one candidate, so that the class adds nothing.
    """
    boxes, scores, rows, _, overlap, threshold = node.input
    from onnx import numpy_helper

    outputs = list(node.output)
    dtype, shape = graph.get_dtype(outputs[1]), graph.get_shape(outputs[1])
    limit = graph.get_node_by_output(rows).get_tensor_value()
    graph.remove_node(name)
    made: list[Any] = []

    def make(kind: str, *inputs: str, **attributes: Any) -> str:
        made.append(graph.make_node(kind, list(inputs), name=f"{name}/{kind}_{len(made)}", attr=attributes))
        return str(made[-1].output[0])

    def constant(what: str, *values: int) -> str:
        return str(graph.make_const(f"{name}/{what}", np.array(values, np.int64)).output[0])

    def filled(value: float, like: str, *sides: int) -> str:
        """Return a tensor of one value whose sides are some of another tensor's."""
        size = make("Gather", make("Shape", like), constant(f"sides_{len(made)}", *sides), axis=0)
        return make("ConstantOfShape", size, value=numpy_helper.from_array(np.array([value], np.float32)))

    flat = graph.get_node_by_output(boxes).input[0]  # before the axis that only the stand-in wants
    one = constant("one_value", 1)
    thresholds = [make("Reshape", each, one) for each in (overlap, threshold)]
    by_class = make("Transpose", scores, perm=[0, 2, 1])
    found = make("NonMaxSuppression", flat, by_class, constant("limit", int(limit)), *thresholds)
    places = make("Gather", found, constant("picture_and_box", 0, 2), axis=1)
    inputs = [filled(0.0, flat, 0, 1), places, filled(1.0, found, 0)]
    graph.make_node("ScatterND", inputs, name=name, outputs=[outputs[1]], shapes=[shape], dtypes=[dtype])


HANDLERS: dict[str, tuple[Any, list[Any]]] = {"CombinedNonMaxSuppression": (_convert, [])}
