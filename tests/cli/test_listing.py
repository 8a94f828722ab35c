import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def plugins(tmp_path: Path) -> dict[str, str]:
    """An environment with a distribution whose plugins are broken, each in its own way."""
    folder = tmp_path / "edgecv_bad-1.2.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: edgecv-bad\nVersion: 1.2\n")
    (folder / "entry_points.txt").write_text(
        "[edgecv.exporters]\nraises = bad_plugin:Missing\nonnx = bad_plugin:Taken\n"
        "[edgecv.runtimes]\nold = bad_plugin:Old\n"
        "[edgecv.architectures]\nodd = bad_plugin:NUMBER\n"
    )
    (tmp_path / "bad_plugin.py").write_text(
        "NUMBER = 3\nclass Old:\n    api_version = 0\nclass Taken: ...\n"
        "def __getattr__(name):\n    raise RuntimeError(f'no {name}\\nhere')\n"
    )
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def listed(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgecv.cli", "list", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)


def test_broken_plugins_are_listed_with_the_reason(plugins: dict[str, str]) -> None:
    done = listed(plugins, "--json")
    document = json.loads(done.stdout)
    assert done.stderr == ""
    found: dict[str, dict[str, Any]] = {entry["name"]: entry for entries in document.values() for entry in entries}
    assert {name: found[name]["reason"] for name in ("raises", "onnx", "old", "odd")} == {
        "raises": "Exporter 'raises' of edgecv-bad 1.2 cannot be loaded: RuntimeError: no Missing here. "
        "Update or uninstall edgecv-bad.",
        "onnx": "Exporter 'onnx' is offered by edgecv and edgecv-bad. Uninstall one of them.",
        "old": "Runtime 'old' states api_version 0; this edgecv needs 1.",
        "odd": "Architecture 'odd' must be an edgecv Architecture, its entry point gives 'int'.",
    }
    assert [found[name]["available"] for name in ("raises", "onnx", "old", "odd", "onnxruntime")] == [False] * 4 + [
        True
    ]


def test_people_see_the_reason_too(plugins: dict[str, str]) -> None:
    lines = listed(plugins, "runtimes").stdout.splitlines()
    assert lines[0] == "runtimes"
    assert "old" in lines[3]
    assert lines[3].endswith("not available: Runtime 'old' states api_version 0; this edgecv needs 1.")
