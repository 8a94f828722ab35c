"""`edgecv data anchors`: what it prints, draws and writes, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from edgecv.cli import cli
from edgecv.data.anchors import read_anchors


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["data", "anchors", *map(str, arguments)])


@pytest.fixture
def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Labels of COCO in the current folder: pictures of 64 × 64, two boxes, a speck and a crowd."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save("a.png")

    def annotation(number: int, *box: float, **keys: Any) -> dict[str, Any]:
        own = {"id": number, "image_id": 0, "category_id": 1, "bbox": list(box), "iscrowd": 0}
        return {**own, "area": box[2] * box[3], **keys}

    document = {
        "images": [{"id": 0, "file_name": "a.png", "width": 64, "height": 64}],
        "annotations": [
            annotation(1, 0, 0, 32, 16),
            annotation(2, 10, 10, 8, 12),
            annotation(3, 10, 10, 0.5, 12),
            annotation(4, 0, 0, 60, 60, iscrowd=1),
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }
    Path("labels.json").write_text(json.dumps(document))
    return Path("labels.json")


def test_anchors_are_printed_drawn_and_written(labels: Path) -> None:
    # Twice as high: 32 × 32 and 8 × 24, whose median is 20 × 28. Their IoUs with it are 20 · 28 / 32² and
    # 8 · 24 / (20 · 28), the mean 0.4449. The speck is half a pixel wide.
    options = ("--count", 1, "--input-size", "128x64", "--part", "all", "--save", "plot.png", "--output", "a.json")
    result = run(labels, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "data             labels.json (all)",
        "boxes            2",
        "left out         1 smaller than a pixel, 1 crowds",
        "input            128x64, stretch",
        "mean IoU         0.4449",
        "anchors          20.0x28.0",
        "plot             plot.png",
        "output           a.json",
    ]
    with Image.open("plot.png") as plot:
        assert plot.width > 400
    assert read_anchors("a.json") == ((20.0, 28.0),)


def test_one_document_says_the_same(labels: Path) -> None:
    result = run(labels, "--count", 2, "--input-size", 32, "--fit", "letterbox", "--part", "all", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {
        "path": "labels.json",
        "part": "all",
        "seed": 0,
        "anchors": [[4.0, 6.0], [16.0, 8.0]],
        "input_size": [32, 32],
        "fit": "letterbox",
        "mean_iou": 1.0,
        "boxes": 2,
        "smaller_than_a_pixel": 1,
        "crowds": 1,
    }
    assert sorted(entry.name for entry in Path().iterdir()) == ["a.png", "labels.json"]


def test_only_the_part_that_is_asked_for_counts(shapes: Any, tmp_path: Path) -> None:
    data = shapes.located_csv(tmp_path / "data", 20)
    used = {}
    for part in ("train", "val", "test", "all"):
        result = run(data, "--count", 2, "--part", part, "--json")
        used[part] = json.loads(result.stdout)["boxes"]
    # 75/15/10 of 60 boxes.
    assert used == {"train": 45, "val": 9, "test": 6, "all": 60}
    result = run(data, "--count", 2, "--split", "50/25/25", "--json")
    assert json.loads(result.stdout)["boxes"] == 30


def test_fewer_boxes_than_anchors_end_in_one_line(labels: Path) -> None:
    result = run(labels, "--part", "all", "--input-size", 64, "--output", "a.json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "Error: Too few boxes for 9 anchors: 2, of different sizes 2. Ask for fewer anchors, or give more boxes.\n"
    )
    assert not Path("a.json").exists()


def test_labels_without_boxes_are_refused(shapes: Any, tmp_path: Path) -> None:
    data = shapes.folders(tmp_path / "data", 2)
    result = run(data)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: {str(data)!r} (folders) holds labels for classification, and anchors need boxes.\n"


def test_files_that_cannot_be_written_are_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("missing", "--save", "plot.jpg")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "Error: --save 'plot.jpg' is no PNG. Name a file that ends in .png.\n"
    result = run("missing", "--output", "none/a.json")
    assert result.exit_code == 2
    message = "Error: Cannot write 'none/a.json': the folder 'none' does not exist. Create it first.\n"
    assert result.stderr == message


def test_broken_labels_are_named_or_skipped(labels: Path) -> None:
    document = json.loads(labels.read_text())
    document["annotations"][2]["bbox"] = [0, 0, 0, 5]
    labels.write_text(json.dumps(document))
    result = run(labels, "--part", "all", "--count", 2)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[0] == "labels.json:1: annotation 3: box (0, 0, 0, 5) has no area"
    result = run(labels, "--part", "all", "--count", 2, "--skip-broken", "--json")
    assert (result.exit_code, json.loads(result.stdout)["smaller_than_a_pixel"]) == (0, 0)
