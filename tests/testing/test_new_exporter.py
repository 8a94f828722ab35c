"""A new plugin is whole, installs, and keeps the contract as it is."""

import ast
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edgecv.cli import cli
from edgecv.scaffold import NewExporter, write_exporter
from edgecv.testing import check_exporter

FILES = [
    "README.md",
    "pyproject.toml",
    "src/edgecv_my_format/__init__.py",
    "src/edgecv_my_format/py.typed",
    "src/edgecv_my_format/runtime.py",
    "tests/test_conformance.py",
]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_new_plugin_is_a_whole_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("new-exporter", "my-format")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [f"edgecv-my-format/{file}" for file in FILES]
    assert result.stderr == "Next: pip install -e ./edgecv-my-format && edgecv check-exporter my-format\n"
    folder = tmp_path / "edgecv-my-format"
    assert below(folder) == FILES
    assert not [file for file in FILES if "$" in (folder / file).read_text()]
    for file in FILES:
        if file.endswith(".py"):
            ast.parse((folder / file).read_text())
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "edgecv-my-format"
    assert project["entry-points"] == {
        "edgecv.exporters": {"my-format": "edgecv_my_format:MyFormatExporter"},
        "edgecv.runtimes": {"my-format": "edgecv_my_format.runtime:MyFormatRuntime"},
    }
    assert "license" not in project


def test_an_empty_folder_is_taken_and_two_of_one_name_are_the_same(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_exporter(NewExporter(name="my_format"), tmp_path / name)
    texts = [
        {file: (tmp_path / name / file).read_bytes() for file in below(tmp_path / name)} for name in ("one", "two")
    ]
    assert texts[0] == texts[1]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("Hello!",),
            "'Hello!' is no name for a format: it takes small letters, digits and single dashes, a letter first, at "
            "most 40. Choose one such as my-format.",
        ),
        (("onnx",), "There is an installed exporter 'onnx' already. Choose another name."),
        (("litert",), "There is an installed runtime 'litert' already. Choose another name."),
        (("png",), ".png files are something else already. Choose another name."),
        (("deployable",), "'deployable' means something else to exporters. Choose another name."),
        (("new", "full"), "Cannot write 'full': the folder is not empty. Name a new one."),
        (("new", "full/file"), "Cannot write 'full/file': it is a file or a link. Name a new folder."),
        (("new", "."), "Cannot write '.': the folder is not empty. Name a new one."),
        (("new", "no/where"), "Cannot write 'no/where': the folder 'no' does not exist. Create it first."),
    ],
)
def test_what_does_not_fit_is_one_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    result = run("new-exporter", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == f"Error: {message}\n"
    assert below(tmp_path) == ["full/file"]


def test_an_installed_package_s_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "edgecv_taken.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    result = run("new-exporter", "taken", str(tmp_path / "out"))
    assert result.stderr == "Error: There is an installed package 'edgecv_taken' already. Choose another name.\n"


def test_a_new_plugin_exports_and_keeps_the_contract(
    plugins: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_exporter(NewExporter(name="fresh"), tmp_path / "fresh")
    plugins.install_folder(tmp_path / "fresh", monkeypatch)
    names = ("loads", "options-honoured", "answers-classifier", "digest", "metadata-replaced", "damaged-files")
    verdict = check_exporter("fresh", only=names)
    assert verdict.passed, [outcome.message() for outcome in verdict.of("failed")]
    assert len(verdict.of("passed")) == len(names)


@pytest.mark.slow
def test_pip_installs_a_new_plugin_and_all_of_the_kit_passes(tmp_path: Path) -> None:
    site = tmp_path / "site"
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def shell(*command: str, module: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", module, *command], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    shell("new-exporter", "piped", module="edgecv.cli")
    shell("install", "--quiet", "--no-deps", "--target", str(site), "./edgecv-piped", module="pip")
    listed = json.loads(shell("list", "exporters", "--json", module="edgecv.cli"))["exporters"]
    (piped,) = [each for each in listed if each["name"] == "piped"]
    assert piped["available"]
    assert piped["distribution"] == "edgecv-piped"
    verdict = json.loads(shell("check-exporter", "piped", "--json", module="edgecv.cli"))
    assert verdict["passed"]
    skipped = {check["name"] for check in verdict["checks"] if check["verdict"] == "skipped"}
    assert skipped == {
        "answers-int8-classifier", "answers-int8-detector", "answers-int8-segmenter", "refuses-unsupported",
    }  # fmt: skip
    shell("-q", "edgecv-piped/tests", "-p", "no:cacheprovider", "-k", "loads or answers-top-k", module="pytest")
