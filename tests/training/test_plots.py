"""Plots of a run take any name of a class."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecv.data.samples import ArraySource, Dataset, Sample
from edgecv.results import Prediction
from edgecv.training.plots import draw_predictions
from edgecv.training.run_dir import RunDir


class Answering:
    """Answers class 0 whatever it is shown."""

    def __init__(self, label: str) -> None:
        self._label = label

    def predict_pictures(self, pictures: Sequence[Any], *, top_k: int) -> list[Prediction]:
        results = [{"class": 0, "label": self._label, "score": 0.5}]
        assert top_k == 1
        return [Prediction(results=results) for _ in pictures]


@pytest.mark.parametrize("name", [r"$\frac{$", "日本", "🐈"], ids=["formula", "Japanese", "emoji"])
def test_any_name_of_a_class_can_be_drawn(name: str, tmp_path: Path) -> None:
    samples = tuple(Sample(picture=ArraySource(f"x[{i}]", np.zeros((8, 8, 3), np.uint8)), category=i) for i in range(2))
    dataset = Dataset(path="x", format="folders", task="classification", classes=(name, "cat"), samples=samples)
    run_dir = RunDir(tmp_path)
    run_dir.plots.mkdir()
    draw_predictions(run_dir, Answering(name), dataset, samples)  # type: ignore[arg-type]
    with Image.open(run_dir.plots / "predictions.png") as page:
        assert min(page.size) > 200
