"""A contact sheet shows every class, with labels where they are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecv.data.contact_sheet import choose, contact_sheet
from edgecv.data.mask_files import MaskSource
from edgecv.data.samples import ArraySource, Box, Dataset, DataTask, Sample
from edgecv.drawing import class_colour

GREY = (90, 90, 90)


def source(name: str, width: int, height: int) -> ArraySource:
    return ArraySource(name, np.full((height, width, 3), GREY, np.uint8))


def dataset_of(task: DataTask, *samples: Sample, classes: tuple[str, ...] = ("cat", "dog", "cow")) -> Dataset:
    return Dataset(path="x", format="test", task=task, classes=classes, samples=samples)


def has(sheet: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(sheet) == colour).all(axis=-1).sum())


def test_every_class_is_shown_from_its_first_to_its_last_picture() -> None:
    # 90 cats, 3 dogs, 1 cow: 9 places are dealt out in turn.
    numbers = [0] * 90 + [1] * 3 + [2]
    samples = [Sample(picture=source(str(place), 4, 4), category=number) for place, number in enumerate(numbers)]
    chosen = choose(dataset_of("classification", *samples), 9)
    assert [sample.name for sample in chosen] == ["0", "22", "44", "67", "89", "90", "91", "92", "93"]
    assert choose(dataset_of("classification", *samples[:5]), 9) == samples[:5]


def test_a_picture_of_several_classes_stands_for_the_rarest() -> None:
    both = Sample(picture=source("both", 4, 4), boxes=(Box(0, 0, 1, 1, 0), Box(0, 0, 2, 2, 2)))
    cats = [Sample(picture=source(str(number), 4, 4), boxes=(Box(0, 0, 1, 1, 0),)) for number in range(3)]
    empty = Sample(picture=source("empty", 4, 4))
    assert [each.name for each in choose(dataset_of("detection", *cats, both, empty), 3)] == ["0", "both", "empty"]


def test_boxes_are_drawn_in_their_place() -> None:
    # One picture is shown 512 pixels wide: five times as large, from the left border's gap of 12 on.
    sample = Sample(picture=source("a", 100, 60), boxes=tuple(Box(20, 10, 80, 50, 1) for _ in range(7)))
    sheet = contact_sheet(dataset_of("detection", sample))
    pixels = np.asarray(sheet)
    assert sheet.width == 512 + 2 * 12
    top = int(np.nonzero((pixels == GREY).all(axis=-1).sum(axis=1) == 512)[0][0])
    rows, columns = np.nonzero((pixels[: top + 307] == class_colour(1)).all(axis=-1))  # above the name's own square
    box = (columns.min() - 12, rows.min() - top, columns.max() - 12, rows.max() - top)
    assert box == pytest.approx((20 * 5.12, 10 * 5.12, 80 * 5.12, 50 * 5.12), abs=1)
    assert tuple(pixels[top + 150, 12 + 256]) == GREY  # inside stays to be seen


def test_masks_are_overlaid_and_pixels_of_no_class_are_not(tmp_path: Path) -> None:
    mask = np.zeros((50, 100), np.uint8)
    mask[:, 50:] = 2
    mask[25:] = 255
    Image.fromarray(mask).save(tmp_path / "a.png")
    sample = Sample(picture=source("a", 100, 50), mask=MaskSource(tmp_path / "a.png"))
    sheet = contact_sheet(dataset_of("segmentation", sample))
    red, green, blue = ((grey + part) // 2 for grey, part in zip(GREY, class_colour(2), strict=True))
    assert has(sheet, (red, green, blue)) == pytest.approx(512 * 256 / 4, rel=0.02)
    assert has(sheet, GREY) == pytest.approx(512 * 256 * 3 / 4, rel=0.02)
    assert has(sheet, class_colour(2)) > 100  # the square beside the name


def test_any_data_make_a_sheet() -> None:
    long = tuple(f"class number {number} with a long name that no cell holds" for number in range(9))
    boxes = tuple(Box(0, 0, 1 + number, 1, number) for number in range(9))
    for samples in (
        [],
        [Sample(picture=source("thin", 1, 4000), boxes=(Box(0, 0, 1, 4000, 0),))],
        [Sample(picture=source(str(number), 3000, 2), boxes=boxes) for number in range(30)],
    ):
        sheet = contact_sheet(dataset_of("detection", *samples, classes=long), most=24)
        assert sheet.mode == "RGB"
        assert sheet.width <= 1700
