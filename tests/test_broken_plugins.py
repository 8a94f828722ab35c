"""A plugin whose code raises breaks only itself; seen by a fresh process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_PLUGINS = """
import dataclasses

@dataclasses.dataclass(frozen=True, kw_only=True)
class Sad:
    summary, suffix, precisions, source, api_version = "sad", ".sad", ("float32",), "deployable", 1
    def export(self, source, path): ...
    @staticmethod
    def missing():
        raise RuntimeError("boom")

class Grim:
    summary, suffixes, extra, api_version = "grim", (".grim",), "grim", 1
    def missing(self): return None
    def devices(self): raise OSError("no\\nbus")
    def open(self, path, **options): ...
    read_metadata = write_metadata = operators = custom_operators = open

class Raising(Grim):
    suffixes = (".onnx",)
    def __init__(self):
        raise RuntimeError("never")

class Bare:
    summary, suffixes, extra, api_version = "bare", (".onnx",), "bare", 1
"""
_REMEDY = "Update or uninstall it."
_POINTS = "[edgecv.exporters]\nsad = sad_plugins:Sad\n[edgecv.runtimes]\ngrim = sad_plugins:Grim\n"
_POINTS += "raising = sad_plugins:Raising\nbare = sad_plugins:Bare\n"


def run(folder: Path, code: int, *arguments: str) -> Any:
    (folder / "sad_plugins.py").write_text(_PLUGINS)
    info = folder / "edgecv_sad-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edgecv-sad\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(_POINTS)
    command = [sys.executable, "-m", "edgecv.cli", *arguments, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_list_shows_why_and_the_others_stay(tmp_path: Path) -> None:
    document = run(tmp_path, 0, "list")
    exporters = {each["name"]: each for each in document["exporters"]}
    runtimes = {each["name"]: each for each in document["runtimes"]}
    assert exporters["sad"]["reason"] == f"Sad fails with RuntimeError: boom. {_REMEDY}"
    assert runtimes["grim"]["reason"] == f"Grim fails with OSError: no bus. {_REMEDY}"
    assert runtimes["grim"]["devices"] == []
    for name, entry in (exporters | runtimes).items():
        assert entry["available"] == (name not in ("sad", "grim", "raising", "bare"))
    assert runtimes["raising"]["reason"] == (
        "Runtime 'raising' of edgecv-sad 1.0 cannot be made: RuntimeError: never. Update or uninstall edgecv-sad."
    )
    assert runtimes["bare"]["reason"] == "Runtime 'bare' lacks the attribute 'missing' of the contract."


def test_doctor_says_so(tmp_path: Path) -> None:
    document = run(tmp_path, 1, "doctor")  # two runtimes cannot even be loaded
    (sad,) = [each for each in document["exporters"] if each["name"] == "sad"]
    origin = {"distribution": "edgecv-sad", "version": "1.0", "api_version": 1}
    reason = f"Sad fails with RuntimeError: boom. {_REMEDY}"
    assert sad == {"name": "sad", **origin, "available": False, "reason": reason}
    (grim,) = [each for each in document["runtimes"] if each["name"] == "grim"]
    assert grim == {
        "name": "grim",
        **origin,
        "available": False,
        "reason": f"Grim fails with OSError: no bus. {_REMEDY}",
        "devices": [],
    }
