"""Networks compiled by the real Vela, and what is said of them."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from edgecv.artifact import Artifact
from edgecv.calibration import Calibration
from edgecv.cli import cli
from edgecv.errors import ArtifactError, ConversionError, DeviceError, OptionError, ShortfallError
from edgecv.exporting import make_exporter
from edgecv.metadata import seal
from edgecv.runtimes import tflite_container
from edgecv.session import runtime_of
from edgecv.targets import check

from edgecv_vela import VelaExporter
from edgecv_vela.runtime import VelaRuntime

GOLDEN = Path(__file__).parents[3] / "tests" / "golden" / "robustness"
CLASSIFIER, DETECTOR = GOLDEN / "separable-tflite-int8.tflite", GOLDEN / "detector-tflite-int8.tflite"
FLOATS = GOLDEN / "separable-tflite-float32.tflite"
RUNTIME = VelaRuntime()


def exporter(**options: Any) -> VelaExporter:
    return VelaExporter(calibration=Calibration(paths=()), **options)


def compile_(path: Path, folder: Path, **options: Any) -> Artifact:
    return exporter(**options).export(Artifact(path=path, layers={}), folder)


def labelled(folder: Path) -> Path:
    """Return a copy of the classifier that names its classes."""
    path = Path(shutil.copy(CLASSIFIER, folder))
    tflite_container.write_metadata(path, {**tflite_container.read_metadata(path), "labels": ["ant", "bee", "cat"]})
    return path


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A sealed artifact."""
    folder = tmp_path_factory.mktemp("vela") / "separable-int8"
    source = labelled(folder.parent)
    artifact = compile_(source, folder)
    document = tflite_container.read_metadata(source)
    seal(
        folder,
        {
            **document,
            "verification": {},
            "source_verification": {"passed": True, "checks": []},
            "findings": dict(artifact.findings),
        },
        RUNTIME,
    )
    return artifact


def test_the_folder_holds_the_compiled_file_its_estimate_and_the_labels(compiled: Artifact) -> None:
    names = sorted(path.name for path in compiled.path.iterdir())
    assert names == ["edgecv.json", "estimate.json", "labels.txt", "separable-tflite-int8.tflite"]
    estimate = json.loads((compiled.path / "estimate.json").read_text())
    assert estimate["note"] == "estimated by Vela, not verified"
    assert estimate["npu_operators"] == compiled.findings["npu_operators"]
    assert (compiled.path / "labels.txt").read_text() == "ant\nbee\ncat\n"
    assert RUNTIME.operators(compiled.path)["ethos-u"] == 1


def test_findings_count_and_name_what_stays_on_the_cpu(compiled: Artifact) -> None:
    found = compiled.findings
    assert (found["target"], found["npu_operators"], found["cpu_operators"]) == ("ethos-u55-128", 6, 2)
    assert found["on_cpu"] == ["DEQUANTIZE (head)", "SOFTMAX (pipeline: activation)"]
    assert found["estimated_ms"] > 0
    assert min(found["sram_bytes"], found["flash_bytes"]) > 0
    assert found["estimated_by"].endswith("estimated, not verified")


def refused_by_vela(path: Path, target: str, folder: Path) -> set[str]:
    """Return what the operators compute that Vela says to leave to the CPU."""
    command = [sys.executable, "-m", "ethosu.vela", path, "--output-dir", folder, "--accelerator-config", target]
    done = subprocess.run([*map(str, command), "--show-cpu-operations"], capture_output=True, text=True, check=True)
    return set(re.findall(r"Warning \(supported operators\) operator: \S+, ofm: '([^']*)'", done.stdout))


@pytest.mark.parametrize("target", ["ethos-u55-128", "ethos-u85-256"])
@pytest.mark.parametrize("path", [CLASSIFIER, FLOATS, DETECTOR], ids=["classifier", "floats", "detector"])
def test_the_check_names_the_operators_that_vela_leaves_to_the_cpu(path: Path, target: str, tmp_path: Path) -> None:
    said = {tensor for obstacle in check(path, target).obstacles for tensor in obstacle.tensors}
    refused = refused_by_vela(path, target, tmp_path)
    assert len(said) == len(refused)
    # A convolution's own name, where Vela takes the activation off that is fused into it.
    assert len(said - refused) <= 1


def test_what_is_counted_adds_up_to_the_operators_before(tmp_path: Path) -> None:
    found = compile_(DETECTOR, tmp_path / "out", target="ethos-u65-512").findings
    checked = check(DETECTOR, "ethos-u65-512")
    assert (found["cpu_operators"], found["npu_operators"] + found["cpu_operators"]) == (
        checked.failing,
        checked.operators,
    )


