"""Settings of a run: checked, written and read, compared."""

import dataclasses
import json
import re
from typing import Any

import pytest

from edgecv.errors import OptionError
from edgecv.training.settings import Settings

_CHANGED: dict[str, Any] = {
    "architecture": "vgg16",
    "data": "other",
    "format": "coco",
    "task": "localisation",
    "split": (0.8, 0.1, 0.1),
    "seed": 1,
    "per_class": 5,
    "skip_broken": True,
    "input_size": (32, 48),
    "weights": "random",
    "epochs": 9,
    "batch": 8,
    "learning_rate": 0.5,
    "optimizer": "sgd",
    "weight_decay": 0.1,
    "schedule": "constant",
    "warmup": 1.5,
    "freeze_epochs": 2,
    "unfreeze": 3,
    "fine_tune_rate": 0.01,
    "train_batchnorm": True,
    "dropout": 0.3,
    "label_smoothing": 0.1,
    "augment": "light",
    "objectness": True,
    "sqrt_sizes": True,
    "box_weight": 2.0,
    "class_loss": "focal",
    "anchors": "default",
    "multi_scale": (128, 224),
    "patience": 4,
    "mixed_precision": "on",
    "deterministic": False,
}


def test_every_setting_survives_run_json() -> None:
    settings = Settings(**_CHANGED)
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    assert set(_CHANGED) == {field.name for field in dataclasses.fields(Settings)}


@pytest.mark.parametrize("name", _CHANGED)
def test_a_changed_setting_is_named(name: str) -> None:
    before = Settings(architecture="lenet5", data="photos")
    (difference,) = before.differences(dataclasses.replace(before, **{name: _CHANGED[name]}))
    assert difference.startswith(name.replace("_", "-") + " ")


def test_a_difference_says_from_what_to_what() -> None:
    before = Settings(architecture="lenet5", data="photos")
    after = dataclasses.replace(before, batch=64, unfreeze=3)
    assert before.differences(after) == ["batch 32 -> 64", "unfreeze default -> 3"]
    assert before.differences(before) == []


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", 0, "epochs must be a whole number of at least 1, got 0."),
        ("batch", 2.5, "batch must be a whole number of at least 1, got 2.5."),
        ("learning_rate", 0, "learning-rate must be a number above 0 and at most 10, got 0."),
        ("learning_rate", float("nan"), "learning-rate must be a number above 0 and at most 10, got nan."),
        ("optimizer", "lion", "optimizer must be one of adam, adamw, nadam, sgd, got 'lion'."),
        ("seed", -1, "seed must be a whole number of at least 0, got -1."),
        ("freeze_epochs", 21, "freeze-epochs must be at most the 20 epochs of the run, got 21."),
        ("warmup", 20.5, "warmup must be at most the 20 epochs of the run, got 20.5."),
        ("objectness", "yes", "objectness must be true or false, got 'yes'."),
    ],
)
def test_a_value_that_cannot_be_is_one_line(name: str, value: object, message: str) -> None:
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        Settings(architecture="lenet5", data="photos", **{name: value})  # type: ignore[arg-type]


def test_a_key_of_another_version_is_named() -> None:
    with pytest.raises(OptionError, match=r"^Unknown setting 'ema'\.$"):
        Settings.from_json({"architecture": "lenet5", "data": "photos", "ema": True})


def test_a_missing_key_is_named() -> None:
    with pytest.raises(OptionError, match=r"^Settings are incomplete: .*'data'\.$"):
        Settings.from_json({"architecture": "lenet5"})
