"""How an int8 artifact is compared with its original: by the task, and so that a broken one cannot pass.

Eight bits move every logit, so largest differences say little. Of each output, without its activation,

1. the errors are held to what the output varies by between the pictures: their rms may be half of it. A constant, or
   all zeros, is off by all of it, whatever the scale. A network that is so sensitive that its original's own answers
   move further when the pictures become a tenth darker, as with random weights, is allowed that, but at most 0.9, and
   the report says so;
2. on every picture the cosine is at least 0.1: one that the original is unsure of has small logits;
3. the answers must be nearest to those for the pictures as they are: not for swapped channels, or for darker ones;
4. then the task: the best class, confident boxes, the class of pixels. A difference is excused where the original's
   margin is within what the first rule allows. What is left may be 5 % of the pictures or pixels, 20 % of the boxes.
   Where the original is not that sensitive, half of the pictures and 85 % of the pixels agree, whatever is excused;
5. what follows in float is demanded exactly of the artifact's own scores: suppression, and the class of a pixel.

Pictures of noise are left out: the ranges of activations are learnt from pictures.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgecv.agreement import match_confident
from edgecv.comparison import TOLERANCES, Array, Comparison, both_taken_off, compare, failed, take_off
from edgecv.detection import CHECKPOINTS
from edgecv.detection_proof import compare_detections
from edgecv.greedy import iou
from edgecv.runtime import Arrays
from edgecv.segmentation import CHECKPOINT, MASK
from edgecv.segmentation_proof import compare_segmentation

if TYPE_CHECKING:
    from edgecv.verification import Head

__all__ = ["ALTERED", "DARKER", "QUANTIZED_ERROR", "compare_input", "compare_quantized", "sensitivity"]

# Measured on trained networks, int8 by both exporters: 0.1 to 0.3. Swapped channels: 0.5 and more.
QUANTIZED_ERROR = 0.5
_MOST_ERROR = 0.9
_LEAST_COSINE = 0.1
_MOST_FLIPPED = 0.05
_LEAST_PICTURES, _LEAST_PIXELS = 0.5, 0.85
_MOST_UNMATCHED = 0.2
# How much nearer the answers have to be to those for altered pictures to refute an artifact.
_NEARER = 0.8
# Values of an output that are looked at on a picture: a mask's scores are tens of millions.
_MOST_LOOKED_AT = 200_000


def _swapped(pictures: Array) -> Array:
    return pictures[..., ::-1]


def _scaled(share: float) -> Callable[[Array], Array]:
    return lambda pictures: np.rint(pictures * share).astype(np.uint8)


DARKER = "a tenth darker"
# What goes wrong with an input: its channels, or its scale where that follows the calibration.
ALTERED: Mapping[str, Callable[[Array], Array]] = {
    "with swapped channels": _swapped,
    DARKER: _scaled(0.9),
    "half as bright": _scaled(0.5),
}


def compare_quantized(
    head: "Head", answers: Arrays, given: Arrays, sensitive: Mapping[str, float] | None = None
) -> dict[str, Comparison]:
    """Compare every output of the original with an int8 artifact's, on pictures without noise.

    Args:
        head: What comparing needs to know of the outputs.
        answers: The original's outputs and checkpoints ``(pictures, …)``; of top-k, all classes.
        given: The artifact's.
        sensitive: Output → how far the original's own answers move on pictures that are a tenth darker.
    """
    limits = {name: _limit((sensitive or {}).get(name, 0.0)) for name in answers}
    if head.segmentation is not None:
        return _segmentation(head, answers, given, limits)
    if head.nms is not None:
        return _detection(head, answers, given, limits)
    if head.top_k is not None:
        return {"scores": _top_k(head, answers, given, limits)}
    compared: dict[str, Comparison] = {}
    for name, original in answers.items():
        if original.shape != given[name].shape:
            compared[name] = failed(f"the shape is {given[name].shape[1:]} instead of {original.shape[1:]}")
        elif head.task == "detection" and name == "boxes" and head.fixed_boxes:
            compared[name] = _exact(original, given[name])
        elif original.dtype.kind != "f":
            compared[name] = _whole_numbers(original, given[name])
        else:
            compared[name] = _scores(head, name, original, given[name], limits[name])
    if head.task == "localisation":
        compared["box"] = _boxes(answers["box"], given["box"], compared["box"])
    return compared


def sensitivity(head: "Head", answers: Arrays, darker: Arrays) -> dict[str, float]:
    """Return how far the original's answers move on darker pictures, as a share of what varies between pictures."""
    return {
        name: _measured(*_bare(head, name, values, darker[name])).relative_diff
        for name, values in answers.items()
        if values.dtype.kind == "f"
    }


