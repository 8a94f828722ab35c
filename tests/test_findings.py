"""What exporters find out about their artifacts, and formats that nothing here can run."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import edgecv
from edgecv.artifact import Artifact
from edgecv.cli import cli
from edgecv.deployable import Deployable
from edgecv.errors import BudgetError, ShortfallError
from edgecv.exporting import make_exporter, unverified_because
from edgecv.findings import finding_rows
from tests.plugins import install

# A compiler for an accelerator that is not here: nothing runs what it writes, and it knows what will run there.
_CODE = """
import shutil
from dataclasses import dataclass, field
from typing import ClassVar

from edgecv.artifact import Artifact
from edgecv.errors import ShortfallError
from edgecv.exporter import same_precision
from edgecv.runtimes.folder import read_folder_metadata, write_folder_metadata


@dataclass(frozen=True, kw_only=True)
class Compiled:
    summary: ClassVar[str] = "an accelerator's own code"
    suffix: ClassVar[str] = ""
    precisions: ClassVar[tuple[str, ...]] = ("float32", "int8")
    source: ClassVar[str] = "onnx"
    runtime: ClassVar[str] = "compiled"
    unverified: ClassVar[str] = "it runs on an accelerator alone"
    api_version: ClassVar[int] = 1

    precision: str = "float32"
    calibration: object = None
    float_layers: tuple[str, ...] = ()
    most: int = field(default=9, metadata={"flag": "while", "help": "Operators that may stay on the CPU."})

    @property
    def source_options(self):
        return same_precision(self)

    def export(self, source, path):
        findings = {"npu_operators": 5, "estimated_ms": 1.23456, "cpu_operators": ["Softmax (predictions)", "Cast"]}
        if self.most < 2:
            raise ShortfallError(f"2 operators stay on the CPU, more than {self.most}: Softmax, Cast", findings)
        path.mkdir()
        shutil.copyfile(source.path, path / "code.bin")
        return Artifact(path=path, findings=findings)


class CompiledRuntime:
    summary = "an accelerator"
    suffixes = ("",)
    extra = "onnx"
    api_version = 1

    def missing(self):
        return "it runs on an accelerator alone"

    def devices(self):
        return ()

    def opens(self, path):
        return (path / "code.bin").is_file()

    def open(self, path, **options):
        raise AssertionError("nobody may open it")

    def read_metadata(self, path):
        return read_folder_metadata(path)

    def write_metadata(self, path, document):
        write_folder_metadata(path, document)

    def operators(self, path):
        return {"code": 1}

    def custom_operators(self, path):
        return []
