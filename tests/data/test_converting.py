"""Conversions lose nothing that the target has a place for, count the rest, and appear whole or not at all."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from lxml import etree
from PIL import Image

from edgecv.data.converting import convert
from edgecv.data.reading import open_data
from edgecv.data.samples import ArraySource, Box, Dataset, FileSource, Part, Sample
from edgecv.errors import DataError, OutputError, UnknownNameError

PARTS: tuple[Part, ...] = ("train", "val", "test")
CLASSES = ("zebra", "a dog: brown", "naïve")  # not in the order of their names


def picture(path: Path, size: tuple[int, int] = (64, 48)) -> FileSource:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), len(path.name), np.uint8)).save(path)
    return FileSource(path)


def dataset_of(*samples: Sample, classes: Sequence[str] = CLASSES) -> Dataset:
    return Dataset(path="source", format="test", task="detection", classes=tuple(classes), samples=samples)


def random_boxes(folder: Path, seed: int, digits: int | None) -> Dataset:
    """Pictures of many sizes with boxes anywhere; their numbers have some digits, or all of float64's."""
    random = np.random.default_rng(seed)
    samples = []
    for number in range(12):
        width, height = (int(side) for side in random.integers(1, 900, 2))
        boxes = []
        for _ in range(int(random.integers(0, 6))):
            x1, x2 = sorted(float(x) for x in random.uniform(0, width, 2))
            y1, y2 = sorted(float(y) for y in random.uniform(0, height, 2))
            if digits is not None:
                x1, y1, x2, y2 = (round(side, digits) for side in (x1, y1, x2, y2))
            if x1 < x2 and y1 < y2:
                boxes.append(Box(x1, y1, x2, y2, int(random.integers(3))))
        source = picture(folder / f"{number}.png", (width, height))
        samples.append(Sample(picture=source, boxes=tuple(boxes), size=(height, width), part=PARTS[number % 3]))
    return dataset_of(*samples)


def through(dataset: Dataset, folder: Path, *formats: str) -> Dataset:
    """Convert from format to format, each reading what the one before wrote."""
    folder.mkdir(exist_ok=True)
    for index, name in enumerate(formats):
        output = folder / f"{index}-{name}"
        convert(dataset, output, to=name)
        dataset = open_data(str(output), format=name)
    return dataset


def essence(dataset: Dataset) -> list[tuple[Part | None, str, tuple[int, int] | None, list[str]]]:
    """Part, picture and classes of each sample, in an order that does not depend on the format's."""
    found = [
        (each.part, Path(each.name).name, each.size, [dataset.classes[box.category] for box in each.boxes])
        for each in dataset.samples
    ]
    return sorted(found, key=lambda each: (str(each[0]), each[1]))


def corners(dataset: Dataset) -> np.ndarray[Any, Any]:
    ordered = sorted(dataset.samples, key=lambda each: (str(each.part), Path(each.name).name))
    return np.array([(box.x1, box.y1, box.x2, box.y2) for each in ordered for box in each.boxes])


@pytest.mark.parametrize("digits", [0, 2, 6, None])
@pytest.mark.parametrize("seed", range(5))
def test_boxes_come_back_from_coco_and_voc_as_they_went(seed: int, digits: int | None, tmp_path: Path) -> None:
    dataset = random_boxes(tmp_path / "pictures", seed, digits)
    for route in (("coco",), ("voc",), ("coco", "voc", "coco"), ("voc", "coco", "voc")):
        result = through(dataset, tmp_path / "-".join(route), *route)
        assert essence(result) == essence(dataset)
        assert result.classes == dataset.classes
        if digits is None:  # x + width has a digit more than float64 holds
            np.testing.assert_allclose(corners(result), corners(dataset), rtol=4e-16, atol=1e-13)
        else:
            np.testing.assert_array_equal(corners(result), corners(dataset))


@pytest.mark.parametrize("digits", [0, 2, 6, None])
@pytest.mark.parametrize("seed", range(5))
def test_boxes_come_back_from_yolo_within_a_millionth_of_a_pixel(seed: int, digits: int | None, tmp_path: Path) -> None:
    dataset = random_boxes(tmp_path / "pictures", seed, digits)
    for route in (("yolo",), ("coco", "yolo", "coco"), ("voc", "yolo", "voc")):
        result = through(dataset, tmp_path / "-".join(route), *route)
        assert essence(result) == essence(dataset)
        assert result.classes == dataset.classes
        np.testing.assert_allclose(corners(result), corners(dataset), rtol=0, atol=1e-6)
        if digits is not None:
            np.testing.assert_array_equal(corners(result), corners(dataset))


