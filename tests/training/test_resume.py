"""A run that was stopped in any way and goes on has the history of an unbroken one.

Runs are killed in processes of their own, by themselves, at a moment that the test draws: so the signal hits within an
epoch on fast and on slow machines. Going on happens in this process. Op determinism and the seeds that training sets
stay set in it; no other test minds, since TensorFlow's random operations refuse to run only without any seed.
"""

import csv
import dataclasses
import json
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgecv
from edgecv.errors import TrainingError
from edgecv.training.listener import Listener
from edgecv.training.running import RunResult
from edgecv.training.settings import Settings

_EPOCHS = 6
_STEPS = 5  # an epoch: 36 of the 48 pictures by 8, the last batch smaller

# Trains with the settings given as JSON, and kills itself where it is told to.
_KILLED = """
import json, os, signal, sys
import numpy as np
from edgecv.training.listener import Listener
from edgecv.training.running import train
from edgecv.training.settings import Settings

settings, output, where, epoch, step = json.loads(sys.argv[1])

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Deadly(Listener):
    def step(self, now, done, loss):
        if where == "step" and (now, done) == (epoch, step):
            die()

write, saved = np.savez, 0

def savez(file, **arrays):
    global saved
    saved += 1
    if where == "checkpoint" and saved == epoch + 1:
        file.write(b"half of a checkpoint")
        file.flush()
        die()
    write(file, **arrays)

np.savez = savez
train(Settings.from_json(settings), output, listener=Deadly())
"""


class Stop(Listener):
    """Raises an error after an epoch or a step."""

    def __init__(self, error: BaseException, *, epoch: int, step: int | None = None) -> None:
        self._error, self._epoch, self._step = error, epoch, step

    def step(self, epoch: int, step: int, loss: float) -> None:  # noqa: ARG002
        if (epoch, step) == (self._epoch, self._step):
            raise self._error

    def epoch(self, row: Mapping[str, Any], *, best: bool) -> None:  # noqa: ARG002
        if self._step is None and row["epoch"] == self._epoch + 1:
            raise self._error


