"""How a segmenter's artifact is compared with its original, in two stages and from end to end.

A rounding error of 1e-6 may give a pixel between two classes the other one, so masks alone prove little. Therefore

1. the scores of every pixel are compared, without their activation;
2. the artifact's mask must be the best class of the artifact's own scores, pixel for pixel; of equal ones the lowest;
3. the masks are compared. A pixel may differ only where rounding decides: where the artifact's scores of the two
   classes are no further apart than the tolerance. Those are counted, and more than 2 % of them fail.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgecv.comparison import Array, Comparison, compare, failed, take_off
from edgecv.resize import GraphResize
from edgecv.runtime import Arrays
from edgecv.segmentation import CHECKPOINT, MASK, SegmentationHead

__all__ = ["compare_segmentation"]

_MOST_EXCUSED = 0.02
# Scores of which it is looked at whether they vary between the pictures: some of 1024 × 2048 × 19 are enough.
_MOST_LOOKED_AT = 100_000


def compare_segmentation(
    answers: Arrays,
    given: Arrays,
    head: SegmentationHead,
    tolerance: float,
    *,
    resize: GraphResize | None = None,
    vacuity: bool = True,
    steps: Mapping[str, int] | None = None,
) -> dict[str, Comparison]:
    """Compare a segmenter's answers.

    Args:
        answers: The original's: ``mask`` and the checkpoint, ``(pictures, …)``; possibly sampled.
        given: The artifact's, whole. Without the checkpoint nothing is proven of its mask.
        head: How scores become the mask.
        tolerance: Largest relative difference of scores.
        resize: The resize inside the graph, which gives masks of the pictures' size.
        vacuity: Demand that scores and masks of the original vary between the pictures.
        steps: Name → the step at which the original's flattened values were sampled.

    Returns:
        What was compared → how it differs: the checkpoint, ``argmax`` and ``mask``.
    """
    if CHECKPOINT not in given:
        return {MASK: failed("the artifact does not show the scores of its pixels")}
    scores, mask = given[CHECKPOINT], given[MASK]
    step = {name: (steps or {}).get(name, 1) for name in (CHECKPOINT, MASK)}
    compared = {CHECKPOINT: _compare_scores(answers[CHECKPOINT], scores, head, tolerance, step[CHECKPOINT], vacuity)}
    size = scores.shape[1:3]
    shown = size if resize is None else mask.shape[1:3]
    if scores.shape[3:] != (head.channels,) or mask.shape != (len(scores), *shown) or mask.dtype != np.int32:
        return {**compared, MASK: failed(f"it is {mask.dtype} {mask.shape[1:]} of scores {scores.shape[1:]}")}
    if not np.all(np.isfinite(scores)):
        return compared  # which says so
    places = _places(size, shown, resize)
    own = np.stack([_best(picture, head).reshape(-1)[places] for picture in scores])
    flat = mask.reshape(len(mask), -1)
    compared["argmax"] = _compare_own(own, flat)
    expected = answers[MASK].reshape(len(mask), -1)
    sampled = slice(None, None, step[MASK])
    if expected.shape != flat[:, sampled].shape:
        return {**compared, MASK: failed(f"the shape is {mask.shape[1:]} instead of {answers[MASK].shape[1:]}")}
    margins = [
        _margins(picture.reshape(-1, head.channels)[places[sampled]], expected[row], flat[row, sampled], head)
        for row, picture in enumerate(scores)
    ]
    most = [tolerance * float(np.max(np.abs(take_off(picture, head.activation)))) for picture in scores]
    compared[MASK] = _compare_masks(expected, flat[:, sampled], margins, most, vacuity=vacuity)
    return compared


def _compare_scores(
    original: Array, artifact: Array, head: SegmentationHead, tolerance: float, step: int, vacuity: bool
) -> Comparison:
    """Compare scores without their activation, picture by picture: a batch of float64 would be gigabytes.

    A softmax's logarithm is its logit less one number of the pixel: the difference of two logarithms is at most twice
    that of the logits.
    """
    before, after = (values.reshape(len(values), -1) for values in (original, artifact))
    after = after[:, ::step]
    if before.shape != after.shape:
        return failed(f"the shape is {artifact.shape[1:]} instead of {original.shape[1:]}")
    single = [_without_activation(before[[row]], after[[row]], head, tolerance, False) for row in range(len(before))]
    worst = max(range(len(single)), key=lambda row: (bool(single[row].problem), single[row].relative_diff))
    problem = single[worst].problem
    if vacuity and not problem:
        some = slice(None, None, -(-before.shape[1] // _MOST_LOOKED_AT))
        problem = _without_activation(before[:, some], after[:, some], head, tolerance, True).problem
    return replace(
        single[worst],
        max_abs_diff=max(each.max_abs_diff for each in single),
        cosine=min(each.cosine for each in single),
        worst=worst,
        problem=problem,
    )


def _without_activation(
    original: Array, artifact: Array, head: SegmentationHead, tolerance: float, vacuity: bool
) -> Comparison:
    activation = head.activation
    if activation == "softmax" and np.all(np.isfinite(artifact)):
        original, artifact, activation = take_off(original, activation), take_off(artifact, activation), "none"
    return compare(original, artifact, activation=activation, tolerance=tolerance, classes=False, vacuity=vacuity)


def _places(size: tuple[int, ...], shown: tuple[int, ...], resize: GraphResize | None) -> Array:
    """Return, for each pixel of the mask, the place of the pixel of the input that it shows; flat."""
    places = np.arange(size[0] * size[1]).reshape(size)
    if resize is not None:
        places = places[np.ix_(*resize.places_in_input((shown[0], shown[1]), (size[0], size[1])))]
    return places.reshape(-1)


def _best(scores: Array, head: SegmentationHead) -> Array:
    """Return the classes ``(height, width)`` of one picture's scores ``(height, width, channels)``."""
    if head.channels == 1:
        return scores[..., 0] > np.float32(head.threshold)
    return np.asarray(np.argmax(scores, axis=-1))


