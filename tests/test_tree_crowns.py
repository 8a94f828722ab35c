"""The benchmark of tree crowns: no crown is in two parts, and no part of a picture is lost."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import click
import numpy as np
import pytest

from edgecv.data.reading import open_data
from edgecv.data.samples import ArraySource, Box, Sample

_SCRIPT = Path(__file__).parent.parent / "benchmarks" / "tree_crowns.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tree_crowns", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tree_crowns"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_tiles_divide_an_area_without_rest_or_overlap(script: ModuleType) -> None:
    covered = np.zeros((400, 1249), int)
    tiles = list(script.tiles_of((0, 100, 1249, 400), side=200, overlapping=False))
    for x1, y1, x2, y2 in tiles:
        covered[y1:y2, x1:x2] += 1
    # 1249 / 200 is nearest to 6, and 300 / 200 to 2.
    assert len(tiles) == 12
    assert (covered[:100] == 0).all()
    assert (covered[100:] == 1).all()
    assert {x2 - x1 for x1, _, x2, _ in tiles} == {208, 209}


def test_overlapping_tiles_hold_whatever_is_half_as_long_somewhere_wholly(script: ModuleType) -> None:
    tiles = list(script.tiles_of((0, 0, 800, 400), side=200, overlapping=True))
    assert len(tiles) == 7 * 3
    for x in range(701):
        assert any(x1 <= x and x + 100 <= x2 for x1, _, x2, _ in tiles)


def test_an_area_smaller_than_a_tile_is_one(script: ModuleType) -> None:
    assert list(script.tiles_of((5, 6, 65, 56), side=200, overlapping=True)) == [(5, 6, 65, 56)]


def test_a_box_stays_in_a_tile_that_has_half_of_it_and_is_cut_at_the_border(script: ModuleType) -> None:
    boxes = [Box(90, 10, 110, 20, 0), Box(91, 10, 111, 20, 0), Box(130, 40, 150, 50, 0)]
    # Half of the first box lies in the tile, 9 of 20 columns of the second, nothing of the third.
    assert script.kept_boxes(boxes, (0, 0, 100, 100)) == [(90, 10, 100, 20)]
    assert script.kept_boxes(boxes, (100, 0, 200, 100)) == [(0, 10, 10, 20), (0, 10, 11, 20), (30, 40, 50, 50)]


def test_no_crown_is_in_two_parts_of_the_data(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("2019_YELL_2_528000_4978000_image_crop2", "2019_YELL_2_541000_4977000_image_crop", "OSBS_029", "SOAP_061")
    sizes = ((912, 600), (400, 200), (200, 200), (200, 200))
    # A crown of the largest size, 108 pixels, at each place along the lower border of training and its neighbour.
    boxes = [Box(20, y, 128, y + 108, 0) for y in range(200, 800, 4)]
    pictures = {
        name: Sample(picture=ArraySource(name, np.zeros((*size, 3), np.uint8)), boxes=tuple(boxes) if i == 0 else ())
        for i, (name, size) in enumerate(zip(names, sizes, strict=True))
    }
    monkeypatch.setattr(script, "load_pictures", lambda: pictures)
    dataset = open_data(str(script.write_tree_crowns(tmp_path)))
    assert (dataset.task, dataset.classes) == ("detection", ("tree",))
    assert {part: len(dataset.of_part(part)) for part in ("train", "val", "test")} == {
        "train": 5 * 3 + 1 + 1,  # 600 × 400 pixels above the gap and the band, and two small pictures
        "val": 2 * 3,
        "test": 2,
    }
    areas = {
        each.part: each.area
        for each in script.regions(dict(zip(names, sizes, strict=True)))
        if each.picture == names[0]
    }
    assert areas == {"train": (0, 0, 600, 400), "val": (0, 512, 600, 912)}
    touched = {part: {box.y1 for box in boxes if box.y2 > y1 and box.y1 < y2} for part, (_, y1, _, y2) in areas.items()}
    assert len(touched["train"]) > 40
    assert len(touched["val"]) > 40
    assert not touched["train"] & touched["val"]


def test_what_is_missing_is_said_with_the_command(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(click.ClickException) as raised:
        script.load_pictures()
    assert raised.value.message == "The pictures are missing. Run: pip install deepforest --no-deps"
