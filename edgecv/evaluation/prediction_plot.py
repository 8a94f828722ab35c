"""Pictures with truth and answers side by side, the worst first: of detectors and of segmenters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.data.mask_files import IGNORED
from edgecv.data.samples import Sample
from edgecv.drawing import class_colour, tinted
from edgecv.errors import DataError
from edgecv.evaluation.detection import Detection
from edgecv.evaluation.mistakes import Judged, WorkingScore, judge, working_score, worst_first
from edgecv.evaluation.picture_grid import Case, Key, PictureGrid, Shown, file_name
from edgecv.evaluation.scenes import corners
from edgecv.evaluation.segmentation import AnsweredMask, Segmentation
from edgecv.plot_names import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["prediction_plot"]

Array = np.ndarray[Any, np.dtype[Any]]

_MOST_SCENES = 12
_MOST_CAPTIONS = 12  # hits on a picture up to which each has its score
_LONGEST_CAPTION = 16  # letters of a class
_LETTER = 0.026  # width of a caption's letter in a picture's
_MOST_KEYS = 24

# Seen on grass, asphalt and snow, and told apart without red and green by width and style.
_HIT, _MISSED, _FALSE, _NEITHER = "#3df04f", "#ffb000", "#ff1f4b", "#d0d0d0"


def prediction_plot(measured: object) -> PictureGrid | None:
    """Prepare the worst pictures of an evaluation; they are read now.

    Detections are judged at an IoU of 0.5 and the score with the largest F1: the worst picture is the one with most
    misses and false alarms. The worst mask is the one of the least mean IoU over the classes of its picture.

    Returns:
        None where there is nothing to draw: another task, or no pictures.

    Raises:
        PictureError: A picture cannot be read any more.
    """
    if isinstance(measured, Detection) and measured.pictures:
        return _of_scenes(measured)
    if isinstance(measured, Segmentation) and measured.worst:
        return _of_masks(measured)
    return None


def _of_scenes(measured: Detection) -> PictureGrid:
    judged = [judge(scene) for _, scene in measured.pictures]
    working = working_score(judged)
    chosen = worst_first(judged, working.score)[:_MOST_SCENES]
    cases = [_scene_case(measured, measured.pictures[place][0], judged[place], working.score) for place in chosen]
    key: list[Key] = [(_HIT, "-", "found"), (_MISSED, "--", "missed"), (_FALSE, "-", "false alarm")]
    if not all(judged[place].demanded.all() for place in chosen):
        key.append((_NEITHER, ":", "not judged: crowd or difficult"))
    return PictureGrid(heading=_scene_heading(working, len(chosen), measured.images), cases=cases, key=key)


def _scene_heading(working: WorkingScore, shown: int, images: int) -> str:
    best = "no hit at any score" if working.f1 is None else f"where F1 over all classes is largest, {working.f1:.3f}"
    return (
        f"Truth (left) and answers (right): {shown} of {images:,} pictures, most misses and false alarms first\n"
        f"at IoU 0.5 and scores from {working.score:.3g} on ({best})"
    )


def _scene_case(measured: Detection, sample: Sample, judged: Judged, least: float) -> Case:
    shown = Shown.of(sample)
    missed, false, hits = judged.missed(least), judged.false_alarms(least), judged.hits(least)
    several = len(measured.classes) > 1

    def name(category: int) -> str:
        return short(measured.classes[category], longest=_LONGEST_CAPTION) if several else ""

    truth, found = judged.scene.truth, judged.scene.found
    true_names = [name(category) for category in truth.categories.tolist()]
    found_names = [
        f"{score:.2f} {name(category)}".strip()
        for category, score in zip(found.categories.tolist(), found.scores.tolist(), strict=True)
    ]
    neither = ~hits & ~false & (found.scores >= least) & (judged.verdicts < 0)
    found_here = judged.demanded & ~missed

    def draw_truth(axis: "Axes") -> None:
        shown.draw(axis)
        _draw_boxes(axis, corners(truth.boxes), true_names, ~judged.demanded, _NEITHER, ":")
        _draw_boxes(axis, corners(truth.boxes), true_names, found_here, _HIT, "-")
        _draw_boxes(axis, corners(truth.boxes), true_names, missed, _MISSED, "--")

    def draw_answers(axis: "Axes") -> None:
        shown.draw(axis)
        _draw_boxes(axis, corners(found.boxes), found_names, neither, _NEITHER, ":")
        _draw_boxes(axis, corners(found.boxes), found_names, hits, _HIT, "-")
        _draw_boxes(axis, corners(found.boxes), found_names, false, _FALSE, "-")

    counts = f"{missed.sum()} missed, {false.sum()} false, {hits.sum()} right"
    return Case(title=f"{file_name(sample)}: {counts}", size=shown.size, drawings=(draw_truth, draw_answers))


def _draw_boxes(axis: "Axes", boxes: Array, captions: Sequence[str], which: Array, colour: str, style: str) -> None:
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import Stroke

    wrong = colour in (_MISSED, _FALSE)
    few = wrong or np.count_nonzero(which) <= _MOST_CAPTIONS
    width = 1.6 if wrong else 1.0
    for place in np.flatnonzero(which).tolist():
        x1, y1, x2, y2 = boxes[place].tolist()
        box = Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linestyle=style, linewidth=width)
        if style == "-":
            box.set_path_effects([Stroke(linewidth=width + 0.8, foreground="black", alpha=0.4), Stroke()])
        axis.add_patch(box)
        if few and captions[place]:
            _caption(axis, boxes[place].tolist(), captions[place], colour)


def _caption(axis: "Axes", box: Sequence[float], text: str, colour: str) -> None:
    """Write a text above a box, or in it where there is no room above, as far left as it must."""
    x1, y1, x2, _ = box
    (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    above, beside = y1 - top > 0.06 * (bottom - top), right - x1 > _LETTER * len(text) * (right - left)
    label = axis.text(
        max(x1, left) if beside else min(x2, right),
        max(y1, top),
        text,
        fontsize=6.5,
        color="white" if colour == _FALSE else "black",
        ha="left" if beside else "right",
        va="bottom" if above else "top",
        clip_on=True,
        parse_math=False,
        bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.5, "alpha": 0.85},
    )
    label.set_in_layout(False)


def _of_masks(measured: Segmentation) -> PictureGrid:
    cases, present = [], np.zeros(len(measured.classes), bool)
    for each in measured.worst:
        truth = _true_mask(each)
        for mask in (truth, each.answer):
            present[np.unique(mask[(mask >= 0) & (mask < len(present))])] = True
        cases.append(_mask_case(each, truth))
    heading = (
        f"Picture, truth and answer: {len(cases)} of {measured.images:,} pictures, least mean IoU first\n"
        "(over the classes of the picture in truth or answer)"
    )
    return PictureGrid(heading=heading, cases=cases, key=_mask_key(measured.classes, present))


def _mask_key(classes: Sequence[str], present: Array) -> list[Key]:
    shown = [number for number in np.flatnonzero(present).tolist() if number > 0]
    key: list[Key] = [(_of_one(class_colour(number)), "", short(classes[number])) for number in shown[:_MOST_KEYS]]
    if len(shown) > _MOST_KEYS:
        key.append(("none", "", f"and {len(shown) - _MOST_KEYS} more"))
    return [
        ("none", "", f"not coloured: {short(classes[0])}"),
        *key,
        ("#808080", "//", "striped: not judged, or no class"),
    ]


def _true_mask(each: AnsweredMask) -> Array:
    if each.sample.mask is None:
        raise DataError(f"Picture {each.sample.name!r} has no mask to draw. Give data with masks.")
    return each.sample.mask.read().pixels[..., 0]


def _mask_case(each: AnsweredMask, truth: Array) -> Case:
    shown = Shown.of(each.sample)
    masks = [_masked(shown.pixels, mask[:: shown.step, :: shown.step]) for mask in (truth, each.answer)]
    drawings = [lambda axis, pixels=pixels: shown.draw(axis, pixels) for pixels in (None, *masks)]
    return Case(title=f"{file_name(each.sample)}: mean IoU {each.miou:.3f}", size=shown.size, drawings=drawings)


def _masked(pixels: Array, mask: Array) -> Array:
    """Lay a mask over a grey picture: classes in their colours, what has no class in stripes."""
    nothing = (mask < 0) | (mask == IGNORED)
    grey = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    coloured = tinted(grey, np.where(nothing, 0, mask).astype(np.int64))
    rows, columns = np.indices(mask.shape)
    period = max(max(mask.shape) // 40, 4)
    stripes = np.where((rows + columns) % period < period / 2, 90, 170).astype(np.uint8)
    return np.where(nothing[..., None], stripes[..., None], coloured)


def _of_one(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = colour
    return red / 255, green / 255, blue / 255
