"""IDX files, whose bytes are written here as the format's description says."""

import gzip
import re
import struct
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edgecv.data.formats.idx import FASHION, Idx
from edgecv.data.problems import Problems
from edgecv.data.samples import Dataset
from edgecv.errors import DataError


def images(count: int, height: int = 2, width: int = 3) -> bytes:
    pixels = bytes(range(count * height * width))
    return struct.pack(">BBBBIII", 0, 0, 8, 3, count, height, width) + pixels


def labels(*values: int) -> bytes:
    return struct.pack(">BBBBI", 0, 0, 8, 1, len(values)) + bytes(values)


def read(path: Path, *expected: str) -> Dataset:
    problems = Problems()
    dataset = Idx().read(path, problems)
    assert [str(problem) for problem in problems.found] == list(expected)
    return dataset


def save(folder: Path, name: str, content: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


@pytest.mark.parametrize("pattern", ["{}-{}-idx{}-ubyte", "{}-{}-idx{}-ubyte.gz", "{}-{}.idx{}-ubyte"])
@pytest.mark.parametrize("test", ["t10k", "test"])
def test_pictures_labels_and_parts(pattern: str, test: str, tmp_path: Path) -> None:
    save(tmp_path, pattern.format("train", "images", 3), images(3))
    save(tmp_path, pattern.format("train", "labels", 1), labels(2, 0, 1))
    save(tmp_path, pattern.format(test, "images", 3), images(1))
    save(tmp_path, pattern.format(test, "labels", 1), labels(2))
    assert Idx().recognises(tmp_path)
    dataset = read(tmp_path)
    assert (dataset.task, dataset.classes) == ("classification", ("0", "1", "2"))
    assert [(sample.category, sample.part, sample.size) for sample in dataset.samples] == [
        (2, "train", (2, 3)),
        (0, "train", (2, 3)),
        (1, "train", (2, 3)),
        (2, "test", (2, 3)),
    ]
    second = dataset.samples[1]
    assert second.name == f"{tmp_path / pattern.format('train', 'images', 3)}[1]"
    assert second.origin == f"{tmp_path / pattern.format('train', 'labels', 1)}[1]"
    assert second.picture.read().pixels[..., 1].tolist() == [[6, 7, 8], [9, 10, 11]]


def test_a_file_stands_for_its_part(tmp_path: Path) -> None:
    for part, count in (("train", 2), ("t10k", 3)):
        save(tmp_path, f"{part}-images-idx3-ubyte", images(count))
        save(tmp_path, f"{part}-labels-idx1-ubyte", labels(*range(count)))
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        assert Idx().recognises(tmp_path / name)
        assert [sample.part for sample in read(tmp_path / name).samples] == ["test"] * 3


def test_colour_pictures(tmp_path: Path) -> None:
    save(tmp_path, "train-images-idx4-ubyte", struct.pack(">BBBBIIII", 0, 0, 8, 4, 1, 1, 2, 3) + bytes(range(6)))
    save(tmp_path, "train-labels-idx1-ubyte", labels(0))
    assert read(tmp_path).samples[0].picture.read().pixels.tolist() == [[[0, 1, 2], [3, 4, 5]]]


def test_uncompressed_files_are_mapped_not_read(tmp_path: Path) -> None:
    save(tmp_path, "train-images-idx3-ubyte", images(2))
    save(tmp_path, "train-labels-idx1-ubyte", labels(0, 1))
    picture = read(tmp_path).samples[1].picture
    base = picture.pixels  # type: ignore[attr-defined]
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


def test_names_of_the_classes(tmp_path: Path) -> None:
    for folder in ("plain", "fashion-mnist", "named"):
        save(tmp_path / folder, "train-images-idx3-ubyte", images(2))
        save(tmp_path / folder, "train-labels-idx1-ubyte", labels(0, 2))
    (tmp_path / "named/labels.txt").write_text("a\nb\nc\nd\n")
    assert read(tmp_path / "plain").classes == ("0", "1", "2")
    assert read(tmp_path / "fashion-mnist").classes == FASHION
    assert read(tmp_path / "named").classes == ("a", "b", "c", "d")


def test_labels_above_the_named_classes_are_told(tmp_path: Path) -> None:
    save(tmp_path, "train-images-idx3-ubyte", images(3))
    save(tmp_path, "train-labels-idx1-ubyte", labels(0, 2, 1))
    (tmp_path / "classes.txt").write_text("a\nb\n")
    file = tmp_path / "train-labels-idx1-ubyte"
    dataset = read(tmp_path, f"{file}[1]: unknown class 2; there are 2, counted from 0")
    assert [sample.category for sample in dataset.samples] == [0, 1]


def test_class_files_must_name_each_class_once(tmp_path: Path) -> None:
    save(tmp_path, "train-images-idx3-ubyte", images(1))
    save(tmp_path, "train-labels-idx1-ubyte", labels(0))
    file = tmp_path / "classes.txt"
    for text, problem in (("a\nb\na\n", "names 'a' again in line 3"), ("a\n\nb\n", "is blank in line 2")):
        file.write_text(text)
        with pytest.raises(
            DataError, match=f"^{re.escape(f'{str(file)!r} {problem}. Name each class once, one a line.')}$"
        ):
            read(tmp_path)


def long(count: int) -> bytes:
    """Say that there are count labels, and hold one."""
    return struct.pack(">BBBBIB", 0, 0, 8, 1, count, 0)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "{!r} is no IDX file: it begins with nothing. Fetch it again."),
        (b"\x89PNG", "{!r} is no IDX file: it begins with 89504e47. Fetch it again."),
        (b"\0\0\x08\x01\0\0", "IDX file {!r} ends in its header. Fetch it again."),
        (
            b"\0\0\x0d\x01\0\0\0\x01" + bytes(4),
            "IDX file {!r} has numbers of type 0x0d. Give unsigned bytes, 0x08.",
        ),
        (long(3), "IDX file {!r} should hold 3 bytes after its header, and holds 1. Fetch it again."),
        # A damaged header must not ask for 4 GB.
        (
            long(2**32 - 1),
            "IDX file {!r} should hold 4,294,967,295 bytes after its header, and holds 1. Fetch it again.",
        ),
        (labels(0, 1) + b"\0", "IDX file {!r} should hold 2 bytes after its header, and holds more. Fetch it again."),
        (images(1), "IDX file {!r} of shape [1, 2, 3] holds no labels. Fetch it again."),
    ],
    ids=["empty", "PNG", "cut header", "floats", "cut", "absurd", "longer", "pictures"],
)
def test_damaged_files_are_refused(content: bytes, problem: str, suffix: str, tmp_path: Path) -> None:
    name = f"train-labels-idx1-ubyte{suffix}"
    save(tmp_path, "train-images-idx3-ubyte", images(2))
    save(tmp_path, name, content)
    with pytest.raises(DataError, match=f"^{re.escape(problem.format(str(tmp_path / name)))}$"):
        read(tmp_path)


