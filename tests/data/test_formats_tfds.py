"""What TensorFlow Datasets has prepared: read at random, without its network."""

import importlib.util
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecv.data.reading import open_data
from edgecv.data.splitting import split
from edgecv.data.tfrecords import TfRecords
from edgecv.errors import DataError

installed = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_datasets") is None, reason="TensorFlow Datasets is not installed"
)


def grey(value: int) -> np.ndarray[Any, Any]:
    return np.full((10, 20, 3), value, np.uint8)


def prepare(name: str, folder: Path, features: Any, splits: dict[str, list[dict[str, Any]]], form: str) -> None:
    """Prepare a data set from memory, as its download does."""
    core = importlib.import_module("tensorflow_datasets.core")

    class Builder(core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[misc, name-defined, call-arg]
        VERSION = core.Version("1.0.0")
        pkg_dir_path = folder

        def _info(self) -> Any:
            return core.DatasetInfo(builder=self, features=features, description="Made by a test.")

        def _split_generators(self, _: Any) -> Any:
            return {split: enumerate(records) for split, records in splits.items()}

        def _generate_examples(self) -> Any:
            raise NotImplementedError

    Builder.name = name  # not the class's own, which would be registered
    builder = Builder(data_dir=folder, file_format=form)
    builder.download_and_prepare()


@installed
@pytest.mark.parametrize("form", ["tfrecord", "array_record"])
@pytest.mark.filterwarnings("ignore")  # of the other project
def test_pictures_with_a_class(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tfds = importlib.import_module("tensorflow_datasets")
    if form == "array_record":
        pytest.importorskip("array_record")
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            "weight": np.float32,
        }
    )
    records = [{"image": grey(value), "label": value % 2, "weight": 1.0} for value in range(6)]
    unlabelled = [{"image": grey(9), "label": -1, "weight": 1.0}]
    splits = {"train": records[:4], "test": records[4:], "extra": records[:1], "validation": unlabelled}
    prepare("tiny_pets", tmp_path, features, splits, form)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))

    dataset = open_data("tfds:tiny_pets")
    assert (dataset.format, dataset.task, dataset.classes) == ("tfds", "classification", ("cat", "dog"))
    assert {sample.part for sample in dataset.samples} == {"train", "test"}
    # TensorFlow Datasets shuffles what it stores, so the grey level tells the class.
    for sample in dataset.samples:
        pixels = sample.picture.read().pixels
        assert pixels.shape == (10, 20, 3)
        assert sample.category == pixels[0, 0, 0] % 2
    assert [sample.name for sample in dataset.of_part("test")] == ["tfds:tiny_pets/test[0]", "tfds:tiny_pets/test[1]"]
    parts = split(dataset, ratios=(0.5, 0.5, 0))
    assert [len(parts[part]) for part in ("train", "val", "test")] == [2, 2, 2]


@installed
@pytest.mark.filterwarnings("ignore")
def test_boxes_become_pixels_of_the_stored_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tfds = importlib.import_module("tensorflow_datasets")
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
            "objects": tfds.features.Sequence(
                {
                    "bbox": tfds.features.BBoxFeature(),
                    "label": tfds.features.ClassLabel(names=["cat", "dog"]),
                    "is_crowd": np.bool_,
                    "area": np.int64,
                }
            ),
        }
    )
    box = tfds.features.BBox(ymin=0.1, xmin=0.25, ymax=0.5, xmax=1.0)
    shown = {"image": grey(1), "objects": [{"bbox": box, "label": 1, "is_crowd": True, "area": 7}]}
    prepare("tiny_boxes", tmp_path, features, {"train": [shown, {"image": grey(2), "objects": []}]}, "tfrecord")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))

    dataset = open_data("tfds:tiny_boxes")
    assert dataset.task == "detection"
    [found] = [box for sample in dataset.samples for box in sample.boxes]
    # Of 20 x 10 pixels; stored in float32.
    assert (found.x1, found.y1, found.x2, found.y2) == pytest.approx((5, 1, 20, 5), rel=1e-6)
    assert (found.category, found.crowd, found.area) == (1, True, 7)


@installed
@pytest.mark.filterwarnings("ignore")
def test_what_is_not_prepared_says_how_to_prepare_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    message = (
        f"'mnist' is not prepared in {tmp_path}. On a machine with a connection run: python -c "
        "\"import tensorflow_datasets as tfds; tfds.builder('mnist').download_and_prepare()\""
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        open_data("tfds:mnist")


@pytest.mark.skipif(importlib.util.find_spec("tensorflow_datasets") is not None, reason="it is installed")
def test_without_the_package_the_command_that_installs_it_is_named() -> None:
    message = "'tfds:mnist' needs tensorflow_datasets, which is not installed. Run: pip install tensorflow-datasets"
    for path, form in (("tfds:mnist", None), ("mnist", "tfds")):
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            open_data(path, format=form)


def test_records_are_read_at_random(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    contents = [[b"one", b"", b"three" * 1000], [b"four"]]
    files = [tmp_path / "a.tfrecord", tmp_path / "b.tfrecord"]
    for file, records in zip(files, contents, strict=True):
        with tf.io.TFRecordWriter(str(file)) as writer:
            for record in records:
                writer.write(record)
    found = TfRecords(files)
    assert len(found) == 4
    assert found[2] == b"three" * 1000
    assert found[3] == b"four"
    assert found[0:2] == [b"one", b""]


def test_cut_off_records_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.tfrecord"
    file.write_bytes(struct.pack("<QI", 3, 0) + b"one" + b"\0" * 4 + struct.pack("<QI", 30, 0) + b"tw")
    message = f"TFRecord file {str(file)!r} is cut off or damaged at byte 19. Prepare it again."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        TfRecords([file])
