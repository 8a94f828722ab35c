"""Plugins, installed as pip would do it: a module and its distribution's metadata; the fixture `plugins` gives this."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgecv import registry

__all__ = ["install", "install_folder"]


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, code: str, entries: Mapping[str, Mapping[str, str]]
) -> None:
    """Install a module as a distribution of its own, in this process, until the test ends.

    Args:
        folder: An empty folder.
        monkeypatch: Undoes it.
        module: Name of the module, which no other test may use.
        code: Its text.
        entries: Entry-point group → name → attribute of the module.
    """
    (folder / f"{module}.py").write_text(code)
    points = {
        group: {name: f"{module}:{attribute}" for name, attribute in names.items()} for group, names in entries.items()
    }
    _install(folder, monkeypatch, module, points)


def install_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a distribution whose code is in ``src``, by its pyproject.toml, in this process, until the test ends."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    _install(folder / "src", monkeypatch, project["name"], project["entry-points"])


def _install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, entries: Mapping[str, Mapping[str, str]]
) -> None:
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, names in entries.items():
        lines += [f"[{group}]", *(f"{point} = {value}" for point, value in names.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(folder))
    registry._by_name.cache_clear()
    # What was cached of this folder goes when the folder does.
    monkeypatch.setattr(registry, "_by_name", registry._by_name.__wrapped__)
