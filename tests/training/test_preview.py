"""The sheet shows what training will see."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecv.data.samples import ArraySource, Box, Sample
from edgecv.drawing import class_colour
from edgecv.errors import OutputError
from edgecv.pictures import Placement
from edgecv.preprocess import Fit
from edgecv.training.augmentation import RECIPES, Recipe
from edgecv.training.preview import preview, save_preview
from edgecv.training.stream import Stream

Array = np.ndarray[Any, Any]
# The layout: a gap of 4 pixels, a strip of 20 for titles and captions.
GAP, STRIP = 4, 20


def targets(sample: Sample, placement: Placement) -> Mapping[str, Array]:
    found: dict[str, Array] = {"category": np.array(sample.category, np.int32)}
    if sample.boxes:
        corners = np.array([(box.x1, box.y1, box.x2, box.y2) for box in sample.boxes])
        mask = np.zeros(placement.size, np.uint8)
        mask[:, 96:] = 3
        found |= {
            "boxes": placement.boxes_in_input(corners).astype(np.float32),
            "box_categories": np.array([box.category for box in sample.boxes], np.int32),
            "mask": mask,
        }
    return found


def make_stream(count: int, recipe: Recipe, *, boxes: tuple[Box, ...] = (), side: int = 128) -> Stream:
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    samples = [
        Sample(picture=ArraySource(f"folder/x[{i}]", pixels[i]), category=i % 2, boxes=boxes) for i in range(count)
    ]
    return Stream(samples, size=(side, side), channels=3, fit=Fit(), targets=targets, batch=4, recipe=recipe)


def tile(sheet: Image.Image, row: int, column: int, side: int = 128) -> Array:
    left, top = GAP + column * (side + GAP), STRIP + row * (side + STRIP + GAP)
    return np.asarray(sheet)[top : top + side, left : left + side]


def test_the_first_column_is_unchanged_and_the_others_are_the_epochs() -> None:
    stream = make_stream(11, RECIPES["standard"])
    sheet = preview(stream, pictures=3, epochs=2)
    assert sheet.size == (GAP + 3 * (128 + GAP), STRIP + 3 * (128 + STRIP + GAP))
    for row, index in enumerate((0, 5, 10)):  # spread over all
        assert np.array_equal(tile(sheet, row, 0), stream.samples[index].picture.read().pixels)
        for epoch in range(2):
            images, _ = stream.look([index], epoch=epoch)
            assert np.array_equal(tile(sheet, row, 1 + epoch), np.round(images[0]))


def test_small_grey_pictures_are_enlarged_by_whole_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    sample = Sample(picture=ArraySource("x", pixels), category=0)
    stream = Stream([sample], size=(28, 28), channels=1, fit=Fit(), targets=targets, batch=1, recipe=RECIPES["light"])
    shown = tile(preview(stream), 0, 0, side=140)
    assert np.array_equal(shown[2::5, 2::5], np.repeat(pixels[..., None], 3, axis=2))


def test_boxes_and_masks_are_drawn_where_they_went() -> None:
    box = Box(10, 40, 50, 90, category=1)
    stream = make_stream(1, Recipe(flip_horizontal=1.0), boxes=(box,))
    sheet = preview(stream, epochs=1)
    plain, flipped = tile(sheet, 0, 0), tile(sheet, 0, 1)
    colour = class_colour(1)
    assert (plain[40:90, 10] == colour).all()
    assert (plain[40:90, 49] == colour).all()
    assert (plain[89, 10:50] == colour).all()
    inside, outside = plain[88:92, 48:52], stream.samples[0].picture.read().pixels[88:92, 48:52]
    assert np.array_equal(inside[2:], outside[2:])
    assert np.array_equal(inside[:, 2:], outside[:, 2:])
    assert (flipped[40:90, 128 - 50] == colour).all()
    assert (flipped[40:90, 128 - 10 - 1] == colour).all()
    # The mask's right quarter has become the left one.
    pixels = stream.samples[0].picture.read().pixels
    tint = (pixels[:30, 96:].astype(np.float32) + class_colour(3)) / 2
    np.testing.assert_allclose(plain[:30, 96:], tint, atol=1)
    np.testing.assert_allclose(flipped[:30, :32], tint[:, ::-1], atol=1)


def test_what_has_no_class_is_dimmed() -> None:
    stream = make_stream(
        1, Recipe(erase=1.0, erase_area=(1.0, 1.0), erase_aspect=(1.0, 1.0)), boxes=(Box(0, 0, 9, 9, 0),)
    )
    images, _ = stream.look([0], epoch=0)
    shown = tile(preview(stream, epochs=1), 0, 1)[20:]
    np.testing.assert_allclose(shown, images[0, 20:] / 3, atol=1)


def test_the_sheet_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    stream = make_stream(3, RECIPES["light"])
    save_preview(stream, tmp_path / "sheet.png", classes=["even", "odd"])
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image), np.asarray(preview(stream, classes=["even", "odd"])))
    missing = tmp_path / "missing" / "sheet.png"
    with pytest.raises(OutputError) as caught:
        save_preview(stream, missing)
    assert str(caught.value) == (
        f"Cannot write {str(missing)!r}: the folder {str(missing.parent)!r} does not exist. Create it first."
    )
    assert [each.name for each in tmp_path.iterdir()] == ["sheet.png"]
