"""What every runtime keeps to, and what is particular to one."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecv import registry
from edgecv.errors import ArtifactError, DeviceError, MissingExtraError, OptionError
from edgecv.runtime import Runtime, TensorInfo
from edgecv.runtimes.litert import LiteRtRuntime
from edgecv.runtimes.onnxruntime import OnnxRuntime
from edgecv.session import runtime_of

onnx: Runtime = OnnxRuntime()
litert: Runtime = LiteRtRuntime()


def test_both_are_found_by_entry_point() -> None:
    assert {"onnxruntime", "litert"} <= set(registry.runtime_names())
    assert isinstance(registry.load_runtime("onnxruntime"), OnnxRuntime)
    assert isinstance(registry.load_runtime("litert"), LiteRtRuntime)


def test_names_shapes_and_types_are_the_artifacts(bare: Path) -> None:
    runner = runtime_of(bare)[1].open(bare, threads=1)
    assert runner.inputs == (TensorInfo(name="image", shape=(1, 4, 4, 3), dtype="uint8"),)
    assert runner.outputs == (TensorInfo(name="probabilities", shape=(1, 3), dtype="float32"),)
    assert runner.device == "cpu"
    assert runner.provider == {".onnx": "CPUExecutionProvider", ".tflite": "XNNPACK"}[bare.suffix]


def test_answers_are_right_and_the_callers_to_keep(bare: Path) -> None:
    runner = runtime_of(bare)[1].open(bare)
    first = runner.run({"image": np.full((1, 4, 4, 3), 51, np.uint8)})["probabilities"]
    second = runner.run({"image": np.full((1, 4, 4, 3), 255, np.uint8)})["probabilities"]
    np.testing.assert_allclose(first, [[0.2, 0.2, 0.2]], rtol=1e-6)
    np.testing.assert_allclose(second, [[1, 1, 1]], rtol=1e-6)


def test_a_dynamic_batch_takes_any(dynamic: Path) -> None:
    runner = runtime_of(dynamic)[1].open(dynamic)
    assert runner.inputs[0].shape == (None, 4, 4, 3)
    for batch in (1, 3, 2, 1):
        image = np.arange(batch * 48, dtype=np.uint8).reshape(batch, 4, 4, 3)
        expected = image.astype(np.float64).mean(axis=(1, 2)) / 255
        np.testing.assert_allclose(runner.run({"image": image})["probabilities"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, r"^The input lacks 'image'; the artifact takes 'image'\.$"),
        ({"image": 1, "extra": 1}, r"^The input has the unknown 'extra'; the artifact takes 'image'\.$"),
        (
            {"image": np.zeros((1, 4, 4, 3))},
            r"^Input 'image' takes uint8 \[1, 4, 4, 3\], got float64 \[1, 4, 4, 3\]\. "
            r"Give an array of that shape and type\.$",
        ),
        (
            {"image": np.zeros((1, 4, 5, 3), np.uint8)},
            r"^Input 'image' takes uint8 \[1, 4, 4, 3\], got uint8 \[1, 4, 5, 3\]\. "
            r"Give an array of that shape and type\.$",
        ),
    ],
)
def test_wrong_feeds_are_one_line(bare: Path, feeds: dict[str, Any], message: str) -> None:
    runner = runtime_of(bare)[1].open(bare)
    with pytest.raises(OptionError, match=message):
        runner.run(feeds)


@pytest.mark.parametrize("runtime", [onnx, litert])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"^'.*' cannot be opened as .*\. Export it again\.$"),
        (b"no artifact at all" * 100, r"^'.*' cannot be opened as .*\. Export it again\.$"),
    ],
)
def test_garbage_is_one_line_without_noise(
    runtime: Runtime, content: bytes, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        runtime.open(path)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("runtime", [onnx, litert])
def test_missing_files_and_folders_are_one_line(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"^Artifact '.*none' cannot be read: No such file or directory\. Name .*$"):
        runtime.open(tmp_path / "none")
    with pytest.raises(ArtifactError, match=r"^Artifact '.*' cannot be read: Is a directory\. Name .*$"):
        runtime.read_metadata(tmp_path)


def test_litert_runs_without_its_delegate(tmp_path: Path, make_bare: Callable[..., bytes]) -> None:
    path = tmp_path / "bare.tflite"
    path.write_bytes(make_bare("tflite"))
    runner = LiteRtRuntime().open(path, delegate=False)
    assert runner.provider == "builtin kernels"
    answer = runner.run({"image": np.full((1, 4, 4, 3), 51, np.uint8)})["probabilities"]
    np.testing.assert_allclose(answer, [[0.2, 0.2, 0.2]], rtol=1e-6)


def test_unknown_devices_are_refused(bare: Path) -> None:
    with pytest.raises(DeviceError, match=r"^(ONNX Runtime|LiteRT) has no device 'tpu' in edgecv\. Use cpu.*\.$"):
        runtime_of(bare)[1].open(bare, device="tpu")


def test_zero_threads_are_refused(bare: Path) -> None:
    with pytest.raises(OptionError, match=r"^threads must be at least 1, got 0\.$"):
        runtime_of(bare)[1].open(bare, threads=0)


@pytest.mark.skipif("cuda" in onnx.devices(), reason="this machine has CUDA")
def test_cuda_where_there_is_none_is_an_error(tmp_path: Path, make_bare: Callable[..., bytes]) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(make_bare("onnx"))
    with pytest.raises(DeviceError, match=r"^Device 'cuda' .*pip install 'edgecv\[onnx-gpu\]'$"):
        onnx.open(path, device="cuda")


@pytest.mark.parametrize(("runtime", "package"), [(onnx, "onnxruntime"), (litert, "ai-edge-litert")])
def test_a_missing_engine_is_one_line(
    runtime: Runtime, package: str, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if bare.suffix not in runtime.suffixes:
        pytest.skip("the other runtime's file")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    remedy = rf"pip install 'edgecv\[{runtime.extra}\]'"
    with pytest.raises(
        MissingExtraError, match=rf"^Opening .* needs {package}, which is not installed\. Run: {remedy}$"
    ):
        runtime.open(bare)
    assert runtime.devices() == ()
    assert runtime.missing() == f"{package} is not installed. Run: pip install 'edgecv[{runtime.extra}]'"


def test_operators_are_counted(bare: Path) -> None:
    runtime = runtime_of(bare)[1]
    expected = {
        ".onnx": {"Cast": 1, "Div": 1, "ReduceMean": 1},
        ".tflite": {"CAST": 1, "MEAN": 1, "MUL": 1},
    }
    assert runtime.operators(bare) == expected[bare.suffix]
    assert runtime.custom_operators(bare) == []


def test_onnx_operators_of_subgraphs_and_other_domains(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    def branch(name: str, operator: str) -> Any:
        node = helper.make_node(operator, ["x"], [name])
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])])

    nodes = [
        helper.make_node("If", ["c"], ["y"], then_branch=branch("a", "Relu"), else_branch=branch("b", "Neg")),
        helper.make_node("FusedConv", ["y"], ["z"], domain="com.microsoft"),
        helper.make_node("Relu", ["z"], ["out"], domain="ai.onnx"),
    ]
    graph = helper.make_graph(nodes, "g", [], [])
    path = tmp_path / "x.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    assert onnx.operators(path) == {"If": 1, "Neg": 1, "Relu": 2, "com.microsoft.FusedConv": 1}
    assert onnx.custom_operators(path) == ["com.microsoft.FusedConv"]


def test_onnx_with_metadata_is_still_a_valid_model(
    tmp_path: Path, make_bare: Callable[..., bytes], document: dict[str, Any], seal: Callable[..., Path]
) -> None:
    import onnx as library

    path = tmp_path / "x.onnx"
    model = library.load_from_string(make_bare("onnx"))
    library.helper.set_model_props(model, {"edgecv": "old", "other": "kept"})
    # What stands before the graph is as well removed as what stands behind it.
    path.write_bytes(model.SerializeToString())
    seal(path, document)
    read = library.load(path)
    library.checker.check_model(read, full_check=True)
    assert [entry.key for entry in read.metadata_props] == ["other", "edgecv"]
    assert read.graph == model.graph


def test_flex_operators_are_named(tmp_path: Path) -> None:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([2, 2], tf.float32)])  # type: ignore[untyped-decorator]
    def inverse(x: Any) -> Any:
        return tf.linalg.inv(x)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([inverse.get_concrete_function()], tf.Module())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    path = tmp_path / "x.tflite"
    path.write_bytes(converter.convert())
    assert litert.custom_operators(path) == ["FlexMatrixInverse"]
    assert litert.operators(path) == {"FlexMatrixInverse": 1}
    message = r"^'.*' needs operators that LiteRT has not: FlexMatrixInverse\. Export it with builtin operators only\.$"
    with pytest.raises(ArtifactError, match=message):
        litert.open(path)


def test_operator_names_are_the_schemas() -> None:
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    from edgecv.tflite_operators import CUSTOM, operator_name

    codes = {code: name for name, code in vars(BuiltinOperator).items() if isinstance(code, int)}
    # A newer schema may know more.
    known = {code: operator_name(code) for code in codes if not operator_name(code).startswith("BUILTIN_")}
    assert len(known) >= 210
    assert known == {code: name for code, name in codes.items() if code in known}
    assert codes[CUSTOM] == "CUSTOM"
    assert operator_name(9999) == "BUILTIN_9999"


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
def test_the_probe_runs(runtime: str) -> None:
    found: Any = registry.load_runtime(runtime)
    assert found.probe("cpu") is None


def test_engines_do_not_die_of_damaged_files(bare: Path) -> None:
    code = f"""
import random
from pathlib import Path
from edgecv.errors import ArtifactError
from edgecv.session import runtime_of
path = Path({str(bare)!r})
whole = path.read_bytes()
runtime = runtime_of(path)[1]
for seed in range(60):
    dice = random.Random(seed)
    damaged = bytearray(whole)
    for _ in range(dice.randint(1, 3)):
        damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
    path.write_bytes(damaged)
    try:
        runtime.open(path)
    except ArtifactError as error:
        assert chr(10) not in str(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr[-500:]
