"""Judging int8 by labels: masks here; classes in cli/test_export_precision.py, boxes in test_trained_detector.py."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import edgecv
from edgecv.keras_session import keras_session


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_int8_keeps_a_budget_of_mean_iou(form: str, networks: Any, photo_folder: Path, tmp_path: Path) -> None:
    deployable = networks.deployable("segmenter")
    photos = sorted(photo_folder.iterdir())
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    height, width = deployable.input_size
    session = keras_session(deployable)
    for number, photo in enumerate(photos[:21]):
        picture = Image.open(photo).resize((width, height))
        picture.save(tmp_path / "images" / photo.name)
        # What the original answers is the truth, but on one picture of 21, where class 0 is everywhere.
        mask = session.run(session.feed([picture_of(tmp_path / "images" / photo.name)]))["mask"][0]
        Image.fromarray((mask * (number > 0)).astype("uint8")).save(tmp_path / "masks" / photo.name)
    artifact = edgecv.export(
        deployable,
        to=form,
        path=tmp_path / f"out.{form}",
        precision="int8",
        calibration=photos[21:51],
        max_drop=0.1,
        data=tmp_path,
    )
    found = artifact.quantization
    assert found is not None
    assert (found.metric, found.pictures, found.met) == ("miou", 21, True)
    assert found.original is not None
    assert 0.5 < found.original < 1
    assert found.value is not None
    assert found.original - 0.1 <= found.value < 1


def picture_of(path: Path) -> Any:
    from edgecv.pictures import read_picture

    return read_picture(path)
