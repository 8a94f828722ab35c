"""``tfds:NAME``: what TensorFlow Datasets has prepared on this machine, with pictures and classes or boxes.

``tfds:mnist``, ``tfds:coco/2017`` and ``tfds:mnist:3.0.1`` work as there; the folder is ``TFDS_DATA_DIR``, else
``~/tensorflow_datasets``. Nothing is ever fetched or prepared. Splits called train, validation and test (and the like)
are the parts; others, such as ``extra``, stay aside, as do splits that have no labels (-1).
"""

import functools
import hashlib
import importlib
import importlib.util
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from edgecv.data.checking import Checks
from edgecv.data.layout import part_of, rank
from edgecv.data.problems import Problems
from edgecv.data.samples import Box, Dataset, DataTask, Part, Sample
from edgecv.data.tfrecords import TfRecords
from edgecv.errors import DataError, PictureError, one_line
from edgecv.pictures import Picture
from edgecv.quiet import quiet_frameworks

__all__ = ["RecordSource", "Tfds"]

_PREFIX = "tfds:"
_UNLABELLED = -1


@dataclass(frozen=True, eq=False)
class RecordSource:
    """The picture of a record.

    Attributes:
        name: ``"tfds:mnist/train[17]"``.
        encoded: Reads the picture's file, PNG or JPEG.
        digest: sha256 of that file.
    """

    name: str
    encoded: Callable[[], bytes] = field(repr=False)
    digest: bytes = field(repr=False)

    def read(self) -> Picture:
        """Decode it as it is stored: boxes of TensorFlow Datasets hold for pictures that are not turned.

        Raises:
            PictureError: It cannot be decoded.
        """
        try:
            with Image.open(io.BytesIO(self.encoded())) as image:
                if image.mode in ("F", "I") or image.mode.startswith("I;"):
                    raise PictureError(f"Picture {self.name!r} has more than 8 bits a channel. Use other data.")
                return Picture(np.array(image.convert("RGB")), source=self.name)
        except PictureError:
            raise
        except Exception as error:  # Pillow's decoders raise a dozen types on damaged bytes
            raise PictureError(f"Picture {self.name!r} cannot be read: {one_line(error)}. Prepare it again.") from error


class Tfds:
    """Reads what TensorFlow Datasets has prepared."""

    name: ClassVar[str] = "tfds"
    summary: ClassVar[str] = "tfds:NAME of TensorFlow Datasets"

    def recognises(self, path: Path) -> bool:
        """Tell from the prefix."""
        return str(path).startswith(_PREFIX)

    def read(self, path: Path, problems: Problems) -> Dataset:
        """Read it; see `Format.read`. Of pictures only the headers are looked at, and those only for boxes."""
        name = str(path).removeprefix(_PREFIX)
        builder = _builder(name)
        columns = _columns(name, builder.info.features)
        checks = Checks(problems)
        samples: list[Sample] = []
        for split, part in _splits(builder.info.splits):
            records = _Records(f"{_PREFIX}{name}/{split}", _raw(builder, split), builder.info.features, columns)
            samples += records.samples(part, checks)
        return Dataset(
            path=str(path),
            format=self.name,
            task=_task(columns, samples),
            classes=columns.classes,
            samples=tuple(samples),
        )


@dataclass(frozen=True)
class _Columns:
    """Which features of a record are what.

    Attributes:
        image: The picture.
        label: Its class, or the classes in ``objects``.
        box: Its one box, or the boxes in ``objects``; None for classification.
        objects: The sequence of objects; None where there is none.
        classes: The names of the classes.
    """

    image: str
    label: str
    box: str | None
    objects: str | None
    classes: tuple[str, ...]


class _Records:
    """The records of a split: labels are read once, pictures when they are wanted."""

    def __init__(self, name: str, raw: Sequence[bytes], features: Any, columns: _Columns) -> None:
        tfds = _package()

        self._name, self._raw, self._columns = name, raw, columns
        wanted = {columns.image, columns.objects or columns.label}
        if columns.box and not columns.objects:
            wanted.add(columns.box)
        self._features = tfds.decode.PartialDecoding(dict.fromkeys(wanted, True)).extract_features(features)
        self._decoders = {columns.image: tfds.decode.SkipDecoding()}

    def samples(self, part: Part | None, checks: Checks) -> list[Sample]:
        """Read the labels; a split of which none is labelled has no samples."""
        records = ((index, self._record(index)) for index in range(len(self._raw)))
        found = [self._sample(index, record, part, checks) for index, record in records]
        labelled = any(categories != (_UNLABELLED,) for categories, _ in found)
        if not labelled:
            return []
        for index, (categories, sample) in enumerate(found):
            if sample is None and categories == (_UNLABELLED,):
                checks.category_number(_UNLABELLED, len(self._columns.classes), file=self._place(index), line=None)
        return [sample for _, sample in found if sample]

    def _place(self, index: int) -> str:
        return f"{self._name}[{index}]"

    def _record(self, index: int) -> Mapping[str, Any]:
        record: Mapping[str, Any] = self._features.deserialize_example_np(self._raw[index], decoders=self._decoders)
        return record

    def _encoded(self, index: int) -> bytes:
        return bytes(self._record(index)[self._columns.image])

    def _sample(
        self, index: int, record: Mapping[str, Any], part: Part | None, checks: Checks
    ) -> tuple[tuple[int, ...], Sample | None]:
        """Return the classes of a record, and its sample where they can be used."""
        columns, place = self._columns, self._place(index)
        objects = record[columns.objects] if columns.objects else record
        categories = tuple(int(number) for number in np.atleast_1d(objects[columns.label]))
        if categories == (_UNLABELLED,):
            return categories, None
        encoded = bytes(record[columns.image])
        source = RecordSource(place, functools.partial(self._encoded, index), hashlib.sha256(encoded).digest())
        count = len(columns.classes)
        if columns.box is None:
            fits = checks.category_number(categories[0], count, file=place, line=None)
            sample = Sample(picture=source, category=categories[0], part=part, origin=place)
            return categories, sample if fits else None
        size = _size(encoded)
        boxes = [
            box
            for box in _boxes(objects, columns, categories, size)
            if checks.category_number(box.category, count, file=place, line=None)
            and checks.box((box.x1, box.y1, box.x2, box.y2), size=size, file=place, line=None)
        ]
        sample = Sample(picture=source, boxes=tuple(boxes), size=size, part=part, origin=place)
        # A picture that lost all its boxes does not show nothing.
        return categories, sample if boxes or not categories else None


