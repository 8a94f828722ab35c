"""``--weights auto|imagenet|random|FILE``."""

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgecv import registry
from edgecv.architecture import Architecture
from edgecv.errors import WeightsError
from edgecv.weights import WeightsProvider, hash_weights, load_weights
from edgecv.weights.efficientnet_lite import PACKAGED
from edgecv.weights.keras_applications import PUBLISHED

LENET = registry.load_architecture("lenet5")
LITE = registry.load_architecture("efficientnet_lite0")
GIVE = "Give a .keras, .h5 or .weights.h5 file."


def refused(message: str) -> Any:
    return pytest.raises(WeightsError, match=f"^{re.escape(message)}$")


def test_providers_honour_the_protocol() -> None:
    providers: list[WeightsProvider] = [PACKAGED, PUBLISHED]
    assert all(isinstance(provider, WeightsProvider) for provider in providers)


def test_random_weights_are_seeded() -> None:
    records, hashes = [], []
    for seed in (0, 0, 1):
        model = LENET.build()
        records.append(load_weights(LENET, model, weights="random", seed=seed))
        hashes.append(hash_weights(model))
    assert [record.source for record in records] == ["random (seed 0)", "random (seed 0)", "random (seed 1)"]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_network_without_published_weights() -> None:
    message = "lenet5 has no published weights. Use random ones or a file."
    with refused(message):
        load_weights(LENET, LENET.build(), weights="imagenet")
    record = load_weights(LENET, LENET.build(), weights="auto")
    assert (record.source, record.note) == ("random (seed 0)", message)


def test_published_weights_need_the_published_classes() -> None:
    message = "Published weights of efficientnet_lite0 are for 1000 classes, got 10. Use random weights or a file."
    model = LITE.build(input_size=(64, 64), classes=10)
    with refused(message):
        load_weights(LITE, model, weights="imagenet")
    record = load_weights(LITE, model, weights="auto")
    assert (record.source, record.note) == ("random (seed 0)", message)


def test_published_weights_need_the_published_channels() -> None:
    grey = Architecture(
        name="efficientnet_lite0",
        builder=LITE.builder,
        input_shape=(64, 64, 1),
        parameters=LITE.parameters,
        reference=LITE.reference,
    )
    model = grey.build()
    message = "Published weights of efficientnet_lite0 are for 3 input channels, got 1. Use random weights or a file."
    with refused(message):
        load_weights(LITE, model, weights="imagenet")


def test_published_weights_fit_other_sizes() -> None:
    model = LITE.build(input_size=(96, 128))
    assert load_weights(LITE, model, weights="imagenet").note is None


@pytest.mark.parametrize("name", ["network.keras", "network.h5", "network.weights.h5"])
def test_a_file_is_loaded(name: str, tmp_path: Path) -> None:
    donor, model = LENET.build(), LENET.build()
    path = tmp_path / name
    donor.save_weights(path) if name.endswith("weights.h5") else donor.save(path)
    record = load_weights(LENET, model, weights=str(path))
    assert record.source == f"file {name}"
    for theirs, ours in zip(donor.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(theirs, ours)


def test_a_trained_model_s_file_is_loaded(tmp_path: Path) -> None:
    fashion = registry.load_architecture("fashion_cnn")
    donor = fashion.build()
    donor.compile("adam", "sparse_categorical_crossentropy")
    donor.optimizer.build(donor.trainable_variables)  # what the first step of training would add to the file
    donor.save(tmp_path / "trained.keras")
    model = fashion.build()
    load_weights(fashion, model, weights=str(tmp_path / "trained.keras"))
    assert hash_weights(model) == hash_weights(donor)


def test_a_name_that_is_nothing_is_refused() -> None:
    with refused("Weights 'imagnet' are neither auto, imagenet, random nor a file that exists."):
        load_weights(LENET, LENET.build(), weights="imagnet")


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    model = LENET.build()
    model.save(tmp_path / "whole.keras")
    model.save(tmp_path / "whole.h5")
    (tmp_path / "empty.keras").touch()
    (tmp_path / "text.keras").write_text("no model")
    (tmp_path / "text.h5").write_text("no model")
    (tmp_path / "weights.npz").write_bytes(b"PK")
    (tmp_path / "folder.keras").mkdir()
    whole = (tmp_path / "whole.keras").read_bytes()
    (tmp_path / "truncated.keras").write_bytes(whole[: len(whole) // 2])
    for name, problem in (
        ("empty.keras", "are an empty file. Save the model again."),
        ("text.keras", "are no Keras file, or a truncated one. Save the model again."),
        ("text.h5", "are no HDF5 file, or a truncated one. Save the model again."),
        ("truncated.keras", "are no Keras file, or a truncated one. Save the model again."),
        ("weights.npz", f"end in '.npz'. {GIVE}"),
        ("folder.keras", f"are a folder. {GIVE}"),
    ):
        path = str(tmp_path / name)
        with refused(f"Weights {path!r} {problem}"):
            load_weights(LENET, model, weights=path)


@pytest.mark.parametrize("case", ["truncated HDF5", "other classes", "other network"])
def test_files_that_do_not_fit_are_refused(case: str, tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    match case:
        case "truncated HDF5":
            LENET.build().save(path)
            path.write_bytes(path.read_bytes()[:100_000])
        case "other classes":
            LENET.build(classes=7).save(path)
        case "other network":
            registry.load_architecture("fashion_cnn").build().save(path)
    message = (
        rf"^Weights {re.escape(repr(str(path)))} do not fit lenet5 or are damaged: .+\. "
        r"Give a file that was saved from this network, of the same input size and classes\.$"
    )
    with pytest.raises(WeightsError, match=message):
        load_weights(LENET, LENET.build(), weights=str(path))


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_a_file_of_a_larger_network_is_refused(suffix: str, tmp_path: Path) -> None:
    # Keras itself loads such a file without a word.
    model = LENET.build()
    features = model.layers[-1].output
    larger = keras.Model(model.inputs, keras.layers.Dense(3)(features))
    path = tmp_path / f"larger{suffix}"
    larger.save(path) if suffix == ".keras" else larger.save_weights(path)
    message = f"Weights {str(path)!r} are of another network: they hold 61739 numbers, lenet5 has 61706."
    with refused(message):
        load_weights(LENET, LENET.build(), weights=str(path))


def test_hash_tells_path_shape_and_values_apart() -> None:
    def network(name: str, units: int, value: float) -> Any:
        layer = keras.layers.Dense(units, name=name, kernel_initializer=keras.initializers.Constant(value))
        return keras.Sequential([keras.Input((2,)), layer], name="network")

    same = hash_weights(network("a", 3, 1.0))
    assert same == hash_weights(network("a", 3, 1.0))
    others = {
        hash_weights(network("b", 3, 1.0)),
        hash_weights(network("a", 4, 1.0)),
        hash_weights(network("a", 3, 2.0)),
    }
    assert len(others - {same}) == 3


def test_a_provider_that_breaks_the_contract_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load_weights_provider", lambda _: object())
    record = load_weights(LENET, LENET.build(), weights="auto")
    assert record.note == "Weights provider of 'lenet5' lacks missing() or load() of the contract."
