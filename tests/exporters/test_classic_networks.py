"""The classic networks in both formats, verified; at a size near their smallest, which takes seconds, not minutes."""

from pathlib import Path

import pytest

import edgecv

_QUICK = (("lenet5_original", (28, 28)), ("googlenet", (64, 64)), ("se_googlenet", (64, 64)))
_LONG = (("alexnet", (67, 67)), ("zfnet", (64, 64)), ("se_resnet50", (64, 64)), ("inception_v4", (75, 75)))


@pytest.mark.parametrize("form", ["onnx", "tflite"])
@pytest.mark.parametrize(
    ("name", "size"),
    [*_QUICK, *(pytest.param(name, size, marks=pytest.mark.slow) for name, size in _LONG)],
    ids=str,
)
def test_artifacts_answer_like_the_network(name: str, size: tuple[int, int], form: str, tmp_path: Path) -> None:
    network = edgecv.build(name, weights="random", input_size=size)
    artifact = edgecv.export(edgecv.deploy(network), to=form, path=tmp_path / f"{name}.{form}")
    assert artifact.report is not None
    assert artifact.report.passed