def _task(columns: _Columns, samples: Sequence[Sample]) -> DataTask:
    if columns.box is None:
        return "classification"
    return "localisation" if all(len(sample.boxes) == 1 for sample in samples) else "detection"


def _boxes(
    objects: Mapping[str, Any], columns: _Columns, categories: Sequence[int], size: tuple[int, int]
) -> Iterator[Box]:
    """Yield the boxes of a record; there they are ymin, xmin, ymax, xmax in 0…1."""
    assert columns.box is not None
    corners = np.asarray(objects[columns.box], np.float64).reshape(-1, 4)
    height, width = size
    crowds, areas = objects.get("is_crowd"), objects.get("area")
    for number, (category, (y1, x1, y2, x2)) in enumerate(zip(categories, corners.tolist(), strict=True)):
        yield Box(
            x1 * width,
            y1 * height,
            x2 * width,
            y2 * height,
            category,
            crowd=bool(np.ravel(crowds)[number]) if crowds is not None else False,
            area=float(np.ravel(areas)[number]) if areas is not None else None,
        )


def _size(encoded: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(encoded)) as image:
        return image.height, image.width


def _builder(name: str) -> Any:
    """Return what is prepared under a name, without looking anywhere but on this machine.

    Raises:
        DataError: TensorFlow Datasets is not installed, or nothing of this name is prepared.
    """
    if importlib.util.find_spec("tensorflow_datasets") is None:
        raise DataError(
            f"'{_PREFIX}{name}' needs tensorflow_datasets, which is not installed. Run: pip install tensorflow-datasets"
        )
    with quiet_frameworks():
        tfds = _package()
        core = importlib.import_module("tensorflow_datasets.core")

        try:
            parsed, options = core.naming.parse_builder_name_kwargs(name)
            if folder := os.environ.get("TFDS_DATA_DIR"):  # which the package reads when it is imported first
                options["data_dir"] = folder
            return core.read_only_builder.builder_from_files(str(parsed), **options)
        except tfds.core.registered.DatasetNotFoundError as error:
            raise DataError(
                f"{name!r} is not prepared in {folder or '~/tensorflow_datasets'}. On a machine with a connection run: "
                f'python -c "import tensorflow_datasets as tfds; tfds.builder({name!r}).download_and_prepare()"'
            ) from error
        except Exception as error:  # the code of others may raise anything
            raise DataError(
                f"TensorFlow Datasets cannot open {name!r}: {type(error).__name__}: {one_line(error)}. "
                "Prepare it again."
            ) from error


def _package() -> Any:
    return importlib.import_module("tensorflow_datasets")


def _columns(name: str, features: Any) -> _Columns:
    """Find the features that hold pictures, classes and boxes.

    Raises:
        DataError: There are none.
    """
    tfds = _package()

    image = _first(features, tfds.features.Image, "image")
    for key, feature in features.items():
        inner = getattr(feature, "feature", None)
        if image and isinstance(inner, tfds.features.FeaturesDict):
            label = _first(inner, tfds.features.ClassLabel, "label")
            box = _first(inner, tfds.features.BBoxFeature, "bbox")
            if label and box:
                return _Columns(image, label, box, key, tuple(inner[label].names))
    label = _first(features, tfds.features.ClassLabel, "label")
    if image and label:
        box = _first(features, tfds.features.BBoxFeature, "bbox")
        return _Columns(image, label, box, None, tuple(features[label].names))
    raise DataError(
        f"'{_PREFIX}{name}' has no picture with a class; its features are {', '.join(features)}. Name another one."
    )


def _first(features: Any, kind: type[Any], usual: str) -> str | None:
    found = [str(key) for key, feature in features.items() if isinstance(feature, kind)]
    return usual if usual in found else next(iter(found), None)


def _splits(splits: Mapping[str, Any]) -> list[tuple[str, Part | None]]:
    """Return the splits that are parts, training first; all, without a part, where none is."""
    parts = [(split, part) for split in splits if (part := part_of(split))]
    if parts:
        return sorted(parts, key=lambda pair: rank(pair[1]))
    return [(split, None) for split in splits]


def _raw(builder: Any, split: str) -> Sequence[bytes]:
    """Return the records of a split as bytes, read when they are wanted."""
    tfds = _package()

    info = builder.info.splits[split]
    if builder.info.file_format == tfds.core.FileFormat.TFRECORD:
        return TfRecords([Path(file) for file in info.filepaths])
    method = tfds.decode.DeserializeMethod.RAW_BYTES
    source: Sequence[bytes] = builder.as_data_source(split, deserialize_method=method)
    return source
