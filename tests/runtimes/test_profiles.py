"""Profiles of both engines, brought back to the tensors of the file."""

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgecv
from edgecv import registry
from edgecv.benchmarking.profile import make_profile
from edgecv.runtime import NodeTime
from edgecv.runtimes import litert_profile
from edgecv.runtimes.litert import LiteRtRuntime
from edgecv.runtimes.litert_profile import matched
from edgecv.runtimes.onnx_graph import OnnxNode
from edgecv.runtimes.onnx_profile import node_times
from edgecv.runtimes.tflite_graph import TfliteOperator


def onnx_node(operator: str, inputs: str, output: str) -> OnnxNode:
    return OnnxNode(name=f"{output}/{operator}", operator=operator, inputs=tuple(inputs.split()), outputs=(output,))


def tflite_operator(name: str, output: str) -> TfliteOperator:
    return TfliteOperator(name=name, input_shapes=(), output_shapes=(), outputs=(output,))


def written(tmp_path: Path, *events: tuple[str, str, int]) -> Path:
    path = tmp_path / "profile.json"
    nodes = [
        {"cat": "Node", "name": f"{name}_kernel_time", "dur": microseconds, "args": {"op_name": op}}
        for name, op, microseconds in events
    ]
    path.write_text(json.dumps([{"cat": "Session", "name": "model_run", "dur": 1}, *nodes]))
    return path


def test_fused_nodes_of_onnxruntime_get_the_tensors_of_all(tmp_path: Path) -> None:
    nodes = [
        onnx_node("Pad", "image", "padded"),
        onnx_node("Conv", "padded w", "conv"),
        onnx_node("Clip", "conv", "relu"),
        onnx_node("Conv", "relu v", "branch"),
        onnx_node("Add", "relu branch", "sum"),
        onnx_node("Gemm", "sum u", "dense"),
    ]
    profile = written(
        tmp_path,
        ("relu_nchwc", "Conv", 100),  # named after the last tensor of those fused
        ("branch/Conv_token_3", "Conv", 50),  # named after the first node
        ("ReorderOutput_token_4", "ReorderOutput", 5),
        ("fused dense/Gemm/Gemm", "FusedGemm", 10),
    )
    times = {time.name: (time.op, time.milliseconds, time.tensors) for time in node_times(profile, nodes)}
    assert times == {
        "relu_nchwc": ("Conv", 0.1, ("padded", "conv", "relu")),
        "branch/Conv_token_3": ("Conv", 0.05, ("branch", "sum")),
        "ReorderOutput_token_4": ("ReorderOutput", 0.005, ()),
        "fused dense/Gemm/Gemm": ("FusedGemm", 0.01, ("dense",)),
    }


def test_onnxruntimes_times_are_medians_over_the_runs_and_sums_within_one(tmp_path: Path) -> None:
    nodes = [onnx_node("Conv", "image w", "conv"), onnx_node("Loop", "conv", "loop")]
    runs = [(("conv/Conv", "Conv", first), *[("body", "Add", 1000)] * 2) for first in (9000, 2000, 3000)]
    times = node_times(written(tmp_path, *(event for run in runs for event in run)), nodes)
    assert [(time.name, time.milliseconds) for time in times] == [("conv/Conv", 3.0), ("body", 2.0)]


def test_kernels_of_litert_are_matched_to_operators_in_their_order() -> None:
    operators = [
        tflite_operator("CAST", "cast"),
        tflite_operator("PAD", "pad"),
        tflite_operator("CONV_2D", "stem"),
        tflite_operator("DEPTHWISE_CONV_2D", "depthwise"),
        tflite_operator("CONV_2D", "pointwise"),
        tflite_operator("RELU", "relu"),
        tflite_operator("TOPK_V2", "best"),
    ]
    events = [
        ("CAST", 0),
        ("Convert (NC)", None),  # what the engine put in
        ("Convolution (NHWC, F32) IGEMM", None),
        ("Convolution (NHWC, F32) DWConv", None),
        ("Fully Connected (NC, F32) GEMM", None),
        ("TOPK_V2", 6),
    ]
    assert matched(events, operators) == [
        ("cast",),
        (),
        ("pad", "stem"),
        ("depthwise",),
        ("pointwise", "relu"),
        ("best",),
    ]


def test_layers_come_from_the_metadatas_map_or_from_the_tensors_names() -> None:
    times = [
        NodeTime(name="a", op="Conv", milliseconds=3.0, tensors=("conv+bn/Conv:0", "relu/Clip:0")),
        NodeTime(name="b", op="Gemm", milliseconds=1.0, tensors=("head/Gemm:0",)),
        NodeTime(name="c", op="Cast", milliseconds=1.0, tensors=("pipeline/Cast:0",)),
        NodeTime(name="d", op="Conv", milliseconds=5.0),
    ]
    layers = {"conv": "conv+bn/Conv:0", "bn": "conv+bn/Conv:0", "relu": "relu/Clip:0", "head": "probabilities"}
    profile = make_profile(times, layers)
    assert [node.layers for node in profile.nodes] == [("conv", "bn", "relu"), ("head",), (), ()]
    assert profile.operators == {"Conv": 0.8, "Gemm": 0.1, "Cast": 0.1}
    assert [node.name for node in profile.top] == ["d", "a", "b", "c"]


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_every_layer_with_weights_is_found_in_the_profile(form: str, networks: Any, tmp_path: Path) -> None:
    path = tmp_path / f"separable.{form}"
    edgecv.export(networks.deployable("separable"), to=form, path=path, verify=False)
    found = registry.runtime_for(path.suffix)
    assert found is not None
    runtime: Any = found[1]
    feeds = {"image": np.zeros((1, 24, 24, 3), np.uint8)}
    times = runtime.profile(path, feeds, device="cpu", threads=1, seconds=0.01)
    profile = make_profile(times, runtime.read_metadata(path)["layers"])
    layers = [layer for node in profile.nodes for layer in node.layers]
    assert {"stem", "stem_bn", "stem_relu", "depthwise", "depthwise_bn", "depthwise_relu", "head"} <= set(layers)
    owners = {layer: node.op for node in profile.nodes for layer in node.layers}
    assert owners["stem"].startswith("Conv")
    assert owners["stem"] == owners["stem_bn"] == owners["stem_relu"]


def test_litert_alone_says_nothing_of_a_file_whose_batch_is_dynamic(dynamic: Path) -> None:
    found = registry.runtime_for(dynamic.suffix)
    assert found is not None
    runtime: Any = found[1]
    times = runtime.profile(dynamic, {"image": np.zeros((1, 4, 4, 3), np.uint8)}, threads=1, seconds=0.01)
    assert (times is None) == (dynamic.suffix == ".tflite")


@pytest.mark.parametrize("form", ["other version", "other events"])
def test_litert_says_nothing_where_its_library_is_not_the_known_one(
    form: str, make_bare: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form == "other version":
        monkeypatch.setattr(importlib.metadata, "version", lambda _: "3.0.1")
    else:
        monkeypatch.setattr(litert_profile, "_WORDS_OF_EVENT", 11)
    path = tmp_path / "tiny.tflite"
    path.write_bytes(make_bare("tflite"))
    runtime: Any = LiteRtRuntime()
    feeds = {"image": np.zeros((1, 4, 4, 3), np.uint8)}
    assert runtime.profile(path, feeds, threads=1, seconds=0.01) is None
