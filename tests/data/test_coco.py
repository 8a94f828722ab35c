"""COCO's instances are read as COCO means them, and every broken label is named with its line."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edgecv.data.problems import BrokenDataError
from edgecv.data.reading import open_data
from edgecv.data.samples import Box, Dataset
from edgecv.errors import DataError

CATEGORIES = [{"id": 18, "name": "dog", "supercategory": "animal"}, {"id": 3, "name": "car"}]


def document(**lists: Any) -> dict[str, Any]:
    """Two pictures; a.png has a dog."""
    return {
        "info": {"year": 2026},
        "images": [
            {"id": 7, "file_name": "a.png", "width": 40, "height": 30, "license": 2},
            {"id": 5, "file_name": "b.png", "width": 20, "height": 10},
        ],
        "annotations": [annotation()],
        "categories": CATEGORIES,
        **lists,
    }


def annotation(**keys: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "image_id": 7,
        "category_id": 18,
        "bbox": [1.5, 2, 10, 20.25],
        "area": 150.5,
        "iscrowd": 0,
        "segmentation": [[1.5, 2, 11.5, 2, 11.5, 22.25]],
        **keys,
    }


def write(file: Path, content: dict[str, Any], *, pictures: Path | None = None) -> Path:
    """Write labels and, beside them or in a folder, the pictures."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1))
    folder = pictures or file.parent
    folder.mkdir(parents=True, exist_ok=True)
    for image in content["images"]:
        if isinstance(image, dict) and "width" in image:
            size = (image["width"], image["height"])
            Image.new("RGB", size if size > (0, 0) else (1, 1)).save(folder / image["file_name"])
    return file


def read(path: Path, *, skip_broken: bool = False) -> Dataset:
    return open_data(str(path), format="coco", skip_broken=skip_broken)


def place(file: Path, key: str, index: int) -> str:
    """Return file and line of a list's item, which stands alone on its line as ``write`` writes it."""
    lines = file.read_text().splitlines()
    start = lines.index(f' "{key}": [')
    items = [number for number, text in enumerate(lines, 1) if number > start and re.match(r"  [{\d]", text)]
    return f"{file}:{items[index]}"


def problems_of(path: Path) -> list[str]:
    with pytest.raises(BrokenDataError) as raised:
        read(path)
    return [str(problem) for problem in raised.value.problems]


def test_boxes_are_corners_and_categories_are_numbered_by_their_ids(tmp_path: Path) -> None:
    dataset = read(write(tmp_path / "labels.json", document()))
    assert (dataset.format, dataset.task) == ("coco", "detection")
    assert dataset.classes == ("car", "dog")
    first, second = dataset.samples
    segmentation = [[1.5, 2, 11.5, 2, 11.5, 22.25]]
    extra = {"id": 1, "category_id": 18, "segmentation": segmentation}
    assert first.boxes == (Box(1.5, 2, 11.5, 22.25, category=1, area=150.5, extra=extra),)
    assert (first.name, first.size, first.part) == (str(tmp_path / "a.png"), (30, 40), None)
    assert first.origin == place(tmp_path / "labels.json", "images", 0)
    assert {key: first.extra[key] for key in ("id", "file_name", "license")} == {
        "id": 7,
        "file_name": "a.png",
        "license": 2,
    }
    assert first.extra["dataset"] == {"info": {"year": 2026}, "categories": [CATEGORIES[1], CATEGORIES[0]]}
    assert (second.name, second.boxes) == (str(tmp_path / "b.png"), ())


def test_decimal_numbers_add_up(tmp_path: Path) -> None:
    # In float64, 0.1 + 0.2 is 0.30000000000000004.
    content = document(annotations=[annotation(bbox=[0.1, 0.7, 0.2, 0.1])])
    box = read(write(tmp_path / "labels.json", content)).samples[0].boxes[0]
    assert (box.x2, box.y2) == (0.3, 0.8)


def test_a_crowd_stays_a_crowd(tmp_path: Path) -> None:
    runs = {"counts": [0, 1200], "size": [30, 40]}
    content = document(annotations=[annotation(iscrowd=1, segmentation=runs)])
    box = read(write(tmp_path / "labels.json", content)).samples[0].boxes[0]
    assert box.crowd
    assert box.extra["segmentation"] == runs


