"""How the answers of an int8 artifact are compared with those that it gave at export, on kernels of any kind.

That it answers like the original was judged at export, by the task metric. What is asked on the device is whether
the same file still gives the same answers there. Engines round differently inside: LiteRT's XNNPACK and its reference
kernels differ by up to 9 of the 256 steps of an output, which moves classes, boxes and pixels at a limit. So

1. what the network gives, logits or scores before suppression, may differ by 9 steps of its range;
2. what follows in float is demanded exactly of the artifact's own scores: suppression, and the class of a pixel.
"""

from collections.abc import Mapping

import numpy as np

from edgecv.comparison import Array, Comparison, compare, failed, take_off
from edgecv.detection import CHECKPOINTS
from edgecv.detection_proof import compare_detections
from edgecv.runtime import Arrays
from edgecv.segmentation import CHECKPOINT
from edgecv.segmentation_proof import compare_segmentation
from edgecv.verification import Head

__all__ = ["KERNEL_TOLERANCE", "compare_kernels", "scales_of"]

# 9 steps of a range of 256; the largest value is at least half the range.
KERNEL_TOLERANCE = 9 / 128


def scales_of(head: Head, answers: Arrays) -> dict[str, float]:
    """Return the largest value of each output of the original without its activation: how far its range reaches."""
    return {
        # Of top-k, the original gives all classes.
        "scores" if head.top_k is not None else name: float(
            f"{np.max(np.abs(_without_activation(head, name, values)), initial=0.0):.4g}"
        )
        for name, values in answers.items()
        if values.dtype.kind == "f"
    }


def compare_kernels(
    head: Head, answers: Arrays, given: Arrays, scales: Mapping[str, float], steps: Mapping[str, int]
) -> dict[str, Comparison]:
    """Compare an int8 artifact's answers with those that it gave at export.

    Args:
        head: What comparing needs to know of the outputs.
        answers: Those at export, ``(pictures, count)``, flat and sampled.
        given: Those of now, whole.
        scales: Output → how far its range reaches, as `scales_of` gives it.
        steps: Output → the step at which the answers of export were sampled.
    """
    compared: dict[str, Comparison] = {}
    for name in _judged(head, answers):
        if name not in given:
            compared[name] = failed("the artifact does not give it")
            continue
        after = given[name].reshape(len(given[name]), -1)[:, :: steps.get(name, 1)]
        compared[name] = _compare(head, name, answers[name], after, scales)
    if head.nms is not None:
        compared["nms"] = compare_detections(given, given, head.nms, KERNEL_TOLERANCE, vacuity=False)["nms"]
    if head.segmentation is not None:
        own = compare_segmentation(given, given, head.segmentation, KERNEL_TOLERANCE, resize=head.resize, vacuity=False)
        compared["argmax"] = own["argmax"]
    return compared


def _judged(head: Head, answers: Arrays) -> list[str]:
    """Return the outputs whose values are compared; classes, counts and masks follow from them."""
    if head.nms is not None:
        return list(CHECKPOINTS)
    if head.segmentation is not None:
        return [CHECKPOINT]
    return [name for name, values in answers.items() if values.dtype.kind == "f"]


def _compare(head: Head, name: str, before: Array, after: Array, scales: Mapping[str, float]) -> Comparison:
    if before.shape != after.shape:
        return failed(f"it has {after.shape[1]} values instead of {before.shape[1]}")
    if not np.all(np.isfinite(after)):
        return failed("the artifact gives NaN or infinity")
    return compare(
        _without_activation(head, name, before),
        _without_activation(head, name, after),
        activation="none",
        tolerance=KERNEL_TOLERANCE,
        classes=False,
        vacuity=False,
        least_scale=scales[name],
    )


def _without_activation(head: Head, name: str, values: Array) -> Array:
    """Return an output ``(pictures, …)`` without its activation, flat.

    Of a classifier's logits the mean is taken off; what was sampled of others tells none.
    """
    flat = values.reshape(len(values), -1)
    activation = head.activation_of(name)
    bare = take_off(flat, activation)
    if activation == "softmax" and head.task == "classification" and head.top_k is None:
        bare = bare - np.mean(bare, axis=1, keepdims=True)
    return bare
