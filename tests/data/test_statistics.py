"""What is counted of a data set, by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecv.data.mask_files import MaskSource
from edgecv.data.samples import ArraySource, Box, Dataset, DataTask, Sample
from edgecv.data.statistics import Quantiles, count


def source(name: str, width: int, height: int) -> ArraySource:
    return ArraySource(name, np.zeros((height, width, 3), np.uint8))


def dataset_of(task: DataTask, *samples: Sample, skipped: int = 0) -> Dataset:
    classes = ("cat", "dog", "cow")
    return Dataset(path="x", format="test", task=task, classes=classes, samples=samples, skipped=skipped)


def test_quantiles_lie_between_numbers_by_interpolation() -> None:
    spread = Quantiles.of([0, 10, 20, 30, 40])
    assert spread == Quantiles(min=0, p05=2, p25=10, median=20, p75=30, p95=38, max=40)
    assert Quantiles.of([]) is None


def test_boxes_are_counted_in_pixels_and_as_shares() -> None:
    statistics = count(
        dataset_of(
            "detection",
            Sample(
                picture=source("a", 100, 50),
                boxes=(Box(0, 0, 20, 5, 0), Box(0, 0, 10, 40, 0, crowd=True), Box(5, 5, 15, 15, 1)),
                part="train",
            ),
            Sample(picture=source("b", 100, 50), part="test"),
            Sample(picture=source("c", 30, 40), boxes=(Box(0, 0, 30, 20, 0),)),
            skipped=2,
        )
    )
    assert statistics.classes == {
        "cat": {"pictures": 2, "boxes": 3},
        "dog": {"pictures": 1, "boxes": 1},
        "cow": {"pictures": 0, "boxes": 0},
    }
    document = statistics.to_json()
    assert document["parts"] == {"train": 1, "test": 1, "none": 1}
    assert (document["pictures"], document["skipped"], document["without_label"]) == (3, 2, 1)
    assert document["sizes"]["distinct"] == [
        {"width": 100, "height": 50, "pictures": 2},
        {"width": 30, "height": 40, "pictures": 1},
    ]
    assert [document["sizes"]["width"][key] for key in ("min", "median", "max")] == [30, 100, 100]
    boxes = document["boxes"]
    assert (boxes["count"], boxes["crowds"]) == (4, 1)
    # Widths 20, 10, 10, 30; heights 5, 40, 10, 20; areas 100, 400, 100, 600; of 5000, 5000, 5000, 1200.
    expected = {
        "per_picture": (0, 1, 3),
        "width": (10, 15, 30),
        "height": (5, 15, 40),
        "area": (100, 250, 600),
        "side": (10, 15, 600**0.5),
        "width_share": (0.1, 0.15, 1),
        "height_share": (0.1, 0.35, 0.8),
        "area_share": (0.02, 0.05, 0.5),
        "aspect": (0.25, 1.25, 4),
    }
    given = {name: tuple(boxes[name][key] for key in ("min", "median", "max")) for name in expected}
    assert given == {name: pytest.approx(values) for name, values in expected.items()}


def test_pictures_of_classes_are_counted() -> None:
    samples = [Sample(picture=source(str(number), 8, 8), category=number % 2) for number in range(5)]
    document = count(dataset_of("classification", *samples)).to_json()
    assert document["classes"] == [
        {"name": "cat", "pictures": 3},
        {"name": "dog", "pictures": 2},
        {"name": "cow", "pictures": 0},
    ]
    assert "boxes" not in document


def test_pixels_of_masks_are_counted(tmp_path: Path) -> None:
    mask = np.zeros((4, 6), np.uint8)
    mask[0] = 2
    mask[1, :4] = 255
    Image.fromarray(mask).save(tmp_path / "a.png")
    Image.fromarray(mask * 0).save(tmp_path / "b.png")
    samples = [
        Sample(picture=source(name, 6, 4), mask=MaskSource(tmp_path / f"{name}.png"), size=(4, 6)) for name in "ab"
    ]
    document = count(dataset_of("segmentation", *samples)).to_json()
    assert document["classes"] == [
        {"name": "cat", "pictures": 2, "pixels": 14 + 24},
        {"name": "dog", "pictures": 0, "pixels": 0},
        {"name": "cow", "pictures": 1, "pixels": 6},
    ]
    assert (document["ignored_pixels"], document["without_label"]) == (4, 1)


def test_data_without_any_box_are_counted_all_the_same() -> None:
    document = count(dataset_of("detection", Sample(picture=source("a", 8, 8)))).to_json()
    assert (document["boxes"]["count"], document["boxes"]["width"]) == (0, None)
