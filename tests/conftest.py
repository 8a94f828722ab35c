"""Tiny artifacts of both formats, made by the formats' own libraries."""

import copy
import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

_DOCUMENT: dict[str, Any] = {
    "edgecv_version": "0.1.0",
    "model": "tiny",
    "task": "classification",
    "weights": {"source": "random", "sha256": "0" * 64},
    "sha256": "0" * 64,
    "labels": ["red", "green", "blue"],
    "input": {"name": "image", "shape": [1, 4, 4, 3], "dtype": "uint8"},
    "outputs": [{"name": "probabilities", "shape": [1, 3], "dtype": "float32"}],
    "preprocess": {"style": "none", "order": "rgb", "mean": [0.0], "scale": [1.0], "resize": {"mode": "stretch"}},
    "postprocess": {"activation": "none", "top_k": None},
    "precision": "float32",
    "verification": None,
    "layers": {},
}

# Files and folders of tests that take minutes.
_LONGEST = ("training", "test_planted_faults.py", "testing", "weights", "architectures")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first: several processes end together where none begins with one of them at the end."""
    first = [Path(__file__).parent / name for name in _LONGEST]

    def place(item: pytest.Item) -> int:
        return next((place for place, path in enumerate(first) if item.path.is_relative_to(path)), len(first))

    items.sort(key=place)


@pytest.fixture
def document() -> dict[str, Any]:
    """Metadata of the tiny network."""
    return copy.deepcopy(_DOCUMENT)


@pytest.fixture(scope="session")
def make_bare() -> Callable[..., bytes]:
    """Make a tiny file without edgecv metadata: the mean of each colour over 4 × 4 pixels, as a share of 255."""
    return _make_bare


@pytest.fixture(params=["onnx", "tflite"])
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A private tiny file without metadata, in each format."""
    path = tmp_path / f"tiny.{request.param}"
    path.write_bytes(_make_bare(request.param))
    return path


@pytest.fixture
def seal() -> Callable[[Path, dict[str, Any]], Path]:
    """Seal metadata into a file."""
    return _seal


@pytest.fixture
def artifact(bare: Path, document: dict[str, Any]) -> Path:
    """A private tiny artifact, in each format."""
    return _seal(bare, document)


@pytest.fixture
def dynamic(bare: Path, document: dict[str, Any]) -> Path:
    """The same of a dynamic batch."""
    bare.write_bytes(_make_bare(bare.suffix[1:], None))
    document["input"]["shape"][0] = document["outputs"][0]["shape"][0] = None
    return _seal(bare, document)


def _seal(path: Path, document: dict[str, Any]) -> Path:
    from edgecv import metadata, registry

    found = registry.runtime_for(path.suffix)
    assert found is not None
    metadata.seal(path, document, found[1])
    return path


@functools.cache
def _make_bare(form: str, batch: int | None = 1, dtype: str = "uint8") -> bytes:
    return (_onnx if form == "onnx" else _tflite)(batch, dtype)


def _onnx(batch: int | None, dtype: str) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    kind = TensorProto.UINT8 if dtype == "uint8" else TensorProto.FLOAT
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("Div", ["means", "white"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", kind, [batch or "N", 4, 4, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch or "N", 3])],
        [numpy_helper.from_array(np.float32(255), "white")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


def _tflite(batch: int | None, dtype: str) -> bytes:
    import tensorflow as tf

    class Tiny(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([batch, 4, 4, 3], dtype, name="image")])  # type: ignore[untyped-decorator]
        def __call__(self, image: Any) -> dict[str, Any]:
            return {"probabilities": tf.reduce_mean(tf.cast(image, tf.float32), axis=[1, 2]) / 255.0}

    module = Tiny()
    function = module.__call__.get_concrete_function()
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([function], module).convert())


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 100 small real pictures: crops of the photos that ship with edgecv."""
    from PIL import Image

    from edgecv.photos import shipped_photos

    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    photos = list(shipped_photos().values())
    for index in range(100):
        photo = photos[index % len(photos)]
        side = int(random.integers(min(photo.shape[:2]) // 2, min(photo.shape[:2])))
        top, left = (int(random.integers(0, length - side + 1)) for length in photo.shape[:2])
        crop = Image.fromarray(photo[top : top + side, left : left + side]).resize((48, 48), Image.Resampling.BILINEAR)
        crop.save(folder / f"{index:03d}.png")
    return folder


@pytest.fixture(scope="session")
def networks() -> Any:
    """The module `tests/networks.py`, which has no importable place: tf2onnx installs a package called tests."""
    return _module("networks")


@pytest.fixture(scope="session")
def shapes() -> Any:
    """The module `tests/shapes.py`."""
    return _module("shapes")


@pytest.fixture(scope="session")
def plugins() -> Any:
    """The module `tests/plugins.py`."""
    return _module("plugins")


@pytest.fixture(scope="session")
def planting() -> Any:
    """The module `tests/planting.py`."""
    return _module("planting")


def _module(name: str) -> Any:
    specification = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