def test_one_object_in_each_picture_teaches_localisation(tmp_path: Path) -> None:
    both = [annotation(), annotation(id=2, image_id=5, bbox=[0, 0, 20, 10])]
    assert read(write(tmp_path / "labels.json", document(annotations=both))).task == "localisation"


@pytest.mark.parametrize("folders", [("train2017", "val2017"), ("images/train2017", "images/val2017")])
def test_files_of_coco_itself_are_parts(folders: tuple[str, str], tmp_path: Path) -> None:
    labels = tmp_path / "annotations"
    write(labels / "instances_train2017.json", document(), pictures=tmp_path / folders[0])
    write(labels / "instances_val2017.json", document(), pictures=tmp_path / folders[1])
    (labels / "captions_val2017.json").write_text('{"annotations": []}')
    dataset = read(tmp_path)
    assert [(sample.part, Path(sample.name).relative_to(tmp_path)) for sample in dataset.samples] == [
        ("train", Path(folders[0], "a.png")),
        ("train", Path(folders[0], "b.png")),
        ("val", Path(folders[1], "a.png")),
        ("val", Path(folders[1], "b.png")),
    ]
    # Who names one file wants all of it, whatever it is called.
    assert {sample.part for sample in read(labels / "instances_val2017.json").samples} == {None}


def test_a_folder_for_each_part_is_read(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        write(tmp_path / name / "_annotations.coco.json", document())
    dataset = read(tmp_path)
    assert {(sample.part, Path(sample.name).parent.name) for sample in dataset.samples} == {
        ("train", "train"),
        ("val", "valid"),
        ("test", "test"),
    }


def test_a_size_that_is_not_told_is_the_pictures(tmp_path: Path) -> None:
    content = document(images=[{"id": 7, "file_name": "a.png"}])
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    assert read(write(tmp_path / "labels.json", content)).samples[0].size == (30, 40)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"bbox": [35, 2, 10, 20]}, "box (35, 2, 45, 22) reaches outside its picture, which is 40 wide and 30 high"),
        ({"bbox": [-1, 2, 10, 20]}, "box (-1, 2, 9, 22) reaches outside its picture, which is 40 wide and 30 high"),
        ({"bbox": [1, 2, 0, 20]}, "box (1, 2, 1, 22) has no area"),
        ({"bbox": [9, 2, -5, 20]}, "box (9, 2, 4, 22) is reversed: x1, y1 must be its upper left corner"),
        ({"bbox": [1, 2, 3]}, "bbox [1, 2, 3] is not four finite numbers"),
        ({"bbox": [1, 2, 3, float("nan")]}, "bbox [1, 2, 3, nan] is not four finite numbers"),
        ({"bbox": [1, 2, 3, float("inf")]}, "bbox [1, 2, 3, inf] is not four finite numbers"),
        ({"bbox": [1, 2, 3, True]}, "bbox [1, 2, 3, True] is not four finite numbers"),
        ({"bbox": None}, "bbox None is not four finite numbers"),
        ({"category_id": 4}, "unknown category id 4"),
        ({"category_id": None}, "unknown category id None"),
        ({"category_id": [3]}, "unknown category id [3]"),
        ({"image_id": 6}, "unknown image id 6"),
        ({"iscrowd": "no"}, "iscrowd 'no' is neither 0 nor 1"),
        ({"area": -1}, "area -1 is no area"),
    ],
)
def test_a_broken_annotation_is_named_with_its_line(keys: dict[str, Any], problem: str, tmp_path: Path) -> None:
    good = annotation(id=9)
    content = document(annotations=[good, annotation(**keys)])
    file = write(tmp_path / "labels.json", content)
    assert problems_of(file) == [f"{place(file, 'annotations', 1)}: annotation 1: {problem}"]
    rest = read(file, skip_broken=True)
    assert [box.extra["id"] for box in rest.samples[0].boxes] == [9]
    assert rest.skipped == 1


def test_labels_on_one_line_have_line_1(tmp_path: Path) -> None:
    file = write(tmp_path / "labels.json", document())
    file.write_text(json.dumps(document(annotations=[annotation(), annotation(id=2, category_id=1)])))
    assert problems_of(file) == [f"{file}:1: annotation 2: unknown category id 1"]


