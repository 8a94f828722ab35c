"""What only a GPU can show: `pytest -m gpu`."""

from pathlib import Path

import pytest

import edgecv
from edgecv.runtimes.onnxruntime import OnnxRuntime
from edgecv.verification import gather_pictures, original_answers, run_batched

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        "cuda" not in OnnxRuntime().devices(), reason="ONNX Runtime offers no CUDA device on this machine"
    ),
]

# Convolutions add in another order on a GPU; with TF32 off no digit is dropped on purpose.
_TOLERANCE = 1e-3


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0"])
def test_cuda_answers_like_the_original_on_the_cpu(name: str, tmp_path: Path) -> None:
    from edgecv.comparison import compare

    deployable = edgecv.deploy(edgecv.build(name))
    artifact = edgecv.export(deployable, to="onnx", path=tmp_path / f"{name}.onnx")
    pictures = gather_pictures(deployable, None)
    runner = OnnxRuntime().open(artifact.path, device="cuda")
    assert runner.device == "cuda"
    assert runner.provider == "CUDAExecutionProvider"
    given = run_batched(runner, pictures.values, 1)["probabilities"]
    original = original_answers(deployable, pictures)["probabilities"]
    compared = compare(original, given, activation="softmax", tolerance=_TOLERANCE, classes=True)
    assert compared.problem == ""


def test_verify_runs_the_recorded_cases_on_cuda(tmp_path: Path) -> None:
    deployable = edgecv.deploy(edgecv.build("efficientnet_lite0"))
    artifact = edgecv.export(deployable, to="onnx", path=tmp_path / "net.onnx", devices=("cpu", "cuda"))
    report = edgecv.verify(artifact, devices=("cuda",))
    assert report.passed
    assert {check.device for check in report.checks} == {"cuda"}
