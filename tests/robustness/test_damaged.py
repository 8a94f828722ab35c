"""Damaged artifacts end every command with one line and exit 1 or 2; `run.py` does it with as many as one likes."""

import importlib.util
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import edgecv
from edgecv import registry
from edgecv.cli import cli
from edgecv.errors import ArtifactError

SAMPLES = Path(__file__).parents[1] / "golden" / "robustness"
PICTURE = SAMPLES / "picture.png"


def _module(name: str) -> Any:
    import sys

    specification = importlib.util.spec_from_file_location(f"robustness_{name}", Path(__file__).with_name(f"{name}.py"))
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look for their module
    specification.loader.exec_module(module)
    return module


damaging, working = _module("damaging"), _module("worker")
# Folders are opened where their plugin is installed.
NAMES = sorted(
    each.name
    for each in SAMPLES.iterdir()
    if each != PICTURE and (each.is_file() or "openvino" in registry.runtime_names())
)


@pytest.fixture(scope="module")
def worker() -> Iterator[Any]:
    with working.Worker() as started:
        yield started


def test_the_undamaged_ones_pass(worker: Any) -> None:
    for name in NAMES:
        for arguments in (["inspect"], ["verify"], ["predict", PICTURE]):
            outcome = worker.run(arguments[0], SAMPLES / name, *arguments[1:])
            assert (outcome.code, outcome.err) == (0, "")


def files_of(path: Path) -> list[str]:
    return [each.name for each in (SAMPLES / path.name).iterdir()] if path.is_dir() else [""]


def run_all(worker: Any, folder: Path, count: int, first: int) -> None:
    ended: Counter[str] = Counter()
    for case in damaging.cases(NAMES, count, first=first):
        place = folder / str(case.seed)
        place.mkdir()
        path = damaging.damage(case, SAMPLES, place)
        for command, *rest in (["inspect"], ["verify"], ["predict", PICTURE]):
            outcome = worker.run(command, path, *rest)
            same = all(
                (path / each).read_bytes() == (SAMPLES / path.name / each).read_bytes() for each in files_of(path)
            )
            wanted = (0,) if same else (2,) if command == "predict" else (1, 2)
            assert (outcome.fault, outcome.code in wanted) == ("", True), f"{case} {command}: {outcome}"
            ended[f"{command} {outcome.code}"] += 1
    assert worker.starts == 1
    assert ended["inspect 1"] > count // 8
    assert ended["verify 2"] > count // 8


def test_200_damaged_artifacts_are_refused_in_one_line(worker: Any, tmp_path: Path) -> None:
    run_all(worker, tmp_path, 200, first=0)


def run_sealed(worker: Any, folder: Path, count: int, first: int) -> None:
    """What the engines see: the damage is behind a digest that agrees."""
    for case in damaging.cases(NAMES, count, sealed=True, first=first):
        place = folder / str(case.seed)
        place.mkdir()
        path = damaging.damage(case, SAMPLES, place)
        for command, *rest in (["verify"], ["predict", PICTURE]) if path else ():
            outcome = worker.run(command, path, *rest)
            assert outcome.fault == "", f"{case} {command}: {outcome}"
    assert worker.starts == 1


def test_no_engine_falls_over_damage_that_was_sealed(worker: Any, tmp_path: Path) -> None:
    run_sealed(worker, tmp_path, 40, first=100)


def test_an_engine_whose_message_is_no_text_is_one_line(worker: Any, tmp_path: Path) -> None:
    if "separable-openvino-float32" in NAMES:
        run_sealed(worker, tmp_path, 1, first=1887)


def test_outputs_under_other_names_are_one_line(worker: Any, tmp_path: Path) -> None:
    case = damaging.Case(sample="detector-tflite-int8.tflite", kind="flip", seed=2444, sealed=True)
    outcome = worker.run("predict", damaging.damage(case, SAMPLES, tmp_path), PICTURE)
    assert (outcome.fault, outcome.code) == ("", 2), outcome


def test_benchmark_and_load_refuse_damage(tmp_path: Path) -> None:
    for case in damaging.cases(NAMES, 20, first=300):
        place = tmp_path / str(case.seed)
        place.mkdir()
        path = damaging.damage(case, SAMPLES, place)
        with pytest.raises(ArtifactError, match=r"^[^\n]*$"):
            edgecv.load(path)
        result = CliRunner().invoke(cli, ["benchmark", str(path), "--seconds", "0.1"])
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert result.stderr.startswith("Error: ")


@pytest.mark.slow
def test_no_engine_falls_over_2000_that_were_sealed(worker: Any, tmp_path: Path) -> None:
    run_sealed(worker, tmp_path, 2000, first=1000)


@pytest.mark.slow
def test_2000_damaged_artifacts_are_refused_in_one_line(worker: Any, tmp_path: Path) -> None:
    run_all(worker, tmp_path, 2000, first=1000)
