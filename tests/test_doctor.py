import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgecv import doctor, registry, surroundings
from edgecv.cli import cli
from edgecv.errors import PluginError


def test_a_healthy_installation_exits_0() -> None:
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    document = json.loads(result.stdout)
    assert result.exit_code == 0, document["problems"]
    assert document["healthy"] is True
    assert document["packages"]["numpy"] == version("numpy")
    assert {"device": "cpu", "works": True, "problem": None} in document["runtimes"][0]["devices"]
    assert CliRunner().invoke(cli, ["doctor"]).stdout.splitlines()[-1] == "Nothing is broken."


def test_clashing_engines_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.32.0"}

    def found(name: str) -> str:
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(doctor, "version", found)
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert document["problems"] == ["onnxruntime-gpu and onnxruntime are installed together and overwrite each other."]
    assert document["advice"] == [
        "pip uninstall -y onnxruntime-gpu onnxruntime && pip install onnxruntime-gpu",
    ]


def test_a_missing_engine_is_advice_and_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecv.runtimes.litert._package", lambda: None)
    diagnosis = doctor.examine()
    assert diagnosis.problems == []
    assert diagnosis.advice == ["ai-edge-litert is not installed. Run: pip install 'edgecv[tflite]'"]


def test_a_broken_plugin_and_a_broken_device_are_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> object:
        if name == "litert":
            raise PluginError("Runtime 'litert' cannot be loaded. Update it.")
        return registry.load_runtime(name)

    monkeypatch.setitem(doctor._GROUPS, "runtime", (registry.runtime_names, broken))
    monkeypatch.setattr("edgecv.runtimes.onnxruntime.OnnxRuntime.probe", lambda *_: "no driver")
    result = CliRunner().invoke(cli, ["doctor"])
    assert result.exit_code == 1
    assert "  Runtime 'litert' cannot be loaded. Update it.\n" in result.stdout
    assert "  onnxruntime does not run on cpu: no driver.\n" in result.stdout


def test_what_is_pasted_names_no_folder_and_no_user(tmp_path: Path) -> None:
    """A broken plugin's error holds paths of the home and of the checkout."""
    checkout = Path(doctor.__file__).resolve().parents[1]
    home = tmp_path / "people" / "alice"
    plugin = home / "site"
    plugin.mkdir(parents=True)
    secret = f"{home}/secret.so, {checkout}/edgecv, /media/alice/x and {sys.prefix}/lib"
    (plugin / "edgecv_broken.py").write_text(f"raise OSError({secret!r})")
    information = plugin / "edgecv_broken-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: edgecv-broken\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[edgecv.exporters]\nbroken = edgecv_broken:Broken\n")
    environment = {
        **os.environ,
        **dict.fromkeys(("LOGNAME", "USER", "LNAME", "USERNAME"), "alice"),
        "HOME": str(home),
        "PYTHONPATH": str(plugin),
    }
    for form in ([], ["--json"]):
        command = [sys.executable, "-m", "edgecv.cli", "doctor", *form]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stderr
        for private in (str(home), str(checkout), str(tmp_path), sys.prefix, "alice"):
            assert private not in done.stdout
        assert "~/secret.so, <edgecv>/edgecv, /media/~/x and <python>/lib" in done.stdout
        assert done.stderr == ""
    document = json.loads(done.stdout)
    broken = {each["name"]: each for each in document["exporters"]}["broken"]
    assert (broken["distribution"], broken["version"], broken["available"]) == ("edgecv-broken", "1.0", False)
    assert broken["reason"] in document["problems"]
    assert {"name": "edgecv-broken", "version": "1.0", "offers": {"exporters": ["broken"]}} in document["plugins"]


def test_the_machine_and_what_is_around_are_said() -> None:
    document = doctor.examine().to_json()
    machine, around = document["machine"], document["surroundings"]
    assert machine["architecture"] == platform.machine()
    assert machine["cores"] >= 1
    assert set(machine) >= {"system", "processor", "instruction_sets", "memory_mb", "bits"}
    assert set(around) == {"cameras", "locale", "encodings", "writable", "variables"}
    assert around["writable"]["temporary"] is True
    assert document["extras"]["all"]["installed"] is True
    assert {"litert", "onnxruntime"} <= {each["name"] for each in document["runtimes"] if each["api_version"] == 1}
    text = CliRunner().invoke(cli, ["doctor"]).stdout
    assert f"  {machine['architecture']}, {machine['bits']} bits: {machine['processor']}, " in text


def test_cameras_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("video0", "video2", "video-dec1"):
        (tmp_path / name).touch()
    (tmp_path / "video2").chmod(0)

    def found(folder: str) -> Path:
        return tmp_path if folder == "/dev" else Path(folder)

    monkeypatch.setattr(surroundings, "Path", found)
    monkeypatch.setattr("os.access", lambda path, _: path.name != "video2")
    assert surroundings._cameras() == [
        {"source": "camera:0", "name": "", "readable": True},
        {"source": "camera:2", "name": "", "readable": False},
    ]


def test_an_extra_lacks_what_those_that_it_names_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "numpy>=1.26",
        "onnxruntime>=1.20; extra == 'onnx'",
        'nowhere[cuda]>=2; extra == "far"',
        "edgecv[onnx,far]; extra == 'all'",
        "pytest; extra == 'test'",
    ]
    monkeypatch.setattr(doctor, "requires", lambda _: lines)
    assert doctor._extras() == {
        "onnx": {"installed": True, "missing": []},
        "far": {"installed": False, "missing": ["nowhere"]},
        "all": {"installed": False, "missing": ["nowhere"]},
    }


def test_two_engines_of_one_format_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        doctor, "_version", lambda name: "1.0" if name in ("ai-edge-litert", "tflite-runtime") else None
    )
    diagnosis = doctor.examine()
    assert (
        diagnosis.advice[0] == "ai-edge-litert and tflite-runtime both open .tflite files; edgecv takes ai-edge-litert."
    )
    assert diagnosis.problems == []


def test_an_engine_that_answers_wrong_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    from ai_edge_litert.interpreter import Interpreter

    monkeypatch.setattr(Interpreter, "get_tensor", lambda *_: [3.0])
    assert doctor.examine().problems == ["litert does not run on cpu: it says that |-2| is 3.0."]
