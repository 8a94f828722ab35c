"""Plots of a run take any name of a class."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecv.data.samples import ArraySource, Box, Dataset, Sample
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


def test_a_found_object_is_titled_with_the_score_of_its_class_and_none_with_its_objectness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Any] = []
    monkeypatch.setattr("edgecv.training.plots._save", lambda *arguments: figures.append(arguments[-1]))
    long = "a name of thirty letters, cut"
    answers = [{"class": 0, "label": long, "score": 0.25, "objectness": there} for there in (0.98, 0.02)]

    class Session:
        def predict_pictures(self, pictures: Sequence[Any], *, top_k: int) -> list[Prediction]:
            return [Prediction(results=[answer]) for answer in answers[: len(pictures) * top_k]]

    samples = tuple(
        Sample(picture=ArraySource(f"x[{i}]", np.zeros((8, 8, 3), np.uint8)), boxes=(Box(1, 1, 5, 5, 1),))
        for i in range(2)
    )
    dataset = Dataset(path="x", format="csv", task="localisation", classes=(long, "cat"), samples=samples)
    draw_predictions(RunDir(tmp_path), Session(), dataset, samples)  # type: ignore[arg-type]
    titles = [axis.get_title() for axis in figures[0].axes[:2]]
    assert titles == ["a name of thirty letter… 0.25\nis cat", "no object 0.02\nis cat"]
