"""A picture of a benchmark: how long each takes, and how near it comes to what the processor can do."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv.benchmarking.contender import Measured
from edgecv.errors import OptionError, OutputError
from edgecv.extras import require
from edgecv.files import replace_whole, writable_folder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["check_plot", "draw_benchmark", "figure_of"]

_DOTS_PER_INCH = 130
_WIDTH = 13.0  # inches
_BAR, _FRAME = 0.5, 1.7  # inches of height: of each bar, and around them
_LONGEST_NAME, _KEPT_END = 44, 18  # letters
_GREY, _RED = "#444444", "#c0392b"
_COLOURS = ("#3b6fb6", "#e08e45", "#4f9d69", "#8e6bb0", "#6c757d", "#c9a227")


def check_plot(path: Path) -> None:
    """Refuse a plot that cannot be drawn, before anything is measured.

    Raises:
        OptionError: It is no ``.png`` file.
        OutputError: It cannot be written there.
        MissingExtraError: matplotlib is not installed.
    """
    if path.suffix.lower() != ".png":
        raise OptionError(f"--plot must be a FILE.png, got {str(path)!r}.")
    if path.is_dir():
        raise OutputError(f"Cannot write {str(path)!r}: it is a folder. Name a file.")
    writable_folder(path)
    require("matplotlib", extra="eval", purpose="Drawing plots")


def draw_benchmark(measured: Sequence[Measured], path: Path) -> None:
    """Draw a benchmark: median latencies with their intervals, and GFLOP/s beside the matrix product's.

    Args:
        measured: What was measured; at least one.
        path: A ``.png`` file.

    Raises:
        OptionError: As `check_plot`, as the others.
        OutputError: It cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    check_plot(path)
    with replace_whole(path) as temporary, warnings.catch_warnings():
        # Of letters that its font lacks; they become boxes.
        warnings.simplefilter("ignore")
        figure_of(measured).savefig(temporary, format="png", dpi=_DOTS_PER_INCH)


def figure_of(measured: Sequence[Measured]) -> "Figure":
    """Return the figure that `draw_benchmark` writes."""
    # Not pyplot: it would keep every figure and ask for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = _FRAME + _BAR * max(len(measured), 3)
    figure = Figure(figsize=(_WIDTH, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    _latency(left, measured)
    _reached(right, measured)
    return figure


def _latency(axes: "Axes", measured: Sequence[Measured]) -> None:
    """Draw the medians, their intervals, and where nine of ten runs ended."""
    rows = range(len(measured))
    medians = [each.timing.p50_ms for each in measured]
    errors = [
        [each.timing.p50_ms - each.timing.low_ms for each in measured],
        [each.timing.high_ms - each.timing.p50_ms for each in measured],
    ]
    axes.barh(rows, medians, height=0.62, color=_colours(measured), xerr=errors, ecolor=_GREY, capsize=3, zorder=2)
    p90 = [each.timing.p90_ms for each in measured]
    axes.plot(
        p90, rows, "|", color=_GREY, markersize=11, markeredgewidth=1.6, zorder=3, label="nine of ten runs are quicker"
    )
    widest = max(max(p90), max(each.timing.high_ms for each in measured))
    for row, each in zip(rows, measured, strict=True):
        end = max(each.timing.p90_ms, each.timing.high_ms)
        axes.text(end + 0.015 * widest, row, f"{each.timing.p50_ms:.3g} ms", va="center", fontsize=9)
    axes.set_xlim(0, 1.2 * widest)
    axes.set_xlabel("median latency of a run, ms (with its 95 % interval)")
    axes.set_title("Latency", loc="left", fontsize=11, fontweight="bold")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False, fontsize=8.5, borderaxespad=0.2)
    axes.set_yticks(list(rows), labels=[_label(each) for each in measured], fontsize=9)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a dollar in a name is a dollar
    axes.invert_yaxis()
    _quiet(axes)


def _reached(axes: "Axes", measured: Sequence[Measured]) -> None:
    """Draw the GFLOP/s of each, under the roof that the matrix product sets for its number of threads."""
    rows = range(len(measured))
    values = [each.gflops or 0.0 for each in measured]
    axes.barh(rows, values, height=0.62, color=_colours(measured), zorder=2)
    roofs = [each.peak_gflops for each in measured]
    widest = max([*values, *(roof for roof in roofs if roof)]) or 1.0
    for row, each in zip(rows, measured, strict=True):
        if each.peak_gflops:
            axes.plot([each.peak_gflops] * 2, [row - 0.5, row + 0.5], color=_RED, linewidth=2, zorder=3)
        end = max(each.gflops or 0.0, each.peak_gflops or 0.0)  # beyond the roof, so that nothing crosses the text
        axes.text(end + 0.015 * widest, row, _share(each), va="center", fontsize=9)
    axes.set_xlim(0, 1.38 * widest)
    axes.set_xlabel("GFLOP/s (a multiply-add is two operations)")
    axes.set_title("Arithmetic", loc="left", fontsize=11, fontweight="bold")
    if any(roofs):
        axes.plot([], [], color=_RED, linewidth=2, label="roof: a float32 matrix product here, with as many threads")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False, fontsize=8.5, borderaxespad=0.2)
    axes.tick_params(axis="y", left=False)
    _quiet(axes)


def _share(each: Measured) -> str:
    if each.gflops is None:
        return "not known"
    share = f" ({each.share_of_peak:.0%} of the roof)" if each.share_of_peak is not None else ""
    return f"{each.gflops:.3g}{share}"


def _label(each: Measured) -> str:
    contender = each.contender
    many = "" if contender.threads == 1 else "s"
    where = each.runtime if contender.device == "cpu" else f"{each.runtime}, {contender.device}"
    return f"{_cut(contender.artifact.name)}\n{where}, {contender.threads} thread{many}"


def _cut(name: str) -> str:
    """Shorten a long name within: precisions and suffixes stand at the end."""
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - _KEPT_END - 1]}…{name[-_KEPT_END:]}"


def _colours(measured: Sequence[Measured]) -> list[str]:
    """Return one colour an artifact."""
    artifacts = list(dict.fromkeys(each.contender.artifact for each in measured))
    return [_COLOURS[artifacts.index(each.contender.artifact) % len(_COLOURS)] for each in measured]


def _quiet(axes: Any) -> None:
    axes.set_facecolor("white")
    axes.grid(axis="x", alpha=0.25, zorder=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