@pytest.mark.parametrize("name", ["coco", "voc", "yolo"])
def test_what_is_in_no_part_stays_so(name: str, tmp_path: Path) -> None:
    dataset = dataset_of(Sample(picture=picture(tmp_path / "a.png"), boxes=(Box(1, 2, 3, 4, 2),)))
    assert [sample.part for sample in through(dataset, tmp_path, name).samples] == [None]


@pytest.mark.parametrize("name", ["coco", "voc", "yolo"])
def test_what_is_written_is_recognised(name: str, tmp_path: Path) -> None:
    samples = [
        Sample(picture=picture(tmp_path / f"{part}.png"), boxes=(Box(1, 2, 3, 4, 0),), part=part) for part in PARTS
    ]
    convert(dataset_of(*samples), tmp_path / "out", to=name)
    dataset = open_data(str(tmp_path / "out"))
    assert (dataset.format, {sample.part for sample in dataset.samples}) == (name, set(PARTS))


def test_pascal_voc_is_written_as_its_kit_has_it(tmp_path: Path) -> None:
    # Hand calculation: 0-based borders 47…195 and 239…371 are VOC's pixels 48…195 and 240…371.
    box = Box(47, 239, 195, 371, 1, extra={"pose": "Left", "difficult": 1})
    source = picture(tmp_path / "000001.jpg", (353, 500))
    dataset = dataset_of(Sample(picture=source, boxes=(box,), part="test"), classes=["cow", "dog"])
    convert(dataset, tmp_path / "voc", to="voc")
    written = etree.parse(str(tmp_path / "voc/Annotations/000001.xml"), etree.XMLParser(remove_blank_text=True))
    assert etree.tostring(written) == (
        b"<annotation><folder>JPEGImages</folder><filename>000001.jpg</filename>"
        b"<size><width>353</width><height>500</height><depth>3</depth></size><segmented>0</segmented>"
        b"<object><name>dog</name><pose>Left</pose><truncated>0</truncated><difficult>1</difficult>"
        b"<bndbox><xmin>48</xmin><ymin>240</ymin><xmax>195</xmax><ymax>371</ymax></bndbox></object></annotation>"
    )
    assert (tmp_path / "voc/ImageSets/Main/test.txt").read_text() == "000001\n"
    assert (tmp_path / "voc/JPEGImages/000001.jpg").read_bytes() == source.path.read_bytes()
    assert (tmp_path / "voc/labels.txt").read_text() == "cow\ndog\n"


def test_yolo_is_written_as_ultralytics_reads_it(tmp_path: Path) -> None:
    # Ultralytics' example: a centre of 0.5, 0.25 and a size of 0.25, 0.5 in a picture of 64 × 48.
    dataset = dataset_of(
        Sample(picture=picture(tmp_path / "a.png"), boxes=(Box(24, 0, 40, 24, 1),), part="train"),
        Sample(picture=picture(tmp_path / "b.png"), part="val"),
    )
    convert(dataset, tmp_path / "yolo", to="yolo")
    assert (tmp_path / "yolo/labels/train/a.txt").read_text() == "1 0.5 0.25 0.25 0.5\n"
    assert (tmp_path / "yolo/labels/val/b.txt").read_text() == ""
    assert yaml.safe_load((tmp_path / "yolo/data.yaml").read_text()) == {
        "train": "images/train",
        "val": "images/val",
        "names": dict(enumerate(CLASSES)),
    }