def compare_input(head: "Head", answers: Arrays, given: Arrays, altered: Mapping[str, Arrays]) -> Comparison:
    """Demand that an artifact answers for the pictures that it was given, not for what a faulty input makes of them.

    Args:
        head: What comparing needs to know of the outputs.
        answers: The original's, on some pictures.
        given: The artifact's.
        altered: What was done to the pictures → the original's answers to those.
    """
    name = _main_output(answers)
    original = answers[name]
    artifact = _of_all_classes(original, given) if head.top_k is not None else given.get(name)
    if artifact is None or original.shape != artifact.shape or not np.all(np.isfinite(artifact)):
        return failed("its answers cannot be compared")  # of which the other checks say why
    own = _distance(*_bare(head, name, original, artifact))
    shares = {
        what: own / max(_distance(*_bare(head, name, side[name], artifact)), 1e-30) for what, side in altered.items()
    }
    what = max(shares, key=lambda each: shares[each], default="")
    share = shares.get(what, 0.0)
    problem = f"it answers as the original does for pictures {what}" if share > 1 / _NEARER else ""
    return Comparison(
        max_abs_diff=own, relative_diff=share, cosine=1.0, worst=0, problem=problem, tolerance=1 / _NEARER
    )


def _main_output(answers: Arrays) -> str:
    """Return the output that tells most: what goes into suppression or the choice of a class, else the first."""
    inside = [name for name in (CHECKPOINTS[1], CHECKPOINT, "scores") if name in answers]
    return inside[0] if inside else next(name for name, values in answers.items() if values.dtype.kind == "f")


def _limit(sensitive: float) -> float:
    return float(np.clip(sensitive, QUANTIZED_ERROR, _MOST_ERROR))


def _bare(head: "Head", name: str, original: Array, artifact: Array) -> tuple[Array, Array]:
    """Return both sides of an output ``(pictures, count)``, float64 and without the activation.

    Of a softmax's logits the mean is taken off, of each picture or, where there are several, of each anchor or pixel.
    """
    activation = head.activation_of(name)
    groups = original.shape[-1] if original.ndim > 2 and activation == "softmax" else None
    a, b = (values.reshape(len(values), -1) for values in (original, artifact))
    if groups is not None:
        a, b = (_centred(take_off(values, activation), groups) for values in (a, b))
    else:
        a, b, _ = both_taken_off(a, b, activation)
    step = -(-a.shape[1] // _MOST_LOOKED_AT)
    return a[:, ::step], b[:, ::step]


def _centred(values: Array, groups: int) -> Array:
    split = values.reshape(len(values), -1, groups)
    return np.asarray((split - split.mean(axis=2, keepdims=True)).reshape(values.shape))


def _distance(a: Array, b: Array) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2)))


def _measured(a: Array, b: Array) -> Comparison:
    """Measure errors against what the original varies by between the pictures; infinite where it does not."""
    variation = _distance(a, a.mean(axis=0, keepdims=True))
    error = np.sqrt(np.mean((a - b) ** 2, axis=1))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = np.where(norms > 0, np.sum(a * b, axis=1) / np.maximum(norms, 1e-300), 0.0)
    cosine = np.where(error == 0, 1.0, cosine)
    whole = float(np.sqrt(np.mean(error**2)))
    return Comparison(
        max_abs_diff=float(np.max(np.abs(a - b), initial=0.0)),
        relative_diff=whole / variation if variation > 0 else float("inf"),
        cosine=float(cosine.min()),
        worst=int(np.argmax(error)),
    )


def _judged(a: Array, b: Array, limit: float) -> Comparison:
    """Hold an output to the first two rules."""
    measured = _measured(a, b)
    note = ""
    if not np.isfinite(measured.relative_diff):
        problem = "nothing is proven: the original's output is the same for all pictures; give others with --images"
    elif measured.relative_diff > limit:
        problem = f"int8 errors are {measured.relative_diff:.2f} of what varies between pictures, above {limit:.2f}"
    elif measured.cosine < _LEAST_COSINE:
        problem = f"cosine {measured.cosine:.2f} is below {_LEAST_COSINE}"
    else:
        problem = ""
    if limit > QUANTIZED_ERROR:
        note = (
            "the original's own answers move as far when pictures become a tenth darker, as with random weights: "
            f"int8 errors up to {limit:.2f} of what varies between pictures were allowed"
        )
    return dataclasses.replace(measured, problem=problem, note=note, tolerance=limit)


def _broken(artifact: Array) -> str:
    return "" if np.all(np.isfinite(artifact)) else "the artifact gives NaN or infinity"


