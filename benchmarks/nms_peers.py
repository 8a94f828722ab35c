"""The peers of `nms_speed.py`: suppression written straight in an engine's operators.

In ONNX the same contract as edgecv's, save that a box or score that is not finite may do anything; in TFLite
the builtin operator once a class: after TopK with the same contract, or on all scores, which looks at every one above
the threshold and not at the best thousand only.
All take ``boxes (1, anchors, 4)`` as x1, y1, x2, y2 and ``scores (1, anchors, classes)``, float32.
"""

from pathlib import Path
from typing import Any

import numpy as np

from edgecv.files import replace_whole
from edgecv.nms import Nms

__all__ = ["write_onnx", "write_tflite"]


def write_onnx(path: Path, anchors: int, classes: int, nms: Nms, *, above_first: bool) -> None:
    """Write TopK over all pairs, NonMaxSuppression, gather and pad.

    Args:
        path: The file.
        anchors: Number of boxes.
        classes: Number of classes.
        nms: Hard suppression per class.
        above_first: Take the pairs above the threshold out before TopK, instead of TopK over all.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(value: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), f"constant_{len(constants)}"))
        return str(constants[-1].name)

    def make(kind: str, *inputs: str, outputs: tuple[str, ...] = (), **attributes: Any) -> str:
        names = outputs or (f"{kind}_{len(nodes)}",)
        nodes.append(helper.make_node(kind, list(inputs), list(names), name=f"{kind}_{len(nodes)}", **attributes))
        return names[0]

    def integers(*values: int) -> str:
        return constant(np.array(values, np.int64))

    most, rows = min(nms.pre_nms_top_k, anchors * classes), nms.max_detections
    threshold = constant(np.array([nms.score_threshold], np.float32))
    pairs = make("Reshape", "scores", integers(-1))
    if above_first:
        above = make("Squeeze", make("NonZero", make("Greater", pairs, threshold)), integers(0))
        count = make("Min", make("Shape", above), integers(most))
        best = make("TopK", make("Gather", pairs, above), count, outputs=("best", "at"), axis=0)
        places = make("Gather", above, "at")
    else:
        best = make("TopK", pairs, integers(most), outputs=("best", "places"), axis=0)
        places = "places"
    owners = make("Div", places, integers(classes))
    kinds = make("Mod", places, integers(classes))
    boxes = make("Gather", make("Squeeze", "boxes", integers(0)), owners)
    column = integers(0, 1)
    own = make("Equal", make("Unsqueeze", kinds, column), constant(np.arange(classes).reshape(1, classes, 1)))
    by_class = make("Where", own, make("Unsqueeze", best, column), constant(np.float32(0)))
    found = make(
        "NonMaxSuppression",
        make("Unsqueeze", boxes, integers(0)),
        by_class,
        integers(rows),
        constant(np.array([nms.iou_threshold], np.float32)),
        threshold,
    )
    # Candidates come best first, so that the best found are those of the lowest places: no scores are needed.
    at = make("Gather", found, constant(np.int64(2)), axis=1)
    number = make("Min", make("Shape", at), integers(rows))
    kept = make("TopK", at, number, outputs=("kept", "kept_at"), axis=0, largest=0)
    missing = make("Sub", integers(rows), number)
    zero = integers(0)
    padding = make("Concat", zero, missing, axis=0)
    table_padding = make("Concat", zero, zero, missing, zero, axis=0)
    for name, values in (("scores", best), ("classes", make("Cast", kinds, to=TensorProto.INT32))):
        padded = make("Pad", make("Gather", values, kept), padding)
        make("Unsqueeze", padded, integers(0), outputs=(f"found_{name}",))
    make("Unsqueeze", make("Pad", make("Gather", boxes, kept), table_padding), integers(0), outputs=("found_boxes",))
    make("Cast", number, outputs=("count",), to=TensorProto.INT32)
    real, whole = TensorProto.FLOAT, TensorProto.INT32
    graph = helper.make_graph(
        nodes,
        "peer",
        [
            helper.make_tensor_value_info("boxes", real, (1, anchors, 4)),
            helper.make_tensor_value_info("scores", real, (1, anchors, classes)),
        ],
        [
            helper.make_tensor_value_info("found_boxes", real, (1, rows, 4)),
            helper.make_tensor_value_info("found_scores", real, (1, rows)),
            helper.make_tensor_value_info("found_classes", whole, (1, rows)),
            helper.make_tensor_value_info("count", whole, (1,)),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    with replace_whole(path) as temporary:
        onnx.save(model, str(temporary))


def write_tflite(path: Path, anchors: int, classes: int, nms: Nms, *, best_first: bool) -> None:
    """Write the builtin operator for each class, and the best of what all of them found.

    Args:
        path: The file.
        anchors: Number of boxes.
        classes: Number of classes.
        nms: Hard suppression per class.
        best_first: Look at the best pairs only, instead of all above the threshold.
    """
    import tensorflow as tf

    rows = nms.max_detections

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[
            tf.TensorSpec((1, anchors, 4), tf.float32, name="boxes"),
            tf.TensorSpec((1, anchors, classes), tf.float32, name="scores"),
        ],
        autograph=False,
    )
    def suppress(boxes: Any, scores: Any) -> Any:
        # Indexing the only picture would be a slice, on which LiteRT takes longer than on all the rest.
        table = tf.reshape(boxes, (anchors, 4))
        if best_first:
            pairs, at = tf.math.top_k(tf.reshape(scores, (-1,)), min(nms.pre_nms_top_k, anchors * classes))
            table = tf.gather(table, at // classes)
            numbers = np.arange(classes, dtype=np.int32)[:, None]
            by_class = tf.unstack(tf.where(tf.equal(at % classes, numbers), pairs, 0.0))
        else:
            by_class = tf.unstack(tf.transpose(tf.reshape(scores, (anchors, classes))))
        indices, values = [], []
        for own in by_class:
            chosen, count = tf.raw_ops.NonMaxSuppressionV4(
                boxes=table,
                scores=own,
                max_output_size=rows,
                iou_threshold=nms.iou_threshold,
                score_threshold=nms.score_threshold,
                pad_to_max_output_size=True,
            )
            chosen = tf.reshape(chosen, (rows,))
            indices.append(chosen)
            values.append(tf.where(tf.range(rows) < count, tf.gather(own, chosen), 0.0))
        best, places = tf.math.top_k(tf.concat(values, 0), rows)
        alive = best > 0.0
        owners = tf.gather(tf.concat(indices, 0), places)
        return (
            tf.where(alive[:, None], tf.gather(table, owners), 0.0)[None],
            best[None],
            tf.where(alive, places // rows, 0)[None],
            tf.reduce_sum(tf.cast(alive, tf.int32))[None],
        )

    function = suppress.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], function)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    with replace_whole(path) as temporary:
        temporary.write_bytes(converter.convert())
