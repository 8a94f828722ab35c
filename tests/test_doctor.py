import json
from importlib.metadata import PackageNotFoundError, version

import pytest
from click.testing import CliRunner

from edgecv import doctor, registry
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