def _scores(head: "Head", name: str, original: Array, artifact: Array, limit: float) -> Comparison:
    """Compare an output of floats; a classifier's by its best class, too."""
    if broken := _broken(artifact):
        return failed(broken)
    a, b = _bare(head, name, original, artifact)
    judged = _judged(a, b, limit)
    classes = head.task == "classification" or (head.task == "localisation" and name not in ("box", "objectness"))
    if not classes or a.shape[1] < 2:
        return judged
    best = np.argmax(artifact.reshape(len(artifact), -1), axis=1)
    return _with_classes(judged, a, best, limit)


def _with_classes(judged: Comparison, a: Array, best: Array, limit: float) -> Comparison:
    """Add the best class: where it differs, the original's margin must be within twice the allowed error."""
    right = np.argmax(a, axis=1)
    margin = a[np.arange(len(a)), right] - a[np.arange(len(a)), best]
    allowed = 2 * limit * _distance(a, a.mean(axis=0, keepdims=True))
    wrong, flipped = int(np.sum(margin > allowed)), int(np.sum(right != best))
    problem, note = judged.problem, judged.note
    if wrong > _MOST_FLIPPED * len(a) and not problem:
        problem = f"the best class is another one on {wrong} of {len(a)} pictures, beyond the margin of int8"
    elif limit <= QUANTIZED_ERROR and flipped > (1 - _LEAST_PICTURES) * len(a) and not problem:
        problem = f"the best class is another one on {flipped} of {len(a)} pictures"
    if flipped:
        said = f"the best class differs on {flipped} of {len(a)} pictures, {flipped - wrong} within the margin of int8"
        note = f"{note}; {said}" if note else said
    return dataclasses.replace(judged, top1=1 - flipped / len(a), problem=problem, note=note)


def _top_k(head: "Head", answers: Arrays, given: Arrays, limits: Mapping[str, float]) -> Comparison:
    """Compare the K best classes with all of the original: their scores, and the first one."""
    ((name, original),) = answers.items()
    scores, classes = given["scores"], given["classes"]
    if scores.shape != classes.shape or len(scores) != len(original):
        return failed(f"scores have the shape {scores.shape[1:]} and classes {classes.shape[1:]}")
    if np.any((classes < 0) | (classes >= original.shape[1])):
        return failed(f"a class is outside 0…{original.shape[1] - 1}")
    if any(len(set(row)) != len(row) for row in classes.tolist()):
        return failed("a class is given twice")
    if np.any(np.diff(scores, axis=1) > 0):
        return failed("the scores are not sorted")
    if broken := _broken(scores):
        return failed(broken)
    a, b = _bare(head, name, original, _of_all_classes(original, given))
    return _with_classes(_judged(a, b, limits[name]), a, classes[:, 0], limits[name])


def _of_all_classes(original: Array, given: Arrays) -> Array:
    """Return scores of all classes: where an artifact gives K, the others are the original's, and no better."""
    filled = np.minimum(original, given["scores"][:, -1:])
    classes = np.clip(given["classes"].astype(np.int64), 0, original.shape[1] - 1)
    np.put_along_axis(filled, classes, given["scores"], axis=1)
    return filled


def _detection(head: "Head", answers: Arrays, given: Arrays, limits: Mapping[str, float]) -> dict[str, Comparison]:
    assert head.nms is not None
    if not all(name in given for name in CHECKPOINTS):
        return {"detections": failed("the artifact does not show what goes into its suppression")}
    compared: dict[str, Comparison] = {}
    for name in CHECKPOINTS:
        if answers[name].shape != given[name].shape:
            return {name: failed(f"the shape is {given[name].shape[1:]} instead of {answers[name].shape[1:]}")}
        if head.fixed_boxes and name == CHECKPOINTS[0]:
            compared[name] = _exact(answers[name], given[name])
        else:
            compared[name] = _scores(head, name, answers[name], given[name], limits[name])
    own = compare_detections(given, given, head.nms, TOLERANCES["float32"], vacuity=False)
    if "nms" not in own:
        return {**compared, "detections": own["detections"]}
    compared["nms"] = own["nms"]
    matched, total = match_confident(answers, given, head.nms.score_threshold)
    share = 1 - matched / total if total else 0.0
    compared["detections"] = Comparison(
        max_abs_diff=share,
        relative_diff=share,
        cosine=1.0,
        worst=0,
        tolerance=_MOST_UNMATCHED,
        box_match=1 - share,
        problem=f"{total - matched} of {total} confident boxes have no counterpart" if share > _MOST_UNMATCHED else "",
        note=""
        if total
        else "no confident box on any picture: scores and boxes were compared before suppression alone",
    )
    return compared


