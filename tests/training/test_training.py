"""Small real runs: what they learn, what they write, and that artifacts of them score the same."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

import edgecv
from edgecv.data.reading import open_data
from edgecv.evaluation.evaluate import evaluate
from edgecv.evaluation.localisation import box_ious
from edgecv.training.listener import Listener
from edgecv.training.run_data import data_of_run
from edgecv.training.running import RunResult, show_augmented
from edgecv.training.settings import Settings

_SPLIT = (0.7, 0.15, 0.15)
_PLOTS = ("losses.png", "metrics.png", "predictions.png")


class Heard(Listener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.works: list[tuple[str, int]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def step(self, epoch: int, step: int, loss: float) -> None:
        self.works.append((f"epoch {epoch}", step))
        assert loss > 0


def shortest_side(picture: Path) -> int:
    with Image.open(picture) as opened:
        return min(opened.size)


def of_artifact(run: RunResult, form: str, folder: Path) -> dict[str, Any]:
    """Export a run, and return the scores of the artifact on the run's test part."""
    path = folder / f"exported.{form}"
    edgecv.export(edgecv.deploy(edgecv.open_model(str(run.path)), batch=None), to=form, path=path, verify=False)
    dataset, parts = data_of_run(run.path)
    return evaluate(edgecv.load(path), dataset, parts["test"]).to_json()


def test_a_classifier_learns(classifier: RunResult) -> None:
    assert classifier.evaluation is not None
    scores = classifier.evaluation.to_json()
    assert scores["images"] == 36
    # Of 36 pictures in three classes chance has 12 right; 26 or more once in 500,000 times.
    assert scores["top1"] >= 26 / 36


def test_a_network_with_dropout_learns(classes_data: Path, tmp_path: Path) -> None:
    settings = Settings(
        architecture="fashion_cnn", data=str(classes_data), epochs=8, batch=16, learning_rate=1e-3, split=_SPLIT
    )
    run = edgecv.train(settings, tmp_path / "run")
    assert run.evaluation is not None
    assert run.evaluation.to_json()["top1"] >= 26 / 36


def test_a_localiser_learns(localiser: RunResult) -> None:
    assert localiser.evaluation is not None
    scores = localiser.evaluation.to_json()
    # The floor: one box for all pictures, the best of those about the middle.
    dataset, parts = data_of_run(localiser.path)
    truth = np.array([(box.x1, box.y1, box.x2, box.y2) for sample in parts["test"] for box in sample.boxes], float)
    halves = np.arange(4, 17, 0.5)
    floor = max(
        float(np.mean(box_ious(truth, np.tile([16 - half, 16 - half, 16 + half, 16 + half], (len(truth), 1)))))
        for half in halves
    )
    assert floor < 0.5
    assert scores["mean_iou"] >= floor + 0.1
    assert scores["class_accuracy"] >= 22 / 36
    assert dataset.task == "localisation"


