"""The kit sees what is wrong: each fault planted in a plugin fails the checks that are about it, with what to do."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from edgecv.scaffold import NewExporter, write_exporter
from edgecv.testing import CHECKS, Bench, Outcome
from edgecv.testing.cases import CASES
from edgecv.testing.running import run_check, select


def _faults() -> Any:
    """Return the module beside this one, which has no importable place."""
    specification = importlib.util.spec_from_file_location("kit_faults", Path(__file__).with_name("faults.py"))
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["kit_faults"] = module  # where dataclasses look for their types
    specification.loader.exec_module(module)
    return module


FAULTS = _faults()
# Networks answer the same whatever is wrong with an exporter.
ORIGINALS: dict[str, Any] = {}


def planted(fault: Any, name: str, plugins: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Install a plugin with a fault."""
    plugin = NewExporter(name=name)
    write_exporter(plugin, folder / name)
    for file, changes in (("__init__.py", fault.exporter), ("runtime.py", fault.runtime)):
        path = folder / name / "src" / plugin.module / file
        text = path.read_text()
        for old, new in changes:
            assert old in text, f"{fault.name}: the template has no {old!r}"
            text = text.replace(old, new)
        path.write_text(text)
    monkeypatch.chdir(folder)  # where some of them leave what they should not
    plugins.install_folder(folder / name, monkeypatch)
    (folder / "bench").mkdir()
    bench = Bench(name, folder / "bench")
    bench._originals = ORIGINALS
    return bench


def failing(bench: Bench, names: tuple[str, ...]) -> dict[str, Outcome]:
    """Run checks; return those that failed."""
    try:
        outcomes = [run_check(bench, check) for check in select(names)]
    finally:
        bench.close()
    for outcome in outcomes:
        assert "\n" not in outcome.reason
    return {outcome.check.name: outcome for outcome in outcomes if outcome.state == "failed"}


def check(fault: Any, name: str, plugins: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = failing(planted(fault, name, plugins, folder, monkeypatch), fault.fails)
    assert set(failed) == set(fault.fails)
    assert any(fault.says in outcome.reason for outcome in failed.values()), [each.reason for each in failed.values()]
    for outcome in failed.values():
        assert f"What to do: {outcome.check.remedy}" in outcome.message()


@pytest.mark.parametrize("index", range(len(FAULTS.FAULTS)), ids=[fault.name for fault in FAULTS.FAULTS])
def test_a_planted_fault_fails_with_what_to_do(
    index: int, plugins: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = FAULTS.FAULTS[index]
    kept: dict[str, Any] = {}
    if "weights" in fault.name:  # the network is shared by all tests
        network = CASES["classifier"].network()
        kept = {layer.name: layer.get_weights() for layer in network.layers}
    check(fault, f"faulty{index}", plugins, tmp_path, monkeypatch)
    for name, values in kept.items():
        network.get_layer(name).set_weights(values)


@pytest.mark.parametrize("index", range(len(FAULTS.OF_PROCESSES)), ids=[fault.name for fault in FAULTS.OF_PROCESSES])
def test_a_fault_seen_in_a_second_process_fails_with_what_to_do(
    index: int, plugins: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(FAULTS.OF_PROCESSES[index], f"outside{index}", plugins, tmp_path, monkeypatch)


@pytest.mark.slow
def test_zeros_fail_every_check_of_answers(plugins: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = tuple(each.name for each in CHECKS if each.name.startswith("answers-"))
    failed = failing(planted(FAULTS.ALL_ANSWERS, "zeros", plugins, tmp_path, monkeypatch), wanted)
    # All zeros are what nothing found looks like, and no order is wrong in them.
    assert set(failed) == set(wanted) - {"answers-nothing-found", "answers-batch"}


def test_every_check_can_fail() -> None:
    failing = {name for fault in (*FAULTS.FAULTS, *FAULTS.OF_PROCESSES) for name in fault.fails}
    others = {each.name for each in CHECKS} - failing
    # The test above is about these: one for each kind of network.
    assert all(name.startswith("answers-") for name in others), sorted(others)
