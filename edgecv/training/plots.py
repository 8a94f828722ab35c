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
from edgecv.plot_names import short
from edgecv.training.run_dir import RunDir

if TYPE_CHECKING:
    from edgecv.session import Session

__all__ = ["draw_history", "draw_predictions"]

_RIGHT, _WRONG = "#1a7f37", "#cf222e"
_COLUMNS, _ROWS = 6, 4
_NOTHING = "no object"
_LEAST_OBJECTNESS = 0.5
_WIDE = 50  # a loss so many times as large as another


def draw_history(run_dir: RunDir, history: Sequence[Mapping[str, Any]], *, monitored: str | None = None) -> None:
    """Draw losses.png and metrics.png: a curve a column, the training part's drawn, the validation part's dashed.

    Args:
        run_dir: Where to.
        history: A row an epoch.
        monitored: The column by which the best epoch was chosen; it is drawn thick, and its best epoch marked.
    """
    if not history:
        return
    require("matplotlib", extra="train", purpose="Drawing plots")
    names = [name for name in dict.fromkeys(name for row in history for name in row) if _is_curve(name)]
    losses = [name for name in names if name.endswith("loss")]
    _curves(run_dir, "losses", history, losses, monitored)
    _curves(run_dir, "metrics", history, [name for name in names if name not in losses], monitored)


def draw_predictions(run_dir: RunDir, session: "Session", dataset: Dataset, samples: Sequence[Sample]) -> None:
    """Draw predictions.png: pictures of the test part with answer and truth, evenly taken from all of it.

    Titles of right answers are green, those of wrong ones red. True boxes are drawn dashed. For detectors and
    segmenters there is nothing to do: `edgecv.evaluation.plots.draw_evaluation` has drawn their worst answers.
    """
    if session.metadata["task"] not in ("classification", "localisation"):
        return
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
    text = f"{short(said)} {score:.2f}" + ("" if right else f"\nis {short(name)}")
    title = axis.set_title(text, color=_RIGHT if right else _WRONG, fontsize=9)
    title.set_parse_math(False)  # a dollar in a name is a dollar
    for box in sample.boxes:
        _draw_box(axis, (box.x1, box.y1, box.x2, box.y2), "white", "--")
    if found and "box" in answer:
        red, green, blue = (value / 255 for value in class_colour(int(answer["class"])))
        _draw_box(axis, answer["box"], (red, green, blue), "-")


def _draw_box(axis: Any, box: Sequence[float], colour: Any, style: str) -> None:
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = box
    # Pixel centres lie on whole numbers in matplotlib, borders between them.
    axis.add_patch(
        Rectangle((x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linestyle=style, linewidth=1.5)
    )


def _is_curve(name: str) -> bool:
    return name not in ("epoch", "stage", "seconds", "learning_rate")


def _curves(
    run_dir: RunDir, what: str, history: Sequence[Mapping[str, Any]], names: Sequence[str], monitored: str | None
) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    if not names:
        return
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axis = figure.subplots()
    kinds = list(dict.fromkeys(name.removeprefix("val_") for name in names))
    epochs = [row["epoch"] for row in history]
    for name in names:
        axis.plot(
            epochs,
            [row.get(name, math.nan) for row in history],
            "--" if name.startswith("val_") else "-",
            color=f"C{kinds.index(name.removeprefix('val_'))}",
            label=name,
            linewidth=2.5 if name == monitored else 1.2,
            marker="o" if len(history) < 3 else None,
        )
    values = [row[name] for row in history for name in names if math.isfinite(row.get(name, math.nan))]
    if what == "losses" and values and max(values) > _WIDE * min(values) > 0:
        axis.set_yscale("log")  # where a first epoch would press all others flat
    if monitored in names:
        _mark_best(axis, history, str(monitored))
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)  # beside the curves, of which there are many
    axis.set_title(what)
    _save(run_dir, what, figure)


def _mark_best(axis: Any, history: Sequence[Mapping[str, Any]], name: str) -> None:
    """Mark the epoch whose network is kept: the first of the best ones."""
    known = [row for row in history if math.isfinite(row.get(name, math.nan))]
    if not known:
        return
    best = (min if name.endswith("loss") else max)(known, key=lambda row: row[name])
    label = f"best: {best[name]:.4g}\nin epoch {best['epoch']}"
    axis.plot([best["epoch"]], [best[name]], "*", color="black", markersize=12, label=label, zorder=3)


def _save(run_dir: RunDir, name: str, figure: Any) -> None:
    with replace_whole(run_dir.plots / f"{name}.png") as temporary, warnings.catch_warnings():
        # Of letters that its font lacks; they become boxes.
        warnings.simplefilter("ignore")
        figure.savefig(temporary, format="png", dpi=110)
