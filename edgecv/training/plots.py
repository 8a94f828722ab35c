"""Pictures of a run: how losses and metrics went, and what the network answers beside the truth."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgecv.data.samples import Dataset, Sample
from edgecv.drawing import class_colour
from edgecv.evaluation.selection import spread
from edgecv.extras import require
from edgecv.files import replace_whole
from edgecv.pictures import Picture
from edgecv.training.run_dir import RunDir

if TYPE_CHECKING:
    from edgecv.session import Session

__all__ = ["draw_history", "draw_predictions"]

_RIGHT, _WRONG = "#1a7f37", "#cf222e"
_COLUMNS, _ROWS = 6, 4
_LONGEST_NAME = 24  # letters, above a picture
_NOTHING = "no object"
_LEAST_OBJECTNESS = 0.5


def draw_history(run_dir: RunDir, history: Sequence[Mapping[str, Any]]) -> None:
    """Draw losses.png and metrics.png: a curve a column, the training part's drawn, the validation part's dashed."""
    if not history:
        return
    require("matplotlib", extra="train", purpose="Drawing plots")
    names = [name for name in dict.fromkeys(name for row in history for name in row) if _is_curve(name)]
    losses = [name for name in names if name.endswith("loss")]
    _curves(run_dir, "losses", history, losses)
    _curves(run_dir, "metrics", history, [name for name in names if name not in losses])


def draw_predictions(run_dir: RunDir, session: "Session", dataset: Dataset, samples: Sequence[Sample]) -> None:
    """Draw predictions.png: pictures of the test part with answer and truth, evenly taken from all of it.

    Titles of right answers are green, those of wrong ones red. True boxes are drawn dashed.
    """
    require("matplotlib", extra="train", purpose="Drawing plots")
    from matplotlib.figure import Figure

    chosen = spread(samples, _COLUMNS * _ROWS)
    pictures = [sample.picture.read() for sample in chosen]
    answers = session.predict_pictures(pictures, top_k=1)
    rows = -(-len(chosen) // _COLUMNS)
    figure = Figure(figsize=(2.2 * _COLUMNS, 2.6 * rows), layout="constrained")
    axes = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    for axis, sample, picture, answer in zip(axes, chosen, pictures, answers, strict=False):
        _draw_answer(axis, sample, picture, answer.results[0], dataset.classes)
    for axis in axes:
        axis.axis("off")
    if any(sample.boxes for sample in chosen):
        figure.supxlabel("dashed: the true box", fontsize=9)
    _save(run_dir, "predictions", figure)


def _draw_answer(
    axis: Any, sample: Sample, picture: Picture, answer: Mapping[str, Any], classes: Sequence[str]
) -> None:
    axis.imshow(picture.pixels)
    truth = sample.category if sample.category is not None else next((box.category for box in sample.boxes), None)
    name = classes[truth] if truth is not None else _NOTHING
    found = answer.get("objectness", 1.0) >= _LEAST_OBJECTNESS
    said = (answer["label"] or str(answer["class"])) if found else _NOTHING
    score = answer["score"] if found else answer["objectness"]
    right = said == name
    text = f"{_short(said)} {score:.2f}" + ("" if right else f"\nis {_short(name)}")
    title = axis.set_title(text, color=_RIGHT if right else _WRONG, fontsize=9)
    title.set_parse_math(False)  # a dollar in a name is a dollar
    for box in sample.boxes:
        _draw_box(axis, (box.x1, box.y1, box.x2, box.y2), "white", "--")
    if found and "box" in answer:
        red, green, blue = (value / 255 for value in class_colour(int(answer["class"])))
        _draw_box(axis, answer["box"], (red, green, blue), "-")


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _draw_box(axis: Any, box: Sequence[float], colour: Any, style: str) -> None:
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = box
    # Pixel centres lie on whole numbers in matplotlib, borders between them.
    axis.add_patch(
        Rectangle((x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linestyle=style, linewidth=1.5)
    )


def _is_curve(name: str) -> bool:
    return name not in ("epoch", "stage", "seconds", "learning_rate")


def _curves(run_dir: RunDir, what: str, history: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    if not names:
        return
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axis = figure.subplots()
    colours = {name: f"C{number}" for number, name in enumerate(n for n in names if not n.startswith("val_"))}
    for name in names:
        style = "--" if name.startswith("val_") else "-"
        colour = colours.get(name.removeprefix("val_"), "black")
        marker = "o" if len(history) < 3 else None
        axis.plot(
            [row["epoch"] for row in history],
            [row.get(name, math.nan) for row in history],
            style,
            color=colour,
            label=name,
            marker=marker,
        )
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)  # beside the curves, of which there are many
    axis.set_title(what)
    _save(run_dir, what, figure)


def _save(run_dir: RunDir, name: str, figure: Any) -> None:
    with replace_whole(run_dir.plots / f"{name}.png") as temporary, warnings.catch_warnings():
        # Of letters that its font lacks; they become boxes.
        warnings.simplefilter("ignore")
        figure.savefig(temporary, format="png", dpi=110)
