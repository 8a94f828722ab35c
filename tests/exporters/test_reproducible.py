"""The same command on the same machine writes the same bytes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import edgecv
from edgecv.nms import Nms

EXPORT = """
import importlib.util, sys
from dataclasses import replace
from pathlib import Path
import edgecv
from edgecv.nms import Nms

specification = importlib.util.spec_from_file_location("networks", sys.argv[1])
networks = importlib.util.module_from_spec(specification)
specification.loader.exec_module(networks)
fcn = edgecv.to_fcn(networks.build("lenet5"))
scales = replace(fcn.edgecv_info.decoder, scales=(1.0, 0.75, 0.5))
originals = {
    "lenet5": networks.deployable("lenet5"),
    "separable": networks.deployable("separable"),
    "detector": networks.deployable("detector", batch=None),
    "soft": networks.deployable("detector", nms=Nms(soft_sigma=0.5), batch=None, resize="letterbox"),
    "fcn": edgecv.deploy(fcn, preprocess="0-1", input_size=(64, 80), decoder=scales),
}
for name, original in originals.items():
    for form in ("onnx", "tflite"):
        artifact = edgecv.export(original, to=form, path=Path(sys.argv[2]) / f"{name}.{form}")
        print(artifact.path.name, artifact.sha256)
"""


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    networks = Path(__file__).parents[1] / "networks.py"
    processes = []
    for seed in ("1", "2"):
        folder = tmp_path / f"hash seed {seed}"
        folder.mkdir()
        command = [sys.executable, "-c", EXPORT, str(networks), str(folder)]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TF_CPP_MIN_LOG_LEVEL": "3"}
        processes.append(
            subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        )
    printed = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    first, second = (output.splitlines() for output, _ in printed)
    names = ["lenet5", "separable", "detector", "soft", "fcn"]
    assert [line.split()[0] for line in first] == [f"{name}.{form}" for name in names for form in ("onnx", "tflite")]
    assert first == second


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_two_exports_of_one_process_write_the_same_bytes(form: str, networks: Any, tmp_path: Path) -> None:
    # Few of many candidates: TFLite's suppression has a branch, and TensorFlow numbers branches over a process.
    original = networks.deployable("detector", nms=Nms(max_detections=5))
    first, second = (
        edgecv.export(original, to=form, path=tmp_path / f"{number}.{form}", verify=False).path.read_bytes()
        for number in range(2)
    )
    assert first == second
    if form == "tflite":
        assert b"subgraph_2" in first
