"""YOLO's data are read as Ultralytics reads them, and every broken label is named with its line."""

from pathlib import Path

import pytest
from PIL import Image

from edgecv.data.problems import BrokenDataError
from edgecv.data.reading import open_data
from edgecv.data.samples import Box, Dataset
from edgecv.errors import DataError

YAML = "train: images/train\nval: images/val\nnames: [cat, dog]\n"


def read(path: Path, *, skip_broken: bool = False) -> Dataset:
    return open_data(str(path), format="yolo", skip_broken=skip_broken)


def problems_of(path: Path) -> list[str]:
    with pytest.raises(BrokenDataError) as raised:
        read(path)
    return [str(problem) for problem in raised.value.problems]


def draw(path: Path, size: tuple[int, int] = (100, 50)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)
    return path


def label(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set of a training picture with a dog, 100 × 50 pixels, and one to validate with nothing."""
    (tmp_path / "data.yaml").write_text(YAML)
    draw(tmp_path / "images/train/a.png")
    draw(tmp_path / "images/val/b.png")
    label(tmp_path / "labels/train/a.txt", "1 0.5 0.5 0.2 0.4")
    return tmp_path


def test_shares_of_the_picture_become_corners_in_pixels(root: Path) -> None:
    dataset = read(root)
    assert (dataset.format, dataset.task, dataset.classes) == ("yolo", "detection", ("cat", "dog"))
    first, second = dataset.samples
    assert first.boxes == (Box(40, 15, 60, 35, category=1),)
    assert (first.name, first.size, first.part) == (str(root / "images/train/a.png"), (50, 100), "train")
    assert first.origin == f"{root / 'labels/train/a.txt'}:1"
    assert (second.name, second.boxes, second.part) == (str(root / "images/val/b.png"), (), "val")
    assert read(root / "data.yaml").samples == dataset.samples


def test_polygons_become_their_boxes_and_are_kept(root: Path) -> None:
    label(root / "labels/train/a.txt", "0 0.1 0.2 0.5 0.2 0.3 0.8")
    (box,) = read(root).samples[0].boxes
    assert (box.x1, box.y1, box.x2, box.y2, box.category) == (10, 10, 50, 40, 0)
    assert box.extra == {"segmentation": [[10, 10, 50, 10, 30, 40]]}


def test_boxes_that_end_at_the_border_may_be_rounded_beyond_it(root: Path) -> None:
    draw(root / "images/train/a.png", (3000, 3000))
    # 2999.5 … 3000: the centre 0.99991666 and the width 0.00016666, both rounded to six decimals.
    label(root / "labels/train/a.txt", "0 0.999917 0.5 0.000167 1")
    (box,) = read(root).samples[0].boxes
    assert 3000 < box.x2 < 3000.01


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("names: {1: dog, 0: cat}", ("cat", "dog")),
        ("names:\n  0: cat\n  1: dog\nnc: 2", ("cat", "dog")),
        ("nc: 2\nnames:\n- no\n- 007\n", ("no", "007")),
        ("nc: 2", ("class_0", "class_1")),
    ],
)
def test_names_are_a_list_or_numbered(text: str, classes: tuple[str, ...], root: Path) -> None:
    (root / "data.yaml").write_text(f"train: images/train\n{text}\n")
    assert read(root).classes == classes


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nc: 3\nnames: [cat, dog]", "2: nc is 3, but there are 2 names. Mend one of them."),
        ("names: [cat, cat]", "2: names have 'cat' twice. Name each class once."),
        ("names: {1: cat, 2: dog}", "2: names are neither a list of the classes' names nor numbered from 0 without "
         "gaps. Write them so: [cat, dog]."),
        ("names: [[cat], dog]", "2: names are neither a list of the classes' names nor numbered from 0 without gaps. "
         "Write them so: [cat, dog]."),
        ("names: cat", "2: names are neither a list of the classes' names nor numbered from 0 without gaps. Write them "
         "so: [cat, dog]."),
        ("names: [cat\nnc: 1", "3: is no YAML: expected ',' or ']', but got ':'. Mend it."),
        ("val: {a: b}\nnames: [cat]", "2: {'a': 'b'} is no folder. Give the path of a folder of pictures."),
        ("names: !!python/object/apply:os.system [ls]", "2: is no YAML: could not determine a constructor for the "
         "tag 'tag:yaml.org,2002:python/object/apply:os.system'. Mend it."),
    ],
)  # fmt: skip
def test_a_wrong_description_is_refused(text: str, problem: str, root: Path) -> None:
    file = root / "data.yaml"
    file.write_text(f"train: images/train\n{text}\n")
    with pytest.raises(DataError) as raised:
        read(root)
    assert str(raised.value) == f"{file}:{problem}"


def test_a_description_without_a_part_is_refused(root: Path) -> None:
    (root / "data.yaml").write_text("names: [cat]\n")
    with pytest.raises(DataError) as raised:
        read(root)
    assert str(raised.value) == (
        f"{str(root / 'data.yaml')!r} names neither train nor val nor test. Give it one, a folder of pictures."
    )


def test_paths_start_at_path_if_it_is_there_and_at_the_file_otherwise(root: Path) -> None:
    names = [sample.name for sample in read(root).samples]
    for text in (f"path: {root}\n", "path: ../datasets/not-here\n", "path: .\n"):
        (root / "data.yaml").write_text(text + YAML)
        assert [sample.name for sample in read(root).samples] == names
    # As exporters write it that mean the folder below.
    (root / "data.yaml").write_text(YAML.replace("images/", "../images/"))
    assert [sample.name for sample in read(root).samples] == names


def test_lists_of_files_and_of_folders_are_read(root: Path) -> None:
    draw(root / "more/images/c.png")
    (root / "train.txt").write_text("./images/train/a.png\n\nmore/images/c.png\n")
    (root / "data.yaml").write_text("train: [train.txt, images/val]\nnames: [cat, dog]\n")
    names = [str(Path(sample.name).relative_to(root)) for sample in read(root).samples]
    assert names == ["images/train/a.png", "more/images/c.png", "images/val/b.png"]
    (root / "train.txt").write_text("./images/train/a.png\n./images/train/z.png\n")
    assert problems_of(root) == [f"{root / 'train.txt'}:2: picture {str(root / 'images/train/z.png')!r} does not exist"]


def test_training_pictures_alone_are_of_no_part(root: Path) -> None:
    (root / "data.yaml").write_text("train: images/train\nnames: [cat, dog]\n")
    assert [sample.part for sample in read(root).samples] == [None]


def test_labels_may_lie_beside_their_pictures(root: Path) -> None:
    (root / "labels/train/a.txt").rename(root / "images/train/a.txt")
    assert len(read(root).samples[0].boxes) == 1


def test_only_the_last_folder_called_images_has_labels_beside_it(tmp_path: Path) -> None:
    root = tmp_path / "images"
    draw(root / "images/train/a.png")
    label(root / "labels/train/a.txt", "1 0.5 0.5 0.2 0.4")
    (root / "data.yaml").write_text("train: images/train\nnames: [cat, dog]\n")
    assert len(read(root).samples[0].boxes) == 1


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("2 0.5 0.5 0.2 0.4", "unknown class 2; there are 2, counted from 0"),
        ("-1 0.5 0.5 0.2 0.4", "unknown class -1; there are 2, counted from 0"),
        ("0.5 0.5 0.5 0.2 0.4", "unknown class 0.5; there are 2, counted from 0"),
        ("cat 0.5 0.5 0.2 0.4", "'cat 0.5 0.5 0.2 0.4' is not numbers alone"),
        ("0 0.5 0.5 0.2", "has 4 numbers, not 5 (class, centre, size) or a class and pairs for a polygon"),
        ("0 0.5 0.5 0.2 0.4 0.9", "has 6 numbers, not 5 (class, centre, size) or a class and pairs for a polygon"),
        ("0 0.5 0.5 0 0.4", "box (50, 15, 50, 35) has no area"),
        ("0 0.5 0.5 -0.2 0.4", "box (60, 15, 40, 35) is reversed: x1, y1 must be its upper left corner"),
        ("0 0.95 0.5 0.2 0.4", "box (85, 15, 105, 35) reaches outside its picture, which is 100 wide and 50 high"),
        ("0 50 25 20 20", "box (4000, 750, 6000, 1750) reaches outside its picture, which is 100 wide and 50 high"),
        ("0 nan 0.5 0.2 0.4", "box (nan, 15, nan, 35) has a number that is not finite"),
    ],
)
def test_a_broken_line_is_named(line: str, problem: str, root: Path) -> None:
    file = label(root / "labels/train/a.txt", "1 0.5 0.5 0.2 0.4", "", line)
    assert problems_of(root) == [f"{file}:3: {problem}"]
    assert len(read(root, skip_broken=True).samples[0].boxes) == 1


def test_labels_without_pictures_and_damaged_pictures_are_named(root: Path) -> None:
    label(root / "labels/train/z.txt", "1 0.5 0.5 0.2 0.4")
    label(root / "labels/train/classes.txt", "cat")
    damaged = root / "images/train/c.png"
    damaged.write_bytes(b"no picture")
    label(root / "labels/train/c.txt", "1 0.5 0.5 0.2 0.4")
    draw(root / "images/train/d.png")
    (root / "labels/train/d.txt").write_bytes(b"\xff\xfe")
    assert problems_of(root) == [
        f"{damaged}: is damaged or no picture that edgecv reads. Use JPEG, PNG, WebP, TIFF, BMP or GIF",
        f"{root / 'labels/train/d.txt'}: is not UTF-8 text",
        f"{root / 'labels/train/z.txt'}: has no picture",
    ]
    assert len(read(root, skip_broken=True).samples) == 2


def test_parts_that_are_the_same_or_share_pictures_are_named(root: Path) -> None:
    file = root / "data.yaml"
    file.write_text("train: images/train\nval: images/train\nnames: [cat, dog]\n")
    assert problems_of(root) == [f"{file}:2: val is the same as train: what is learned from cannot be tested on"]
    (root / "val.txt").write_text("./images/train/a.png\n")
    file.write_text("train: images/train\nval: val.txt\nnames: [cat, dog]\n")
    picture = root / "images/train/a.png"
    assert problems_of(root) == [f"{root / 'val.txt'}:1: picture {str(picture)!r} is there already, at {picture}"]


def test_folders_that_are_missing_or_empty_are_named(root: Path) -> None:
    (root / "images/val/b.png").unlink()
    file = root / "data.yaml"
    file.write_text(YAML + "test: images/test\n")
    assert problems_of(root) == [
        f"{file}:2: folder {str(root / 'images/val')!r} holds no picture",
        f"{file}:4: test {str(root / 'images/test')!r} does not exist",
    ]


def test_pictures_without_any_label_are_refused(root: Path) -> None:
    (root / "labels/train/a.txt").unlink()
    with pytest.raises(DataError) as raised:
        read(root)
    assert str(raised.value) == (
        f"None of the 2 pictures of {str(root / 'data.yaml')!r} has a label: "
        f"{str(root / 'labels/train/a.txt')!r}, for one, does not exist. Put the labels there."
    )
