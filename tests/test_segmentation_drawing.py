"""Masks on pictures: which classes are drawn, in which colours, and what is written beside."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecv.cli.annotate import Gallery, annotate, numbered
from edgecv.data.mask_files import read_mask
from edgecv.drawing import class_colour, font_of, tinted, with_legend
from edgecv.pictures import Picture
from edgecv.results import Prediction

Array = np.ndarray[Any, np.dtype[Any]]
GREY = 100


def prediction(mask: Array, labels: Sequence[str | None] = (None,) * 20) -> Prediction:
    numbers, pixels = np.unique(mask[mask >= 0], return_counts=True)
    results = [
        {"class": int(number), "label": labels[number], "pixels": int(count)}
        for number, count in zip(numbers, pixels, strict=True)
    ]
    return Prediction(results=results, mask=mask)


def drawn(mask: Array, labels: Sequence[str | None]) -> Array:
    """Return what is drawn over a grey picture, one column a class."""
    picture = Picture(np.full((400, 400, 3), GREY, np.uint8))
    image = annotate(picture, prediction(np.repeat(np.repeat(mask, 400, axis=0), 400 // mask.shape[1], axis=1), labels))
    return np.asarray(image)


def test_a_class_s_colour_lies_half_over_the_picture() -> None:
    pixels = np.full((1, 3, 3), GREY, np.uint8)
    found = tinted(pixels, np.array([[0, 2, -1]]))
    # class_colour(2): hue 2 · 0.618034 mod 1 = 0.236, value 0.95, saturation 0.75.
    assert class_colour(2) == (167, 242, 61)
    assert found.tolist() == [[[100] * 3, [133, 171, 80], [100] * 3]]
    assert tinted(pixels, np.array([[0, 2, -1]]), plain=None)[0, 0].tolist() != [GREY] * 3
    assert tinted(pixels, np.array([[0, 2, -1]]), plain=2)[0, 1].tolist() == [GREY] * 3


@pytest.mark.parametrize(
    ("label", "left"),
    [("background", True), ("_background_", True), ("Unlabeled", True), (None, True), ("road", False)],
)
def test_class_0_is_left_as_it_is_unless_its_label_says_what_it_is(label: str | None, left: bool) -> None:
    image = drawn(np.array([[0, 1]]), (label, "sky"))
    assert (image[200, 100].tolist() == [GREY] * 3) is left
    assert image[200, 300].tolist() != [GREY] * 3
    # The squares of the legend lie one below the other, in the order of the results.
    square = [image[row, 20].tolist() for row in range(401, image.shape[0])]
    assert ([255, 255, 255] if left else list(class_colour(0))) in square
    assert list(class_colour(1)) in square


def test_a_legend_has_a_line_for_each_class_and_keeps_the_picture() -> None:
    image = Image.new("RGB", (60, 40), (9, 9, 9))
    font = font_of(16)
    one = with_legend(image, [(1, "sky")], font)
    three = with_legend(image, [(1, "sky"), (None, "background"), (2, "a name longer than the picture is wide")], font)
    assert three.height > one.height > 40
    assert three.width > one.width
    left = (three.width - 60) // 2
    assert (np.asarray(three)[:40, left : left + 60] == 9).all()
    assert with_legend(image, [], font) is image


def test_more_classes_than_a_legend_has_room_for_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def legend(image: Image.Image, entries: Sequence[Any], _: Any) -> Image.Image:
        given.extend(entries)
        return image

    monkeypatch.setattr("edgecv.cli.annotate.with_legend", legend)
    drawn(np.arange(16)[None], [f"name {number}" for number in range(16)])
    assert given[0] == (0, "name 0: 10,000 pixels")
    assert given[12:] == [(None, "and 4 more")]


def test_masks_are_written_as_data_sets_have_them(tmp_path: Path) -> None:
    mask = np.array([[0, 1, -1], [20, 1, 0]], np.int32)
    picture = Picture(np.zeros((2, 3, 3), np.uint8), source="some/where/a.jpg")
    gallery = Gallery(tmp_path)
    first, second = (
        gallery.add(picture, prediction(mask, [None] * 21)),
        gallery.add(picture, prediction(mask, [None] * 21)),
    )
    assert first == {"saved": str(tmp_path / "a.jpg"), "saved_mask": str(tmp_path / "a.mask.png")}
    assert second == {"saved": str(tmp_path / "a-2.jpg"), "saved_mask": str(tmp_path / "a-2.mask.png")}
    assert read_mask(tmp_path / "a.mask.png").tolist() == [[0, 1, 255], [20, 1, 0]]
    with Image.open(tmp_path / "a.mask.png") as image:
        colours = np.asarray(image.convert("RGB"))
    assert colours[0].tolist() == [[0, 0, 0], list(class_colour(1)), [224, 224, 192]]
    assert set(gallery.add(picture, Prediction(results=[]))) == {"saved"}


def test_more_than_255_classes_take_16_bits() -> None:
    assert np.asarray(numbered(np.array([[254, -1]], np.int32))).tolist() == [[254, 255]]
    wide = numbered(np.array([[255, 300, -1]], np.int32))
    assert np.asarray(wide).tolist() == [[255, 300, 65535]]
