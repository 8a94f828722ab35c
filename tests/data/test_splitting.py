"""Splits are seeded, stratified, keep the data's own parts, and put no picture into two."""

import re
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecv.data.reading import open_data
from edgecv.data.samples import PARTS, ArraySource, Box, Dataset, FileSource, Part, Sample
from edgecv.data.splitting import Ratios, Split, parse_ratios, split
from edgecv.errors import OptionError


def sample(
    name: str, content: int, category: int | None = 0, part: Part | None = None, boxes: Sequence[int] = ()
) -> Sample:
    """Make a sample; equal contents are copies."""
    pixels = np.frombuffer(content.to_bytes(4, "big"), np.uint8).reshape(2, 2)
    found = tuple(Box(0, 0, 1, 1, each) for each in boxes)
    return Sample(picture=ArraySource(name, pixels), category=category, boxes=found, part=part)


def data(samples: Sequence[Sample]) -> Dataset:
    return Dataset(
        path="x", format="idx", task="classification", classes=tuple(map(str, range(100))), samples=tuple(samples)
    )


def of_classes(*sizes: int) -> Dataset:
    categories = [category for category, size in enumerate(sizes) for _ in range(size)]
    return data([sample(f"x[{index}]", index, category) for index, category in enumerate(categories)])


def names(parts: Split) -> dict[Part, list[str]]:
    return {part: [each.name for each in parts[part]] for part in PARTS}


def counts(parts: Split) -> list[int]:
    return [len(parts[part]) for part in PARTS]


@pytest.mark.parametrize(
    ("text", "ratios"),
    [("75/15/10", (0.75, 0.15, 0.1)), ("80/20/0", (0.8, 0.2, 0)), ("0.5/0.25/0.25", (0.5, 0.25, 0.25))],
)
def test_ratios_are_percent_or_fractions(text: str, ratios: Ratios) -> None:
    assert parse_ratios(text) == pytest.approx(ratios)


@pytest.mark.parametrize("text", ["", "75", "75/25", "75/15/11", "75/35/-10", "a/b/c", "nan/15/10", "7/2/1", "inf/1/1"])
def test_other_ratios_are_refused(text: str) -> None:
    message = f"A split is three shares that add up to 100, such as 75/15/10, got {text!r}."
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        parse_ratios(text)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(OptionError, match=re.escape("Ratios are three shares that add up to 1, got (0.5, 0.1, 0.1).")):
        split(of_classes(3), ratios=(0.5, 0.1, 0.1))
    with pytest.raises(OptionError, match=re.escape("seed must be 0 or more, got -1.")):
        split(of_classes(3), seed=-1)


def test_every_picture_is_in_one_part_in_the_order_of_the_data() -> None:
    dataset = of_classes(50, 30, 20)
    parts = split(dataset)
    everything = [each for part in PARTS for each in names(parts)[part]]
    assert sorted(everything) == sorted(each.name for each in dataset.samples)
    order = {each.name: index for index, each in enumerate(dataset.samples)}
    for part in PARTS:
        places = [order[name] for name in names(parts)[part]]
        assert places == sorted(places)
    assert not parts.left_out
    assert list(parts) == list(PARTS)
    assert len(parts) == 3


def test_shares_that_come_out_even_are_exact() -> None:
    parts = split(of_classes(100, 20, 200))
    found = {part: Counter(each.category for each in parts[part]) for part in PARTS}
    assert found == {"train": {0: 75, 1: 15, 2: 150}, "val": {0: 15, 1: 3, 2: 30}, "test": {0: 10, 1: 2, 2: 20}}


@pytest.mark.parametrize("ratios", [(0.75, 0.15, 0.1), (0.8, 0.2, 0), (1 / 3, 1 / 3, 1 / 3), (0.1, 0.0, 0.9)])
@pytest.mark.parametrize("seed", [0, 1])
def test_each_class_misses_its_share_by_less_than_one(ratios: Ratios, seed: int) -> None:
    sizes = [1, 2, 3, 5, 7, 11, 13, 17, 19, 101, 3, 3, 3, 3, 3, 3]
    parts = split(of_classes(*sizes), ratios=ratios, seed=seed)
    for part, ratio in zip(PARTS, ratios, strict=True):
        found = Counter(each.category for each in parts[part])
        for category, size in enumerate(sizes):
            assert abs(found[category] - size * ratio) < 1
            assert ratio or not found[category]
        # Most classes are too small to have a share of each part; together they do, unless training takes more than
        # its share because it needs a picture of each.
        assert abs(len(parts[part]) - sum(sizes) * ratio) < 3 or ratios[0] == 0.1
    assert {each.category for each in parts["train"]} == set(range(len(sizes)))


def test_many_small_classes_together_fill_the_small_parts() -> None:
    # 100 classes of two: 75, 15 and 10 % of 200, although no class alone has a whole picture for val or test.
    assert counts(split(of_classes(*[2] * 100))) == [150, 30, 20]


def test_a_seed_draws_the_same_pictures_however_the_files_are_ordered() -> None:
    dataset = of_classes(40, 40)
    reverse = data(dataset.samples[::-1])
    for seed in (0, 7):
        first, second = names(split(dataset, seed=seed)), names(split(reverse, seed=seed))
        assert first == {part: found[::-1] for part, found in second.items()}
    assert names(split(dataset, seed=0)) != names(split(dataset, seed=7))


