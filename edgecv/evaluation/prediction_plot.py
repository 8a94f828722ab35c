"""Pictures with truth and answers side by side, the worst first: of detectors and of segmenters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.data.mask_files import IGNORED
from edgecv.drawing import class_colour, tinted
from edgecv.errors import DataError
from edgecv.evaluation.detection import Detection
from edgecv.evaluation.mistakes import Judged, WorkingScore, judge, working_score, worst_first
from edgecv.evaluation.scenes import corners
from edgecv.evaluation.segmentation import AnsweredMask, Segmentation
from edgecv.plot_names import name_legend, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

    from edgecv.data.samples import Sample

__all__ = ["WIDTH", "PredictionPlot", "prediction_plot"]

Array = np.ndarray[Any, np.dtype[Any]]
Key = tuple[Any, Any, str]  # colour, line style or hatch, meaning

WIDTH = 15.0  # inches
_COLUMNS = 6  # drawings a row
_MOST_SCENES = 12
_TITLE, _GAP, _LINE = 0.3, 0.1, 0.25  # inches: above a picture, beside it; a line of text
_LARGEST = 640  # pixels of a drawn picture's longer side
_MOST_CAPTIONS = 12  # hits on a picture up to which each has its score
_LONGEST_CAPTION, _LONGEST_NAME = 16, 24  # letters of a class, of a file
_LETTER = 0.026  # width of a caption's letter in a picture's
_MOST_KEYS, _KEYS_A_LINE = 24, 8

# Seen on grass, asphalt and snow, and told apart without red and green by width and style.
_HIT, _MISSED, _FALSE, _NEITHER = "#3df04f", "#ffb000", "#ff1f4b", "#d0d0d0"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Case:
    """One picture: its title, and what to draw side by side."""

    title: str
    size: tuple[int, int]
    drawings: Sequence[Callable[["Axes"], None]]


@dataclass(frozen=True, kw_only=True, eq=False)
class PredictionPlot:
    """Pictures that are ready to be drawn.

    Attributes:
        heading: Says which pictures these are, a sentence a line.
        cases: The pictures, worst first.
        key: What colours stand for.
        height: Of the whole, in inches, `WIDTH` wide.
    """

    heading: str
    cases: Sequence[_Case]
    key: Sequence[Key]

    @property
    def height(self) -> float:
        """Rows as high as most of their pictures need."""
        shapes = [height / width for case in self.cases for height, width in [case.size]]
        row = (WIDTH / _COLUMNS - _GAP) * float(np.clip(np.median(shapes), 0.4, 1.6)) + _TITLE
        return row * self._rows + self._foot + _LINE * (2 + self.heading.count("\n"))

    def draw(self, figure: "FigureBase") -> None:
        """Draw it onto a figure or a part of one."""
        parts: Any = figure.subfigures(2, 1, height_ratios=[self.height - self._foot, self._foot])
        body, foot = parts
        body.suptitle(self.heading, fontsize=11).set_parse_math(False)
        grid: Any = body.subfigures(self._rows, self._columns, squeeze=False, wspace=0.02)
        for place, case in zip(grid.flat, self.cases, strict=False):
            place.suptitle(case.title, fontsize=8.5).set_parse_math(False)
            axes = place.subplots(1, len(case.drawings), squeeze=False).flat
            for axis, draw in zip(axes, case.drawings, strict=True):
                axis.axis("off")
                draw(axis)
        _draw_key(foot, self.key)

    @property
    def _foot(self) -> float:
        return _LINE * (1 + -(-len(self.key) // _KEYS_A_LINE))

    @property
    def _columns(self) -> int:
        return _COLUMNS // len(self.cases[0].drawings)

    @property
    def _rows(self) -> int:
        return -(-len(self.cases) // self._columns)


def prediction_plot(measured: object) -> PredictionPlot | None:
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


def _of_scenes(measured: Detection) -> PredictionPlot:
    judged = [judge(scene) for _, scene in measured.pictures]
    working = working_score(judged)
    chosen = worst_first(judged, working.score)[:_MOST_SCENES]
    cases = [_scene_case(measured, measured.pictures[place][0], judged[place], working.score) for place in chosen]
    key: list[Key] = [(_HIT, "-", "found"), (_MISSED, "--", "missed"), (_FALSE, "-", "false alarm")]
    if not all(judged[place].demanded.all() for place in chosen):
        key.append((_NEITHER, ":", "not judged: crowd or difficult"))
    return PredictionPlot(heading=_scene_heading(working, len(chosen), measured.images), cases=cases, key=key)


def _scene_heading(working: WorkingScore, shown: int, images: int) -> str:
    best = "no hit at any score" if working.f1 is None else f"where F1 over all classes is largest, {working.f1:.3f}"
    return (
        f"Truth (left) and answers (right): {shown} of {images:,} pictures, most misses and false alarms first\n"
        f"at IoU 0.5 and scores from {working.score:.3g} on ({best})"
    )


def _scene_case(measured: Detection, sample: "Sample", judged: Judged, least: float) -> _Case:
    pixels, size = _read(sample)
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
        _show(axis, pixels, size)
        _draw_boxes(axis, corners(truth.boxes), true_names, ~judged.demanded, _NEITHER, ":")
        _draw_boxes(axis, corners(truth.boxes), true_names, found_here, _HIT, "-")
        _draw_boxes(axis, corners(truth.boxes), true_names, missed, _MISSED, "--")

    def draw_answers(axis: "Axes") -> None:
        _show(axis, pixels, size)
        _draw_boxes(axis, corners(found.boxes), found_names, neither, _NEITHER, ":")
        _draw_boxes(axis, corners(found.boxes), found_names, hits, _HIT, "-")
        _draw_boxes(axis, corners(found.boxes), found_names, false, _FALSE, "-")

    counts = f"{missed.sum()} missed, {false.sum()} false, {hits.sum()} right"
    return _Case(title=f"{_file_name(sample)}: {counts}", size=size, drawings=(draw_truth, draw_answers))


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


def _of_masks(measured: Segmentation) -> PredictionPlot:
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
    return PredictionPlot(heading=heading, cases=cases, key=_mask_key(measured.classes, present))


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


def _mask_case(each: AnsweredMask, truth: Array) -> _Case:
    pixels, size = _read(each.sample)
    step = _step(size)
    panels = [pixels, *(_masked(pixels, mask[::step, ::step]) for mask in (truth, each.answer))]
    drawings = [lambda axis, panel=panel: _show(axis, panel, size) for panel in panels]
    return _Case(title=f"{_file_name(each.sample)}: mean IoU {each.miou:.3f}", size=size, drawings=drawings)


def _masked(pixels: Array, mask: Array) -> Array:
    """Lay a mask over a grey picture: classes in their colours, what has no class in stripes."""
    nothing = (mask < 0) | (mask == IGNORED)
    grey = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    coloured = tinted(grey, np.where(nothing, 0, mask).astype(np.int64))
    rows, columns = np.indices(mask.shape)
    period = max(max(mask.shape) // 40, 4)
    stripes = np.where((rows + columns) % period < period / 2, 90, 170).astype(np.uint8)
    return np.where(nothing[..., None], stripes[..., None], coloured)


def _read(sample: "Sample") -> tuple[Array, tuple[int, int]]:
    """Return the pixels to draw, large pictures reduced, and the size ``(height, width)`` of the picture itself."""
    from PIL import Image

    pixels = sample.picture.read().pixels
    size = pixels.shape[0], pixels.shape[1]
    step = _step(size)
    return (pixels if step == 1 else np.asarray(Image.fromarray(pixels).reduce(step))), size


def _step(size: tuple[int, int]) -> int:
    """Return how many times smaller a picture is drawn: each side divided by it and rounded up."""
    return -(-max(size) // _LARGEST)


def _show(axis: "Axes", pixels: Array, size: tuple[int, int]) -> None:
    height, width = size
    axis.imshow(pixels, extent=(0, width, height, 0))  # in pixels of the whole picture, as boxes are


def _draw_key(figure: "FigureBase", key: Sequence[Key]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Line2D([], [], color=colour, linestyle=style, linewidth=2)
        if style in ("-", "--", ":")
        else Patch(facecolor=colour, hatch=style or None, edgecolor="#c0c0c0" if style else "none")
        for colour, style, _ in key
    ]
    names = [meaning for *_, meaning in key]
    numbers = [str(number) for number in range(len(key))]
    legend = figure.legend(handles, numbers, loc="center", ncols=min(len(key), _KEYS_A_LINE), fontsize=8)
    legend.set_frame_on(False)
    name_legend(legend, names)


def _of_one(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = colour
    return red / 255, green / 255, blue / 255


def _file_name(sample: "Sample") -> str:
    """Return a picture's name without folders; of a long one the end, where names of one set differ."""
    name = Path(sample.name).name
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"
