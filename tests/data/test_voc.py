"""Pascal VOC is read as its kit means it, and every broken label is named with its line."""

from pathlib import Path

import pytest
from PIL import Image

from edgecv.data.problems import BrokenDataError
from edgecv.data.reading import open_data
from edgecv.data.samples import Box, Dataset
from edgecv.errors import DataError

DOG = ("dog", 48, 240, 195, 371)  # the first object of VOC2007's 000001.jpg, 353 × 500 pixels


def xml(*objects: tuple[str | float, ...], filename: str = "a.jpg", size: tuple[int, int] = (353, 500)) -> str:
    """One line an object, the first on line 4: name, xmin, ymin, xmax, ymax, further XML."""
    lines = [
        "<annotation>",
        f"<filename>{filename}</filename>",
        f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>",
    ]
    for name, xmin, ymin, xmax, ymax, *more in objects:
        box = f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
        further = "".join(map(str, more))
        lines.append(f"<object><name>{name}</name>{further}<bndbox>{box}</bndbox></object>")
    return "\n".join([*lines, "</annotation>"])


def write(folder: Path, stem: str = "a", text: str | None = None, *, suffix: str = ".jpg") -> Path:
    """Write an XML file with its picture beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}.xml").write_text(text if text is not None else xml(DOG))
    Image.new("RGB", (353, 500)).save(folder / f"{stem}{suffix}")
    return folder / f"{stem}.xml"


def kit(root: Path, *stems: str) -> Path:
    """Lay pictures out as VOC does."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for stem in stems:
        (root / f"Annotations/{stem}.xml").write_text(xml(DOG, filename=f"{stem}.jpg"))
        Image.new("RGB", (353, 500)).save(root / f"JPEGImages/{stem}.jpg")
    return root


def read(path: Path, *, skip_broken: bool = False) -> Dataset:
    return open_data(str(path), format="voc", skip_broken=skip_broken)


def problems_of(path: Path) -> list[str]:
    with pytest.raises(BrokenDataError) as raised:
        read(path)
    return [str(problem) for problem in raised.value.problems]


def test_pixels_count_from_1_and_the_last_one_is_included(tmp_path: Path) -> None:
    # The upper left pixel alone, and the whole picture.
    write(tmp_path, text=xml(("dot", 1, 1, 1, 1), ("all", 1, 1, 353, 500)))
    (sample,) = read(tmp_path).samples
    assert sample.boxes == (Box(0, 0, 1, 1, category=1), Box(0, 0, 353, 500, category=0))
    assert (sample.name, sample.size, sample.part) == (str(tmp_path / "a.jpg"), (500, 353), None)


def test_fractions_are_kept_as_they_are_written(tmp_path: Path) -> None:
    # In float64, 1.1 − 1 is 0.10000000000000009.
    write(tmp_path, text=xml(("dog", "1.1", "2.7", "10.25", "20")))
    assert read(tmp_path).samples[0].boxes == (Box(0.1, 1.7, 10.25, 20, category=0),)


def test_what_voc_says_of_an_object_is_kept(tmp_path: Path) -> None:
    more = "<pose>Left</pose><truncated>1</truncated><difficult>0</difficult><occluded></occluded>"
    write(tmp_path, text=xml((*DOG, more)))
    assert read(tmp_path).samples[0].boxes[0].extra == {"pose": "Left", "truncated": 1}


def test_lists_of_the_kit_are_parts_and_what_they_leave_out_is_left_out(tmp_path: Path) -> None:
    root = kit(tmp_path, "1", "2", "3", "4", "unlisted")
    sets = root / "ImageSets/Main"
    (sets / "train.txt").write_text("1\n")
    (sets / "val.txt").write_text("2\n\n")
    (sets / "trainval.txt").write_text("1\n2\n3\n")
    (sets / "test.txt").write_text("4  1\n")  # as the lists of single classes have it
    (sets / "dog_train.txt").write_text("nonsense\n")
    dataset = read(root)
    assert [(Path(sample.name).stem, sample.part) for sample in dataset.samples] == [
        ("1", "train"),
        ("2", "val"),
        ("3", "train"),
        ("4", "test"),
    ]
    assert dataset.task == "localisation"


def test_lists_are_checked(tmp_path: Path) -> None:
    root = kit(tmp_path, "1", "2")
    train, test = root / "ImageSets/Main/train.txt", root / "ImageSets/Main/test.txt"
    train.write_text("1\n2\n3\n")
    test.write_text("2\n")
    assert problems_of(root) == [
        f"{train}:3: picture '3' has no XML file",
        f"{test}:1: picture '2' is there already, at {train}:2",
    ]


