from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecv.errors import ArtifactError, DigestError, OptionError, PictureError
from edgecv.session import known_suffixes, load

Seal = Callable[[Path, dict[str, Any]], Path]


def picture(*colour: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.full((8, 6, 3), colour, np.uint8)


def test_a_picture_is_answered(artifact: Path, tmp_path: Path) -> None:
    session = load(artifact, threads=1)
    Image.fromarray(picture(51, 255, 0)).save(tmp_path / "x.png")
    for source in (tmp_path / "x.png", str(tmp_path / "x.png"), picture(51, 255, 0)):
        results = session.predict(source)
        assert [(each["class"], each["label"]) for each in results] == [(1, "green"), (0, "red"), (2, "blue")]
        np.testing.assert_allclose([each["score"] for each in results], [1, 0.2, 0], atol=1e-6)
    assert len(session.predict(picture(1, 2, 3), top_k=1)) == 1


def test_a_list_gives_a_list_of_answers(artifact: Path) -> None:
    results = load(artifact).predict([picture(255, 0, 0), picture(0, 0, 255)])
    assert [each[0]["label"] for each in results] == ["red", "blue"]


def test_the_session_says_what_it_is(artifact: Path) -> None:
    session = load(artifact)
    assert session.metadata["model"] == "tiny"
    assert session.device == "cpu"
    assert session.provider in ("CPUExecutionProvider", "XNNPACK")
    assert session.runtime in ("onnxruntime", "litert")
    assert session.batch_size == 1


def test_run_gives_raw_outputs(artifact: Path) -> None:
    outputs = load(artifact).run(np.full((1, 4, 4, 3), 51, np.uint8))
    assert list(outputs) == ["probabilities"]
    np.testing.assert_allclose(outputs["probabilities"], [[0.2] * 3], rtol=1e-6)


def test_a_dynamic_batch_answers_each_alone(dynamic: Path) -> None:
    session = load(dynamic)
    assert session.batch_size == 1
    assert [each[0]["label"] for each in session.predict([picture(9, 0, 0)] * 3)] == ["red"] * 3
    assert session.run(np.zeros((5, 4, 4, 3), np.uint8))["probabilities"].shape == (5, 3)


def test_a_fixed_batch_is_filled_up(
    bare: Path, document: dict[str, Any], make_bare: Callable[..., bytes], seal: Seal
) -> None:
    bare.write_bytes(make_bare(bare.suffix[1:], 2))
    session = load(seal(bare, document))
    assert session.batch_size == 2
    colours = [picture(9, 0, 0), picture(0, 9, 0), picture(0, 0, 9)]
    assert [each[0]["label"] for each in session.predict(colours)] == ["red", "green", "blue"]


def test_a_float_artifact_gets_preprocessed_pictures(
    bare: Path, document: dict[str, Any], make_bare: Callable[..., bytes], seal: Seal
) -> None:
    bare.write_bytes(make_bare(bare.suffix[1:], 1, "float32"))
    document["preprocess"] |= {"order": "bgr", "mean": [10.0], "scale": [2.0]}
    session = load(seal(bare, document))
    results = session.predict(picture(61, 10, 10))
    # Red comes last in BGR: (61 − 10) × 2 / 255 = 0.4.
    assert results[0]["class"] == 2
    np.testing.assert_allclose([each["score"] for each in results], [0.4, 0, 0], rtol=1e-6)


def test_a_damaged_artifact_is_refused_unless_told_otherwise(artifact: Path) -> None:
    damaged = artifact.read_bytes().replace(b'"blue"', b'"bluE"')
    if artifact.suffix == ".tflite":
        # The zip's own checksum would notice a changed label first: change the graph's description.
        damaged = artifact.read_bytes().replace(b"MLIR Converted.", b"MLIR converted.", 1)
    assert damaged != artifact.read_bytes()
    artifact.write_bytes(damaged)
    with pytest.raises(DigestError, match=r"^'.*' is damaged: its digest disagrees\. Export it again\.$"):
        load(artifact)
    assert load(artifact, check=False).predict(picture(9, 0, 0))[0]["label"] == "red"


def test_wrong_paths_are_one_line(tmp_path: Path) -> None:
    message = r"^'.*x\.pb' is no artifact: its suffix is none of .*\.onnx, \.tflite.*\.$"
    with pytest.raises(ArtifactError, match=message):
        load(tmp_path / "x.pb")
    with pytest.raises(ArtifactError, match=r"^Artifact '.*' does not exist\. Name a file that edgecv exported\.$"):
        load(tmp_path / "x.onnx")
    assert {".onnx", ".tflite"} <= set(known_suffixes())


@pytest.mark.parametrize("preprocess", [None, {"order": "gbr"}, {"resize": {"mode": 3}}, {"mean": ["x"]}, {"x": 1}])
def test_metadata_that_make_no_sense_are_refused(
    bare: Path, document: dict[str, Any], preprocess: object, seal: Seal
) -> None:
    document["preprocess"] = preprocess
    with pytest.raises(ArtifactError, match=r"^'.*' has damaged edgecv metadata: .*\. Export it again\.$"):
        load(seal(bare, document))


def test_no_pictures_and_wrong_top_k_are_one_line(artifact: Path) -> None:
    session = load(artifact)
    with pytest.raises(PictureError, match=r"^A int is no picture\. Give a file or a uint8 array\.$"):
        session.predict([3])  # type: ignore[list-item]
    with pytest.raises(OptionError, match=r"^top-k must be at least 1, got 0\.$"):
        session.predict(picture(1, 1, 1), top_k=0)
    assert session.predict([]) == []
