"""Tables of targets against the targets themselves, as far as they are installed."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgecv.targets import check
from edgecv.targets.tables import load_table
from edgecv.tflite_operators import operator_name
from tests.targets.onnx_making import operators
from tests.targets.tflite_making import write_operator

GOLDEN = Path(__file__).parents[1] / "golden" / "robustness"


@pytest.mark.slow
def test_onnx_runtime_has_the_kernels_that_its_table_says(tmp_path: Path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    release = ".".join(onnxruntime.__version__.split(".")[:2])
    most = load_table("onnxruntime")["releases"][release]["opset"]
    wrong, asked = [], 0
    for name, since, dtype, content in operators():
        if since > most:
            continue
        path = tmp_path / "one.onnx"
        path.write_bytes(content)
        try:
            onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            runs = True
        except Exception as error:  # of several types, by what fails
            if "NOT_IMPLEMENTED" not in str(error):  # the file is no sense of this operator: nothing is learnt
                continue
            runs = False
        asked += 1
        if check(path, f"onnxruntime=={release}").passed != runs:
            wrong.append((name, since, dtype, runs))
    assert wrong == []
    assert asked > 1000


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("tflite_micro") is None, reason="tflite-micro is not installed")
def test_tensorflow_lite_micro_has_the_operators_that_its_table_says(tmp_path: Path) -> None:
    run = (
        "import sys; from tflite_micro.python.tflite_micro import runtime\n"
        "runtime.Interpreter.from_file(sys.argv[1], arena_size=200000)"
    )
    known: Any = load_table("tflm")["operators"]
    wrong = []
    for code in range(160):
        name = operator_name(code)
        if name in ("CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES"):
            continue
        path = write_operator(tmp_path / "one.tflite", name, [("float32", [1, 4])], [("float32", [1, 4])])
        # In a process of its own: some kernels end it where their inputs are not there.
        done = subprocess.run([sys.executable, "-c", run, str(path)], capture_output=True, text=True)
        if ("Didn't find op" in done.stderr) == (name in known):
            wrong.append((name, done.stderr[:200]))
    assert wrong == []