def test_folders_are_parts(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        write(tmp_path / name)
    assert {(sample.part, Path(sample.name).parent.name) for sample in read(tmp_path).samples} == {
        ("train", "train"),
        ("val", "valid"),
        ("test", "test"),
    }


def test_a_list_of_classes_gives_their_order_and_refuses_others(tmp_path: Path) -> None:
    file = write(tmp_path, text=xml(DOG, ("cow", 1, 1, 9, 9), ("dgo", 1, 1, 9, 9)))
    (tmp_path / "labels.txt").write_text("dog\ncow\n")
    assert problems_of(tmp_path) == [f"{file}:6: unknown class 'dgo'; did you mean 'dog'?"]
    dataset = read(tmp_path, skip_broken=True)
    assert (dataset.classes, [box.category for box in dataset.samples[0].boxes]) == (("dog", "cow"), [0, 1])


def test_the_picture_is_called_as_its_xml_whatever_stands_in_it(tmp_path: Path) -> None:
    write(tmp_path, text=xml(DOG, filename="renamed.png"))
    assert read(tmp_path).samples[0].name == str(tmp_path / "a.jpg")
    write(tmp_path, text=xml(DOG, filename="a.tif"), suffix=".tif")
    assert read(tmp_path).samples[0].name == str(tmp_path / "a.tif")
    (tmp_path / "a.xml").rename(tmp_path / "b.xml")
    assert read(tmp_path).samples[0].name == str(tmp_path / "a.tif")


def test_a_size_of_zeros_is_the_pictures(tmp_path: Path) -> None:
    write(tmp_path, text=xml(DOG, size=(0, 0)))
    assert read(tmp_path).samples[0].size == (500, 353)


@pytest.mark.parametrize(
    ("numbers", "problem"),
    [
        ((1, 1, 354, 9), "box (0, 0, 354, 9) reaches outside its picture, which is 353 wide and 500 high"),
        ((9, 9, 8, 20), "box (8, 8, 8, 20) has no area"),
        ((9, 9, 3, 20), "box (8, 8, 3, 20) is reversed: x1, y1 must be its upper left corner"),
        (
            (0, 5, 9, 9),
            "box (-1, 4, 9, 9) reaches outside its picture, which is 353 wide and 500 high; VOC counts pixels from 1, "
            "not from 0",
        ),
        (("left", 1, 9, 9), "xmin is 'left', which is no finite number"),
        ((1, 1, 9, "inf"), "ymax is 'inf', which is no finite number"),
        ((1, 1, 9, ""), "ymax is '', which is no finite number"),
    ],
)
def test_a_broken_box_is_named_with_its_line(numbers: tuple[str | float, ...], problem: str, tmp_path: Path) -> None:
    file = write(tmp_path, text=xml(DOG, ("dog", *numbers)))
    assert problems_of(tmp_path) == [f"{file}:5: {problem}"]
    assert len(read(tmp_path, skip_broken=True).samples[0].boxes) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<annotation>\n<object>\n</annotation>", "3: is no XML: Opening and ending tag mismatch: object line 2 and "
         "annotation, line 3, column 14"),
        ("<html/>", "1: begins with <html>, not with <annotation> of Pascal VOC"),
        ("", "1: is no XML: Document is empty, line 1, column 1"),
        (xml(DOG).replace("<name>dog</name>", ""), "4: object has no name"),
        (xml(DOG).replace("bndbox>", "robndbox>"), "4: object has no bndbox"),
        (xml(DOG, size=(353, 0)), "3: size: width '353' and height '0' are no size"),
        ('<!DOCTYPE annotation [<!ENTITY e "dog">]>\n<annotation/>', "1: declares a document type, which labels need "
         "not and edgecv does not read"),
    ],
)  # fmt: skip
def test_a_broken_file_is_named(text: str, problem: str, tmp_path: Path) -> None:
    write(tmp_path, "b")
    file = write(tmp_path, text=text)
    assert problems_of(tmp_path) == [f"{file}:{problem}"]
    assert "b" in [Path(sample.name).stem for sample in read(tmp_path, skip_broken=True).samples]


def test_entities_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    head = f'<!DOCTYPE annotation [<!ENTITY e SYSTEM "file://{tmp_path / "secret.txt"}">]>\n'
    write(tmp_path, "b")
    write(tmp_path, text=head + xml(("&e;", 1, 1, 9, 9)))
    dataset = read(tmp_path, skip_broken=True)
    assert [Path(sample.name).stem for sample in dataset.samples] == ["b"]
    assert dataset.classes == ("dog",)


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    write(tmp_path, "b")
    file = write(tmp_path)
    (tmp_path / "a.jpg").unlink()
    assert problems_of(tmp_path) == [f"{file}:2: picture 'a.jpg' does not exist"]
    (tmp_path / "b.jpg").unlink()
    with pytest.raises(DataError) as raised:
        read(tmp_path)
    assert str(raised.value) == (
        f"None of the pictures of {str(tmp_path)!r} is there, such as 'a.jpg'. Put them into JPEGImages, or beside "
        "their XML files."
    )


def test_a_picture_with_two_xml_files_is_named(tmp_path: Path) -> None:
    first, second = write(tmp_path), tmp_path / "b.xml"
    second.write_text(xml(DOG, filename="a.jpg"))
    assert problems_of(tmp_path) == [f"{second}: picture {str(tmp_path / 'a.jpg')!r} is there already, at {first}"]


def test_a_folder_without_xml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        read(tmp_path)
    assert str(raised.value) == (
        f"{str(tmp_path)!r} holds no XML of Pascal VOC. Name the folder of Annotations and JPEGImages."
    )
