"""Write the artifacts in tests/golden/robustness, which the tests damage: python tests/robustness/make_samples.py.

Two tiny networks of random weights in every format and precision; those of plugins where the plugin is installed.
"""

import importlib.util
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import edgecv
from edgecv import registry
from edgecv.patterns import pattern

SAMPLES = Path(__file__).parents[1] / "golden" / "robustness"
_PRECISIONS = {"onnx": ("float32", "int8"), "tflite": ("float32", "int8"), "openvino": ("float32",)}


def main() -> None:
    networks = _networks()
    shutil.rmtree(SAMPLES, ignore_errors=True)
    SAMPLES.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder)
        for seed in range(24):
            Image.fromarray(pattern(seed, (48, 48, 3))).save(pictures / f"{seed}.png")
        for name in ("separable", "detector"):
            deployable = networks.deployable(name)
            for form in sorted(set(_PRECISIONS) & set(registry.exporter_names())):
                for precision in _PRECISIONS[form]:
                    _write(deployable, form, precision, pictures)
    Image.fromarray(pattern(1, (20, 30, 3)).astype(np.uint8)).save(SAMPLES / "picture.png")


def _write(deployable: Any, form: str, precision: str, pictures: Path) -> None:
    suffix = registry.load_exporter(form).suffix
    path = SAMPLES / f"{deployable.name}-{form}-{precision}{suffix}"
    calibration = pictures if precision == "int8" else None
    artifact = edgecv.export(deployable, to=form, path=path, precision=precision, calibration=calibration)
    print(f"{path.name}  {artifact.nbytes:,} bytes")


def _networks() -> Any:
    place = Path(__file__).parents[1] / "networks.py"
    specification = importlib.util.spec_from_file_location("networks", place)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