def test_a_seed_draws_the_same_pictures_wherever_the_folder_lies(tmp_path: Path) -> None:
    for category in ("cat", "dog"):
        for number in range(20):
            path = tmp_path / "one" / category / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), (number, len(category), ord(category[0]))).save(path)
    shutil.copytree(tmp_path / "one", tmp_path / "another" / "place")
    drawn = []
    for folder in (tmp_path / "one", tmp_path / "another" / "place"):
        parts = split(open_data(str(folder)))
        drawn.append({part: [str(Path(each.name).relative_to(folder)) for each in parts[part]] for part in PARTS})
    assert drawn[0] == drawn[1]


def own(train: int = 0, val: int = 0, test: int = 0, none: int = 0) -> Dataset:
    sizes: list[tuple[Part | None, int]] = [("train", train), ("val", val), ("test", test), (None, none)]
    labels = [part for part, size in sizes for _ in range(size)]
    return data([sample(f"x[{index}]", index, 0, part) for index, part in enumerate(labels)])


@pytest.mark.parametrize(
    ("dataset", "ratios", "expected"),
    [
        (own(train=60, val=7, test=9), (0.75, 0.15, 0.1), [60, 7, 9]),
        # val is 15 of the 90 that train and val have together.
        (own(train=60, test=9), (0.75, 0.15, 0.1), [50, 10, 9]),
        (own(train=85, val=7), (0.75, 0.15, 0.1), [75, 7, 10]),
        (own(train=100), (0.75, 0.15, 0.1), [75, 15, 10]),
        (own(test=9, none=60), (0.75, 0.15, 0.1), [50, 10, 9]),
        (own(train=30, test=9, none=30), (0.75, 0.15, 0.1), [50, 10, 9]),
        (own(test=9), (0.75, 0.15, 0.1), [0, 0, 9]),
        (own(train=60, test=9), (1, 0, 0), [60, 0, 9]),
        (own(train=60, test=9), (0, 0, 1), [60, 0, 9]),
    ],
)
def test_own_parts_stay_and_what_is_missing_is_drawn_from_train(
    dataset: Dataset, ratios: Ratios, expected: list[int]
) -> None:
    parts = split(dataset, ratios=ratios)
    assert counts(parts) == expected
    drawn: Sequence[Part] = ("val", "test")
    for part in drawn:
        if mine := [each.name for each in dataset.of_part(part)]:
            assert names(parts)[part] == mine


def test_copies_go_into_the_same_part() -> None:
    # Each content three times under other names, also in another class.
    dataset = data([sample(f"x[{index}]", index % 20, index % 2) for index in range(60)])
    for seed in range(5):
        parts = split(dataset, seed=seed)
        where: dict[bytes, set[Part]] = {}
        for part in PARTS:
            for each in parts[part]:
                assert isinstance(each.picture, ArraySource)
                where.setdefault(each.picture.pixels.tobytes(), set()).add(part)
        assert len(where) == 20
        assert all(len(found) == 1 for found in where.values())
        assert sum(counts(parts)) == 60
        assert all(counts(parts))


def test_files_of_the_same_bytes_are_copies(tmp_path: Path) -> None:
    samples = []
    for number in range(12):
        path = tmp_path / f"{number}.bin"
        # Files of one size, so that the size alone tells nothing; every second a copy of the one before.
        path.write_bytes(bytes([number // 2]) * 10)
        samples.append(Sample(picture=FileSource(path), category=0))
    parts = split(data(samples), ratios=(0.5, 0.5, 0))
    assert counts(parts) == [6, 6, 0]
    for part in PARTS:
        numbers = [int(Path(each.name).stem) // 2 for each in parts[part]]
        assert all(count == 2 for count in Counter(numbers).values())


def test_copies_of_own_test_pictures_are_left_out_of_training() -> None:
    samples = [
        sample("a", 1, part="test"),
        sample("b", 1, part="test"),  # own parts are kept as they are
        sample("c", 1, part="train"),
        sample("d", 2, part="val"),
        sample("e", 2, part="train"),
        sample("f", 1, part="val"),
        *[sample(f"x[{index}]", 10 + index, part="train") for index in range(3)],
    ]
    parts = split(data(samples))
    assert names(parts) == {"train": ["x[0]", "x[1]", "x[2]"], "val": ["d"], "test": ["a", "b"]}
    assert [each.name for each in parts.left_out] == ["c", "e", "f"]


@pytest.mark.parametrize(("size", "expected"), [(0, [0, 0, 0]), (1, [1, 0, 0]), (2, [2, 0, 0]), (3, [2, 1, 0])])
def test_fewer_pictures_than_parts_go_to_training_first(size: int, expected: list[int]) -> None:
    # By hand, of 75/15/10: 1 has shares .75 .15 .1; 2 has 1.5 .3 .2; 3 has 2.25 .45 .3, the rest to the neediest.
    assert counts(split(of_classes(size))) == expected


def test_pictures_of_several_classes_are_divided_by_the_rarest() -> None:
    # Class 1 is in 20 of 220 pictures, always beside class 0.
    samples = [sample(f"x[{index}]", index, None, boxes=(0,)) for index in range(200)]
    samples += [sample(f"y[{index}]", 1000 + index, None, boxes=(0, 1, 0)) for index in range(20)]
    samples += [sample(f"z[{index}]", 2000 + index, None) for index in range(40)]  # show nothing
    parts = split(data(samples))
    found = {part: Counter(each.name[0] for each in parts[part]) for part in PARTS}
    assert found == {
        "train": {"x": 150, "y": 15, "z": 30},
        "val": {"x": 30, "y": 3, "z": 6},
        "test": {"x": 20, "y": 2, "z": 4},
    }


def test_a_picture_that_cannot_be_read_is_no_copy(tmp_path: Path) -> None:
    samples = [Sample(picture=FileSource(tmp_path / f"{number}.png"), category=0) for number in range(20)]
    assert sum(counts(split(data(samples)))) == 20