def test_coco_is_what_pycocotools_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = (Box(1, 2, 11, 22, 2), Box(0, 0, 64, 48, 0, crowd=True, area=99))
    dataset = dataset_of(Sample(picture=picture(tmp_path / "a.png"), boxes=boxes, part="val"))
    convert(dataset, tmp_path / "coco", to="coco")
    coco = pytest.importorskip("pycocotools.coco").COCO(tmp_path / "coco/annotations/instances_val.json")
    capsys.readouterr()
    assert [(each["bbox"], each["area"], each["iscrowd"]) for each in coco.loadAnns(coco.getAnnIds())] == [
        ([1, 2, 10, 20], 200, 0),
        ([0, 0, 64, 48], 99, 1),
    ]
    (image,) = coco.loadImgs(coco.getImgIds())
    assert (image["file_name"], image["width"], image["height"]) == ("a.png", 64, 48)
    assert [each["name"] for each in coco.loadCats(coco.getCatIds())] == list(CLASSES)


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """COCO's labels with all that COCO can say, and ids that are sparse."""
    outline = [1, 2, 11, 2, 6, 22]
    document = {
        "info": {"year": 2026},
        "licenses": [{"id": 4, "name": "CC0"}],
        "images": [{"id": 70, "file_name": "a.png", "width": 64, "height": 48, "license": 4}],
        "annotations": [
            annotation(id=9, segmentation=[outline], score=0.5),
            annotation(id=7, segmentation={"counts": [0, 3072], "size": [48, 64]}, iscrowd=1, category_id=90),
        ],
        "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}, {"id": 90, "name": "brush"}],
    }
    picture(tmp_path / "source/a.png")
    (tmp_path / "source/labels.json").write_text(json.dumps(document))
    return tmp_path / "source/labels.json"


def annotation(**keys: Any) -> dict[str, Any]:
    return {"image_id": 70, "category_id": 18, "bbox": [1, 2, 10, 20], "area": 100, "iscrowd": 0, **keys}


def test_coco_written_from_coco_says_the_same(coco: Path, tmp_path: Path) -> None:
    conversion = convert(open_data(str(coco), format="coco"), tmp_path / "out", to="coco")
    assert (conversion.lost, conversion.lost_of_pictures) == ({}, {})
    assert json.loads((tmp_path / "out/annotations/instances.json").read_text()) == json.loads(coco.read_text())


def test_what_the_target_has_no_place_for_is_counted(coco: Path, tmp_path: Path) -> None:
    dataset = open_data(str(coco), format="coco")
    conversion = convert(dataset, tmp_path / "voc", to="voc")
    assert conversion.lost == {"area": 2, "crowd": 1, "score": 1, "segmentation": 2}
    assert conversion.lost_of_pictures == {"license": 1}
    assert conversion.to_json() == {
        "path": str(tmp_path / "voc"),
        "format": "voc",
        "pictures": 1,
        "boxes": 2,
        "parts": {"none": 1},
        "lost": {
            "boxes": {"area": 2, "crowd": 1, "score": 1, "segmentation": 2},
            "pictures": {"license": 1},
        },
    }
    flags = Box(1, 1, 2, 2, 0, extra={"pose": "Left", "truncated": 1, "occluded": 1, "difficult": 1})
    sample = Sample(picture=picture(tmp_path / "b.png"), boxes=(flags, Box(1, 1, 2, 2, 0)))
    conversion = convert(dataset_of(sample), tmp_path / "yolo", to="yolo")
    assert conversion.lost == {"difficult": 1, "occluded": 1, "pose": 1, "truncated": 1}


def test_what_voc_says_travels_through_coco(tmp_path: Path) -> None:
    flags = {"pose": "Left", "truncated": 1, "occluded": 1, "difficult": 1}
    sample = Sample(picture=picture(tmp_path / "b.png"), boxes=(Box(1, 1, 2, 2, 0, extra=flags),))
    (box,) = through(dataset_of(sample), tmp_path, "voc", "coco", "voc").samples[0].boxes
    assert box.extra == flags


def test_polygons_travel_through_yolo_where_every_box_has_one(coco: Path, tmp_path: Path) -> None:
    dataset = open_data(str(coco), format="coco")
    (sample,) = dataset.samples
    first = dataclasses.replace(dataset, samples=(dataclasses.replace(sample, boxes=sample.boxes[:1]),))
    (box,) = through(first, tmp_path, "yolo", "coco").samples[0].boxes
    assert box.extra["segmentation"] == [[1, 2, 11, 2, 6, 22]]
    assert (box.x1, box.y1, box.x2, box.y2) == (1, 2, 11, 22)
    # The crowd has none: a file of both would be read wrongly.
    assert convert(dataset, tmp_path / "both", to="yolo").lost["segmentation"] == 2
    assert {len(line.split()) for line in (tmp_path / "both/labels/train/a.txt").read_text().splitlines()} == {5}


