"""The format of data is recognised or refused in one line; every broken label is told."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from edgecv.data.problems import BrokenDataError
from edgecv.data.reading import format_names, open_data
from edgecv.errors import DataError, UnknownNameError

Save = Callable[[str], Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Save a picture of 20 x 10 pixels below the data's folder."""

    def write(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), (len(name), 0, 0)).save(path)
        return path

    return write


def refused(message: str, path: Path, format: str | None = None) -> None:  # noqa: A002
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        open_data(str(path), format=format)


KNOWN = (
    "folders (a folder of pictures per class), idx (train-images-idx3-ubyte and its like, also .gz), "
    "csv (a CSV of picture, class and box), "
)


def test_the_names_of_the_formats() -> None:
    assert format_names() == ("folders", "idx", "csv", "coco", "voc", "yolo", "masks", "tfds")


def test_what_is_recognised_says_so_and_keeps_the_path_that_was_named(save: Save, tmp_path: Path) -> None:
    save("cat/1.png")
    save("dog/1.png")
    dataset = open_data(f"{tmp_path}/")
    assert (dataset.path, dataset.format, dataset.skipped) == (f"{tmp_path}/", "folders", 0)


def test_nothing_at_the_path(tmp_path: Path) -> None:
    path = tmp_path / "nowhere"
    for form in (None, "csv"):
        refused(f"There are no data at {str(path)!r}. Name a folder, a file of labels, or tfds:NAME.", path, form)


def test_an_empty_name_is_not_the_current_folder(save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save("cat/1.png")
    save("dog/1.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"^There are no data at ''\. Name a folder, a file of labels, or tfds:NAME\.$"):
        open_data("")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    os.mkfifo(path)
    refused(f"{str(path)!r} is neither a file nor a folder. Name a folder, a file of labels, or tfds:NAME.", path)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (
            "a.csv",
            "picture,class\n1.png,Kätzchen\n".encode("latin-1"),
            "{!r} is no UTF-8 text. Save it as CSV in UTF-8.",
        ),
        ("a.json", b"[1, 2]", "{}:1: is no JSON of COCO: Expecting '{{', column 1. Mend it."),
        ("a.yaml", b"- 1", "{!r} is no data.yaml of YOLO: it has no keys. Name another file."),
    ],
    ids=["csv", "json", "yaml"],
)
def test_a_file_that_no_format_recognises_is_told_what_is_wrong_with_it_by_its_suffix(
    name: str, content: bytes, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    refused(problem.format(str(path)), path)


def test_an_empty_folder(tmp_path: Path) -> None:
    refused(f"Folder {str(tmp_path)!r} is empty. Name one with labelled pictures.", tmp_path)


def test_a_folder_of_no_format_says_what_was_looked_for_and_what_lies_there(tmp_path: Path) -> None:
    for name in "abcdefg":
        (tmp_path / name).write_text("hello")
    (tmp_path / "a.folder").mkdir()
    with pytest.raises(DataError) as caught:
        open_data(str(tmp_path))
    message = str(caught.value)
    assert message.startswith(f"Folder {str(tmp_path)!r} holds data of none of the formats. Looked for: {KNOWN}coco (")
    assert message.endswith("Found: a, a.folder/, b, c, d and 3 more. Name another folder, or the file of labels.")
    assert "\n" not in message


def test_a_file_of_no_format(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(DataError) as caught:
        open_data(str(path))
    message = str(caught.value)
    assert message.startswith(f"File {str(path)!r} is labels of none of the formats. Looked for: {KNOWN}coco (")
    assert message.endswith("Name another one, or the folder.")


def test_several_formats_are_named_and_one_can_be_chosen(save: Save, tmp_path: Path) -> None:
    save("cat/1.png")
    save("dog/1.png")
    (tmp_path / "labels.csv").write_text("cat/1.png,tom\ndog/1.png,rex\n")
    refused(
        f"{str(tmp_path)!r} can be read as folders and csv. Say which with --format folders, for example.", tmp_path
    )
    assert open_data(str(tmp_path), format="csv").classes == ("rex", "tom")
    assert open_data(str(tmp_path), format="folders").classes == ("cat", "dog")


def test_an_unknown_format_has_a_hint(tmp_path: Path) -> None:
    message = (
        "Unknown data format 'cocoo'. Did you mean 'coco'? Installed: coco, csv, folders, idx, masks, tfds, voc, yolo."
    )
    with pytest.raises(UnknownNameError, match=f"^{re.escape(message)}$"):
        open_data(str(tmp_path), format="cocoo")


def test_all_broken_labels_are_told_and_can_be_skipped(save: Save, tmp_path: Path) -> None:
    save("a.png")
    path = tmp_path / "labels.csv"
    path.write_text("a.png,cat\nb.png,cat\na.png,dog\n")
    message = (
        f"2 labels are broken in {str(path)!r}, the first at {path}:2: picture {str(tmp_path / 'b.png')!r} does not "
        "exist. Mend them, or go on without them with --skip-broken."
    )
    with pytest.raises(BrokenDataError, match=f"^{re.escape(message)}$") as caught:
        open_data(str(path))
    assert [str(problem) for problem in caught.value.problems] == [
        f"{path}:2: picture {str(tmp_path / 'b.png')!r} does not exist",
        f"{path}:3: picture {str(tmp_path / 'a.png')!r} is there already, at {path}:1",
    ]
    dataset = open_data(str(path), skip_broken=True)
    assert (len(dataset.samples), dataset.skipped) == (1, 2)


def test_when_all_labels_are_broken_nothing_is_left_to_go_on_with(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("a.png,cat\n")
    message = (
        f"{str(path)!r} holds no labelled picture: all labels are broken, the first at {path}:1: picture "
        f"{str(tmp_path / 'a.png')!r} does not exist. Name data that do."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        open_data(str(path), skip_broken=True)


def test_recognising_imports_no_framework_and_no_parser_of_an_extra(save: Save, tmp_path: Path) -> None:
    save("cat/1.png")
    save("dog/1.png")
    code = f"import sys; from edgecv.data.reading import open_data; open_data({str(tmp_path)!r}); print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"keras", "tensorflow", "tensorflow_datasets", "lxml", "yaml"} & set(loaded)
