"""Plugins of others: taken names, other contracts, broken imports; each seen by a fresh process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_SOUND = """
import dataclasses
@dataclasses.dataclass(frozen=True, kw_only=True)
class Echo:
    summary, suffix, precisions, source, api_version = "echo", ".echo", ("float32",), "deployable", {version}
    def export(self, source, path): ...
"""


def _install(folder: Path, name: str, code: str) -> None:
    (folder / "echo_plugin.py").write_text(code)
    info = folder / "edgecv_clash-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edgecv-clash\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[edgecv.exporters]\n{name} = echo_plugin:Echo\n")


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "edgecv.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("name", "code", "error"),
    [
        (
            "onnx",
            _SOUND.format(version=1),
            "Exporter 'onnx' is offered by edgecv and edgecv-clash. Uninstall one of them.",
        ),
        ("echo", _SOUND.format(version=9), "Exporter 'echo' states api_version 9; this edgecv needs 1."),
        (
            "echo",
            "raise RuntimeError('boom')",
            "Exporter 'echo' of edgecv-clash 1.0 cannot be loaded: RuntimeError: boom. "
            "Update or uninstall edgecv-clash.",
        ),
    ],
    ids=["taken name", "other contract", "broken import"],
)
def test_a_bad_plugin_breaks_itself_only(tmp_path: Path, name: str, code: str, error: str) -> None:
    _install(tmp_path, name, code)
    listed = _run(tmp_path, "list", "exporters")
    assert listed.returncode == 0
    assert "tflite" in listed.stdout
    refused = _run(tmp_path, "export", "lenet5", "--to", name)
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr.splitlines() == [f"Error: {error}"]


def test_a_plugin_is_listed_without_being_registered_anywhere_else(tmp_path: Path) -> None:
    _install(tmp_path, "echo", _SOUND.format(version=1))
    listed = _run(tmp_path, "list", "exporters")
    assert listed.returncode == 0
    assert any(line.split()[:2] == ["echo", ".echo"] for line in listed.stdout.splitlines())
