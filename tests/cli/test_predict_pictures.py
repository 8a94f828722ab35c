"""`edgecv predict` on every kind of picture: right, or refused in one line, never wrong; in both formats."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from edgecv.cli import cli

COLOUR = (200, 100, 50)
# The tiny artifact answers with the mean of each colour as a share of 255.
SHARES = {"red": 200 / 255, "green": 100 / 255, "blue": 50 / 255}


def shares(grey: float) -> dict[str, float]:
    return dict.fromkeys(("red", "green", "blue"), grey / 255)


def turned(path: Path) -> None:
    """Store it as a camera held upright does: to be turned by a quarter (Exif orientation 6)."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20), COLOUR).save(path, exif=exif)


def striped(path: Path) -> None:
    """Half of it, 10,000 pixels, is white, the other half black."""
    pixels = np.zeros((3, 20_000, 3), np.uint8)
    pixels[:, :10_000] = 255
    Image.fromarray(pixels).save(path)


def sixteen_bits(path: Path) -> None:
    Image.fromarray(np.full((20, 30), 51 * 257, np.uint16)).save(path)


def palette(path: Path) -> None:
    image = Image.new("P", (30, 20), 3)
    image.putpalette([0] * 9 + list(COLOUR))
    image.save(path)


@pytest.mark.parametrize(
    ("name", "draw", "size", "expected"),
    [
        ("rgb.png", lambda path: Image.new("RGB", (30, 20), COLOUR).save(path), (30, 20), SHARES),
        ("grey.png", lambda path: Image.new("L", (30, 20), 51).save(path), (30, 20), shares(51)),
        ("rgba.png", lambda path: Image.new("RGBA", (30, 20), (*COLOUR, 255)).save(path), (30, 20), SHARES),
        ("clear.png", lambda path: Image.new("RGBA", (30, 20), (*COLOUR, 0)).save(path), (30, 20), shares(255)),
        ("cmyk.tiff", lambda path: Image.new("CMYK", (30, 20), (0, 255, 255, 0)).save(path), (30, 20), None),
        ("palette.png", palette, (30, 20), SHARES),
        ("sixteen.png", sixteen_bits, (30, 20), shares(51)),
        ("turned.png", turned, (20, 30), SHARES),
        ("one.png", lambda path: Image.new("RGB", (1, 1), COLOUR).save(path), (1, 1), SHARES),
        ("wide.png", striped, (20_000, 3), shares(127.5)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_picture_of_any_kind_is_answered_right(
    name: str,
    draw: Callable[[Path], None],
    size: tuple[int, int],
    expected: dict[str, float] | None,
    artifact: Path,
    tmp_path: Path,
) -> None:
    draw(tmp_path / name)
    result = CliRunner().invoke(cli, ["predict", str(artifact), str(tmp_path / name), "--json"])
    assert result.exit_code == 0
    (answer,) = json.loads(result.stdout)
    assert (answer["width"], answer["height"]) == size
    given = {each["label"]: each["score"] for each in answer["results"]}
    # Magenta and yellow ink make red.
    assert given == pytest.approx(expected or {"red": 1, "green": 0, "blue": 0}, abs=2e-3)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("empty.png", b"", "is damaged or no picture that edgecv reads. Use JPEG, PNG, WebP, TIFF, BMP or GIF."),
        ("text.jpg", b"a text", "is damaged or no picture that edgecv reads. Use JPEG, PNG, WebP, TIFF, BMP or GIF."),
        ("cut.png", None, "cannot be read: image file is truncated. Save it again as PNG or JPEG."),
    ],
)
def test_a_damaged_picture_is_refused(
    name: str, content: bytes | None, problem: str, artifact: Path, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is None:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(path)
        content = path.read_bytes()[:6000]
    path.write_bytes(content)
    result = CliRunner().invoke(cli, ["predict", str(artifact), str(path), "--json"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: Picture {str(path)!r} {problem}\n"


def test_what_is_refused_makes_no_folder(artifact: Path, tmp_path: Path) -> None:
    Image.new("RGB", (5, 5)).save(tmp_path / "x.png")
    artifact.write_bytes(artifact.read_bytes()[:-1])
    out = tmp_path / "out"
    result = CliRunner().invoke(cli, ["predict", str(artifact), str(tmp_path / "x.png"), "--save", str(out)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert not out.exists()


def test_a_link_to_itself_is_no_picture(artifact: Path, tmp_path: Path) -> None:
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    result = CliRunner().invoke(cli, ["predict", str(artifact), str(loop), "--save", str(tmp_path / "out")])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (f"Error: Picture {str(loop)!r} does not exist. Name a picture, a folder or a glob.\n")


def test_nothing_to_predict_is_one_line(artifact: Path) -> None:
    for arguments, missing in ((["predict"], "ARTIFACT"), (["predict", str(artifact)], "SOURCE...")):
        result = CliRunner().invoke(cli, arguments)
        assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"Error: Missing argument '{missing}'.\n")
    result = CliRunner().invoke(cli, ["predict", str(artifact), ""])  # a variable of a shell that is not set
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "Error: A source has an empty name. Name pictures, folders or globs; this folder is '.'.\n"
    )


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_full_disk_behind_stdout_is_one_line(options: list[str], artifact: Path, tmp_path: Path) -> None:
    Image.new("RGB", (5, 5)).save(tmp_path / "x.png")
    command = [sys.executable, "-m", "edgecv.cli", "predict", str(artifact), str(tmp_path / "x.png"), *options]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "Error: The system refuses: No space left on device. Free or allow what it names.\n"


def test_who_reads_one_line_only_is_left_in_peace(artifact: Path, tmp_path: Path) -> None:
    names = [str(tmp_path / f"{number}.png") for number in range(3)]
    for name in names:
        Image.new("RGB", (5, 5)).save(name)
    command: list[Any] = [sys.executable, "-m", "edgecv.cli", "predict", str(artifact), *names * 400]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(f"{names[0]}  5x5  ")
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141
