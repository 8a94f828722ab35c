"""Weights of a distribution of their own: written, read, and refused where they are missing, damaged or another's."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import edgecv
from edgecv.architecture import Architecture
from edgecv.errors import WeightsError
from edgecv.weights import WeightsProvider
from edgecv.weights.packaged import PackagedWeights, write_arrays

TINY = Architecture(
    name="tiny", builder="none:none", input_shape=(2, 2, 3), classes=2, parameters=8, reference="https://example.org"
)
KERNEL = np.arange(6, dtype=np.float32).reshape(3, 2)
BIAS = np.array([0.5, -65504], np.float16)  # the largest of its kind
ARRAYS: dict[str, Any] = {"dense/kernel": KERNEL, "dense/bias": BIAS}
REMEDY = "Run: pip install --force-reinstall --no-deps ./plugins/edgecv"


def packaged(folder: Path) -> PackagedWeights:
    """The installed distribution lends its version."""
    return PackagedWeights(distribution="edgecv", source="somebody", folder=folder)


def network() -> keras.Model:
    image = keras.Input((3,))
    return keras.Model(image, keras.layers.Dense(2, name="dense")(image))


def values(model: keras.Model) -> list[Any]:
    return [np.asarray(variable).tolist() for variable in model.weights]


def assert_refused(provider: PackagedWeights, message: str, model: keras.Model | None = None) -> None:
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        provider.load(TINY, model or network())


def test_float16_and_float32_arrays_come_back_as_they_were_written(tmp_path: Path) -> None:
    write_arrays(ARRAYS, tmp_path, "tiny")
    model = network()
    assert packaged(tmp_path).load(TINY, model) == f"somebody (edgecv {edgecv.__version__})"
    assert values(model) == [KERNEL.tolist(), BIAS.tolist()]
    assert {array.dtype.name for array in packaged(tmp_path).arrays(TINY).values()} == {"float16", "float32"}


def test_the_same_arrays_give_the_same_file_whatever_their_order(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    one = write_arrays(ARRAYS, folders[0], "tiny")
    other = write_arrays(dict(sorted(ARRAYS.items())), folders[1], "tiny")
    assert one.name == other.name == f"tiny-{hashlib.sha256(one.read_bytes()).hexdigest()[:8]}.npz"
    assert one.read_bytes() == other.read_bytes()


def test_one_distribution_may_carry_several_networks(tmp_path: Path) -> None:
    write_arrays({"dense/kernel": KERNEL}, tmp_path, "tiny_other")
    path = write_arrays(ARRAYS, tmp_path, "tiny")
    assert packaged(tmp_path).file(TINY) == path


def test_provider_honours_the_protocol(tmp_path: Path) -> None:
    provider: WeightsProvider = packaged(tmp_path)
    assert isinstance(provider, WeightsProvider)
    write_arrays(ARRAYS, tmp_path, "tiny")
    assert provider.missing(TINY) is None


def test_missing_weights_name_the_remedy(tmp_path: Path) -> None:
    provider = packaged(tmp_path)
    assert provider.missing(TINY) == f"the weights of tiny are missing from the package edgecv. {REMEDY}"
    assert_refused(provider, f"The package edgecv lacks the weights of tiny. {REMEDY}")


@pytest.mark.parametrize("cut", [False, True], ids=["changed", "cut off"])
def test_a_damaged_file_is_refused(cut: bool, tmp_path: Path) -> None:
    path = write_arrays(ARRAYS, tmp_path, "tiny")
    data = path.read_bytes()
    path.write_bytes(data[:100] if cut else data[:100] + b"damage" + data[106:])
    actual = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    assert_refused(
        packaged(tmp_path), f"Weights {path.name!r} are damaged: their sha256 starts with {actual}. {REMEDY}"
    )


@pytest.mark.parametrize("digits", [0, 7])
def test_a_name_that_tells_too_little_is_refused(digits: int, tmp_path: Path) -> None:
    path = write_arrays(ARRAYS, tmp_path, "tiny")
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    path = path.rename(tmp_path / f"tiny-{actual[:digits]}.npz")
    assert_refused(
        packaged(tmp_path), f"Weights {path.name!r} are damaged: their sha256 starts with {actual[:8]}. {REMEDY}"
    )


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / f"tiny-{hashlib.sha256(b'PK').hexdigest()[:8]}.npz"
    path.write_bytes(b"PK")
    with pytest.raises(WeightsError, match=rf"^Weights '{path.name}' cannot be read: .+\. {re.escape(REMEDY)}$"):
        packaged(tmp_path).load(TINY, network())


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        (ARRAYS | {"dense/kernel": KERNEL.T}, "do not fit 'dense/kernel'. Build it with the default classes."),
        ({"dense/kernel": KERNEL}, "do not fit 'dense/bias'. Build it with the default classes."),
        (ARRAYS | {"more/bias": BIAS}, "hold 'more/bias', which the network lacks."),
    ],
    ids=["shape", "too few", "too many"],
)
def test_another_network_is_refused_and_left_as_it_was(arrays: dict[str, Any], problem: str, tmp_path: Path) -> None:
    write_arrays(arrays, tmp_path, "tiny")
    model = network()
    before = values(model)
    assert_refused(packaged(tmp_path), f"Published weights of tiny {problem}", model)
    assert values(model) == before


def test_importing_the_reader_imports_no_framework() -> None:
    code = "import sys, edgecv.weights.packaged; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"keras", "tensorflow", "ai_edge_litert"} & set(loaded)
