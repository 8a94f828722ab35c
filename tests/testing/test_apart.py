"""`edgecv check-exporter` survives exporters that end their process or take no end."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgecv.cli import cli
from edgecv.scaffold import NewExporter, write_exporter

CHECKS = ("--only", "loads", "--only", "describes-itself", "--only", "wrong-options")


def plant(name: str, line: str, folder: Path) -> None:
    """Write a plugin whose exporter runs a line when it is made."""
    write_exporter(NewExporter(name=name), folder)
    code = folder / "src" / f"edgecv_{name}" / "__init__.py"
    wanted = "    def __post_init__(self) -> None:\n"
    assert wanted in code.read_text()
    code.write_text(code.read_text().replace(wanted, f"{wanted}        {line}\n"))


def failing(name: str, *arguments: str) -> list[dict[str, Any]]:
    """Check an exporter that does not keep the contract; return what is said of each check."""
    result = CliRunner().invoke(cli, ["check-exporter", name, *arguments, "--json"])
    assert result.exit_code == 1, result.output
    checks: list[dict[str, Any]] = json.loads(result.stdout)["checks"]
    return checks


@pytest.mark.parametrize(
    ("name", "line", "reason"),
    [
        ("quits", "__import__('sys').exit(0)", "raises SystemExit: 0"),
        ("exits", "print('bye') or __import__('os')._exit(0)", "ends the process: exit 0"),
        ("aborts", "__import__('os').abort()", "ends the process: signal 6 (SIGABRT)"),
    ],
)
def test_what_an_exporter_does_to_its_process_fails_one_check(
    name: str, line: str, reason: str, plugins: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(name, line, tmp_path / name)
    plugins.install_folder(tmp_path / name, monkeypatch)
    checks = failing(name, *CHECKS)
    assert [check["name"] for check in checks] == ["loads", "describes-itself", "wrong-options"]
    assert [check["verdict"] for check in checks] == ["failed", "passed", "failed"]
    assert checks[0]["reason"].partition("; it said: ")[0] == reason


def test_an_exporter_that_takes_no_end_fails(plugins: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant("sleeps", "__import__('time').sleep(1000)", tmp_path / "sleeps")
    plugins.install_folder(tmp_path / "sleeps", monkeypatch)
    (check,) = failing("sleeps", "--only", "loads", "--time-limit", "1.5")
    assert check["reason"] == "takes more than 1.5 s"


def test_an_exporter_that_ends_every_process_is_not_tried_for_ever(
    plugins: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_exporter(NewExporter(name="deadly"), tmp_path / "deadly")
    code = tmp_path / "deadly" / "src" / "edgecv_deadly" / "__init__.py"
    code.write_text(f"import os\nos._exit(7)\n{code.read_text()}")
    plugins.install_folder(tmp_path / "deadly", monkeypatch)
    result = CliRunner().invoke(cli, ["check-exporter", "deadly"])
    assert result.exit_code == 1, result.output
    assert result.stdout.count("FAIL") == 3
    assert "ends the process: exit 7\n" in result.stdout
    assert "the exporter has ended 3 processes already" in result.stdout


def test_without_what_builds_networks_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecv.extras.importlib.util.find_spec", lambda _: None)
    result = CliRunner().invoke(cli, ["check-exporter", "onnx"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "Error: Checking an exporter needs tensorflow, which is not installed. Run: pip install 'edgecv[export]'\n"
    )
