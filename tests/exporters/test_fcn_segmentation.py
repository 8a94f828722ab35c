"""The FCNs in both formats, verified: transposed convolutions, skips and dilated convolutions in ONNX and TFLite."""

from pathlib import Path

import pytest

import edgecv

# The smaller of two has both formats in the quick tests; VGG16 makes files of 540 MB.
_QUICK = ("fcn8s_mobilenet_v2_dilated",)
_LONG = (
    "fcn32s_mobilenet_v2", "fcn16s_mobilenet_v2", "fcn8s_mobilenet_v2",
    "fcn32s_mobilenet_v2_dilated", "fcn16s_mobilenet_v2_dilated",
    "fcn32s", "fcn16s", "fcn8s", "fcn32s_dilated", "fcn16s_dilated", "fcn8s_dilated",
)  # fmt: skip


@pytest.mark.parametrize("form", ["onnx", "tflite"])
@pytest.mark.parametrize("name", [*_QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in _LONG)])
def test_masks_are_those_of_the_network(name: str, form: str, tmp_path: Path) -> None:
    network = edgecv.build(name, weights="random", input_size=(64, 96))
    artifact = edgecv.export(edgecv.deploy(network), to=form, path=tmp_path / f"{name}.{form}")
    assert artifact.report is not None
    assert artifact.report.passed
    assert [each.name for each in artifact.outputs] == ["mask"]
