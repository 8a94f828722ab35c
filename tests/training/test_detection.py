"""Detectors that learn: small real runs against a floor, what they take over, and what data can do wrong."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

import edgecv
from edgecv.data.reading import open_data
from edgecv.data.samples import ArraySource, Box, Dataset, Part, Sample
from edgecv.decoders import Ssd, YoloGrid, YoloV3
from edgecv.deployable import ModelInfo
from edgecv.errors import DataError, OptionError, TrainingError
from edgecv.evaluation.evaluate import evaluate
from edgecv.keras_session import keras_session
from edgecv.models import open_model
from edgecv.preprocess import Fit
from edgecv.registry import load_architecture
from edgecv.training.detection import DetectionTask
from edgecv.training.listener import Listener
from edgecv.training.measuring import MEASURED
from edgecv.training.run_data import RunData
from edgecv.training.running import RunResult
from edgecv.training.settings import Settings
from edgecv.training.takeover import built

_SIZE = (96, 96)


def run_data(*samples: Sample, classes: tuple[str, ...] = ("cat", "dog")) -> RunData:
    dataset = Dataset(path="data", format="csv", task="detection", classes=classes, samples=samples)
    return RunData(dataset=dataset, parts={"train": samples, "val": (), "test": ()})


def sample(*boxes: Box, size: tuple[int, int] = (192, 192)) -> Sample:
    return Sample(picture=ArraySource(f"picture of {len(boxes)}", np.zeros((*size, 3), np.uint8)), boxes=boxes)


def task_with(data: RunData, architecture: str = "ssd_tiny", **options: Any) -> DetectionTask:
    settings = Settings(architecture=architecture, data="data", input_size=_SIZE, **options)
    task = DetectionTask(data, settings)
    task.network(load_architecture(architecture), None)
    return task


def test_ssd_learns_real_digits_and_answers_alike_in_every_format(
    detector: RunResult, scenes_data: Path, tmp_path: Path
) -> None:
    assert detector.evaluation is not None
    figures = detector.evaluation.to_json()
    assert figures["AP50"] > 0.6
    assert detector.document["best"]["val_AP50"] > 0.6
    dataset = open_data(str(scenes_data))
    samples = dataset.of_part("test")
    deployable = edgecv.deploy(open_model(str(detector.path)), nms=MEASURED)
    for name in ("onnx", "tflite"):
        path = tmp_path / f"detector.{name}"
        edgecv.export(deployable, to=name, path=path)
        measured = evaluate(edgecv.load(path), dataset, samples).to_json()
        assert measured["AP"] == pytest.approx(figures["AP"], abs=1e-3)
        assert measured["AP50"] == pytest.approx(figures["AP50"], abs=1e-3)


def test_a_compiled_session_answers_as_the_deployable_does(detector: RunResult) -> None:
    deployable = edgecv.deploy(open_model(str(detector.path)), nms=MEASURED, batch=None)
    pictures = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in sorted(deployable.pictures)[:3]])
    traced = keras_session(deployable, compiled=True).run(pictures)
    plain = deployable.run(pictures)
    assert list(traced) == list(plain)
    for name, values in plain.items():
        np.testing.assert_allclose(traced[name], values, atol=1e-5)


@pytest.mark.slow
def test_yolo_learns_at_several_sizes_with_anchors_of_the_data(scenes_data: Path, tmp_path: Path) -> None:
    settings = Settings(
        architecture="yolo_v3_tiny",
        data=str(scenes_data),
        input_size=_SIZE,
        epochs=6,
        batch=8,
        learning_rate=2e-3,
        warmup=1,
        multi_scale=(64, 96),
    )
    result = edgecv.train(settings, tmp_path / "yolo")
    assert result.evaluation is not None
    assert result.evaluation.to_json()["AP50"] > 0.25
    decoder = open_model(str(result.path)).edgecv_info.decoder
    assert isinstance(decoder, YoloV3)
    sizes = [side for scale in decoder.anchors for anchor in scale for side in anchor]
    # Digits are 20 to 35 pixels of 96, and few of them are narrow.
    assert 15 < min(sizes) <= max(sizes) < 40


def test_a_grid_of_boxes_learns_on_a_classifier(scenes_data: Path, tmp_path: Path) -> None:
    settings = Settings(
        architecture="fashion_cnn", data=str(scenes_data), input_size=(48, 48), epochs=3, batch=8, learning_rate=1e-3
    )
    result = edgecv.train(settings, tmp_path / "grid")
    assert result.document["task"] == "detection"
    assert result.evaluation is not None
    assert result.evaluation.to_json()["AP50"] > 0.2
    assert isinstance(open_model(str(result.path)).edgecv_info.decoder, YoloGrid)


def test_the_default_range_of_sizes_runs(scenes_data: Path, tmp_path: Path) -> None:
    rows = scenes_data.read_text().splitlines()
    kept = [row for row in rows[1:] if row.split(",")[0] in ("train_000.png", "train_001.png", "train_002.png")]
    small = tmp_path / "few.csv"
    small.write_text("\n".join([rows[0], *(f"{scenes_data.parent}/{row}" for row in kept)]) + "\n")
    settings = Settings(
        architecture="yolo_v3_tiny",
        data=str(small),
        input_size=(320, 320),
        epochs=1,
        batch=2,  # two steps
        anchors="default",
        multi_scale=(320, 608),
        split=(1.0, 0.0, 0.0),
    )
    result = edgecv.train(settings, tmp_path / "run")
    assert np.isfinite(result.history[-1]["loss"])
    assert set(result.document["best"]) == {"epoch", "AP50"}  # of the training part: there is no other


def test_other_classes_keep_the_body_and_the_boxes_and_get_new_class_scores() -> None:
    architecture = load_architecture("ssd_tiny")
    base = architecture.build(classes=10)
    for variable in base.trainable_variables:
        variable.assign(keras.random.normal(variable.shape, seed=1))
    network = built(architecture, base, input_size=_SIZE, classes=3)
    taken = {variable.path: variable for variable in network.weights}
    for variable in base.weights:
        same = variable.shape == taken[variable.path].shape
        assert same == ("_class_conv" not in variable.path)
        if same:
            np.testing.assert_array_equal(np.asarray(variable), np.asarray(taken[variable.path]))


def test_another_network_is_not_taken_over() -> None:
    base = load_architecture("ssd_mobilenet_v2").build(input_size=_SIZE, classes=3)
    with pytest.raises(TrainingError) as caught:
        built(load_architecture("ssd_tiny"), base, input_size=_SIZE, classes=3)
    assert str(caught.value) == (
        "'ssd_mobilenet_v2' is no ssd_tiny: 'conv0_conv/kernel' is missing there or of another shape. "
        "Name its own architecture, or start from other weights."
    )


def test_classes_without_a_box_and_boxes_below_a_pixel_are_counted() -> None:
    # At 96 x 96 a side of 1.5 pixels of 192 is 0.75.
    data = run_data(sample(Box(0, 0, 50, 50, 0), Box(10, 10, 11.5, 60, 0)), classes=("cat", "dog", "eel"))
    assert task_with(data).notes(_SIZE) == (
        "classes without a box in the training part cannot be learnt: 'dog', 'eel'",
        "boxes of the training part that are less than a pixel wide or high at 96x96, and left out: 1",
    )


def test_crowds_and_difficult_boxes_do_not_count() -> None:
    from edgecv.pictures import place

    boxes = (
        Box(0, 0, 96, 96, 1),
        Box(0, 0, 20, 20, 1, crowd=True),
        Box(8, 8, 30, 30, 0, extra={"difficult": "1"}),
    )
    task = task_with(run_data(sample(*boxes)))
    found = task.targets(sample(*boxes), place(Fit(mode="stretch"), (192, 192), _SIZE))
    assert found["boxes"].tolist() == [[0, 0, 48, 48], [0, 0, 10, 10], [4, 4, 15, 15]]
    assert found["box_categories"].tolist() == [1, -2, -2]


@pytest.mark.parametrize(
    ("architecture", "options", "message"),
    [
        (
            "ssd_tiny",
            {"multi_scale": (64, 96)},
            "--multi-scale is for YOLO, and the anchors of ssd_tiny follow a rule.",
        ),
        ("ssd_tiny", {"anchors": "default"}, "--anchors is for YOLO, and the anchors of ssd_tiny follow a rule."),
        ("yolo_v3_tiny", {"class_loss": "focal"}, "--class-loss is for SSD, and yolo_v3_tiny learns as YOLO."),
    ],
)
def test_settings_of_the_other_kind_are_one_line(architecture: str, options: Any, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        task_with(run_data(sample(Box(0, 0, 50, 50, 0))), architecture, **options)
    assert str(caught.value) == f"{message} Leave it out."


def test_anchors_of_another_number_are_one_line(tmp_path: Path) -> None:
    file = tmp_path / "anchors.json"
    file.write_text(json.dumps({"anchors": [[10, 10], [20, 20]]}))
    with pytest.raises(OptionError) as caught:
        task_with(run_data(sample(Box(0, 0, 50, 50, 0))), "yolo_v3_tiny", anchors=str(file))
    assert str(caught.value) == (
        f"{str(file)!r} has 2 anchors, and yolo_v3_tiny needs 6. Find them with edgecv data anchors --count 6."
    )


def test_fewer_boxes_than_anchors_are_one_line() -> None:
    with pytest.raises(DataError) as caught:
        task_with(run_data(sample(Box(0, 0, 50, 50, 0))), "yolo_v3_tiny")
    assert str(caught.value) == (
        "Too few boxes for 6 anchors: 1, of different sizes 1. Use --anchors default, or give more boxes."
    )


def test_boxes_that_are_all_below_a_pixel_are_one_line() -> None:
    with pytest.raises(DataError) as caught:
        task_with(run_data(sample(Box(0, 0, 1.5, 50, 0), Box(0, 0, 60, 1, 1))))
    assert str(caught.value) == (
        "All 2 boxes of the training part of 'data' are less than a pixel wide or high at 96x96. "
        "Choose a larger --input-size, or cut the pictures into tiles."
    )


def test_data_without_boxes_are_one_line() -> None:
    with pytest.raises(DataError) as caught:
        DetectionTask(run_data(sample()), Settings(architecture="ssd_tiny", data="data"))
    assert str(caught.value) == "'data' (csv) has no boxes: it cannot teach detection."


@pytest.mark.parametrize("part", ["training", "validation"])
def test_a_part_without_boxes_is_one_line(part: str) -> None:
    boxed, crowd = sample(Box(0, 0, 50, 50, 0)), sample(Box(0, 0, 50, 50, 0, crowd=True))
    data = run_data(boxed, crowd)
    parts: dict[Part, tuple[Sample, ...]]
    parts = {"train": (boxed,), "val": (crowd,)} if part == "validation" else {"train": (crowd,), "val": (boxed,)}
    with pytest.raises(DataError) as caught:
        DetectionTask(RunData(dataset=data.dataset, parts=parts), Settings(architecture="ssd_tiny", data="data"))
    purpose = "learn from" if part == "training" else "choose the best epoch by"
    assert str(caught.value) == (
        f"The {part} part of 'data' has no boxes to {purpose}, beside crowds and difficult ones. "
        "Change --split, or give more labels."
    )


def test_a_trained_yolo_of_as_many_classes_goes_on_with_its_anchors() -> None:
    architecture = load_architecture("yolo_v3_tiny")
    base = architecture.build(input_size=(64, 64), classes=2)
    anchors = (((8, 8), (9, 9), (10, 10)), ((1, 1), (2, 2), (3, 3)))
    base.edgecv_info = ModelInfo(name="base", task="detection", decoder=YoloV3(anchors=anchors))
    data = run_data(sample(Box(0, 0, 50, 50, 0)))
    task = DetectionTask(data, Settings(architecture="yolo_v3_tiny", data="data"))
    # Neither its anchors nor its input's size change.
    assert task.network(architecture, base).inputs[0].shape[1:3] == (64, 64)
    assert task.info(ModelInfo(name="new")).decoder == YoloV3(anchors=anchors)
    other = DetectionTask(data, Settings(architecture="yolo_v3_tiny", data="data", anchors="default"))
    with pytest.raises(OptionError) as caught:
        other.network(architecture, base)
    assert str(caught.value) == (
        "--anchors 'default' is not for a trained yolo_v3_tiny of as many classes, which goes on with its own. "
        "Leave it out."
    )


@pytest.mark.parametrize(
    ("architecture", "loss", "activation", "balance"),
    [
        ("ssd_tiny", "auto", "softmax", "hard-negatives"),
        ("ssd_tiny", "focal", "softmax", "focal"),
        ("ssd_mobilenet_v2", "auto", "sigmoid", "focal"),
        ("ssd_mobilenet_v2", "hard-negatives", "sigmoid", "hard-negatives"),
    ],
)
def test_the_class_loss_is_chosen(architecture: str, loss: Any, activation: str, balance: str) -> None:
    task = task_with(run_data(sample(Box(0, 0, 50, 50, 0))), architecture, class_loss=loss)
    (_, _), (classes, weight) = task.losses().values()
    assert weight == 1.0
    assert classes.balance == balance
    assert isinstance(classes.decoder, Ssd)
    assert classes.decoder.activation == activation


@pytest.mark.slow
def test_training_at_several_sizes_goes_on_as_if_unbroken(scenes_data: Path, tmp_path: Path) -> None:
    class Interrupted(Listener):
        def epoch(self, row: Mapping[str, Any], *, best: bool) -> None:  # noqa: ARG002
            raise KeyboardInterrupt

    rows = scenes_data.read_text().splitlines()
    wanted = [f"{part}_{number:03d}.png" for part, count in (("train", 24), ("val", 4)) for number in range(count)]
    few = tmp_path / "few.csv"
    kept = [f"{scenes_data.parent}/{row}" for row in rows[1:] if row.partition(",")[0] in wanted]
    few.write_text("\n".join([rows[0], *kept]) + "\n")
    settings = Settings(
        architecture="yolo_v3_tiny",
        data=str(few),
        input_size=(64, 64),
        epochs=2,
        batch=4,  # 6 steps: the size changes within the second epoch
        multi_scale=(32, 64),
        augment="light",
        split=(1.0, 0.0, 0.0),
        seed=1,
    )
    whole = edgecv.train(settings, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        edgecv.train(settings, tmp_path / "broken", listener=Interrupted())
    broken = edgecv.train(settings, tmp_path / "broken", resume=True)
    for first, second in zip(whole.history, broken.history, strict=True):
        for name in ("epoch", "loss", "val_loss", "val_AP50", "val_AP"):
            assert second[name] == pytest.approx(first[name], rel=1e-6), name