def test_the_same_bytes_come_out_of_another_process(compiled: Artifact, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edgecv.artifact import Artifact\n"
        "from edgecv.calibration import Calibration; from edgecv_vela import VelaExporter\n"
        "VelaExporter(calibration=Calibration(paths=())).export(Artifact(path=Path(sys.argv[1])), Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(labelled(tmp_path)), str(tmp_path / "again")]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "77"}, cwd=tmp_path)
    again = {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    here = {path.name: path.read_bytes() for path in compiled.path.iterdir() if path.name != "edgecv.json"}
    assert again == here


def test_other_options_give_other_files(compiled: Artifact, tmp_path: Path) -> None:
    other = compile_(CLASSIFIER, tmp_path / "u65", target="ethos-u65-256")
    assert other.findings["system_config"] == "Ethos_U65_Client_Server"
    assert other.findings["memory_mode"] == "Dedicated_Sram_384KB"
    slow = compile_(CLASSIFIER, tmp_path / "slow", system_config="Ethos_U55_Deep_Embedded", optimise="Size")
    assert slow.findings["estimated_ms"] > compiled.findings["estimated_ms"]
    assert (slow.path / "estimate.json").read_bytes() != (compiled.path / "estimate.json").read_bytes()


def test_too_much_on_the_cpu_and_nothing_on_the_npu_is_no(tmp_path: Path) -> None:
    message = (
        r"^separable-tflite-int8 leaves 2 operators of ethos-u55-128 to the CPU, more than the 1 of max_cpu_ops: "
        r"DEQUANTIZE \(head\); SOFTMAX \(pipeline: activation\)$"
    )
    with pytest.raises(ShortfallError, match=message) as caught:
        compile_(CLASSIFIER, tmp_path / "out", max_cpu_ops=1)
    assert caught.value.findings["cpu_operators"] == 2
    assert compile_(CLASSIFIER, tmp_path / "fits", max_cpu_ops=2).findings["cpu_operators"] == 2
    message = r"^separable-tflite-float32 has no operator on ethos-u55-128: all 7 stay on the CPU: [^\n]+$"
    with pytest.raises(ShortfallError, match=message):
        compile_(FLOATS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_options_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OptionError, match=r"^vela writes int8 alone, not 'float32'. Use --precision int8.$"):
        make_exporter("vela", {"precision": "float32"})
    with pytest.raises(OptionError, match=r"^vela needs real pictures to calibrate on. Give --calibration DIR.$"):
        make_exporter("vela", {})
    with pytest.raises(OptionError, match=r"^target must be one of ethos-u55-32, .*, got 'ethos-u55-129'.$"):
        exporter(target="ethos-u55-129")
    with pytest.raises(OptionError, match=r"^max_cpu_ops must be at least 0, got -1.$"):
        exporter(max_cpu_ops=-1)
    message = r"^system_config must be one of Ethos_U55_Deep_Embedded, .*, got 'Ethos_U85_SYS_DRAM_Low'.$"
    with pytest.raises(OptionError, match=message):
        exporter(system_config="Ethos_U85_SYS_DRAM_Low")
    with pytest.raises(OptionError, match=r"^memory_mode must be one of Dedicated_Sram, .*, got 'Sram'.$"):
        exporter(memory_mode="Sram")


def test_without_vela_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert VelaExporter.missing() == "ethos-u-vela is not installed. Run: pip install 'ethos-u-vela>=5,<6'"


def test_what_vela_says_where_it_fails_is_one_line(tmp_path: Path) -> None:
    broken = exporter()
    object.__setattr__(broken, "system_config", "Ethos_U99")
    message = r"^Vela cannot compile separable-tflite-int8.tflite for ethos-u55-128: [^\n]*Ethos_U99[^\n]*\.$"
    with pytest.raises(ConversionError, match=message):
        broken.export(Artifact(path=CLASSIFIER), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_nothing_here_runs_it_and_every_command_says_so(compiled: Artifact) -> None:
    assert runtime_of(compiled.path)[0] == "vela"
    assert RUNTIME.devices() == ()
    message = r"^'.*' runs on an Arm Ethos-U alone: it is estimated, not verified. Run the int8 TFLite file [^\n]+$"
    with pytest.raises(DeviceError, match=message):
        RUNTIME.open(compiled.path)
    said = CliRunner().invoke(cli, ["verify", str(compiled.path)])
    assert said.exit_code == 2
    assert "is whole, its digest agrees; but nothing here can run it: what it is made of was verified" in said.stderr
    shown = CliRunner().invoke(cli, ["inspect", str(compiled.path)])
    assert shown.exit_code == 0
    assert "estimated, not verified" in shown.stdout
    listed = json.loads(CliRunner().invoke(cli, ["list", "runtimes", "--json"]).stdout)["runtimes"]
    (vela,) = (each for each in listed if each["name"] == "vela")
    assert (vela["available"], vela["devices"]) == (False, [])


def test_a_folder_with_another_file_or_none_is_one_line(tmp_path: Path) -> None:
    assert not RUNTIME.opens(tmp_path)
    message = r"^'.*' cannot be opened as Vela's: it has 0 .tflite files. Export it again.$"
    with pytest.raises(ArtifactError, match=message):
        RUNTIME.operators(tmp_path)


def test_importing_the_plugin_imports_no_compiler() -> None:
    code = "import sys, edgecv_vela, edgecv_vela.runtime; print({'ethosu', 'numpy', 'tensorflow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
