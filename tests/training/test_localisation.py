"""What a localiser is taught is what its answers are read as."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import edgecv
from edgecv.data.samples import ArraySource, Box, Dataset, Sample
from edgecv.deployable import ModelInfo
from edgecv.evaluation.localisation import box_ious
from edgecv.keras_session import keras_session
from edgecv.localisation import Localisation
from edgecv.pictures import Picture
from edgecv.preprocess import Fit, Preprocess
from edgecv.registry import load_architecture
from edgecv.training.loading import Loader
from edgecv.training.localisation import LocalisationTask
from edgecv.training.run_data import RunData
from edgecv.training.settings import Settings

_INPUT = (48, 64)


def sample(size: tuple[int, int], *boxes: Box) -> Sample:
    return Sample(picture=ArraySource(f"picture of {size}", np.zeros((*size, 3), np.uint8)), boxes=boxes)


def run_data(dataset: Dataset) -> RunData:
    return RunData(dataset=dataset, parts={"train": dataset.samples})


def taught(samples: list[Sample], fit: Fit, **options: Any) -> tuple[LocalisationTask, dict[str, Any], dict[str, Any]]:
    """Return the task, and the answers and weights of a batch of samples, as the losses get them."""
    dataset = Dataset(path="data", format="csv", task="localisation", classes=("cat", "dog"), samples=tuple(samples))
    task = LocalisationTask(run_data(dataset), Settings(architecture="lenet5", data="data", **options))
    loader = Loader(samples, size=_INPUT, channels=3, fit=fit, targets=task.targets, cache_bytes=0)
    batch = loader.load(range(len(samples)))
    answers, weights = ({key: np.asarray(value) for key, value in each.items()} for each in task.finish(batch, _INPUT))
    return task, answers, weights


def giving(answers: dict[str, Any]) -> keras.Model:
    """Make a network that gives these answers to every picture."""
    image = keras.Input((*_INPUT, 3))
    x = layers.GlobalAveragePooling2D()(image)
    outputs = []
    for name in ("predictions", "box"):
        bias = keras.initializers.Constant(answers[name][0])
        dense = layers.Dense(answers[name].shape[1], kernel_initializer="zeros", bias_initializer=bias, name=name)
        outputs.append(dense(x))
    return keras.Model(image, outputs)


@pytest.mark.parametrize("sqrt_sizes", [False, True])
@pytest.mark.parametrize("mode", ["letterbox", "stretch"])
@pytest.mark.parametrize("size", [(100, 300), (300, 100), (7, 9), (48, 64)])
def test_a_network_that_gives_what_is_taught_answers_with_the_label(
    size: tuple[int, int], mode: Any, sqrt_sizes: bool
) -> None:
    height, width = size
    box = Box(0.2 * width, 0.35 * height, 0.7 * width, 0.9 * height, 1)
    fit = Fit(mode=mode)
    _, answers, _ = taught([sample(size, box)], fit, sqrt_sizes=sqrt_sizes)
    deployable = edgecv.deploy(
        giving(answers),
        preprocess=Preprocess(fit=fit),
        labels=("cat", "dog"),
        localisation=Localisation(sqrt_sizes=sqrt_sizes),
    )
    (prediction,) = keras_session(deployable).predict_pictures([Picture(np.zeros((*size, 3), np.uint8))])
    (found,) = prediction.results
    assert found["label"] == "dog"
    assert found["box"] == pytest.approx([box.x1, box.y1, box.x2, box.y2], abs=1e-4 * max(size))


def test_centre_and_sides_are_shares_of_the_input_by_hand() -> None:
    # 200 × 100 fills 64 × 32 of 64 × 48, with 8 rows of grey above: 100, 25, 150, 75 lies at 32, 16, 48, 32.
    _, answers, _ = taught([sample((100, 200), Box(100, 25, 150, 75, 0))], Fit(mode="letterbox"))
    assert answers["box"].tolist() == [pytest.approx([40 / 64, 24 / 48, 16 / 64, 16 / 48])]
    assert answers["predictions"].tolist() == [[1, 0]]


def test_a_picture_without_a_box_teaches_the_objectness_alone() -> None:
    samples = [sample((48, 64), Box(8, 8, 40, 40, 1)), sample((48, 64))]
    _, answers, weights = taught(samples, Fit(), objectness=True)
    assert answers["objectness"].tolist() == [[1], [0]]
    assert {name: each.tolist() for name, each in weights.items()} == {
        "predictions": [1, 0],
        "box": [1, 0],
        "objectness": [1, 1],
    }


@pytest.mark.parametrize("sqrt_sizes", [False, True])
def test_the_mean_iou_of_training_is_that_of_evaluation(sqrt_sizes: bool) -> None:
    rng = np.random.default_rng(3)
    task, _, _ = taught([sample((48, 64), Box(8, 8, 40, 40, 1))], Fit(), sqrt_sizes=sqrt_sizes)
    (metric,) = task.metrics()["box"]
    truth, answers = rng.uniform(0.05, 0.95, (2, 50, 4)).astype("float32")
    weights = (np.arange(50) % 5 > 0).astype("float32")
    metric.update_state(truth, answers, sample_weight=weights)
    corners = [_corners(box, sqrt_sizes=sqrt_sizes) for box in (truth, answers)]
    expected = box_ious(*corners)[weights > 0].mean()
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


def _corners(boxes: np.ndarray[Any, Any], *, sqrt_sizes: bool) -> np.ndarray[Any, Any]:
    """Return x1, y1, x2, y2, cut at the picture's border, of boxes as they are taught."""
    centres, sides = boxes[:, :2].astype(float), boxes[:, 2:].astype(float)
    halves = (sides**2 if sqrt_sizes else sides) / 2
    return np.asarray(np.clip(np.concatenate([centres - halves, centres + halves], axis=1), 0, 1))


def test_the_network_that_is_saved_knows_what_its_numbers_mean(tmp_path: Path) -> None:
    dataset = Dataset(
        path="data", format="csv", task="localisation", classes=("cat", "dog"),
        samples=(sample((48, 64), Box(8, 8, 40, 40, 1)),),
    )  # fmt: skip
    settings = Settings(architecture="lenet5", data="data", objectness=True, sqrt_sizes=True)
    task = LocalisationTask(run_data(dataset), settings)
    image = keras.Input((*_INPUT, 3))
    trained = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(image)))
    network = task.network(load_architecture("lenet5"), trained)
    network.edgecv_info = task.info(ModelInfo(name="small"))
    edgecv.save_model(network, tmp_path / "small.keras")
    info = edgecv.open_model(str(tmp_path / "small.keras")).edgecv_info
    assert (info.task, info.labels) == ("localisation", ("cat", "dog"))
    assert info.localisation == Localisation(sqrt_sizes=True, outputs=("predictions", "objectness", "box"))
