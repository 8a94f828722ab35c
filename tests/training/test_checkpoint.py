"""Checkpoints: all that a network, its optimizer and its random generators know, whole or not at all."""

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgecv.errors import OutputError, TrainingError
from edgecv.training.checkpoint import Progress, read_progress, restore, save_checkpoint

_PICTURES = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
_ANSWERS = np.eye(2, dtype="float32")[[0, 1] * 4]


def compiled(units: int = 4, *, rate: float = 0.5, optimizer: str = "adam") -> keras.Model:
    """Dropout has a random generator, BatchNorm statistics, the optimizer slots and a count."""
    network = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(units),
            layers.BatchNormalization(),
            layers.Dropout(rate),
            layers.Dense(2, activation="softmax"),
        ]
    )
    network.compile(optimizer, "categorical_crossentropy")
    network.optimizer.build(network.trainable_variables)
    return network


def steps(network: keras.Model, count: int) -> list[float]:
    return [float(network.train_on_batch(_PICTURES, _ANSWERS)) for _ in range(count)]


def state(network: keras.Model) -> list[Any]:
    return [np.array(each.value) for each in (*network.weights, *network.optimizer.variables)]


def test_what_goes_on_goes_on_to_the_bit(tmp_path: Path) -> None:
    path = tmp_path / "last.npz"
    unbroken = compiled()
    steps(unbroken, 3)
    save_checkpoint(path, unbroken, Progress(epoch=1))
    expected = steps(unbroken, 3)
    other = compiled()  # other weights, other dropout, fresh optimizer
    steps(other, 1)
    restore(path, other, optimizer=True)
    assert steps(other, 3) == expected
    assert all(np.array_equal(a, b) for a, b in zip(state(other), state(unbroken), strict=True))


def test_dropout_goes_on_where_it_was(tmp_path: Path) -> None:
    network = compiled()
    save_checkpoint(tmp_path / "last.npz", network, Progress())
    first, second = (np.array(network(_PICTURES, training=True)) for _ in range(2))
    assert not np.array_equal(first, second)
    restore(tmp_path / "last.npz", network, optimizer=True)
    assert np.array_equal(network(_PICTURES, training=True), first)


def test_another_stage_begins_with_a_fresh_optimizer(tmp_path: Path) -> None:
    before = compiled()
    steps(before, 2)
    save_checkpoint(tmp_path / "last.npz", before, Progress())
    after = compiled(optimizer="sgd")
    restore(tmp_path / "last.npz", after, optimizer=False)
    assert all(np.array_equal(a, b) for a, b in zip(after.get_weights(), before.get_weights(), strict=True))
    assert int(after.optimizer.iterations) == 0


def test_weights_are_found_whichever_layers_learn(tmp_path: Path) -> None:
    network = compiled()
    network.layers[0].trainable = False
    save_checkpoint(tmp_path / "last.npz", network, Progress())
    kept = network.get_weights()
    other = compiled()
    restore(tmp_path / "last.npz", other, optimizer=False)
    assert all(np.array_equal(a, b) for a, b in zip(other.get_weights(), kept, strict=True))


def test_progress_is_read_without_a_network(tmp_path: Path) -> None:
    progress = Progress(
        epoch=3, stage=1, best=0.1 + 0.2, best_epoch=2, history=[{"epoch": 1, "loss": 1 / 3}], stopped="no better"
    )
    save_checkpoint(tmp_path / "last.npz", compiled(), progress)
    assert read_progress(tmp_path / "last.npz") == progress  # numbers to the last bit
    assert read_progress(tmp_path / "none.npz") is None


@pytest.mark.parametrize("size", [0, 100, -200], ids=["empty", "cut at its beginning", "cut at its end"])
def test_a_damaged_checkpoint_is_one_line(tmp_path: Path, size: int) -> None:
    path = tmp_path / "last.npz"
    save_checkpoint(path, compiled(), Progress())
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(
        TrainingError, match=rf"^The checkpoint {str(path)!r} is damaged: .+\. Train again with --force\.$"
    ):
        read_progress(path)


def test_a_checkpoint_of_another_network_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "last.npz"
    save_checkpoint(path, compiled(4), Progress())
    start = re.escape(f"The checkpoint {str(path)!r} does not fit ")
    with pytest.raises(TrainingError, match=rf"^{start}.+\. Train again with --force\.$"):
        restore(path, compiled(5), optimizer=True)


def test_an_interrupted_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.npz"
    network = compiled()
    save_checkpoint(path, network, Progress(epoch=1))

    def full(file: Any, **_: Any) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    message = f"Cannot write {str(path)!r}: the disk is full. Free some space and try again."
    with pytest.raises(OutputError, match=f"^{re.escape(message)}$"):
        save_checkpoint(path, network, Progress(epoch=2))
    assert read_progress(path) == Progress(epoch=1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.npz"]
