"""The network of a run: where it starts, in which stages it learns, and which of its layers do."""

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import edgecv
from edgecv.data.samples import ArraySource, Dataset, Sample
from edgecv.deployable import ModelInfo
from edgecv.errors import EdgecvError, OptionError, TrainingError, WeightsError
from edgecv.registry import load_architecture
from edgecv.training.classification import Classification
from edgecv.training.heads import HEADS, classification_head, without_top
from edgecv.training.network import Learner, Stage, make_learner, quicken_statistics, stages_of, unfreeze
from edgecv.training.run_data import RunData
from edgecv.training.settings import Settings
from edgecv.training.tasks import task_of

_PIXELS = np.zeros((8, 8), np.uint8)
_DATA = Dataset(
    path="data",
    format="folders",
    task="classification",
    classes=("a", "b", "c"),
    samples=tuple(Sample(picture=ArraySource(f"data[{index}]", _PIXELS), category=index % 3) for index in range(3)),
)


def settings(architecture: str = "lenet5", **options: Any) -> Settings:
    return Settings(architecture=architecture, data="data", **options)


def learner_of(options: Settings) -> Learner:
    return make_learner(options, Classification(RunData(dataset=_DATA, parts={"train": _DATA.samples}), options))


def transferred(*, pretrained: bool = True) -> Learner:
    """A body of two convolutions with BatchNorm, one of them after the first, under a new head."""
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, name="first")(image)
    x = layers.BatchNormalization(momentum=0.5, name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.Conv2D(4, 3, name="second")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(image, layers.Dense(5, activation="softmax", name="old")(x))
    network = classification_head(without_top(model), classes=3)
    info = ModelInfo(name="small")
    return Learner(network=network, deployable=network, info=info, pretrained=pretrained, heads=HEADS)


def stage_named(name: str, options: Settings) -> Stage:
    return next(stage for stage in stages_of(options, pretrained=True) if stage.name == name)


def learning(learner: Learner) -> set[str]:
    return {variable.path.split("/")[-2] for variable in learner.network.trainable_variables}


def moved(learner: Learner, stage: Stage, options: Settings) -> set[str]:
    """Take a step in a stage, and return the paths of the variables that it changed."""
    unfreeze(learner, stage, options)
    network = learner.network
    network.compile("sgd", "categorical_crossentropy")
    before = {each.path: np.array(each.value) for each in network.weights}
    pictures = np.random.default_rng(0).uniform(5, 9, (6, 8, 8, 1)).astype("float32")
    network.train_on_batch(pictures, np.eye(3, dtype="float32")[[0, 1, 2, 0, 1, 2]])
    return {each.path for each in network.weights if not np.array_equal(before[each.path], np.array(each.value))}


def test_fresh_weights_learn_in_one_stage() -> None:
    (stage,) = stages_of(settings(epochs=7, learning_rate=0.01), pretrained=False)
    assert (stage.first, stage.epochs, stage.rate, stage.learns) == (0, 7, 0.01, "all")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [("head", 0, 4, 1e-3, "head"), ("fine-tuning", 4, 3, 1e-4, "all")]),
        (
            {"freeze_epochs": 1, "fine_tune_rate": 0.5},
            [("head", 0, 1, 1e-3, "head"), ("fine-tuning", 1, 6, 0.5, "all")],
        ),
        ({"freeze_epochs": 0, "unfreeze": 2}, [("fine-tuning", 0, 7, 1e-4, "last layers and head")]),
        ({"freeze_epochs": 7}, [("head", 0, 7, 1e-3, "head")]),
    ],
    ids=["half by default", "as said", "none", "all"],
)
def test_published_weights_learn_head_first_and_then_at_a_tenth_of_the_rate(
    options: dict[str, Any], expected: list[tuple[Any, ...]]
) -> None:
    stages = stages_of(settings(epochs=7, **options), pretrained=True)
    assert [(stage.name, stage.first, stage.epochs, stage.rate, stage.learns) for stage in stages] == expected


def test_in_the_frozen_stage_only_the_head_changes() -> None:
    options = settings()
    learner = transferred()
    # The statistics of BatchNorm stand still, too: pictures of another mean would move them at once.
    assert moved(learner, stage_named("head", options), options) == {"predictions/kernel", "predictions/bias"}


def test_afterwards_all_changes_but_batchnorm() -> None:
    options = settings()
    learner = transferred()
    changed = moved(learner, stage_named("fine-tuning", options), options)
    names = ("first", "second", "predictions")
    # A bias before a BatchNorm of its own batch would get no gradient; in inference mode it does.
    assert changed == {f"{name}/{kind}" for name in names for kind in ("kernel", "bias")}


def test_batchnorm_learns_where_that_is_asked_for() -> None:
    options = settings(train_batchnorm=True)
    changed = moved(transferred(), stage_named("fine-tuning", options), options)
    assert {"norm/gamma", "norm/beta", "norm/moving_mean", "norm/moving_variance"} <= changed


def test_batchnorm_of_fresh_weights_learns() -> None:
    options = settings()
    (stage,) = stages_of(options, pretrained=False)
    assert "norm/moving_mean" in moved(transferred(pretrained=False), stage, options)


