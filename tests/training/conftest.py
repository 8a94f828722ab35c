"""Small real runs that several tests look at; each is trained once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

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


@pytest.fixture(scope="session")
def scenes_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes of 96 x 96 pixels with one to three real handwritten digits, 0, 1 or 7, on noise; a digit has one part."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    folder = tmp_path_factory.mktemp("data") / "scenes"
    folder.mkdir()
    rows = ["picture,class,x1,y1,x2,y2,split"]
    for part, count, keep in (("train", 240, (0, 1, 2)), ("val", 40, (3,)), ("test", 40, (4,))):
        random = np.random.default_rng([len(part), count])
        wanted = np.isin(digits.target, (0, 1, 7)) & np.isin(np.arange(len(digits.target)) % 5, keep)
        for number in range(count):
            canvas = random.integers(0, 60, (96, 96)).astype(np.uint8)
            name = f"{part}_{number:03d}.png"
            taken: list[tuple[int, int, int]] = []
            while len(taken) < 1 + number % 3:
                side = int(random.integers(20, 36))
                x, y = (int(at) for at in random.integers(0, 96 - side, 2))
                if any(abs(x - a) < max(side, b) and abs(y - c) < max(side, b) for a, c, b in taken):
                    continue
                taken.append((x, y, side))
                index = random.choice(np.flatnonzero(wanted))
                digit = Image.fromarray((digits.images[index] * 15.9).astype(np.uint8)).resize((side, side))
                canvas[y : y + side, x : x + side] = np.maximum(canvas[y : y + side, x : x + side], np.asarray(digit))
                rows.append(f"{name},{digits.target[index]},{x},{y},{x + side},{y + side},{part}")
            Image.fromarray(canvas).save(folder / name)
    labels = folder / "labels.csv"
    labels.write_text("\n".join(rows) + "\n")
    return labels


@pytest.fixture(scope="session")
def detector(scenes_data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """ssd_tiny that has learnt the digits of the scenes."""
    settings = edgecv.Settings(
        architecture="ssd_tiny", data=str(scenes_data), input_size=(96, 96), epochs=10, batch=16, learning_rate=4e-3
    )
    return edgecv.train(settings, tmp_path_factory.mktemp("runs") / "detector")
