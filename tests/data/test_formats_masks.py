"""Pictures with masks."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecv.data.formats.masks import VOC, Masks
from edgecv.data.mask_files import MaskSource, read_mask
from edgecv.data.problems import Problems
from edgecv.data.samples import Dataset
from edgecv.errors import DataError, PictureError

Save = Callable[..., Path]
VALUES = np.array([[0, 1, 2], [2, 2, 255]], np.uint8)


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Save a picture (of no values given, 3 x 2 pixels of one colour)."""

    def write(name: str, values: Any = None, mode: str | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", (3, 2)) if values is None else Image.fromarray(np.array(values))
        if mode == "P":
            image = image.copy()
            image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200] + [9] * 759)
        image.save(path)
        return path

    return write


def read(path: Path, *expected: str) -> Dataset:
    problems = Problems()
    dataset = Masks().read(path, problems)
    assert [str(problem) for problem in problems.found] == list(expected)
    return dataset


@pytest.mark.parametrize("mode", ["L", "P"])
@pytest.mark.parametrize(
    ("pictures", "masks"),
    [("images", "masks"), ("img", "mask"), ("JPEGImages", "SegmentationClass"), ("images", "annotations")],
)
def test_masks_are_class_numbers(pictures: str, masks: str, mode: str, save: Save, tmp_path: Path) -> None:
    save(f"{pictures}/a.jpg")
    mask = save(f"{masks}/a.png", VALUES, mode)
    (tmp_path / "classes.txt").write_text("ground\ncat\ndog\n")
    assert Masks().recognises(tmp_path)
    dataset = read(tmp_path)
    assert (dataset.task, dataset.classes) == ("segmentation", ("ground", "cat", "dog"))
    [sample] = dataset.samples
    assert (sample.name, sample.size, sample.origin) == (str(tmp_path / pictures / "a.jpg"), (2, 3), str(mask))
    assert sample.mask is not None
    pixels = sample.mask.read().pixels
    assert pixels.shape == (2, 3, 3)
    assert all(pixels[..., channel].tolist() == VALUES.tolist() for channel in range(3))


@pytest.mark.parametrize("pattern", ["images/{0} masks/{0}", "{0}/images {0}/masks"])
def test_the_datas_own_parts(pattern: str, save: Save, tmp_path: Path) -> None:
    for part in ("val", "train"):
        pictures, masks = pattern.format(part).split()
        save(f"{pictures}/{part}.png")
        save(f"{masks}/{part}.png", VALUES)
    dataset = read(tmp_path)
    assert [(Path(sample.name).stem, sample.part) for sample in dataset.samples] == [("train", "train"), ("val", "val")]
    assert dataset.classes == ("0", "1", "2")


def test_vocs_lists_say_which_pictures_have_masks(save: Save, tmp_path: Path) -> None:
    for name in "abc":
        save(f"JPEGImages/{name}.jpg")
    for name in "ab":
        save(f"SegmentationClass/{name}.png", VALUES)
    folder = tmp_path / "ImageSets/Segmentation"
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text("a\n")
    (folder / "val.txt").write_text("b\n\nc\na\n")
    dataset = read(
        tmp_path,
        f"{folder / 'val.txt'}:3: there is no mask 'c' in {str(tmp_path / 'SegmentationClass')!r}",
        f"{folder / 'val.txt'}:4: picture 'a' is there already, at {folder / 'train.txt'}:1",
    )
    assert [sample.part for sample in dataset.samples] == ["train", "val"]
    assert dataset.classes == VOC


def test_every_broken_mask_is_told(save: Save, tmp_path: Path) -> None:
    for name in ("alone", "colour", "good", "high", "large", "text"):
        save(f"images/{name}.png")
    save("images/good.jpg")
    good = save("masks/good.png", VALUES)
    colour, high = save("masks/colour.png"), save("masks/high.png", VALUES + 1)
    large, stray = save("masks/large.png", np.zeros((3, 3), np.uint8)), save("masks/stray.png", VALUES)
    text = tmp_path / "masks/text.png"
    text.write_text("hello")
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    images = tmp_path / "images"
    dataset = read(
        tmp_path,
        f"{images / 'good.png'}: has the name of another picture, 'good.jpg'; one mask cannot be of both",
        f"{images / 'alone.png'}: has no mask 'alone.png' in {str(tmp_path / 'masks')!r}",
        f"{stray}: is the mask of no picture in {str(images)!r}",
        f"{colour}: has colours (mode RGB). Save class numbers, as grey levels or with a palette.",
        f"{large}: is 3 wide and 3 high, its picture 3 and 2",
        f"{text}: is damaged or no picture that keeps numbers. Save it as PNG.",
        f"{high}: unknown class 3; there are 3, counted from 0",
    )
    assert [sample.origin for sample in dataset.samples] == [str(good)]


def test_masks_of_0_and_255_alone_teach_nothing(save: Save, tmp_path: Path) -> None:
    save("images/a.png")
    save("masks/a.png", np.array([[0, 255, 0], [0, 0, 0]], np.uint8))
    message = f"The masks of {str(tmp_path)!r} hold 0 and 255 alone, and 255 is of no class. Save the object as 1."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read(tmp_path)


def test_folders_of_other_labels_are_no_masks(save: Save, tmp_path: Path) -> None:
    save("images/a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 1 1\n")
    assert not Masks().recognises(tmp_path)


@pytest.mark.parametrize(("bits", "values"), [(1, [[0, 1, 1]]), (2, [[0, 1, 3]]), (4, [[0, 7, 15]])])
def test_grey_of_few_bits_keeps_its_numbers(bits: int, values: list[list[int]], tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    # PNG, third edition, 11.2.1 IHDR: width, height, bit depth, colour type 0 = greyscale.
    packed = "".join(f"{value:0{bits}b}" for value in values[0]).ljust(16, "0")
    row = b"\0" + int(packed, 2).to_bytes(2, "big")[: -(-3 * bits // 8)]
    path = tmp_path / "mask.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 1, bits, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(row))
        + chunk(b"IEND", b"")
    )
    assert read_mask(path).tolist() == values
    assert MaskSource(path).read().pixels[..., 2].tolist() == values


def test_sixteen_bits_are_taken_where_the_numbers_are_small(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.fromarray(np.array([[0, 3, 255]], np.uint16)).save(path)
    assert read_mask(path).tolist() == [[0, 3, 255]]
    Image.fromarray(np.array([[7, 256]], np.uint16)).save(path)
    message = (
        f"Mask {str(path)!r} has numbers of 7…256. Class numbers are whole, from 0 to 254, and 255 for pixels of no "
        "class."
    )
    with pytest.raises(PictureError, match=f"^{re.escape(message)}$"):
        read_mask(path)
