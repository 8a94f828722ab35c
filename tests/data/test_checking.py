"""The rules for labels, for what can be trained, and for pictures that decode."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecv.data.checking import Checks, box_problem, check_pictures, check_trainable, without
from edgecv.data.mask_files import MaskSource
from edgecv.data.picture_files import is_picture_name, picture_size, visible
from edgecv.data.problems import Problems
from edgecv.data.samples import ArraySource, Box, Dataset, DataTask, FileSource, Sample
from edgecv.data.threads import in_threads
from edgecv.errors import DataError, PictureError

INFINITE = float("inf")


@pytest.mark.parametrize(
    ("corners", "problem"),
    [
        ((0, 0, 20, 10), None),
        ((-0.01, 0, 20.01, 10.01), None),  # rounded as COCO's are
        ((0, 0, INFINITE, 10), "box (0, 0, inf, 10) has a number that is not finite"),
        ((5, 0, 1, 10), "box (5, 0, 1, 10) is reversed: x1, y1 must be its upper left corner"),
        ((5, 4, 9, 3), "box (5, 4, 9, 3) is reversed: x1, y1 must be its upper left corner"),
        ((5, 4, 5, 9), "box (5, 4, 5, 9) has no area"),
        ((5, 4, 9, 4), "box (5, 4, 9, 4) has no area"),
        ((-1, 0, 5, 5), "box (-1, 0, 5, 5) reaches outside its picture, which is 20 wide and 10 high"),
        ((0, -1, 5, 5), "box (0, -1, 5, 5) reaches outside its picture, which is 20 wide and 10 high"),
        ((0, 0, 21, 5), "box (0, 0, 21, 5) reaches outside its picture, which is 20 wide and 10 high"),
        ((0, 0, 5, 11), "box (0, 0, 5, 11) reaches outside its picture, which is 20 wide and 10 high"),
    ],
)
def test_what_is_wrong_with_a_box(corners: tuple[float, ...], problem: str | None) -> None:
    assert box_problem(corners, size=(10, 20)) == problem


def test_without_its_picture_s_size_a_box_is_not_outside() -> None:
    assert box_problem((-1, 0, 5, 5)) is None


def test_each_rule_notes_what_breaks_it_with_its_place(tmp_path: Path) -> None:
    problems = Problems()
    checks = Checks(problems)
    picture = tmp_path / "a.png"
    picture.touch()
    assert checks.is_there(picture, file="f", line=1)
    assert not checks.is_there(tmp_path, file="f", line=2)
    assert checks.unique("image id 7", file="f", line=3)
    assert checks.unique("image id 8", file="f", line=4)
    assert not checks.unique("image id 7", file="g", line=None)
    assert checks.category("cat", {"cat": 3}, file="f", line=6) == 3
    assert checks.category("mouse", {"cat": 3}, file="f", line=7) is None
    assert checks.category_number(2, 3, file="f", line=8)
    assert not checks.category_number(3, 3, file="f", line=9)
    assert not checks.category_number(-1, 3, file="f", line=10)
    assert checks.number(" 1.5 ", "x1", file="f", line=11) == 1.5
    assert checks.number("inf", "x1", file="f", line=12) is None
    assert checks.box((0, 0, 1, 1), file="f", line=13)
    assert not checks.box((0, 0, 1, 0), file="f", line=14)
    assert [str(problem) for problem in problems.found] == [
        f"f:2: picture {str(tmp_path)!r} does not exist",
        "g: image id 7 is there already, at f:3",
        "f:7: unknown class 'mouse'",
        "f:9: unknown class 3; there are 3, counted from 0",
        "f:10: unknown class -1; there are 3, counted from 0",
        "f:12: x1 is 'inf', which is no finite number",
        "f:14: box (0, 0, 1, 0) has no area",
    ]


def dataset(task: DataTask, classes: int, *categories: int) -> Dataset:
    pixels = np.zeros((2, 2), np.uint8)
    samples = []
    for index, category in enumerate(categories):
        picture = ArraySource(f"x[{index}]", pixels)
        if task == "classification":
            samples.append(Sample(picture=picture, category=category))
        else:
            samples.append(Sample(picture=picture, boxes=(Box(0, 0, 1, 1, category),)))
    return Dataset(path="x", format="idx", task=task, classes=tuple("abcdef"[:classes]), samples=tuple(samples))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (dataset("classification", 2), "'x' holds no labelled picture. Name a folder with some."),
        (
            dataset("classification", 2, 1, 1, 1),
            "All 3 pictures of 'x' are of class 'b': there is nothing to tell apart. "
            "Add pictures of another class, or name the folder above.",
        ),
        (
            dataset("classification", 6, 0, 1, 2),
            "'x' holds 3 pictures for 6 classes. Give each class pictures, or fewer classes.",
        ),
        (
            dataset("segmentation", 1, 0),
            "All masks of 'x' are of one class: there is nothing to tell apart. Add other ones.",
        ),
    ],
    ids=["empty", "one class", "few pictures", "one class of masks"],
)
def test_what_cannot_be_trained(data: Dataset, problem: str) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(problem)}$"):
        check_trainable(data)


def test_what_can_be_trained() -> None:
    check_trainable(dataset("classification", 2, 0, 1))
    # What there is to learn is where it is.
    check_trainable(dataset("localisation", 1, 0, 0))
    check_trainable(dataset("detection", 1, 0))


def test_pictures_that_do_not_decode_are_found_and_left_out(tmp_path: Path) -> None:
    content = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for name in ("good", "cut", "none", "turned", "masked"):
        Image.fromarray(content).save(tmp_path / f"{name}.jpg")
    whole = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "none.jpg").write_bytes(b"")
    (tmp_path / "mask.png").write_bytes(b"x")
    samples = [
        Sample(picture=FileSource(tmp_path / "good.jpg"), size=(64, 64)),
        Sample(picture=FileSource(tmp_path / "cut.jpg")),
        Sample(picture=FileSource(tmp_path / "none.jpg")),
        Sample(picture=ArraySource("x[0]", np.zeros((1, 1), np.uint8))),
        Sample(picture=FileSource(tmp_path / "turned.jpg"), size=(32, 64), origin="labels.csv:4"),
        Sample(picture=FileSource(tmp_path / "masked.jpg"), mask=MaskSource(tmp_path / "mask.png")),
    ]
    data = Dataset(path="x", format="csv", task="classification", classes=("a",), samples=tuple(samples), skipped=1)
    steps: list[None] = []
    problems = check_pictures(data, progress=lambda: steps.append(None))
    assert len(steps) == 6
    cut, none, turned, mask = problems
    # How many bytes are lacking is for Pillow to say.
    assert str(cut).startswith(f"{tmp_path / 'cut.jpg'}: cannot be read: image file is truncated")
    assert str(none) == (
        f"{tmp_path / 'none.jpg'}: is damaged or no picture that edgecv reads. Use JPEG, PNG, WebP, TIFF, BMP or GIF."
    )
    assert str(turned) == (f"{tmp_path / 'turned.jpg'}: is 64 wide and 64 high, its label labels.csv:4 says 64 and 32")
    assert str(mask) == f"{tmp_path / 'mask.png'}: is damaged or no picture that keeps numbers. Save it as PNG."
    left = without(data, problems)
    assert [sample.name for sample in left.samples] == [str(tmp_path / "good.jpg"), "x[0]"]
    assert left.skipped == 1 + 4


def test_threads_answer_in_order_and_few_items_wait() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(500):
            taken.append(item)
            yield item

    results = in_threads(lambda item: (item, threading.get_ident()), items())
    assert next(results)[0] == 0
    assert len(taken) < 100
    rest = list(results)
    assert [item for item, _ in rest] == list(range(1, 500))
    assert threading.get_ident() not in {thread for _, thread in rest}


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.tiff", "x.webp"])
def test_sizes_are_those_of_upright_pictures(orientation: int, name: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (20, 10)).save(tmp_path / name, exif=exif)
    # Exif 2.3: from 5 on the first row of the file is a side of the scene.
    assert picture_size(tmp_path / name) == ((10, 20) if orientation < 5 else (20, 10))


def test_files_that_are_no_pictures_have_no_size(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(PictureError):
        picture_size(path)


def test_names_of_pictures_and_of_what_does_not_count() -> None:
    assert [name for name in ("a.JPG", "b.webp", "png", "c.txt", "d.png.txt") if is_picture_name(name)] == [
        "a.JPG",
        "b.webp",
    ]
    assert [name for name in ("a", ".a", "Thumbs.db", "__MACOSX", ".DS_Store") if visible(name)] == ["a"]
