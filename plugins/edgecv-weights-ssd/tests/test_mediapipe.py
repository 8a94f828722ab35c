"""MediaPipe's ObjectDetector on the exported network gives the boxes of `edgecv predict`."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import edgecv
import numpy as np
import pytest
import skimage.data
from PIL import Image

DOG = Path(os.environ.get("EDGECV_DARKNET_DATA", "/usr/share/darknet/data")) / "dog.jpg"
WORKER = Path(__file__).parents[3] / "tests" / "exporters" / "mediapipe_worker.py"


@pytest.mark.skipif(importlib.util.find_spec("mediapipe") is None, reason="mediapipe is not installed")
def test_mediapipe_gives_the_boxes_of_predict(tmp_path: Path) -> None:
    artifact = tmp_path / "ssd_mobilenet_v2.tflite"
    deployable = edgecv.deploy(edgecv.build("ssd_mobilenet_v2"))
    edgecv.export(deployable, to="tflite", path=artifact, consumer="mediapipe", verify=False)
    photos = {"chelsea": skimage.data.chelsea(), "astronaut": skimage.data.astronaut()}
    if DOG.is_file():
        photos["dog"] = np.asarray(Image.open(DOG).convert("RGB"))
    paths = [tmp_path / f"{name}.png" for name in photos]
    for path, pixels in zip(paths, photos.values(), strict=True):
        Image.fromarray(pixels).resize((300, 300)).save(path)  # nobody resizes it any more
    job = {"task": "detect", "artifact": str(artifact), "pictures": [str(path) for path in paths], "options": {}}
    answer = subprocess.run(
        [sys.executable, str(WORKER)], input=json.dumps(job) + "\n", capture_output=True, text=True, check=True
    )
    found = dict(zip(photos, json.loads(answer.stdout)["answers"], strict=True))
    for (name, theirs), ours in zip(found.items(), edgecv.load(artifact).predict(paths), strict=True):
        assert len(theirs) == len(ours), name
        for here, there in zip(by_score(ours), by_score(theirs), strict=True):
            assert (there["label"], there["score"]) == (here["label"], pytest.approx(here["score"], abs=2e-6))
            # MediaPipe cuts left and top, and width and height, down to whole pixels.
            np.testing.assert_allclose(there["box"], np.array(here["box"]) - [0.5, 0.5, 1, 1], atol=1.001)
    assert found["chelsea"][0]["label"] == "Cat"
    if "dog" in found:
        assert {each["label"] for each in by_score(found["dog"])[:3]} == {"Dog", "Car", "Bicycle"}


def by_score(found: list[Any]) -> list[Any]:
    return sorted(found, key=lambda each: -each["score"])