"""


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    module = f"compiled_{request.node.name.split('[')[0]}"
    entries = {"edgecv.exporters": {"compiled": "Compiled"}, "edgecv.runtimes": {"compiled": "CompiledRuntime"}}
    install(folder, monkeypatch, module, _CODE, entries)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def deployable() -> Deployable:
    return edgecv.deploy(edgecv.build("lenet5", weights="random"))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def digits(folder: Path, count: int) -> str:
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        coarse = random.integers(0, 255, (4, 4), np.uint8)
        Image.fromarray(coarse).resize((28, 28), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return str(folder)


def test_what_nothing_runs_is_not_verified_but_what_it_is_made_of_is() -> None:
    result = run("export", "lenet5", "--to", "compiled", "-o", "out", "--json")
    assert result.exit_code == 0
    artifact = json.loads(result.stdout)["artifacts"][0]
    assert artifact["verification"] is None
    assert artifact["source_verification"]["passed"] is True
    assert {check["runtime"] for check in artifact["source_verification"]["checks"]} == {"onnxruntime"}
    assert artifact["findings"] == {
        "npu_operators": 5,
        "estimated_ms": 1.23456,
        "cpu_operators": ["Softmax (predictions)", "Cast"],
    }
    inspected = json.loads(run("inspect", "out", "--json").stdout)
    assert inspected["verification"] == {}
    assert inspected["source_verification"] == artifact["source_verification"]
    assert inspected["findings"] == artifact["findings"]


def test_people_read_that_it_was_not_verified_and_what_was_found() -> None:
    result = run("export", "lenet5", "--to", "compiled", "-o", "out")
    first, *rest = result.stdout.splitlines()
    assert "not verified, it runs on an accelerator alone; its onnx source is verified: largest" in first
    assert rest == [
        "    NPU operators: 5",
        "    estimated ms: 1.235",
        "    CPU operators: Softmax (predictions), Cast",
    ]
    lines = run("inspect", "out").stdout.splitlines()
    assert "verified          no; its source passed" in lines
    assert "NPU operators     5" in lines


def test_a_shortfall_is_the_answer_no_and_writes_nothing(tmp_path: Path) -> None:
    result = run("export", "lenet5", "--to", "compiled", "--while", "1", "-o", "out", "--json")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        "Error: 2 operators stay on the CPU, more than 1: Softmax, Cast. Nothing was written."
    )
    artifact = json.loads(result.stdout)["artifacts"][0]
    assert (artifact["path"], artifact["verification"]) == (None, None)
    assert artifact["findings"]["npu_operators"] == 5
    assert not (tmp_path / "out").exists()


def test_a_shortfall_stops_no_other_format(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    result = run("export", "lenet5", "--to", "compiled", "--while", "0", "--to", "onnx", "-o", "all")
    assert result.exit_code == 1
    assert [path.name for path in (tmp_path / "all").iterdir()] == ["lenet5.onnx"]


def test_in_python_a_shortfall_is_an_error_that_keeps_what_was_found(deployable: Deployable) -> None:
    with pytest.raises(ShortfallError, match=r"^2 operators stay on the CPU, more than 0: Softmax, Cast$") as caught:
        edgecv.export(deployable, to="compiled", path="out", most=0)
    assert caught.value.findings["estimated_ms"] == 1.23456


def test_what_fails_in_the_source_fails_the_artifact(deployable: Deployable, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgecv_onnx import OnnxExporter

    from edgecv.errors import VerificationError

    export = OnnxExporter.export

    def other(self: OnnxExporter, source: Any, path: Path) -> Artifact:
        network = source.network
        kernel = network.layers[-1].kernel
        kept = np.asarray(kernel)
        kernel.assign(-kept)
        try:
            return export(self, source, path)
        finally:
            kernel.assign(kept)

    monkeypatch.setattr(OnnxExporter, "export", other)
    with pytest.raises(VerificationError, match=r"^lenet5 as onnx does not answer like the original: "):
        edgecv.export(deployable, to="compiled", path="out")
    assert not Path("out").exists()


def test_the_budget_is_that_of_the_source(deployable: Deployable, tmp_path: Path) -> None:
    pictures = digits(tmp_path / "digits", 100)
    artifact = edgecv.export(
        deployable, to="compiled", path="out", precision="int8", calibration=pictures, max_drop=0.9
    )
    assert artifact.quantization is not None
    assert artifact.quantization.met is True
    assert artifact.source_report is not None
    assert "edgecv.json" in [path.name for path in Path("out").iterdir()]


def test_a_missed_budget_of_the_source_is_raised_behind_the_written_artifact(
    deployable: Deployable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgecv import budget

    pictures = digits(tmp_path / "digits", 100)
    monkeypatch.setattr(budget.Quantizer, "_kept", lambda *_: False)
    missed = budget.Quantizer._outcome

    def outcome(self: Any, *arguments: Any) -> Any:
        return dataclasses.replace(missed(self, *arguments), met=False)

    monkeypatch.setattr(budget.Quantizer, "_outcome", outcome)
    with pytest.raises(BudgetError, match=r"^lenet5 as compiled: ") as caught:
        edgecv.export(deployable, to="compiled", path="out", precision="int8", calibration=pictures, max_drop=0.9)
    assert caught.value.artifact.path == Path("out")
    assert Path("out/code.bin").is_file()


def test_an_option_may_have_another_name_on_the_command_line() -> None:
    help_text = run("export", "--to", "compiled", "--help").stdout
    assert "--while INTEGER" in help_text
    assert "--most" not in help_text


def test_the_reason_is_the_exporters_own() -> None:
    assert unverified_because(make_exporter("compiled", {})) == "it runs on an accelerator alone"
    assert unverified_because(make_exporter("onnx", {})) is None


def test_findings_in_words() -> None:
    assert finding_rows({"sram_bytes": 1234567, "fits": True, "on_the_cpu": [], "share": 0.123456}) == [
        ("SRAM bytes", "1,234,567"),
        ("fits", "yes"),
        ("on the CPU", "none"),
        ("share", "0.1235"),
    ]
    assert finding_rows({"a\x1b": "b\nc"}) == [("a\N{REPLACEMENT CHARACTER}", "b\N{REPLACEMENT CHARACTER}c")]


def test_the_report_says_what_was_not_run() -> None:
    run("export", "lenet5", "--to", "compiled", "-o", "out", "--report", "r.html")
    page = Path("r.html").read_text()
    assert (
        "compiled was not run: it runs on an accelerator alone. What it was made of answers like the original." in page
    )
    assert "NPU operators" in page


def test_the_report_says_what_falls_short() -> None:
    assert run("export", "lenet5", "--to", "compiled", "--while", "0", "--report", "r.html").exit_code == 1
    page = Path("r.html").read_text()
    assert "compiled was not written: 2 operators stay on the CPU, more than 0: Softmax, Cast." in page