def _segmentation(head: "Head", answers: Arrays, given: Arrays, limits: Mapping[str, float]) -> dict[str, Comparison]:
    assert head.segmentation is not None
    if CHECKPOINT not in given:
        return {MASK: failed("the artifact does not show the scores of its pixels")}
    before, after = answers[CHECKPOINT], given[CHECKPOINT]
    if before.shape != after.shape:
        return {CHECKPOINT: failed(f"the shape is {after.shape[1:]} instead of {before.shape[1:]}")}
    compared = {CHECKPOINT: _scores(head, CHECKPOINT, before, after, limits[CHECKPOINT])}
    own = compare_segmentation(given, given, head.segmentation, 1.0, resize=head.resize, vacuity=False)
    if "argmax" not in own:
        return {**compared, MASK: own[MASK]} if MASK in own else compared
    compared["argmax"] = own["argmax"]
    # With every margin that the first rule allows: pixels whose class changes beyond it are wrong.
    a, _ = _bare(head, CHECKPOINT, before, before)
    allowed = 2 * limits[CHECKPOINT] * _distance(a, a.mean(axis=0, keepdims=True))
    compared[MASK] = _masks(head, answers, given, allowed, sensitive=limits[CHECKPOINT] > QUANTIZED_ERROR)
    return compared


def _masks(head: "Head", answers: Arrays, given: Arrays, allowed: float, *, sensitive: bool) -> Comparison:
    expected, found = (side[MASK].reshape(len(side[MASK]), -1) for side in (answers, given))
    if expected.shape != found.shape:
        return failed(f"the shape is {given[MASK].shape[1:]} instead of {answers[MASK].shape[1:]}")
    different = expected != found
    share = float(np.mean(different))
    scores = answers[CHECKPOINT]
    wrong = share
    if different[0].size == scores[0, ..., 0].size:  # a mask of the pictures' size has no pixels to look up margins of
        wrong = sum(_beyond(head, scores[row], expected[row], found[row], allowed) for row in range(len(scores)))
        wrong /= expected.size
    problem = (
        f"{wrong:.1%} of the pixels have another class, beyond the margin of int8" if wrong > _MOST_FLIPPED else ""
    )
    if share > 1 - _LEAST_PIXELS and not sensitive and not problem:
        problem = f"{share:.1%} of the pixels have another class"
    if np.all(expected == expected[0]) and not problem:
        problem = "nothing is proven: the original gives the same mask for all pictures; give others with --images"
    return Comparison(
        max_abs_diff=share,
        relative_diff=wrong,
        cosine=1.0,
        worst=int(np.argmax(different.sum(axis=1))),
        tolerance=_MOST_FLIPPED,
        pixels=1 - share,
        problem=problem,
    )


def _beyond(head: "Head", scores: Array, expected: Array, found: Array, allowed: float) -> int:
    """Count the pixels of a picture whose class differs although the original tells the two further apart."""
    assert head.segmentation is not None
    (places,) = np.nonzero(expected != found)
    channels = head.segmentation.channels
    logits = take_off(scores.reshape(-1, channels)[places], head.segmentation.activation)
    if channels == 1:
        threshold = take_off(np.array([[head.segmentation.threshold]]), head.segmentation.activation)
        return int(np.sum(np.abs(logits - threshold) > allowed))
    rows = np.arange(len(places))
    return int(np.sum(np.abs(logits[rows, expected[places]] - logits[rows, found[places]]) > allowed))


def _exact(original: Array, artifact: Array) -> Comparison:
    """Compare what no quantised layer changes."""
    tolerance = TOLERANCES["float32"]
    compared = compare(original, artifact, activation="none", tolerance=tolerance, classes=False, vacuity=False)
    return dataclasses.replace(compared, tolerance=tolerance)


def _whole_numbers(original: Array, artifact: Array) -> Comparison:
    share = float(np.mean(original != artifact))
    problem = f"{share:.1%} of the values differ" if share > _MOST_FLIPPED else ""
    return Comparison(
        max_abs_diff=share, relative_diff=share, cosine=1.0, worst=0, tolerance=_MOST_FLIPPED, problem=problem
    )


def _boxes(original: Array, artifact: Array, compared: Comparison) -> Comparison:
    """Add to a localiser's box the share of pictures on which it overlaps the original's by half."""
    if compared.problem or original.shape != artifact.shape:
        return compared
    overlaps = [float(iou(a, b[None])[0]) for a, b in zip(original, artifact, strict=True)]
    share = float(np.mean([overlap >= 0.5 for overlap in overlaps]))
    problem = (
        f"{1 - share:.0%} of the boxes overlap the original's by less than half" if share < 1 - _MOST_UNMATCHED else ""
    )
    return dataclasses.replace(compared, box_match=share, problem=problem)
