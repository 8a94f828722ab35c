"""Pictures of figures: confusion matrix, precision over recall, what each class has, and the worst answers."""

import contextlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.errors import OptionError, OutputError
from edgecv.evaluation.average_precision import ClassPrecision
from edgecv.evaluation.classification import Classification
from edgecv.evaluation.detection import Detection
from edgecv.evaluation.evaluate import Evaluation
from edgecv.evaluation.localisation import Localisation
from edgecv.evaluation.picture_grid import WIDTH, PictureGrid
from edgecv.evaluation.prediction_plot import prediction_plot
from edgecv.evaluation.segmentation import Segmentation
from edgecv.extras import require
from edgecv.files import replace_whole
from edgecv.plot_names import name_legend, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["check_plot_path", "draw_evaluation"]

_DOTS_PER_INCH = 120
_PANEL = (7, 6)  # inches wide and high
_MOST_BARS = 40  # classes; of more the worst are shown
_MOST_NUMBERS = 20  # classes up to which a matrix has numbers in its cells
_MOST_NAMES = 60  # classes up to which its rows have names
_MOST_CURVES = 10  # classes up to which curves are told apart

Panel = Callable[["Axes"], None]


def check_plot_path(path: Path) -> None:
    """Refuse a plot that cannot be drawn, before anything is measured.

    Raises:
        OptionError: The suffix is none of a picture that can be drawn.
        OutputError: The folder does not exist.
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", extra="eval", purpose="Drawing plots")
    if path.suffix not in ("", ".png"):
        raise OptionError(f"--plot must be a FILE.png or a folder, got {str(path)!r}.")
    if not path.parent.is_dir():
        raise OutputError(
            f"Cannot write {str(path)!r}: the folder {str(path.parent)!r} does not exist. Create it first."
        )


def draw_evaluation(evaluation: Evaluation, path: Path) -> list[Path]:
    """Draw an evaluation.

    Args:
        evaluation: What was measured.
        path: A ``.png`` file for all panels, or a folder for one file each. Of detections and masks whose pictures
            are there, the worst are among them, with their truth.

    Returns:
        The files, in the order of the panels.

    Raises:
        OptionError: As `check_plot_path`.
        OutputError: A file cannot be written.
        PictureError: A picture cannot be read any more.
        MissingExtraError: matplotlib is not installed.
    """
    check_plot_path(path)
    panels, predictions = _panels(evaluation), prediction_plot(evaluation.measured)
    if path.suffix == ".png":
        _draw(list(panels.values()), path, predictions)
        return [path]
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot write to {str(path)!r}: {error.strerror or error}. Name another folder.") from error
    files = {path / f"{name}.png": panel for name, panel in panels.items()}
    shown = [path / "predictions.png"] if predictions is not None else []
    try:
        for file, panel in files.items():
            _draw([panel], file)
        for file in shown:
            _draw([], file, predictions)
    except OutputError:
        with contextlib.suppress(OSError):
            path.rmdir()  # only where it is empty: nothing was drawn
        raise
    return [*files, *shown]


def _panels(evaluation: Evaluation) -> dict[str, Panel]:
    """Return the panels of a task by the names of their files."""
    measured, rows = evaluation.measured, evaluation.rows
    if isinstance(measured, Classification):
        return {
            "confusion_matrix": lambda axes: _matrix(axes, measured.classes, measured.matrix, "pictures"),
            "per_class": lambda axes: _bars(axes, rows, ("precision", "recall")),
        }
    if isinstance(measured, Segmentation):
        return {
            "confusion_matrix": lambda axes: _matrix(axes, measured.classes, measured.matrix, "pixels"),
            "per_class": lambda axes: _bars(axes, rows, ("iou", "accuracy")),
        }
    if isinstance(measured, Localisation):
        return {
            "iou": lambda axes: _histogram(axes, measured.ious),
            "per_class": lambda axes: _bars(axes, rows, ("mean_iou", "class_accuracy")),
        }
    if isinstance(measured, Detection):
        return {
            "precision_recall": lambda axes: _curves(axes, measured),
            "per_class": lambda axes: _bars(axes, rows, ("AP", "AP50")),
        }
    raise OptionError(f"There is no plot for the task {evaluation.task!r}.")


def _draw(panels: Sequence[Panel], path: Path, predictions: PictureGrid | None = None) -> None:
    """Draw panels side by side, and the predictions below them."""
    # Not pyplot: it would keep every figure and ask for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = max(_PANEL[0] * len(panels), WIDTH if predictions else 0)
    heights = [_PANEL[1]] * bool(panels) + ([predictions.height] if predictions else [])
    figure: Figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    with replace_whole(path) as temporary, warnings.catch_warnings():
        # Of letters that its font lacks; they become boxes.
        warnings.simplefilter("ignore")
        parts: list[Any] = list(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False).flat)
        if panels:
            for axes, panel in zip(parts[0].subplots(1, len(panels), squeeze=False).flat, panels, strict=True):
                panel(axes)
        if predictions:
            predictions.draw(parts[-1])
        figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH)


def _matrix(axes: "Axes", classes: Sequence[str], matrix: Any, unit: str) -> None:
    """Draw a confusion matrix, each row as shares of its sum."""
    others = bool(matrix[:, -1].any())
    counts = matrix if others else matrix[:, :-1]
    names = [*classes, "other"] if others else list(classes)
    sums = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, sums, out=np.zeros(counts.shape), where=sums > 0)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.figure.colorbar(image, ax=axes, shrink=0.8, label=f"share of the {unit} of its class")
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")
    axes.set_title("Confusion matrix")
    if len(classes) <= _MOST_NAMES:
        size = 9 if len(classes) <= _MOST_NUMBERS else 5
        _name_ticks(axes.xaxis, names, size, rotation=90)
        _name_ticks(axes.yaxis, classes, size)
    if len(classes) <= _MOST_NUMBERS:
        for row, column in np.argwhere(counts > 0):
            share = shares[row, column]
            text = str(counts[row, column]) if unit == "pictures" else f"{share:.2f}".lstrip("0")
            colour = "white" if share > 0.5 else "black"
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)


def _curves(axes: "Axes", measured: Detection) -> None:
    """Draw the precision of each class over its recall, at an IoU of 0.5; of many classes, their mean, too."""
    told = [each for each in measured.precisions if each.objects]
    few = len(told) <= _MOST_CURVES
    lines = []
    for number, each in enumerate(told):
        recall, precision = np.append(0.0, each.recall), np.append(each.precision[:1], each.precision)
        if len(precision) < len(recall):  # nothing was found
            recall, precision = np.zeros(1), np.zeros(1)
        colour, alpha = (f"C{number}", 0.9) if few else ("tab:blue", 0.3)
        lines += axes.plot(recall, precision, color=colour, alpha=alpha, linewidth=1.5)
    names = [f"{short(measured.classes[each.category])} {each.at_11_points:.3f}" for each in told]
    if not few:
        grid = np.linspace(0, 1, 101)
        mean = np.mean([_precision_from(each, grid) for each in told], axis=0)
        lines, names = (
            axes.plot(grid, mean, color="black", linewidth=2.5),
            ["mean of all classes, of the largest from there on"],
        )
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.grid(alpha=0.3)
    axes.set_title("Precision over recall at IoU 0.5" + (" (AP at 11 points)" if few else f", {len(told)} classes"))
    if lines:
        name_legend(axes.legend(lines, [str(i) for i in range(len(lines))], loc="lower left", fontsize=8), names)


def _precision_from(each: ClassPrecision, grid: Any) -> Any:
    """Return the largest precision at each recall of a grid or more; 0 where the class does not get there."""
    best = np.append(np.maximum.accumulate(each.precision[::-1])[::-1], 0.0)
    return best[np.searchsorted(each.recall, grid)]


def _histogram(axes: "Axes", ious: Any) -> None:
    axes.hist(ious, bins=[place / 20 for place in range(21)], color="tab:blue", edgecolor="white")
    if len(ious):
        axes.axvline(float(ious.mean()), color="tab:orange", label=f"mean {ious.mean():.3f}")
        axes.legend()
    axes.set_xlim(0, 1)
    axes.set_xlabel("IoU of the box with the true one")
    axes.set_ylabel("pictures")
    axes.set_title("Boxes")


def _bars(axes: "Axes", rows: Sequence[dict[str, Any]], keys: tuple[str, str]) -> None:
    """Draw two figures of each class side by side; of many classes, those whose first one is worst."""
    known = [row for row in rows if any(row[key] is not None for key in keys)]
    shown = sorted(known, key=lambda row: row[keys[0]] or 0.0)[:_MOST_BARS] if len(known) > _MOST_BARS else known
    places = np.arange(len(shown))
    for number, key in enumerate(keys):
        values = [row[key] or 0.0 for row in shown]
        axes.barh(places + (number - 0.5) * 0.4, values, height=0.4, label=key.replace("_", " "))
    _name_ticks(axes.yaxis, [row["class"] for row in shown], 9 if len(shown) <= _MOST_NUMBERS else 6)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    axes.set_xlabel("per class" if len(shown) == len(known) else f"the {len(shown)} worst of {len(known)} classes")


def _name_ticks(axis: Any, names: Sequence[str], size: int, *, rotation: int = 0) -> None:
    axis.set_ticks(range(len(names)), labels=[short(name) for name in names], fontsize=size, rotation=rotation)
    for label in axis.get_ticklabels():
        label.set_parse_math(False)  # a dollar in a name is a dollar
