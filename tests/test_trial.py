from pathlib import Path

import pytest
from click.testing import CliRunner

import edgecv
from edgecv import trial
from edgecv.cli import cli
from edgecv.errors import ArtifactError

SAMPLES = Path(__file__).parent / "golden" / "robustness"


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """An artifact that runs, and whose digest disagrees: a tensor has another name."""
    path = tmp_path / "damaged.tflite"
    content = (SAMPLES / "separable-tflite-float32.tflite").read_bytes()
    path.write_bytes(content.replace(b"depthwise_relu", b"Depthwise_relu", 1))
    return path


def test_what_is_known_to_be_damaged_runs_after_a_trial(damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[Path, str]] = []
    monkeypatch.setattr("edgecv.trial.attempt", lambda path, device: tried.append((path, device)))
    edgecv.load(SAMPLES / damaged.name.replace("damaged", "separable-tflite-float32"), check=False)
    assert tried == []
    edgecv.load(damaged, check=False)
    assert tried == [(damaged, "cpu")]


def test_a_trial_that_passes_is_silent(damaged: Path) -> None:
    trial.attempt(damaged)


def test_a_trial_that_is_refused_says_why(damaged: Path) -> None:
    damaged.write_bytes(damaged.read_bytes()[:3000])
    with pytest.raises(ArtifactError, match=r"^'.*' has no edgecv metadata: .*\. Export it again\.$"):
        trial.attempt(damaged)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import os; os.abort()", r"its engine falls over it \(SIGABRT\)"),
        ("import ctypes; ctypes.string_at(0)", r"its engine falls over it \(SIGSEGV\)"),
        ("import time; time.sleep(60)", "its engine takes more than 1 s"),
        ("import os; os._exit(7)", "its engine ends with code 7"),
    ],
)
def test_an_engine_that_ends_its_process_is_one_line(
    code: str, problem: str, damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(code)  # in the place of an engine
    monkeypatch.setattr(trial, "_PATIENCE", 1.0 if "sleep" in code else 60.0)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ArtifactError, match=rf"^'.*' is damaged and cannot be run: {problem}\. Export it again\.$"):
        trial.attempt(damaged)


def test_no_check_survives_an_engine_that_falls_over(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os; os.abort()")
    monkeypatch.syspath_prepend(str(tmp_path))
    result = CliRunner().invoke(cli, ["predict", str(damaged), str(SAMPLES / "picture.png"), "--no-check"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"Error: {str(damaged)!r} is damaged and cannot be run: its engine falls over it (SIGABRT). Export it again.\n"
    )
