"""Anchors of boxes: by hand, against every way to divide them, and whatever their files hold."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecv.data.anchors import anchors_of, find_anchors, mean_overlap, read_anchors
from edgecv.data.samples import ArraySource, Box, Sample
from edgecv.errors import DataError, OptionError
from edgecv.preprocess import Fit

Array = np.ndarray[Any, Any]

# Three nearly square sizes and three wide ones.
SIX = np.array([(40, 20), (10, 14), (44, 20), (12, 10), (45, 26), (14, 12)], np.float64)


def refused(error: type[Exception], message: str) -> Any:
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def test_two_anchors_of_six_boxes_by_hand() -> None:
    # Medians: widths 10, 12, 14 and heights 10, 12, 14 give 12 × 12; 40, 44, 45 and 20, 20, 26 give 44 × 20.
    # IoU with 12 × 12: of 10 × 14: 120 / (140 + 144 − 120) = 30/41; of 12 × 10: 120 / 144 = 5/6; of 14 × 12:
    # 144 / 168 = 6/7. With 44 × 20: of 40 × 20: 10/11; of itself: 1; of 45 × 26: 880 / 1170 = 88/117.
    # Each is above the IoU with the other anchor, of which the largest is that of 40 × 20: 144 / 800.
    anchors = find_anchors(SIX, count=2)
    np.testing.assert_array_equal(anchors, [(12, 12), (44, 20)])
    assert mean_overlap(SIX, anchors) == pytest.approx(
        (30 / 41 + 5 / 6 + 6 / 7 + 10 / 11 + 1 + 88 / 117) / 6, rel=1e-12
    )


@pytest.mark.parametrize("seed", range(5))
def test_no_way_to_divide_a_few_boxes_is_better(seed: int) -> None:
    boxes = np.random.default_rng(seed).uniform(5, 100, (8, 2))
    ways = [np.array(way) for way in itertools.product((0, 1), repeat=8) if 0 < sum(way) < 8]
    medians = [np.stack([np.median(boxes[way == each], axis=0) for each in (0, 1)]) for way in ways]
    # Those at rest: no box is nearer to the other median.
    resting = []
    for way, anchors in zip(ways, medians, strict=True):
        common = np.prod(np.minimum(boxes[:, None], anchors), axis=-1)
        overlaps = common / (np.prod(boxes, axis=-1)[:, None] + np.prod(anchors, axis=-1) - common)
        if np.array_equal(overlaps.argmax(axis=1), way):
            resting.append(overlaps.max(axis=1).mean())
    assert mean_overlap(boxes, find_anchors(boxes, count=2)) == pytest.approx(max(resting), rel=1e-12)


def test_as_many_anchors_as_sizes_are_the_sizes() -> None:
    boxes = np.concatenate([SIX, SIX])
    np.testing.assert_array_equal(
        find_anchors(boxes, count=6, seed=3), [(12, 10), (10, 14), (14, 12), (40, 20), (44, 20), (45, 26)]
    )
    assert mean_overlap(boxes, find_anchors(boxes, count=6)) == 1


def test_the_same_seed_gives_the_same_anchors_also_of_many_boxes() -> None:
    boxes = np.exp(np.random.default_rng(0).normal(3, 0.5, (11_000, 2)))
    first = find_anchors(boxes, count=2, seed=1)
    np.testing.assert_array_equal(find_anchors(boxes, count=2, seed=1), first)
    assert np.any(find_anchors(boxes, count=2, seed=2) != first)
    assert np.all(np.diff(np.prod(first, axis=1)) > 0)


def test_fewer_boxes_than_anchors_are_refused() -> None:
    with refused(
        DataError,
        "Too few boxes for 9 anchors: 6, of different sizes 6. Ask for fewer anchors, or give more boxes.",
    ):
        find_anchors(SIX, count=9)
    with refused(
        DataError,
        "Too few boxes for 2 anchors: 20, of different sizes 1. Ask for fewer anchors, or give more boxes.",
    ):
        find_anchors(np.tile(SIX[:1], (20, 1)), count=2)
    with refused(
        DataError, "Too few boxes for 1 anchors: 0, of different sizes 0. Ask for fewer anchors, or give more boxes."
    ):
        anchors_of([], input_size=(64, 64), count=1)


def sample(width: int, height: int, *boxes: Box, told: bool = True) -> Sample:
    pixels = np.zeros((height, width, 3), np.uint8)
    return Sample(picture=ArraySource("a", pixels), boxes=boxes, size=(height, width) if told else None)


@pytest.mark.parametrize(
    ("fit", "sizes"),
    [
        # 200 × 100 to 64 × 64: widths by 0.32, heights by 0.64; a letterbox takes 0.32 for both. 64 × 64 stay.
        ("stretch", ((6.4, 6.4), (10.0, 20.0), (32.0, 64.0))),
        ("letterbox", ((6.4, 3.2), (10.0, 20.0), (32.0, 32.0))),
    ],
)
def test_sizes_are_those_that_the_input_shows(fit: Any, sizes: tuple[tuple[float, float], ...]) -> None:
    samples = [
        sample(
            200,
            100,
            Box(0, 0, 20, 10, 0),
            Box(100, 0, 200, 100, 1),
            Box(0, 0, 150, 90, 0, crowd=True),
            Box(10, 10, 13, 50, 1),  # 0.96 pixels wide
        ),
        sample(64, 64, Box(2, 3, 12, 23, 0), told=False),
        sample(10, 10),
    ]
    found = anchors_of(samples, input_size=(64, 64), fit=Fit(mode=fit), count=3)
    np.testing.assert_allclose(found.sizes, sizes, rtol=1e-12)
    assert (len(found.boxes), found.small, found.crowds, found.mean_iou) == (3, 1, 1, 1.0)


def test_a_document_is_read_back(tmp_path: Path) -> None:
    found = anchors_of([sample(96, 48, Box(0, 0, 20, 10, 0))], input_size=(32, 64), count=1)
    document = found.to_json()
    assert document == {
        "anchors": [[13.3333, 6.6667]],
        "input_size": [32, 64],
        "fit": "stretch",
        "mean_iou": 1.0,
        "boxes": 1,
        "smaller_than_a_pixel": 0,
        "crowds": 0,
    }
    file = tmp_path / "anchors.json"
    file.write_text(json.dumps(document))
    assert read_anchors(str(file)) == ((13.3333, 6.6667),)


@pytest.mark.parametrize(
    "content",
    ["[[1, 2]]", "{}", '{"anchors": []}', '{"anchors": [[1]]}', '{"anchors": [[1, 0]]}', '{"anchors": [[true, NaN]]}'],
)
def test_files_without_anchors_are_refused(content: str, tmp_path: Path) -> None:
    file = tmp_path / "anchors.json"
    file.write_text(content)
    with refused(
        OptionError,
        f"Anchor file {str(file)!r} has no key 'anchors' with a list of [width, height] in pixels. "
        "Write one with: edgecv data anchors PATH --output FILE.json",
    ):
        read_anchors(str(file))


def test_files_that_are_no_json_or_not_there_are_named(tmp_path: Path) -> None:
    missing, broken = tmp_path / "none.json", tmp_path / "broken.json"
    broken.write_bytes(b"\xff{")
    with refused(OptionError, f"Anchor file {str(missing)!r} cannot be read: No such file or directory."):
        read_anchors(str(missing))
    with pytest.raises(OptionError, match=f"^Anchor file {re.escape(repr(str(broken)))} is no JSON: .+\\.$"):
        read_anchors(str(broken))


def test_sizes_that_are_rare_among_many_boxes_are_found_all_the_same() -> None:
    # Of more than 10,000 boxes as many are drawn, and these few may not be among them.
    boxes = np.concatenate([np.full((19_992, 2), 10.0), np.arange(20.0, 28.0)[:, None] * [1, 2]])
    anchors = find_anchors(boxes, count=9, seed=0)
    assert len(np.unique(anchors, axis=0)) == 9
