import re
from pathlib import Path

import pytest

from edgecv.data.formats.masks import VOC
from edgecv.errors import OptionError
from edgecv.labels import builtin_labels, read_labels


def test_imagenet_labels_stand_at_their_published_indices() -> None:
    labels = builtin_labels("imagenet")
    assert len(labels) == 1000
    # Indices of the ILSVRC 2012 class list.
    assert {index: labels[index] for index in (0, 698, 872, 967, 985)} == {
        0: "tench",
        698: "palace",
        872: "tripod",
        967: "espresso",
        985: "daisy",
    }


def test_voc_labels_are_those_of_masks() -> None:
    # Class numbers of the challenge's documentation: 0 is the background, 1 the aeroplane, 20 the monitor.
    labels = builtin_labels("voc")
    assert labels == VOC
    assert (labels[0], labels[1], labels[15], labels[20]) == ("background", "aeroplane", "person", "tvmonitor")


@pytest.mark.parametrize("name", ["cocoa", "../photos/LICENSES"])
def test_unknown_builtin_labels_are_refused(name: str) -> None:
    message = f"No built-in labels {name!r}. Known: coco, digits, everyday, imagenet, selfie, voc."
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        builtin_labels(name)


@pytest.mark.parametrize(
    "content",
    [b"cat\ndog", b"cat\ndog\n\n  \n", b"\xef\xbb\xbfcat\r\ndog\r\n"],
    ids=["plain", "blank lines at the end", "Windows"],
)
def test_labels_are_one_a_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    assert read_labels(path, 2) == ("cat", "dog")


def test_a_blank_line_inside_stays_so_that_later_labels_keep_their_place(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("cat\n\ndog\n")
    assert read_labels(path) == ("cat", "", "dog")


def test_wrong_number_of_labels_names_both(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("cat\ndog\n")
    message = (
        f"Labels {str(path)!r} have 2 lines, the network has 10 classes. Give one label a line, one for every class."
    )
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        read_labels(path, 10)


def test_unusable_label_files_are_refused(tmp_path: Path) -> None:
    binary, empty, absent = tmp_path / "binary", tmp_path / "empty", tmp_path / "absent"
    binary.write_bytes(b"\xff\xfe\x00cat")
    empty.write_text("\n\n")
    remedy = "Give a text file with one label a line."
    for path, problem in (
        (binary, f"Labels {str(binary)!r} are not UTF-8 text. {remedy}"),
        (empty, f"Labels {str(empty)!r} are empty. {remedy}"),
        (absent, f"Cannot read labels {str(absent)!r}: No such file or directory."),
        (tmp_path, f"Cannot read labels {str(tmp_path)!r}: Is a directory."),
    ):
        with pytest.raises(OptionError, match=f"^{re.escape(problem)}$"):
            read_labels(path)