class Heard(Listener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def settings(few_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """All that has a state: two stages, Adam, warm-up and cosine, dropout, augmentation, weights of another run."""
    first = Settings(architecture="lenet5", data=str(few_data), epochs=1, seed=5)
    base = edgecv.train(first, tmp_path_factory.mktemp("base") / "run")
    return Settings(
        architecture="lenet5",
        data=str(few_data),
        weights=str(base.path),
        epochs=_EPOCHS,
        freeze_epochs=3,
        batch=8,
        learning_rate=0.01,
        warmup=0.5,
        dropout=0.3,
        augment="standard",
        seed=3,
    )


@pytest.fixture(scope="module")
def unbroken(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return edgecv.train(settings, tmp_path_factory.mktemp("unbroken") / "run")


def same_history(run: RunResult, unbroken: RunResult) -> None:
    with (run.path / "history.csv").open() as first, (unbroken.path / "history.csv").open() as second:
        rows, expected = list(csv.DictReader(first)), list(csv.DictReader(second))
    assert len(rows) == len(expected) == _EPOCHS
    for row, wanted in zip(rows, expected, strict=True):
        assert row.pop("stage") == wanted.pop("stage")
        assert row.keys() == wanted.keys() >= {"epoch", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy"}
        for name in row.keys() - {"seconds"}:
            assert float(row[name]) == pytest.approx(float(wanted[name]), abs=1e-6), (row["epoch"], name)


def killed(settings: Settings, output: Path, where: str, epoch: int, step: int) -> "subprocess.Popen[bytes]":
    job = json.dumps([settings.to_json(), str(output), where, epoch, step])
    return subprocess.Popen([sys.executable, "-c", _KILLED, job], stderr=subprocess.PIPE)


def test_a_run_that_is_killed_goes_on_as_if_it_had_not_been(
    settings: Settings, unbroken: RunResult, tmp_path: Path
) -> None:
    moment = random.Random(time.time_ns())
    epoch, step = moment.randrange(_EPOCHS), moment.randint(1, _STEPS)
    save = moment.randrange(1, _EPOCHS)
    runs = {
        tmp_path / "within": killed(settings, tmp_path / "within", "step", epoch, step),
        tmp_path / "saving": killed(settings, tmp_path / "saving", "checkpoint", save, 0),
    }
    for path, process in runs.items():
        _, errors = process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL, errors.decode()
        run = edgecv.train(settings, path, resume=True)
        print(f"killed at step {step} of epoch {epoch + 1}, and in the checkpoint of epoch {save + 1}")
        same_history(run, unbroken)
        assert run.document["state"] == "finished"
        assert not list(path.rglob(".edgecv-tmp-*"))
        assert same_model(run.path, unbroken.path)


def same_model(first: Path, second: Path) -> bool:
    networks = [edgecv.open_model(str(path)).get_weights() for path in (first, second)]
    return all(np.allclose(a, b, rtol=0, atol=1e-6) for a, b in zip(*networks, strict=True))


def test_a_run_goes_on_where_a_stage_begins(settings: Settings, unbroken: RunResult, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        edgecv.train(settings, tmp_path / "run", listener=Stop(KeyboardInterrupt(), epoch=2))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["state"], record["epochs"]) == ("interrupted", 3)
    same_history(edgecv.train(settings, tmp_path / "run", resume=True), unbroken)


def test_a_run_that_has_not_finished_an_epoch_begins_anew(
    settings: Settings, unbroken: RunResult, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        edgecv.train(settings, tmp_path / "run", listener=Stop(KeyboardInterrupt(), epoch=0, step=2))
    same_history(edgecv.train(settings, tmp_path / "run", resume=True), unbroken)


def test_stages_have_their_rates(unbroken: RunResult) -> None:
    rates = [row["learning_rate"] for row in unbroken.history]
    assert [row["stage"] for row in unbroken.history] == ["head"] * 3 + ["fine-tuning"] * 3
    # Warm-up: half an epoch is 2.5 steps, so 3; then half a cosine over the stage's other 12: equation 5 of
    # Loshchilov, Hutter, 2017.
    expected = [
        0.01 * peak * (1 + np.cos(np.pi * (5 * epoch - 3) / 12)) / 2 for peak in (1, 0.1) for epoch in (1, 2, 3)
    ]
    assert rates == pytest.approx(expected, abs=1e-9)


def test_a_run_that_has_ended_is_evaluated_and_drawn_again(settings: Settings, unbroken: RunResult) -> None:
    kept = (unbroken.path / "model.keras").read_bytes()
    for name in ("evaluation.json", "history.csv", "plots/losses.png", "plots/predictions.png"):
        (unbroken.path / name).unlink()
    heard = Heard()
    again = edgecv.train(settings, unbroken.path, resume=True, listener=heard)
    assert "the run has ended after epoch 6; it is evaluated and drawn again" in heard.notes
    assert again.evaluation is not None
    assert unbroken.evaluation is not None
    assert again.evaluation.to_json()["top1"] == unbroken.evaluation.to_json()["top1"]
    for name in ("evaluation.json", "history.csv", "plots/losses.png", "plots/predictions.png"):
        assert (unbroken.path / name).is_file()
    assert (unbroken.path / "model.keras").read_bytes() == kept


def refused(message: str, change: Callable[[], object], settings: Settings, path: Path) -> None:
    change()
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(TrainingError, match=f"^{re.escape(message)}$"):
        edgecv.train(settings, path, resume=True)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_other_settings_are_refused_by_name(settings: Settings, unbroken: RunResult) -> None:
    changed = dataclasses.replace(settings, batch=16, optimizer="sgd")
    message = (
        f"The run {str(unbroken.path)!r} cannot go on with other settings: batch 8 -> 16, optimizer adam -> sgd. "
        "Leave them out, or train into another -o."
    )
    refused(message, lambda: None, changed, unbroken.path)


def test_a_recipe_goes_with_its_run_and_must_not_change(few_data: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"rotate": 15}')
    settings = Settings(architecture="lenet5", data=str(few_data), epochs=2, augment=str(recipe))
    path = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        edgecv.train(settings, path, listener=Stop(KeyboardInterrupt(), epoch=0))
    message = (
        f"The run {str(path)!r} cannot go on with another recipe: {str(recipe)!r} says rotate 15 -> 20. "
        "Restore it, or train into another -o."
    )
    refused(message, lambda: recipe.write_text('{"rotate": 20}'), settings, path)
    recipe.unlink()
    run = edgecv.train(settings, path, resume=True)
    assert (run.document["state"], run.document["recipe"]["rotate"]) == ("finished", 15)


def test_other_data_are_refused(settings: Settings, unbroken: RunResult, shapes: Any, tmp_path: Path) -> None:
    other = shapes.folders(tmp_path / "other", 16, seed=1)
    changed = dataclasses.replace(settings, data=str(other))
    message = (
        f"The data {str(other)!r} are no longer those of the run {str(unbroken.path)!r}: it had 48 labelled pictures, "
        "now there are 48, or they differ. Bring them back, or train into another -o."
    )
    refused(message, lambda: None, changed, unbroken.path)


def test_data_that_moved_are_the_same_data(
    settings: Settings, unbroken: RunResult, shapes: Any, tmp_path: Path
) -> None:
    moved = shapes.folders(tmp_path / "moved", 16)
    run = edgecv.train(dataclasses.replace(settings, data=str(moved)), unbroken.path, resume=True)
    assert run.document["settings"]["data"] == str(moved)
    edgecv.train(settings, unbroken.path, resume=True)  # back again, for the other tests


def test_ctrl_c_tells_how_to_go_on(few_data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgecv.cli", "train", "lenet5", "--data", str(few_data), "-o", "run"]
    process = subprocess.Popen(
        [*command, "--epochs", "10000", "--batch", "8"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    lines = []
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)
        if line.startswith("epoch 2/"):
            process.send_signal(signal.SIGINT)
            break
    output, rest = process.communicate()
    watchdog.cancel()
    lines += rest.splitlines(keepends=True)
    assert (process.returncode, output) == (130, "")
    said = next(line for line in lines if line.startswith("interrupted"))
    assert re.fullmatch(
        r"interrupted, \d+ epochs are kept; go on with: edgecv train --resume -o run\n", said
    ), lines  # fmt: skip
    assert lines[-1] == "Error: Interrupted.\n"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "interrupted"
