"""What only a GPU can show: `pytest -m gpu`."""

from pathlib import Path

import numpy as np
import pytest

import edgecv
from edgecv.greedy import greedy
from edgecv.original import gather_pictures, original_answers
from edgecv.runtimes.onnxruntime import OnnxRuntime
from edgecv.verification import verify_runner

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        "cuda" not in OnnxRuntime().devices(), reason="ONNX Runtime offers no CUDA device on this machine"
    ),
]

# Convolutions add in another order on a GPU; with TF32 off no digit is dropped on purpose.
_TOLERANCE = 1e-3


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0", "ssd_mobilenet_v2"])
def test_cuda_answers_like_the_original_on_the_cpu(name: str, tmp_path: Path) -> None:
    deployable = edgecv.deploy(edgecv.build(name))
    artifact = edgecv.export(deployable, to="onnx", path=tmp_path / f"{name}.onnx")
    pictures = gather_pictures(deployable, None)
    runner = OnnxRuntime().open(artifact.path, device="cuda", expose=artifact.checkpoints)
    assert runner.device == "cuda"
    assert runner.provider == "CUDAExecutionProvider"
    answers = original_answers(deployable, pictures)
    report = verify_runner(runner, "onnxruntime", deployable, pictures, answers, _TOLERANCE)
    assert report.passed, report.summary()


def test_suppression_on_cuda_is_the_reference_s(tmp_path: Path) -> None:
    """At a low threshold, so that hundreds of boxes compete on each picture."""
    nms = edgecv.Nms(score_threshold=0.01, max_detections=200)
    deployable = edgecv.deploy(edgecv.build("ssd_mobilenet_v2"), nms=nms)
    artifact = edgecv.export(deployable, to="onnx", path=tmp_path / "ssd.onnx")
    runner = OnnxRuntime().open(artifact.path, device="cuda", expose=artifact.checkpoints)
    for picture in gather_pictures(deployable, None).values:
        given = runner.run({"image": picture[None]})
        expected = greedy(given["pre_nms/boxes"][0], given["pre_nms/scores"][0], nms)
        count = int(given["count"][0])
        assert expected.doubtful or count == len(expected)
        if not expected.doubtful:
            np.testing.assert_array_equal(given["boxes"][0, :count], expected.boxes)
            np.testing.assert_array_equal(given["classes"][0, :count], expected.classes)


def test_verify_runs_the_recorded_cases_on_cuda(tmp_path: Path) -> None:
    deployable = edgecv.deploy(edgecv.build("efficientnet_lite0"))
    artifact = edgecv.export(deployable, to="onnx", path=tmp_path / "net.onnx", devices=("cpu", "cuda"))
    report = edgecv.verify(artifact, devices=("cuda",))
    assert report.passed
    assert {check.device for check in report.checks} == {"cuda"}
