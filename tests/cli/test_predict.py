import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from edgecv.cli import cli


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["predict", *map(str, arguments)])


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr.rstrip()


@pytest.fixture
def red(tmp_path: Path) -> Path:
    path = tmp_path / "red.jpg"
    Image.new("RGB", (40, 30), (255, 0, 0)).save(path, quality=100)
    return path


def test_json_has_the_contracts_keys(artifact: Path, red: Path) -> None:
    (answer,) = json.loads(run(artifact, red, "--json", "--top-k", 2).stdout)
    assert set(answer) == {"source", "width", "height", "milliseconds", "results"}
    assert (answer["source"], answer["width"], answer["height"]) == (str(red), 40, 30)
    assert [(each["class"], each["label"]) for each in answer["results"]] == [(0, "red"), (1, "green")]
    assert set(answer["results"][0]) == {"score", "class", "label"}


def test_people_read_lines(artifact: Path, red: Path) -> None:
    lines = run(artifact, red).stdout.splitlines()
    assert lines[0].startswith(f"{red}  40x30  ")
    assert lines[1].split() == ["0.9961", "red"] or lines[1].split()[1] == "red"
    assert len(lines) == 4


def test_a_bad_picture_among_good_ones_is_named_and_exits_2(artifact: Path, red: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    result = run(artifact, bad, red, tmp_path / "none.png", "--json")
    assert result.exit_code == 2
    first, second, third = json.loads(result.stdout)
    assert first == {
        "source": str(bad),
        "error": f"Picture {str(bad)!r} is damaged or no picture that edgecv reads. "
        "Use JPEG, PNG, WebP, TIFF, BMP or GIF.",
    }
    assert second["results"][0]["label"] == "red"
    assert set(third) == {"source", "error"}
    assert result.stderr == f"Error: 2 of 3 pictures have no answer. {first['error']}\n"


def test_one_bad_picture_is_one_line(artifact: Path, tmp_path: Path) -> None:
    message = refused(artifact, tmp_path / "none.png", "--json")
    assert (
        message == f"Error: Picture {str(tmp_path / 'none.png')!r} does not exist. Name a picture, a folder or a glob."
    )


def test_a_damaged_artifact_is_refused_unless_told_otherwise(artifact: Path, red: Path) -> None:
    whole = artifact.read_bytes()
    # Names in the graph that no engine compares with anything.
    damaged = whole.replace(b"MLIR Converted.", b"MLIR converted.", 1).replace(b'"blue"', b'"bluE"', 1)
    artifact.write_bytes(damaged if artifact.suffix == ".onnx" else whole.replace(b"MLIR C", b"MLIR c", 1))
    assert artifact.read_bytes() != whole
    assert refused(artifact, red) == f"Error: {str(artifact)!r} is damaged: its digest disagrees. Export it again."
    assert run(artifact, red, "--no-check").exit_code == 0


def test_wrong_artifacts_are_one_line(tmp_path: Path, red: Path, bare: Path) -> None:
    assert refused(tmp_path / "x.onnx", red).startswith("Error: Artifact ")
    assert refused(red, red).startswith(f"Error: {str(red)!r} is no artifact: ")
    assert "has no edgecv metadata" in refused(bare, red)
    bare.write_bytes(b"")
    assert " cannot be opened as " in refused(bare, red)
    bare.unlink()
    bare.mkdir()
    assert refused(bare, red) == f"Error: {str(bare)!r} is no artifact: it is a folder without edgecv.json."


def test_wrong_options_are_one_line(artifact: Path, red: Path, tmp_path: Path) -> None:
    assert refused(artifact, tmp_path / "*.webp").endswith("matches no file. Check its folder and suffix.")
    assert "has no device 'gpu'" in refused(artifact, red, "--device", "gpu")
    assert "'--threads'" in refused(artifact, red, "--threads", 0)
    assert "'--top-k'" in refused(artifact, red, "--top-k", 0)
    assert refused(artifact, red, "--save", red).startswith("Error: Cannot write to ")
    assert refused(artifact, red, "--save", tmp_path / ".") == (
        f"Error: --save {str(tmp_path)!r} holds the sources, which must not be overwritten. Name another folder."
    )


def test_saved_pictures_carry_the_answer(artifact: Path, red: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (1, 1), (0, 0, 255)).save(other / "red.jpg")
    Image.new("RGB", (600, 400), (0, 255, 0)).save(other / "green.png")
    out = tmp_path / "out" / "deep"
    answers = json.loads(run(artifact, red, other, "--save", out, "--json").stdout)
    assert [Path(each["saved"]).name for each in answers] == ["red.jpg", "green.png", "red-2.jpg"]
    assert sorted(file.name for file in out.iterdir()) == ["green.png", "red-2.jpg", "red.jpg"]
    with Image.open(out / "green.png") as image:
        assert image.width == 600
        assert image.height > 400
        pixels = np.asarray(image)
    np.testing.assert_array_equal(pixels[:400], np.broadcast_to([0, 255, 0], (400, 600, 3)))
    assert (pixels[400:] < 128).all(axis=-1).sum() > 200  # black text below, its borders smoothed
    with Image.open(out / "red-2.jpg") as image:
        assert image.width >= 320  # a single pixel is enlarged until its label can be read


def test_boxes_and_masks_are_drawn() -> None:
    from edgecv.cli.annotate import annotate
    from edgecv.pictures import Picture
    from edgecv.results import Prediction

    picture = Picture(np.full((400, 600, 3), 255, np.uint8))
    box: dict[str, Any] = {"box": [100.0, 150.0, 300.0, 350.0], "score": 0.5, "class": 3, "label": "a dog"}
    drawn = np.asarray(annotate(picture, Prediction(results=[box])))
    assert drawn.shape == (400, 600, 3)
    for y, x in ((350, 200), (250, 100), (250, 300)):
        assert drawn[y, x].tolist() != [255] * 3
    assert drawn[250, 200].tolist() == [255] * 3
    mask = np.zeros((400, 600), np.int32)
    mask[:200] = 1
    counts = [{"class": 1, "label": "sky", "pixels": 120_000}]
    tinted = np.asarray(annotate(picture, Prediction(results=counts, mask=mask)))
    assert tinted[100, 300].tolist() != [255] * 3
    assert tinted[300, 300].tolist() == [255] * 3
