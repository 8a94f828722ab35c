"""The plot of anchors: drawn of few boxes, many and none, without a display."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecv.errors import OutputError
from edgecv.evaluation.anchor_plot import draw_anchors

ORANGE, RED = (255, 127, 14), (214, 39, 40)


@pytest.mark.parametrize("count", [0, 3, 50_000])
def test_anchors_are_drawn_over_any_number_of_boxes(count: int, tmp_path: Path) -> None:
    boxes = np.random.default_rng(0).uniform(5, 60, (count, 2))
    draw_anchors(tmp_path / "plot.png", boxes, ((20.0, 30.0), (50.0, 10.0)), mean_iou=0.5)
    with Image.open(tmp_path / "plot.png") as plot:
        pixels = np.asarray(plot.convert("RGB"))
    # Outlines, and a cross in each corner.
    for colour in (ORANGE, RED):
        assert np.any(np.all(pixels == colour, axis=-1))
    assert [entry.name for entry in tmp_path.iterdir()] == ["plot.png"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"the folder '.*none' does not exist\. Create it first\.$"):
        draw_anchors(tmp_path / "none" / "plot.png", np.ones((1, 2)), ((1.0, 1.0),))