@pytest.mark.parametrize(
    ("count", "expected"), [(1, {"second"}), (2, {"second"}), (3, {"second", "first"})], ids=["one", "two", "three"]
)
def test_the_last_layers_with_weights_learn(count: int, expected: set[str]) -> None:
    options = settings(unfreeze=count)
    learner = transferred()
    unfreeze(learner, stage_named("fine-tuning", options), options)
    assert learning(learner) == expected | {"predictions"}


def test_more_layers_than_there_are_is_one_line() -> None:
    options = settings(unfreeze=4)
    learner = transferred()
    message = f"unfreeze must be at most the 3 layers with weights of {learner.network.name}, got 4."
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        unfreeze(learner, stage_named("fine-tuning", options), options)


def test_fresh_weights_are_those_of_the_seed() -> None:
    first, second, third = (learner_of(settings(seed=seed)).network.get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, third, strict=True))


def test_a_network_starts_from_a_file(tmp_path: Path) -> None:
    network = edgecv.build("lenet5", weights="random")
    edgecv.save_model(network, tmp_path / "old.keras")
    learner = learner_of(settings(weights=str(tmp_path / "old.keras")))
    assert learner.pretrained
    assert learner.network.output_shape == (None, 3)
    assert learner.info.labels == ("a", "b", "c")
    assert learner.info.weights_source == f"trained from {tmp_path / 'old.keras'}"
    assert np.array_equal(learner.network.get_weights()[0], network.get_weights()[0])


def test_dropout_is_that_of_all_layers() -> None:
    rates = [each.rate for each in learner_of(settings("fashion_cnn", dropout=0.125)).network.layers if _drops(each)]
    assert rates
    assert set(rates) == {0.125}
    assert {each.rate for each in learner_of(settings("fashion_cnn")).network.layers if _drops(each)} == {0.5}


def _drops(layer: Any) -> bool:
    return isinstance(layer, layers.Dropout)


def test_auxiliary_classifiers_learn_and_are_not_saved() -> None:
    learner = learner_of(settings("googlenet", input_size=(96, 96)))
    assert len(learner.network.outputs) == 3
    assert learner.auxiliary_weight == 0.3  # Szegedy et al., 2014, section 5
    assert learner.deployable.output_shape == (None, 3)
    assert learner.deployable.layers[-1] in learner.network.layers


def refused(kind: type[EdgecvError], message: str, options: Settings) -> None:
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        learner_of(options)


@pytest.mark.parametrize(
    ("architecture", "task", "message"),
    [
        (
            "yolo_v3_tiny",
            "classification",
            "yolo_v3_tiny is a detection network and cannot learn classification, only detection. "
            "Choose another one of 'edgecv list architectures'.",
        ),
        (
            "lenet5",
            "segmentation",
            "lenet5 is a classification network and cannot learn segmentation, only classification, localisation or "
            "detection. Choose another one of 'edgecv list architectures'.",
        ),
    ],
)
def test_a_task_that_a_network_cannot_learn_is_one_line(architecture: str, task: Any, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        task_of(load_architecture(architecture), settings(architecture, task=task), "classification")
    assert str(caught.value) == message


def test_a_classifier_learns_what_the_labels_teach_and_a_detector_its_own_task() -> None:
    assert task_of(load_architecture("lenet5"), settings(), "localisation") == "localisation"
    assert task_of(load_architecture("ssd_tiny"), settings("ssd_tiny"), "localisation") == "detection"


def test_missing_weights_are_one_line() -> None:
    refused(
        WeightsError,
        "Weights 'nowhere.keras' do not exist. Give auto, imagenet, random, a model or a run.",
        settings(weights="nowhere.keras"),
    )


def test_weights_of_another_network_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "old.keras"
    edgecv.save_model(edgecv.build("fashion_cnn", weights="random"), path)
    refused(
        TrainingError,
        f"{str(path)!r} is no lenet5: its layers differ. Name its own architecture.",
        settings(weights=str(path)),
    )


def test_weights_of_another_size_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "old.keras"
    edgecv.save_model(edgecv.build("lenet5", weights="random"), path)
    refused(
        TrainingError,
        f"{str(path)!r} takes pictures of 32x32 pixels. Leave --input-size out.",
        settings(weights=str(path), input_size=(40, 40)),
    )


def test_a_network_for_any_size_cannot_be_a_start(tmp_path: Path) -> None:
    path = tmp_path / "fcn.keras"
    edgecv.save_model(edgecv.to_fcn(edgecv.build("lenet5", weights="random")), path)
    refused(
        TrainingError,
        f"{str(path)!r} takes pictures of any size: it cannot be trained. Give the network it came from.",
        settings(weights=str(path)),
    )


@pytest.mark.parametrize(("steps", "momentum"), [(1, 0.0), (10, 0.8), (100, 0.98), (200, 0.99), (5000, 0.99)])
def test_statistics_of_batchnorm_follow_within_a_short_epoch(steps: int, momentum: float) -> None:
    network = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(), keras.layers.Dense(2)])
    quicken_statistics(network, steps)
    assert network.layers[0].momentum == pytest.approx(momentum)


def test_statistics_of_frozen_batchnorm_are_left_alone() -> None:
    network = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    network.layers[0].trainable = False
    quicken_statistics(network, 10)
    assert network.layers[0].momentum == 0.99
