"""A classifier as a detector without any box label, and the real detector, on real pictures in both formats."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from edgecv.cli import cli
from edgecv.pictures import fit_picture
from edgecv.preprocess import Fit

# Left, top of each tile of the mosaic, and what is on it; a cat has several breeds' labels.
TILES = {
    (0, 0): {"daisy"},
    (224, 0): {"palace"},
    (0, 224): {"espresso"},
    (224, 224): {"Egyptian Mau", "tabby cat", "a cat having a striped coat", "lynx"},
}


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four photos, each cropped as EfficientNet-Lite0 was trained, 2 × 2 in 448 × 448 pixels."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    fit = Fit(mode="crop", fraction=224 / 256, filter="bicubic")
    photos = [load_sample_image("flower.jpg"), load_sample_image("china.jpg"), data.coffee(), data.chelsea()]
    tiles = [fit_picture(photo, fit, (224, 224)) for photo in photos]
    rows = [np.concatenate(tiles[start : start + 2], axis=1) for start in (0, 2)]
    path = tmp_path_factory.mktemp("mosaic") / "mosaic.png"
    Image.fromarray(np.concatenate(rows)).save(path)
    return path


def overlap(box: list[float], tile: tuple[int, int]) -> float:
    """IoU of a box with a tile of 224 × 224 pixels."""
    width = min(box[2], tile[0] + 224) - max(box[0], tile[0])
    height = min(box[3], tile[1] + 224) - max(box[1], tile[1])
    common = max(width, 0) * max(height, 0)
    return common / ((box[2] - box[0]) * (box[3] - box[1]) + 224 * 224 - common)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            ["--window", "pool", "--score-threshold", "0.02", "--iou-threshold", "0.3", "--best-class"], id="pool"
        ),
        pytest.param(
            ["--window", "cell", "--score-threshold", "0.5", "--iou-threshold", "0.2"],
            id="cell",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_classifier_finds_the_four_pictures_of_a_mosaic(options: list[str], mosaic: Path, tmp_path: Path) -> None:
    arguments = ["export", "efficientnet_lite0", "--fcn", "--input-size", "448", "--class-agnostic", "-o", tmp_path]
    result = run(*arguments, "--to", "onnx", "--to", "tflite", *options, "--json")
    assert [artifact["verification"]["passed"] for artifact in result["artifacts"]] == [True, True]
    for artifact in result["artifacts"]:
        (answer,) = run("predict", artifact["path"], mosaic, "--json")
        for tile, labels in TILES.items():
            on_it = [found for found in answer["results"] if overlap(found["box"], tile) >= 0.5]
            # Best first: what lies on the tile is what the tile shows.
            assert on_it, tile
            assert on_it[0]["label"] in labels, tile


def run(*arguments: Any) -> Any:
    outcome = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert outcome.exit_code == 0, outcome.output
    return json.loads(outcome.stdout)