def test_pictures_of_the_same_name_get_numbers(tmp_path: Path) -> None:
    names = ("x/a.png", "y/a.png", "z/A.jpg", "z/b.png")
    samples = [Sample(picture=picture(tmp_path / name), boxes=(Box(0, 0, 1, 1, 0),)) for name in names]
    for name, folder in (("coco", "images"), ("voc", "JPEGImages"), ("yolo", "images/train")):
        convert(dataset_of(*samples), tmp_path / name, to=name)
        written = sorted(file.name for file in (tmp_path / name / folder).iterdir())
        assert written == ["A-3.jpg", "a-2.png", "a.png", "b.png"]
        assert len(open_data(str(tmp_path / name), format=name).samples) == 4


def test_pictures_are_linked_or_left(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.png")
    dataset = dataset_of(Sample(picture=source, boxes=(Box(0, 0, 1, 1, 0),)))
    convert(dataset, tmp_path / "links", to="voc", pictures="link")
    link = tmp_path / "links/JPEGImages/a.png"
    assert (link.is_symlink(), link.resolve()) == (True, source.path.resolve())
    convert(dataset, tmp_path / "labels", to="voc", pictures="none")
    assert sorted(entry.name for entry in (tmp_path / "labels").iterdir()) == ["Annotations", "labels.txt"]


def test_pictures_in_memory_become_files(tmp_path: Path) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    source = ArraySource("digits.gz[17]", pixels)
    convert(dataset_of(Sample(picture=source, boxes=(Box(0, 0, 1, 1, 0),))), tmp_path / "out", to="coco")
    with Image.open(tmp_path / "out/images/digits_gz_17.png") as image:
        np.testing.assert_array_equal(np.asarray(image)[:, :, 0], pixels)


def refusal(dataset: Dataset, output: Path, **options: Any) -> str:
    with pytest.raises((OutputError, DataError, UnknownNameError)) as raised:
        convert(dataset, output, **{"to": "coco", **options})
    return str(raised.value)


def test_an_output_that_exists_is_replaced_by_force_alone(tmp_path: Path) -> None:
    sample = Sample(picture=picture(tmp_path / "source/a.png"), boxes=(Box(0, 0, 1, 1, 0),))
    dataset, output = dataset_of(sample), tmp_path / "out"
    convert(dataset, output, to="yolo")
    assert refusal(dataset, output) == (
        f"{str(output)!r} is there already. Name another folder with -o, or replace it with --force."
    )
    convert(dataset, output, to="coco", force=True)
    assert sorted(entry.name for entry in output.iterdir()) == ["annotations", "images"]


def test_force_replaces_nothing_but_conversions(tmp_path: Path) -> None:
    sample = Sample(picture=picture(tmp_path / "source/a.png"), boxes=(Box(0, 0, 1, 1, 0),))
    dataset, output = dataset_of(sample), tmp_path / "out"
    assert refusal(dataset, tmp_path / "source", force=True) == (
        f"{str(tmp_path / 'source')!r} holds the data to be converted, which must not be lost. Name another folder."
    )
    output.mkdir()
    (output / "thesis.txt").write_text("years of work")
    assert refusal(dataset, output, force=True) == (
        f"{str(output)!r} holds 'thesis.txt', which no conversion wrote, so --force does not replace it. Name another "
        "folder with -o."
    )
    assert refusal(dataset, output / "thesis.txt", force=True) == (
        f"{str(output / 'thesis.txt')!r} is no folder, so --force does not replace it. Name another one with -o."
    )
    assert (output / "thesis.txt").read_text() == "years of work"


def test_what_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    sample = Sample(picture=FileSource(tmp_path / "gone.png"), boxes=(Box(0, 0, 1, 1, 0),), size=(5, 5))
    output = tmp_path / "out"
    assert refusal(dataset_of(sample), output) == f"Cannot write {str(output)!r}: No such file or directory."
    good = Sample(picture=picture(tmp_path / "a.png"), boxes=(Box(0, 0, 1, 1, 0),))
    assert refusal(dataset_of(good, classes=["\x01"]), output, to="voc") == (
        "XML cannot hold the name '\\x01': it has control characters. Rename it."
    )
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.png"]


def test_data_without_boxes_are_refused(tmp_path: Path) -> None:
    dataset = dataclasses.replace(dataset_of(), task="classification")
    assert refusal(dataset, tmp_path / "out") == (
        "'source' has no boxes: its labels are for classification. Only data for detection or localisation can be "
        "converted."
    )
    assert refusal(dataset_of(), tmp_path / "out", to="cocoo") == (
        "Unknown format to write 'cocoo'. Did you mean 'coco'? Installed: coco, voc, yolo."
    )
