"""A folder of pictures per class."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from edgecv.data.formats.folders import Folders
from edgecv.data.problems import Problems
from edgecv.data.samples import Dataset
from edgecv.errors import DataError

Save = Callable[[str], Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
        return path

    return write


def read(path: Path, *expected: str) -> Dataset:
    problems = Problems()
    dataset = Folders().read(path, problems)
    assert [str(problem) for problem in problems.found] == list(expected)
    return dataset


def named(dataset: Dataset, path: Path) -> list[tuple[str, str, str | None]]:
    return [
        (str(Path(sample.name).relative_to(path)), dataset.classes[sample.category or 0], sample.part)
        for sample in dataset.samples
    ]


def test_pictures_of_each_folder_have_its_class(save: Save, tmp_path: Path) -> None:
    for name in ("dog/b.jpg", "dog/a.PNG", "cat/deep/er/c.webp", "10/d.bmp", "9/e.gif"):
        save(name)
    dataset = read(tmp_path)
    assert (dataset.task, dataset.format) == ("classification", "folders")
    # As text, like Keras.
    assert dataset.classes == ("10", "9", "cat", "dog")
    assert named(dataset, tmp_path) == [
        ("10/d.bmp", "10", None),
        ("9/e.gif", "9", None),
        ("cat/deep/er/c.webp", "cat", None),
        ("dog/a.PNG", "dog", None),
        ("dog/b.jpg", "dog", None),
    ]


def test_classes_txt_orders_the_classes_and_knows_them(save: Save, tmp_path: Path) -> None:
    save("cat/a.png")
    save("dog/a.png")
    save("emu/a.png")
    (tmp_path / "classes.txt").write_text("dog\ncat\nfox\n")
    dataset = read(tmp_path, f"{tmp_path / 'emu'}: unknown class 'emu'")
    assert dataset.classes == ("dog", "cat", "fox")
    assert named(dataset, tmp_path) == [("cat/a.png", "cat", None), ("dog/a.png", "dog", None)]


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_the_datas_own_parts(val: str, save: Save, tmp_path: Path) -> None:
    for name in ("test/cat/a.png", "train/cat/b.png", "train/dog/c.png", f"{val}/dog/d.png"):
        save(name)
    assert named(read(tmp_path), tmp_path) == [
        ("train/cat/b.png", "cat", "train"),
        ("train/dog/c.png", "dog", "train"),
        (f"{val}/dog/d.png", "dog", "val"),
        ("test/cat/a.png", "cat", "test"),
    ]


def test_a_class_that_training_lacks_is_unknown(save: Save, tmp_path: Path) -> None:
    for name in ("train/cat/b.png", "train/dog/c.png", "test/dogs/d.png"):
        save(name)
    read(tmp_path, f"{tmp_path / 'test/dogs'}: unknown class 'dogs'; did you mean 'dog'?")


def test_classes_may_be_called_as_parts_are(save: Save, tmp_path: Path) -> None:
    for name in ("train/a.png", "bus/a.png"):
        save(name)
    assert read(tmp_path).classes == ("bus", "train")
    assert Folders().recognises(tmp_path)


def test_hidden_files_and_clutter_are_left_aside_and_others_told(save: Save, tmp_path: Path) -> None:
    save("cat/a.png")
    save("dog/a.png")
    save("stray.png")
    for name in (".hidden/x.txt", "cat/.DS_Store", "cat/Thumbs.db", "README.md", "cat/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "dog/gone.png").symlink_to("nowhere.png")
    (tmp_path / "dog/loop").symlink_to(tmp_path)
    (tmp_path / "dog/ring.png").symlink_to("ring.png")
    dataset = read(
        tmp_path,
        f"{tmp_path / 'stray.png'}: is a picture in no folder of a class",
        f"{tmp_path / 'cat/notes.txt'}: is no picture that edgecv reads, by its suffix",
        f"{tmp_path / 'dog/gone.png'}: is a link to nothing",
        f"{tmp_path / 'dog/loop'}: is a link to a folder, which is not followed",
        f"{tmp_path / 'dog/ring.png'}: is a link to nothing",
    )
    assert len(dataset.samples) == 2


def test_an_empty_class_is_told_and_left_out(save: Save, tmp_path: Path) -> None:
    save("cat/a.png")
    save("emu/a.png")
    (tmp_path / "dog").mkdir()
    dataset = read(tmp_path, f"{tmp_path / 'dog'}: holds no picture")
    assert dataset.classes == ("cat", "emu")
    assert named(dataset, tmp_path) == [("cat/a.png", "cat", None), ("emu/a.png", "emu", None)]


def test_one_folder_too_high_is_refused_with_the_right_one(save: Save, tmp_path: Path) -> None:
    save("flowers/daisy/a.png")
    save("flowers/rose/a.png")
    message = (
        f"{str(tmp_path)!r} holds one folder, 'flowers', and that holds 2. "
        f"Name the folder of the class folders: {str(tmp_path / 'flowers')!r}?"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("images/a.png", "labels/a.png"),  # YOLO, masks
        ("JPEGImages/a.jpg",),  # VOC
        ("train/a.png", "valid/a.png"),  # parts whose labels lie in files
        ("a.png",),
    ],
    ids=["images", "VOC", "parts", "no folder"],
)
def test_the_folders_of_other_formats_are_no_classes(names: tuple[str, ...], save: Save, tmp_path: Path) -> None:
    for name in names:
        save(name)
    assert not Folders().recognises(tmp_path)
