"""The guide for authors of plugins is true: every command in it runs, from an empty folder to a plugin that passes."""

import os
import re
import shlex
import site
import subprocess
import sys
import venv
from pathlib import Path

import click
import pytest

from edgecv.cli import cli

_GUIDE = (Path(__file__).parents[2] / "docs" / "writing-an-exporter.md").read_text(encoding="utf-8")
_BLOCKS = re.findall(r"^```console\n(.*?)^```$", _GUIDE, re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """Return each command with the output that the guide prints below it."""
    found: list[tuple[str, str]] = []
    for line in "".join(_BLOCKS).splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found


def test_the_commands_of_the_guide_parse() -> None:
    lines = [line for line, _ in commands() if line.startswith("edgecv ")]
    assert len(lines) >= 8
    for line in lines:
        _, *arguments = shlex.split(line)
        with click.Context(cli, **cli.context_settings) as parent:
            name, command, rest = cli.resolve_command(parent, arguments)
            assert command is not None
            if "mine" not in rest or name != "export":  # its exporter is not installed here
                command.make_context(name, [each for each in rest if each != "--help"], parent=parent)


@pytest.mark.slow
def test_every_command_of_the_guide_runs(tmp_path: Path) -> None:
    environment = _environment(tmp_path / "venv")
    folder = tmp_path / "work"
    folder.mkdir()
    for line, output in commands():
        if line.startswith("cd "):
            folder /= line.removeprefix("cd ")
            continue
        done = subprocess.run(
            ["bash", "-euc", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == (1 if "FAIL" in output else 0), (line, done.stdout, done.stderr)
        assert output in done.stdout, line


def _environment(folder: Path) -> dict[str, str]:
    """Make a virtual environment that has what this one has, and is thrown away."""
    venv.create(folder, with_pip=True)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    here = next(path for path in (*site.getsitepackages(), *sys.path) if path.endswith("site-packages"))
    (packages / "here.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    python = folder / "bin" / "python"
    for name, module in (("edgecv", "edgecv.cli"), ("pytest", "pytest")):
        script = folder / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{python}" -m {module} "$@"\n')
        script.chmod(0o755)
    return {**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(folder)}
