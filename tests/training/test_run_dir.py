"""RUN_DIR: what is refused, what is replaced, and what is never removed."""

import re
from pathlib import Path

import pytest

from edgecv.errors import OutputError, TrainingError
from edgecv.training.run_dir import RunDir, is_run_dir, read_run

_DOCUMENT = {"settings": {"architecture": "lenet5"}}


def refused(run: RunDir, message: str, *, force: bool = False) -> None:
    before = sorted(run.path.parent.rglob("*"))
    with pytest.raises(OutputError, match=f"^{re.escape(message)}$"):
        run.check_free(force=force)
    assert sorted(run.path.parent.rglob("*")) == before


def test_a_new_run_is_a_whole_folder(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.check_free(force=False)
    assert not is_run_dir(run.path)
    run.create(_DOCUMENT)
    assert is_run_dir(run.path)
    assert read_run(run.path) == _DOCUMENT
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    run.check_free(force=False)
    run.create(_DOCUMENT)
    assert is_run_dir(run.path)


def test_a_run_is_replaced_by_force_alone(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.create(_DOCUMENT)
    run.model.write_bytes(b"old")
    refused(
        run,
        f"The run {str(run.path)!r} exists. Go on with it by --resume, replace it by --force, or choose another -o.",
    )
    run.check_free(force=True)
    run.create(_DOCUMENT)
    assert not run.model.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_run_is_never_replaced(tmp_path: Path, force: bool) -> None:
    for name in ("folder", "file"):
        run = RunDir(tmp_path / name)
        if name == "folder":
            run.path.mkdir()
            (run.path / "thesis.tex").write_text("years of work")
        else:
            run.path.write_text("years of work")
        refused(run, f"{str(run.path)!r} exists and is no run of edgecv train. Choose another -o.", force=force)


def test_a_missing_parent_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "no" / "run")
    refused(
        run,
        f"Cannot write {str(run.path)!r}: the folder {str(run.path.parent)!r} does not exist. Create it first.",
    )


def test_history_has_columns_that_come_later(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.create(_DOCUMENT)
    run.write_history([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "val_loss": 1e-7}])
    assert (run.path / "history.csv").read_text() == "epoch,loss,val_loss\n1,0.5,\n2,0.25,1e-07\n"


def test_a_folder_without_run_json_is_no_run(tmp_path: Path) -> None:
    message = f"{str(tmp_path)!r} is no run of edgecv train: run.json cannot be read (No such file or directory)."
    with pytest.raises(TrainingError, match=f"^{re.escape(message)}$"):
        read_run(tmp_path)


@pytest.mark.parametrize(("content", "why"), [("[]", "it has no settings"), ("{}", "it has no settings")])
def test_a_damaged_run_json_is_one_line(tmp_path: Path, content: str, why: str) -> None:
    (tmp_path / "run.json").write_text(content)
    message = f"{str(tmp_path / 'run.json')!r} is damaged: {why}. Train again with --force."
    with pytest.raises(TrainingError, match=f"^{re.escape(message)}$"):
        read_run(tmp_path)


def test_a_run_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.create({"settings": {}})
    expected = f"The run {str(run.path)!r} is being trained by another process. Wait for it, or choose another -o."
    with run.held(), pytest.raises(TrainingError, match=f"^{re.escape(expected)}$"), RunDir(run.path).held():
        pass
    with run.held():
        pass
