"""Small real runs that several tests look at; each is trained once."""

from pathlib import Path
from typing import Any

import pytest

import edgecv
from edgecv.training.running import RunResult

# Of 240 pictures: 168 to learn from, 36 to choose the best epoch by, 36 to measure on.
SPLIT = (0.7, 0.15, 0.15)


@pytest.fixture(scope="session")
def classes_data(shapes: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder per class."""
    path: Path = shapes.folders(tmp_path_factory.mktemp("data") / "classes", 80)
    return path


@pytest.fixture(scope="session")
def few_data(shapes: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, but few."""
    path: Path = shapes.folders(tmp_path_factory.mktemp("data") / "few", 16)
    return path


@pytest.fixture(scope="session")
def boxes_data(shapes: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A box a picture."""
    path: Path = shapes.located_csv(tmp_path_factory.mktemp("data") / "boxes", 80)
    return path


@pytest.fixture(scope="session")
def classifier(classes_data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """LeNet-5 that has learnt the shapes."""
    settings = edgecv.Settings(
        architecture="lenet5", data=str(classes_data), epochs=20, batch=16, learning_rate=3e-3, split=SPLIT
    )
    return edgecv.train(settings, tmp_path_factory.mktemp("runs") / "classifier")


@pytest.fixture(scope="session")
def localiser(boxes_data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """LeNet-5 that has learnt the shapes and where they are."""
    settings = edgecv.Settings(
        architecture="lenet5",
        data=str(boxes_data),
        epochs=25,
        batch=16,
        learning_rate=3e-3,
        split=SPLIT,
        box_weight=10.0,
    )
    return edgecv.train(settings, tmp_path_factory.mktemp("runs") / "localiser")
