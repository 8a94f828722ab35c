"""Running Vela, and reading what it made: the file, its estimate, and which operators it left to the CPU."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv.errors import ConversionError
from edgecv.targets.layers import Layers
from edgecv.targets.tflite_model import read_tflite

from edgecv_vela.hiding import hide, reveal
from edgecv_vela.targets import counted

if TYPE_CHECKING:
    from edgecv_vela import VelaExporter

__all__ = ["ESTIMATE_FILE", "LABEL_FILE", "NPU_OPERATOR", "Compiled", "compile_for", "write"]

ESTIMATE_FILE, LABEL_FILE = "estimate.json", "labels.txt"
# The custom operator that a part for the NPU becomes.
NPU_OPERATOR = "ethos-u"
_CONFIG = "Arm/vela.ini"
_KIBIBYTE = 1024


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """What Vela made.

    Attributes:
        name: Of the file, without its suffix.
        content: The file's bytes.
        npu_operators: How many of the operators before are on the NPU.
        on_cpu: Name and layers of each operator that is not.
        tensors: Names of the tensors that are left in the file.
        summary: Vela's summary, by its own names.
        version: Vela's version.
    """

    name: str
    content: bytes
    npu_operators: int
    on_cpu: tuple[tuple[str, str], ...]
    tensors: frozenset[str]
    summary: Mapping[str, str]
    version: str

    def findings(self, exporter: "VelaExporter") -> dict[str, Any]:
        """Return what users should see."""
        found: dict[str, Any] = {
            "target": exporter.target,
            "npu_operators": self.npu_operators,
            "cpu_operators": len(self.on_cpu),
            "on_cpu": counted(self.on_cpu),
            "estimated_by": f"Vela {self.version}: estimated, not verified",
            "system_config": exporter.system,
            "memory_mode": exporter.memory,
        }
        if self.npu_operators:
            found["estimated_ms"] = round(1000 * self._number("inference_time"), 4)
        memory = {"sram_bytes": ("sram",), "dram_bytes": ("dram",), "flash_bytes": ("on_chip_flash", "off_chip_flash")}
        for name, areas in memory.items():
            found[name] = round(_KIBIBYTE * sum(self._number(f"{area}_memory_used") for area in areas))
        return found

    def _number(self, name: str) -> float:
        try:
            return float(self.summary[name])
        except (KeyError, ValueError) as error:
            raise ConversionError(f"Vela's summary has no number {name!r}. Use ethos-u-vela>=5,<6.") from error


def compile_for(exporter: "VelaExporter", path: Path, document: Mapping[str, Any], *, scratch: Path) -> Compiled:
    """Compile an int8 TFLite file.

    Args:
        exporter: What it is compiled for.
        path: The file.
        document: Its metadata, which say what its layers are.
        scratch: A folder that does not exist yet, for what Vela writes; it is removed again.

    Raises:
        ConversionError: Vela failed.
    """
    from importlib.metadata import version

    scratch.mkdir()
    try:
        before = read_tflite(path)
        floats = any(
            operator.name == "ARG_MAX" and operator.given[0].dtype == "float32" for operator in before.operators
        )
        content = path.read_bytes()
        given = scratch / path.name
        given.write_bytes(hide(content) if floats else content)
        _run(exporter, given, scratch)
        (compiled,) = scratch.glob("*_vela.tflite")
        if given.read_bytes() != content:
            compiled.write_bytes(reveal(compiled.read_bytes()))
        (summary,) = scratch.glob("*_summary_*.csv")
        graph = read_tflite(compiled)
        layers = Layers(before.operators, document)
        left = [operator for operator in graph.operators if operator.name != NPU_OPERATOR]
        with summary.open(newline="") as file:
            row = next(csv.DictReader(file))
        return Compiled(
            name=path.stem,
            content=compiled.read_bytes(),
            npu_operators=max(len(before.operators) - len(left), 0) if len(left) < len(graph.operators) else 0,
            on_cpu=tuple((operator.name, layers.of(operator)) for operator in left),
            tensors=frozenset(tensor.name for operator in graph.operators for tensor in operator.outputs),
            summary=row,
            version=version("ethos-u-vela"),
        )
    except ValueError as error:  # not one file of each
        raise ConversionError(f"Vela wrote no file for {path.name}. Use ethos-u-vela>=5,<6.") from error
    finally:
        shutil.rmtree(scratch)


def write(compiled: Compiled, folder: Path, *, labels: Sequence[str], findings: Mapping[str, Any]) -> None:
    """Write the artifact's folder, but for the metadata."""
    folder.mkdir()
    (folder / f"{compiled.name}.tflite").write_bytes(compiled.content)
    # Paths and names of Vela's run say nothing of the network.
    summary = {key: value for key, value in compiled.summary.items() if key not in ("experiment", "network")}
    estimate = {"note": "estimated by Vela, not verified", **findings, "vela_summary": summary}
    (folder / ESTIMATE_FILE).write_text(json.dumps(estimate, indent=1) + "\n", encoding="utf-8")
    if labels:
        (folder / LABEL_FILE).write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")


def _run(exporter: "VelaExporter", path: Path, folder: Path) -> None:
    command = [
        sys.executable, "-P", "-m", "ethosu.vela", str(path.resolve()), "--output-dir", str(folder.resolve()),
        "--config", _CONFIG, "--accelerator-config", exporter.target, "--system-config", exporter.system,
        "--memory-mode", exporter.memory, "--optimise", exporter.optimise,
    ]  # fmt: skip
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    if done.returncode != 0:
        # What it raises may have several lines, behind where it comes from.
        text = done.stderr.rpartition('\n  File "')[2].partition("Error: ")[2] or done.stderr.rpartition(": error: ")[2]
        problem = " ".join(text.split()).removeprefix("Compilation failed: ") or f"it ended with {done.returncode}"
        raise ConversionError(f"Vela cannot compile {path.name} for {exporter.target}: {problem.rstrip('.')}.")
