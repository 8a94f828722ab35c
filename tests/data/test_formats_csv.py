"""CSV files of pictures, classes and boxes."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from edgecv.data.formats.csv_boxes import Csv
from edgecv.data.problems import Problems
from edgecv.data.samples import Dataset
from edgecv.errors import DataError

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Save a CSV beside pictures a.png … e.png of 20 x 10 pixels."""
    for number, name in enumerate("abcde"):
        Image.new("RGB", (20, 10), (number, 0, 0)).save(tmp_path / f"{name}.png")

    def save(text: str, name: str = "labels.csv", encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode(encoding))
        return path

    return save


def read(path: Path, *expected: str) -> Dataset:
    problems = Problems()
    dataset = Csv().read(path, problems)
    assert [str(problem) for problem in problems.found] == [text.format(path) for text in expected]
    return dataset


def boxes(dataset: Dataset) -> dict[str, list[tuple[float, float, float, float, str]]]:
    return {
        Path(sample.name).name: [
            (box.x1, box.y1, box.x2, box.y2, dataset.classes[box.category]) for box in sample.boxes
        ]
        for sample in dataset.samples
    }


def classes(dataset: Dataset) -> dict[str, str]:
    return {Path(sample.name).name: dataset.classes[sample.category or 0] for sample in dataset.samples}


@pytest.mark.parametrize(
    "text",
    [
        "a.png,dog\nb.png,cat\n",
        "a.png, dog\r\n\r\n b.png ,cat",
        "\ufeffpicture,class\na.png,dog\nb.png,cat\n",
        "Image Path;Label;comment\na.png;dog;x, y\nb.png;cat;\n",
        "label\tfilename\ndog\t./a.png\ncat\tb.png\n",
        'filename|class_name\n"a.png"|"dog"\nb.png|cat\n',
    ],
    ids=["bare", "Windows and spaces", "BOM", "semicolons", "tabs", "bars"],
)
def test_classes_in_many_spellings(text: str, write: Write) -> None:
    path = write(text)
    assert Csv().recognises(path)
    dataset = read(path)
    assert (dataset.task, dataset.classes) == ("classification", ("cat", "dog"))
    assert classes(dataset) == {"a.png": "dog", "b.png": "cat"}


def test_excels_unicode_text(write: Write) -> None:
    assert classes(read(write("file\tclass\na.png\tZoë\nb.png\tdog\n", encoding="utf-16"))) == {
        "a.png": "Zoë",
        "b.png": "dog",
    }


@pytest.mark.parametrize(
    "text",
    [
        "a.png,dog,1,2,3.5,4\nb.png,cat,0,0,20,10\n",
        "a.png,1,2,3.5,4,dog\nb.png,0,0,20,10,cat\n",  # as keras-retinanet has it
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,20,10,dog,1,2,3.5,4\nb.png,20,10,cat,0,0,20,10\n",
        "X_Max,Y_Max,X_Min,Y_Min,label,img\n3.5,4,1,2,dog,a.png\n20,10,0,0,cat,b.png\n",
        "image,class,left,top,right,bottom\na.png,dog,1,2,3.5,4\nb.png,cat,0,0,20,10\n",
    ],
    ids=["bare", "class last", "TensorFlow", "any order", "left, top"],
)
def test_one_box_for_each_picture_is_localisation(text: str, write: Write) -> None:
    dataset = read(write(text))
    assert dataset.task == "localisation"
    assert boxes(dataset) == {"a.png": [(1, 2, 3.5, 4, "dog")], "b.png": [(0, 0, 20, 10, "cat")]}
    assert [(sample.size, sample.category) for sample in dataset.samples] == [((10, 20), None)] * 2


def test_several_boxes_or_none_are_detection(write: Write) -> None:
    two = read(write("a.png,dog,1,2,3,4\nb.png,cat,0,0,20,10\na.png,cat,2,2,3,4\n"))
    assert two.task == "detection"
    assert boxes(two) == {"a.png": [(1, 2, 3, 4, "dog"), (2, 2, 3, 4, "cat")], "b.png": [(0, 0, 20, 10, "cat")]}
    none = read(write("a.png,,,,,\nb.png,0,0,20,10,cat\n"))
    assert none.task == "detection"
    assert boxes(none) == {"a.png": [], "b.png": [(0, 0, 20, 10, "cat")]}


def test_every_broken_label_is_told_with_its_line(write: Write, tmp_path: Path) -> None:
    text = (
        "picture,class,x1,y1,x2,y2,note\n"
        'a.png,dog,1,2,3,4,"two\nlines"\n'  # lines 2 and 3
        "a.png,dog,1,2,3,4,\n"  # 4
        "a.png,dog,1,2,30,4,\n"
        "a.png,dog,3,2,1,4,\n"
        "a.png,dog,3,2,3,4,\n"
        "a.png,dog,nan,2,x,4,\n"  # 8
        "gone.png,dog,1,2,3,4,\n"
        "\n"
        "b.png,dog,1,2\n"  # 11
        ",dog,1,2,3,4,\n"
        "c.png,,1,2,3,4,\n"
        "d.png,dog,,,,,\n"  # 14
    )
    gone = str(tmp_path / "gone.png")
    dataset = read(
        write(text),
        "{0}:11: has 4 columns, needs 6",
        "{0}:4: this box of picture 'a.png' is there already, at {0}:2",
        "{0}:5: box (1, 2, 30, 4) reaches outside its picture, which is 20 wide and 10 high",
        "{0}:6: box (3, 2, 1, 4) is reversed: x1, y1 must be its upper left corner",
        "{0}:7: box (3, 2, 3, 4) has no area",
        "{0}:8: x1 is 'nan', which is no finite number",
        "{0}:8: x2 is 'x', which is no finite number",
        "{0}:9: picture " + repr(gone) + " does not exist",
        "{0}:12: names no picture",
        "{0}:13: unknown class ''",
        "{0}:14: x1 is '', which is no finite number",
        "{0}:14: y1 is '', which is no finite number",
        "{0}:14: x2 is '', which is no finite number",
        "{0}:14: y2 is '', which is no finite number",
    )
    # Pictures that lost all boxes are no pictures that show nothing.
    assert boxes(dataset) == {"a.png": [(1, 2, 3, 4, "dog")]}


