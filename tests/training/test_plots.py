"""Plots of a run take any name of a class."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from edgecv.data.samples import ArraySource, Box, Dataset, Sample
from edgecv.results import Prediction
from edgecv.training.plots import draw_history, draw_predictions
from edgecv.training.run_dir import RunDir


class Answering:
    """Answers class 0 whatever it is shown."""

    metadata: ClassVar[dict[str, Any]] = {"task": "classification"}

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
        metadata: ClassVar[dict[str, Any]] = {"task": "localisation"}

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


def test_answers_of_detectors_are_left_to_the_evaluation(tmp_path: Path) -> None:
    class Detector:
        metadata: ClassVar[dict[str, Any]] = {"task": "detection"}

    samples = (Sample(picture=ArraySource("x", np.zeros((8, 8, 3), np.uint8)), boxes=(Box(1, 1, 5, 5, 0),)),)
    dataset = Dataset(path="x", format="csv", task="detection", classes=("cat",), samples=samples)
    run_dir = RunDir(tmp_path)
    run_dir.plots.mkdir()
    draw_predictions(run_dir, Detector(), dataset, samples)  # type: ignore[arg-type]
    assert not list(run_dir.plots.iterdir())


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Keep figures in place of writing them."""
    kept: dict[str, Any] = {}
    monkeypatch.setattr("edgecv.training.plots._save", lambda _, name, figure: kept.__setitem__(name, figure))
    return kept


def test_the_history_of_a_detector_tells_parts_outputs_and_the_best_epoch(
    tmp_path: Path, figures: dict[str, Any]
) -> None:
    history = [
        {
            "epoch": epoch,
            "stage": "heads",
            "seconds": 1.0,
            "learning_rate": 1e-3,
            "loss": 4.0 / epoch,
            "head32_output_loss": 3.0 / epoch,
            "val_loss": 5.0 / epoch,
            "val_head32_output_loss": 4.0 / epoch,
            "val_AP50": ap50,
            "val_AP": ap50 / 2,
        }
        for epoch, ap50 in enumerate((0.2, 0.625, 0.5, 0.625), start=1)
    ]
    draw_history(RunDir(tmp_path), history, monitored="val_AP50")
    (losses,), (metrics,) = figures["losses"].axes, figures["metrics"].axes
    styles = {line.get_label(): (line.get_color(), line.get_linestyle()) for line in losses.lines}
    assert styles == {
        "loss": ("C0", "-"),
        "head32_output_loss": ("C1", "-"),
        "val_loss": ("C0", "--"),
        "val_head32_output_loss": ("C1", "--"),
    }
    curves = {line.get_label(): line for line in metrics.lines}
    assert list(curves) == ["val_AP50", "val_AP", "best: 0.625\nin epoch 2"]
    assert curves["val_AP50"].get_color() != curves["val_AP"].get_color()
    assert curves["val_AP50"].get_linewidth() > curves["val_AP"].get_linewidth()
    assert curves["best: 0.625\nin epoch 2"].get_xydata().tolist() == [[2, 0.625]]
    assert losses.get_yscale() == "linear"


def test_a_loss_that_falls_far_is_drawn_by_its_powers(tmp_path: Path, figures: dict[str, Any]) -> None:
    history = [{"epoch": epoch, "loss": loss} for epoch, loss in enumerate((900.0, 12.0, 3.0), start=1)]
    draw_history(RunDir(tmp_path), history, monitored="loss")
    (losses,) = figures["losses"].axes
    assert losses.get_yscale() == "log"
    assert losses.lines[-1].get_label() == "best: 3\nin epoch 3"


def test_a_metric_that_never_was_a_number_has_no_best_epoch(tmp_path: Path, figures: dict[str, Any]) -> None:
    draw_history(RunDir(tmp_path), [{"epoch": 1, "loss": 1.0, "val_AP50": float("nan")}], monitored="val_AP50")
    assert [line.get_label() for line in figures["metrics"].axes[0].lines] == ["val_AP50"]
