"""A picture of anchors over the sizes of the boxes that they were found in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgecv.extras import require
from edgecv.files import replace_whole

__all__ = ["draw_anchors"]

_DOTS_PER_INCH = 120
_MOST_POINTS = 20_000  # of more boxes, as many are drawn, evenly spread over their list


def draw_anchors(
    path: Path, boxes: np.ndarray[Any, Any], anchors: Sequence[tuple[float, float]], *, mean_iou: float | None = None
) -> None:
    """Draw the sizes of boxes as points, and anchors as the outlines that they have.

    Args:
        path: The PNG file.
        boxes: ``(boxes, 2)``: width and height in pixels of the input.
        anchors: ``(width, height)`` in the same pixels.
        mean_iou: Of the boxes with the best anchor each, for the title.

    Raises:
        OutputError: The file cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", extra="eval", purpose="Drawing plots")
    # Not pyplot: it would keep every figure and ask for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Figure = Figure(figsize=(7, 6), layout="constrained")
    FigureCanvasAgg(figure)
    _draw(figure.subplots(), np.asarray(boxes, np.float64).reshape(-1, 2), anchors)
    overlap = "" if mean_iou is None else f", mean IoU {mean_iou:.3f}"
    figure.suptitle(f"{len(anchors)} anchors over {len(boxes):,} boxes{overlap}", fontsize=12)
    with replace_whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH)


def _draw(axes: Any, boxes: np.ndarray[Any, Any], anchors: Sequence[tuple[float, float]]) -> None:
    from matplotlib.patches import Rectangle

    shown = boxes[:: max(1, -(-len(boxes) // _MOST_POINTS))]
    alpha = float(np.clip(200 / max(1, len(shown)), 0.05, 0.6))
    axes.scatter(shown[:, 0], shown[:, 1], s=8, color="tab:blue", alpha=alpha, linewidths=0)
    for width, height in anchors:
        axes.add_patch(Rectangle((0, 0), width, height, fill=False, edgecolor="tab:orange", linewidth=2))
    axes.plot(*zip(*anchors, strict=True), "x", color="tab:red", markersize=8, markeredgewidth=2)
    limits = np.max([*anchors, *shown], axis=0) * 1.05
    axes.set_xlim(0, limits[0])
    axes.set_ylim(0, limits[1])
    axes.set_xlabel("width in pixels of the input")
    axes.set_ylabel("height in pixels of the input")
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