def test_classes_txt_orders_the_classes_and_knows_them(write: Write, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    dataset = read(write("a.png,cat\nb.png,dig\n"), "{0}:2: unknown class 'dig'; did you mean 'dog'?")
    assert dataset.classes == ("dog", "cat")
    assert [sample.category for sample in dataset.samples] == [1]


def test_numbers_are_ordered_by_value(write: Write) -> None:
    assert read(write("a.png,10\nb.png,9\nc.png,0\n")).classes == ("0", "9", "10")


def test_a_column_of_parts(write: Write) -> None:
    text = (
        "picture,class,split\na.png,x,train\nb.png,y,TRAIN\nc.png,x,validation\nd.png,z,test\n"
        "e.png,x,\na.png,x,test\ne.png,x,later\n"
    )
    dataset = read(
        write(text),
        "{0}:8: unknown part 'later'; known are train, val and test",
        "{0}:5: unknown class 'z'",  # training has none
        "{0}:7: puts picture 'a.png' into test; it is in train already, at {0}:2",
    )
    assert [sample.part for sample in dataset.samples] == ["train", "train", "val", None]


def test_files_and_folders_that_are_parts(write: Write, tmp_path: Path) -> None:
    write("a.png,x\nb.png,y\n", "train_labels.csv")
    write("c.png,x\n", "test_labels.csv")
    dataset = read(tmp_path)
    assert [(Path(sample.name).name, sample.part) for sample in dataset.samples] == [
        ("a.png", "train"),
        ("b.png", "train"),
        ("c.png", "test"),
    ]
    for file in tmp_path.glob("*.csv"):
        file.unlink()
    write("../a.png,x\n../b.png,y\n", "train/_annotations.csv")
    write("../c.png,x\n", "valid/_annotations.csv")
    assert Csv().recognises(tmp_path)
    assert [sample.part for sample in read(tmp_path).samples] == ["train", "train", "val"]


def refused(path: Path, message: str) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read(path)


def test_what_is_unclear_is_refused(write: Write, tmp_path: Path) -> None:
    header = "Give a header such as picture,class,x1,y1,x2,y2."
    path = write("picture,class,x1,y1,x2\na.png,x,1,2,3\n")
    refused(path, f"{path}:1: of its columns, picture, class, x1, y1, x2, none is y2. {header}")
    path = write("picture,width\na.png,20\n")
    refused(path, f"{path}:1: of its columns, picture, width, none is class, x1, y1, x2, y2. {header}")
    path = write("hello\n")
    refused(path, f"{path}:1: 'hello' is no header, nor a picture's line. {header}")
    path = write("a.png,x,1,2\n")
    refused(path, f"{path}:1: there are 4 columns and no header. {header}")
    path = write("")
    refused(path, f"{str(path)!r} is empty. Give a CSV with a line for each picture or box.")
    path = write("a.png,x,0,0,0.5,1\nb.png,x,0.1,0,0.5,1\n")
    refused(path, f"All boxes of {str(path)!r} lie within 0…1. Write them in pixels of their pictures.")
    path = write('a.png,x\nb.png,"y\n')
    refused(path, f"{path}:2: the CSV cannot be read: unexpected end of data. Mend its quotes.")
    path = write("a.png,é\n", encoding="latin-1")
    refused(path, f"{str(path)!r} is no UTF-8 text. Save it as CSV in UTF-8.")
    path = write("a.png,x\n")
    write("b.png,x\n", "more.csv")
    refused(tmp_path, f"{str(tmp_path)!r} holds several CSV files: labels.csv, more.csv. Name one of them.")


def test_a_picture_of_no_size_is_told(write: Write, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    read(
        write("a.png,dog,1,2,3,4\nb.png,dog,1,2,3,4\n"),
        "{0}:1: Picture " + repr(str(tmp_path / "a.png")) + " is damaged or no picture that edgecv reads. "
        "Use JPEG, PNG, WebP, TIFF, BMP or GIF.",
    )


def test_a_hundred_thousand_rows_in_a_few_seconds(write: Write) -> None:
    rows = "".join(f"{'abcde'[index % 5]}.png,x,{index * 1e-4},1,{index * 1e-4 + 5},9\n" for index in range(100_000))
    path = write(rows)
    start = time.process_time()
    assert sum(len(sample.boxes) for sample in read(path).samples) == 100_000
    assert time.process_time() - start < 6