def test_a_cut_gz_is_refused(tmp_path: Path) -> None:
    save(tmp_path, "train-images-idx3-ubyte", images(2))
    file = tmp_path / "train-labels-idx1-ubyte.gz"
    file.write_bytes(gzip.compress(labels(*range(200)))[:-20])
    message = (
        f"IDX file {str(file)!r} is damaged: Compressed file ended before the end-of-stream marker was reached. "
        "Fetch it again."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read(tmp_path)


def test_files_that_disagree_or_lack_the_other_are_refused(tmp_path: Path) -> None:
    pictures, classes = tmp_path / "train-images-idx3-ubyte", tmp_path / "train-labels-idx1-ubyte"
    pictures.write_bytes(images(2))
    message = f"Beside {str(pictures)!r} there are no labels. Put 'train-labels-idx1-ubyte' there."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read(tmp_path)
    classes.write_bytes(labels(0))
    message = f"IDX files disagree: 2 pictures in {str(pictures)!r}, 1 labels in {str(classes)!r}. Fetch both again."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read(tmp_path)


def test_several_data_sets_in_a_folder_are_refused_and_one_can_be_named(tmp_path: Path) -> None:
    for word in ("emnist-letters-", "emnist-digits-"):
        save(tmp_path, f"{word}train-images-idx3-ubyte", images(1))
        save(tmp_path, f"{word}train-labels-idx1-ubyte", labels(0))
    names: Sequence[str] = ("emnist-digits-", "emnist-letters-")
    message = (
        f"{str(tmp_path)!r} holds 2 data sets ({', '.join(map(repr, names))}). "
        "Put the files of one into a folder of its own."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read(tmp_path)
    assert len(read(tmp_path / "emnist-digits-train-images-idx3-ubyte").samples) == 1


def test_sixty_thousand_pictures_open_in_two_seconds(tmp_path: Path) -> None:
    count = 60_000
    save(tmp_path, "train-images-idx3-ubyte", struct.pack(">BBBBIII", 0, 0, 8, 3, count, 28, 28) + bytes(count * 784))
    save(tmp_path, "train-labels-idx1-ubyte", labels(*(index % 10 for index in range(count))))
    start = time.process_time()
    assert len(read(tmp_path).samples) == count
    assert time.process_time() - start < 2