def test_everything_that_is_there_twice_is_named(tmp_path: Path) -> None:
    images = document()["images"]
    content = document(
        images=[*images, {**images[1], "file_name": "c.png"}, {**images[1], "id": 8}],
        annotations=[annotation(), annotation()],
        categories=[*CATEGORIES, {"id": 3, "name": "bus"}, {"id": 4, "name": "dog"}],
    )
    file = tmp_path / "labels.json"
    found = problems_of(write(file, content))
    assert found == [
        f"{place(file, 'categories', 2)}: category id 3 is there already, at {place(file, 'categories', 1)}",
        f"{place(file, 'categories', 3)}: category 'dog' is there already, at {place(file, 'categories', 0)}",
        f"{place(file, 'images', 2)}: image id 5 is there already, at {place(file, 'images', 1)}",
        f"{place(file, 'images', 3)}: picture {str(tmp_path / 'b.png')!r} is there already, at "
        f"{place(file, 'images', 1)}",
        f"{place(file, 'annotations', 1)}: annotation id 1 is there already, at {place(file, 'annotations', 0)}",
    ]


def test_a_missing_picture_is_named_once_and_its_boxes_go_with_it(tmp_path: Path) -> None:
    file = write(tmp_path / "labels.json", document())
    (tmp_path / "a.png").unlink()
    assert problems_of(file) == [f"{place(file, 'images', 0)}: picture 'a.png' does not exist"]
    (sample,) = read(file, skip_broken=True).samples
    assert sample.name == str(tmp_path / "b.png")


def test_a_part_without_its_pictures_is_one_problem(tmp_path: Path) -> None:
    train = write(tmp_path / "annotations/instances_train2017.json", document(), pictures=tmp_path / "elsewhere")
    write(tmp_path / "annotations/instances_val2017.json", document(), pictures=tmp_path / "val2017")
    assert problems_of(tmp_path) == [f"{train}: none of its 2 pictures is there, such as 'a.png'"]
    assert {sample.part for sample in read(tmp_path, skip_broken=True).samples} == {"val"}


def test_without_any_picture_nothing_can_be_read(tmp_path: Path) -> None:
    file = write(tmp_path / "labels.json", document(), pictures=tmp_path / "elsewhere")
    with pytest.raises(DataError) as raised:
        read(file)
    assert str(raised.value) == (
        f"None of the 2 pictures that {str(file)!r} names is there, neither beside it nor in an images folder. "
        "Put them there."
    )


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (3, "is no image: it needs an id and a file_name"),
        ({"id": 9}, "is no image: it needs an id and a file_name"),
        ({"file_name": "a.png"}, "is no image: it needs an id and a file_name"),
        ({"id": 9, "file_name": "b.png", "width": 0, "height": 4}, "image 9: width 0 and height 4 are no size"),
        ({"id": 9, "file_name": "b.png", "width": 4}, "image 9: width 4 and height None are no size"),
    ],
)
def test_a_broken_image_is_named(record: Any, problem: str, tmp_path: Path) -> None:
    file = write(tmp_path / "labels.json", document())
    content = document(images=[document()["images"][0], record])
    file.write_text(json.dumps(content, indent=1))
    assert problems_of(file) == [f"{place(file, 'images', 1)}: {problem}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [\n}', "{file}:2: is no JSON of COCO: Expecting value, column 1. Mend it."),
        ('{"images": [], "annotations": []}', "{file!r} has no list 'categories': it is no file of COCO's instances. "
         "Name another one."),
        ('{"images": "none", "annotations": [], "categories": []}', "{file!r} has no list 'images': it is no file of "
         "COCO's instances. Name another one."),
        ('{"images": "\udcff"}', "{file!r} is not UTF-8 text, so no labels of COCO. Name another file."),
    ],
)  # fmt: skip
def test_what_is_no_coco_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.json"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError) as raised:
        read(file)
    assert str(raised.value) == message.format(file=_Text(str(file)))


def test_parts_that_disagree_about_a_category_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "annotations/instances_train.json", document(), pictures=tmp_path / "train")
    other = document(categories=[{"id": 18, "name": "horse"}], annotations=[])
    file = write(tmp_path / "annotations/instances_val.json", other, pictures=tmp_path / "val")
    with pytest.raises(DataError) as raised:
        read(tmp_path)
    assert str(raised.value) == (
        f"{place(file, 'categories', 0)}: category id 18 is 'horse' here and 'dog' in another file "
        "of the data set. Name one file, or mend the ids."
    )


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    file = write(tmp_path / "labels.json", document())
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert len(read(file).samples) == 2


class _Text(str):
    """Text that `str.format` can quote."""

    def __format__(self, specification: str) -> str:
        return str(self)