@pytest.fixture(scope="module")
def finder(shapes: Any, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """LeNet-5 that says where the square is, and whether there is one."""
    folder = tmp_path_factory.mktemp("finder")
    data = shapes.located_csv(folder / "data", 60, kinds=("square",), empty=40)
    settings = Settings(
        architecture="lenet5", data=str(data), task="localisation", objectness=True, sqrt_sizes=True, box_weight=10.0,
        epochs=12, batch=16, learning_rate=3e-3, split=_SPLIT,
    )  # fmt: skip
    return edgecv.train(settings, folder / "run")


def test_objectness_of_one_class_learns_from_pictures_without_it(finder: RunResult) -> None:
    assert finder.evaluation is not None
    assert finder.evaluation.to_json()["objectness_accuracy"] >= 0.9  # 0.6 have a square
    assert edgecv.open_model(str(finder.path)).output_names == ["predictions", "objectness", "box"]


def test_the_fcn_of_a_localiser_finds_the_objects_of_a_whole_scene(
    finder: RunResult, shapes: Any, tmp_path: Path
) -> None:
    scenes = open_data(str(shapes.scenes_csv(tmp_path / "scenes", 10, kind="square")))
    localiser = edgecv.open_model(str(finder.path))
    untrained = keras.models.clone_model(localiser)
    untrained.edgecv_info = localiser.edgecv_info
    found = {}
    for name, network in (("trained", localiser), ("untrained", untrained)):
        fcn = edgecv.deploy(
            edgecv.to_fcn(network),
            input_size=(shapes.SCENE, shapes.SCENE),
            nms=edgecv.Nms(score_threshold=0.01, iou_threshold=0.3),
        )
        path = tmp_path / f"{name}.onnx"
        edgecv.export(fcn, to="onnx", path=path, verify=False)
        found[name] = evaluate(edgecv.load(path), scenes, scenes.samples).to_json()["AP50"]
    assert found["untrained"] < 0.2
    assert found["trained"] > 0.5


def test_published_weights_learn_from_few_pictures(shapes: Any, tmp_path: Path) -> None:
    data = shapes.folders(tmp_path / "data", 20)
    settings = Settings(
        architecture="efficientnet_lite0", weights="imagenet", data=str(data), input_size=(64, 64), epochs=8,
        freeze_epochs=4, batch=12, split=(0.4, 0.1, 0.5),
    )  # fmt: skip
    run = edgecv.train(settings, tmp_path / "run")
    assert run.evaluation is not None
    scores = run.evaluation.to_json()
    assert [row["stage"] for row in run.history] == ["head"] * 4 + ["fine-tuning"] * 4
    # Of 30 pictures in three classes chance has 10 right; 21 or more once in 22,000 times.
    assert scores["images"] == 30
    assert scores["top1"] >= 21 / 30


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_artifacts_of_a_run_score_as_the_network(classifier: RunResult, form: str, tmp_path: Path) -> None:
    assert classifier.evaluation is not None
    expected = classifier.evaluation.to_json()
    scores = of_artifact(classifier, form, tmp_path)
    assert [scores[key] for key in ("top1", "confusion_matrix")] == [
        expected[key] for key in ("top1", "confusion_matrix")
    ]


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_artifacts_of_a_localiser_score_as_the_network(localiser: RunResult, form: str, tmp_path: Path) -> None:
    assert localiser.evaluation is not None
    expected = localiser.evaluation.to_json()
    scores = of_artifact(localiser, form, tmp_path)
    assert scores["class_accuracy"] == expected["class_accuracy"]
    assert scores["mean_iou"] == pytest.approx(expected["mean_iou"], abs=1e-5)


def test_figures_of_training_are_those_of_evaluation(localiser: RunResult) -> None:
    """The best epoch's figures on the validation part, measured by Keras' metrics and by edgecv's."""
    dataset, parts = data_of_run(localiser.path)
    session = edgecv.load(_exported(localiser))
    scores = evaluate(session, dataset, parts["val"]).to_json()
    best = localiser.history[localiser.document["best"]["epoch"] - 1]
    assert scores["mean_iou"] == pytest.approx(best["val_mean_iou"], abs=1e-4)
    assert scores["class_accuracy"] == pytest.approx(best["val_accuracy"], abs=1e-6)


def _exported(run: RunResult) -> Path:
    path = run.path.parent / "validated.onnx"
    edgecv.export(edgecv.deploy(edgecv.open_model(str(run.path)), batch=None), to="onnx", path=path, verify=False)
    return path


@pytest.mark.parametrize("kind", ["classifier", "localiser"])
def test_a_run_is_complete(kind: str, request: pytest.FixtureRequest) -> None:
    run: RunResult = request.getfixturevalue(kind)
    document = json.loads((run.path / "run.json").read_text())
    assert document == run.document
    assert document["state"] == "finished"
    assert document["labels"] == ["cross", "ring", "square"]
    assert document["data"]["parts"] == {"train": 168, "val": 36, "test": 36}
    assert document["versions"]["keras"] == keras.__version__
    assert Settings.from_json(document["settings"]).to_json() == document["settings"]
    for name in _PLOTS:
        assert shortest_side(run.path / "plots" / name) > 200
    assert {path.parent.name for path in (run.path / "log").rglob("*tfevents*")} == {"train", "validation"}
    assert not list(run.path.rglob(".edgecv-tmp-*"))


def test_the_log_has_each_epoch_once(classifier: RunResult) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
    from tensorboard.util.tensor_util import make_ndarray  # type: ignore[import-untyped]

    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    log = EventAccumulator(str(classifier.path / "log" / "validation"), size_guidance={"tensors": 0})
    log.Reload()
    found = {event.step: float(make_ndarray(event.tensor_proto)) for event in log.Tensors("epoch_accuracy")}
    assert found == pytest.approx({row["epoch"]: row["val_accuracy"] for row in classifier.history}, abs=1e-6)


def test_a_classifier_has_its_confusion_matrix_drawn(classifier: RunResult) -> None:
    assert shortest_side(classifier.path / "plots" / "confusion_matrix.png") > 200


def test_the_best_epoch_is_kept(classifier: RunResult) -> None:
    best = classifier.document["best"]
    values = [row["val_accuracy"] for row in classifier.history]
    assert best["val_accuracy"] == max(values)
    assert best["epoch"] == values.index(max(values)) + 1


@pytest.mark.parametrize("kind", ["classifier", "localiser"])
def test_the_model_opens_in_keras_alone(kind: str, request: pytest.FixtureRequest) -> None:
    run: RunResult = request.getfixturevalue(kind)
    code = "import keras, sys; model = keras.models.load_model(sys.argv[1]); print(model.compiled, len(model.outputs))"
    command = [sys.executable, "-c", code, str(run.path / "model.keras")]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert said == f"False {1 if kind == 'classifier' else 2}\n"


def test_nothing_better_for_long_enough_stops_a_run(few_data: Path, tmp_path: Path) -> None:
    settings = Settings(
        architecture="lenet5", data=str(few_data), epochs=9, patience=2, learning_rate=1e-9, schedule="constant"
    )
    heard = Heard()
    run = edgecv.train(settings, tmp_path / "run", listener=heard)
    assert (run.document["state"], run.document["epochs"]) == ("stopped early", 3)
    assert run.document["stopped"] == "no better val_accuracy in 2 epochs"
    assert "stopped after epoch 3: no better val_accuracy in 2 epochs" in heard.notes


def test_a_head_that_learns_alone_stops_early_too(few_data: Path, classifier: RunResult, tmp_path: Path) -> None:
    settings = Settings(
        architecture="lenet5", data=str(few_data), weights=str(classifier.path), epochs=9, freeze_epochs=9, patience=2,
        learning_rate=1e-9, schedule="constant",
    )  # fmt: skip
    run = edgecv.train(settings, tmp_path / "run")
    assert [row["stage"] for row in run.history] == ["head"] * 3
    assert run.document["stopped"] == "no better val_accuracy in 2 epochs"


def test_without_validation_part_the_training_part_decides(few_data: Path, tmp_path: Path) -> None:
    settings = Settings(architecture="lenet5", data=str(few_data), epochs=2, split=(0.8, 0.0, 0.2))
    run = edgecv.train(settings, tmp_path / "run")
    assert set(run.document["best"]) == {"epoch", "accuracy"}
    assert "val_loss" not in run.history[0]


def test_few_pictures_a_class(classes_data: Path, tmp_path: Path) -> None:
    settings = Settings(architecture="lenet5", data=str(classes_data), epochs=1, per_class=2)
    heard = Heard()
    run = edgecv.train(settings, tmp_path / "run", listener=heard)
    assert run.document["data"]["parts"] == {"train": 6, "val": 6, "test": 24}
    assert "6 training pictures are fewer than a batch of 32: one step" in heard.notes
    assert heard.works == [("epoch 0", 1)]


def test_half_precision_learns_and_is_saved_in_float32(few_data: Path, tmp_path: Path) -> None:
    settings = Settings(architecture="lenet5", data=str(few_data), epochs=2, mixed_precision="on")
    run = edgecv.train(settings, tmp_path / "run")
    assert keras.config.dtype_policy().name == "float32"
    network = edgecv.open_model(str(run.path))
    assert {layer.compute_dtype for layer in network.layers} == {"float32"}
    settings_of_run = json.loads((run.path / "run.json").read_text())["settings"]
    assert settings_of_run["mixed_precision"] == "on"
    again = edgecv.train(Settings.from_json(settings_of_run), run.path, resume=True)
    assert again.history == run.history


def test_the_same_run_twice_has_the_same_history(few_data: Path, tmp_path: Path) -> None:
    settings = Settings(architecture="fashion_cnn", data=str(few_data), epochs=2, augment="light", seed=7)
    first, second = (edgecv.train(settings, tmp_path / name).history for name in ("first", "second"))
    assert [_figures(row) for row in first] == [_figures(row) for row in second]
    assert [_figures(row) for row in edgecv.train(_other_seed(settings), tmp_path / "other").history] != [
        _figures(row) for row in first
    ]


def _figures(row: Any) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "seconds"}


def _other_seed(settings: Settings) -> Settings:
    return Settings.from_json({**settings.to_json(), "seed": 8})


def test_augmentation_is_shown_and_nothing_trained(classes_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    show_augmented(Settings(architecture="lenet5", data=str(classes_data), augment="standard"), path)
    assert shortest_side(path) > 200
    assert [entry.name for entry in tmp_path.iterdir()] == ["sheet.png"]