def _compare_own(own: Array, flat: Array) -> Comparison:
    """Hold the artifact's mask to the best class of its own scores."""
    different = np.mean(own != flat, axis=1)
    worst = int(np.argmax(different))
    problem = f"{different[worst]:.2%} of the pixels are not of the class that scores best" if different[worst] else ""
    return Comparison(
        max_abs_diff=_farthest(own, flat),
        relative_diff=float(different[worst]),
        cosine=1.0,
        worst=worst,
        problem=problem,
    )


def _margins(scores: Array, first: Array, second: Array, head: SegmentationHead) -> Array:
    """Return by how much the scores of two classes differ, without activation, for pixels ``(count, channels)``.

    0 where the two are the same, infinity where one is no class.
    """
    margins = np.zeros(len(first))
    (different,) = np.nonzero(first != second)
    pairs = np.stack([first[different], second[different]], axis=1).astype(np.int64)
    logits = take_off(scores[different], head.activation)
    if head.channels == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    known = np.all((pairs >= 0) & (pairs < logits.shape[1]), axis=1)
    taken = np.take_along_axis(logits, np.where(known[:, None], pairs, 0), axis=1)
    margins[different] = np.where(known, np.abs(taken[:, 0] - taken[:, 1]), np.inf)
    return margins


def _compare_masks(
    expected: Array, found: Array, margins: list[Array], most: list[float], *, vacuity: bool
) -> Comparison:
    different = expected != found
    wrong = [int(np.sum(margin > limit)) for margin, limit in zip(margins, most, strict=True)]
    excused = int(different.sum()) - sum(wrong)
    worst = int(np.argmax(wrong)) if any(wrong) else int(np.argmax(different.sum(axis=1)))
    problem = ""
    if any(wrong):
        problem = f"{sum(wrong)} of {expected.size} pixels have another class"
    elif excused > _MOST_EXCUSED * expected.size:
        problem = f"{excused} of {expected.size} pixels differ at a limit, more than {_MOST_EXCUSED:.0%}"
    elif vacuity and np.all(expected == expected[0]):
        problem = (
            "nothing is proven: the original gives the same mask for all pictures; give other pictures with --images"
        )
    return Comparison(
        max_abs_diff=_farthest(expected, found),
        relative_diff=float(np.max(np.mean(different, axis=1))),
        cosine=1.0,
        worst=worst,
        pixels=1.0 - float(np.mean(different)),
        problem=problem,
        note=f"{excused} of {expected.size} pixels differ where rounding decides" if excused else "",
    )


def _farthest(a: Array, b: Array) -> float:
    return float(np.max(np.abs(a.astype(np.int64) - b.astype(np.int64)), initial=0))
