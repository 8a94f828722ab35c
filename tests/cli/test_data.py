"""`edgecv data`: what is in a data set, checked and drawn; and written in another format."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from edgecv.cli import cli


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["data", *map(str, arguments)])


def write(folder: Path, **lists: Any) -> Path:
    """COCO's labels of two pictures, the first with a dog."""
    folder.mkdir(exist_ok=True)
    for name in ("a.png", "b.png"):
        noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
        Image.fromarray(noise).save(folder / name)
    images = [{"id": number, "file_name": f"{name}.png", "width": 40, "height": 30} for number, name in enumerate("ab")]
    document = {
        "images": images,
        "annotations": [annotation()],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        **lists,
    }
    (folder / "labels.json").write_text(json.dumps(document))
    return folder


def annotation(**keys: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 0, "category_id": 2, "bbox": [1, 2, 10, 20], "iscrowd": 0, "area": 200, **keys}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set in the current folder, called ``dogs``."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "dogs")
    return Path("dogs")


BROKEN = [annotation(), annotation(id=2, category_id=7), annotation(id=3, bbox=[0, 0, 0, 5])]
NAMES = [
    "dogs/labels.json:1: annotation 2: unknown category id 7",
    "dogs/labels.json:1: annotation 3: box (0, 0, 0, 5) has no area",
]


def test_inspect_counts_and_draws(folder: Path) -> None:
    result = run("inspect", folder)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[:9] == [
        "data             dogs (coco, detection)",
        "pictures         2",
        "parts            none of its own",
        "broken           none",
        "width            40 … 40, median 40",
        "height           30 … 30, median 30",
        "distinct sizes   1: 40x30 (2)",
        "without label    1 picture",
        "boxes            1",
    ]
    assert "dog                          1             1" in lines
    assert lines[-1] == "contact sheet    contact_sheet.png"
    with Image.open("contact_sheet.png") as sheet:
        assert sheet.width > 400


def test_inspect_gives_one_document(folder: Path) -> None:
    result = run("inspect", folder, "--json", "--save", "dogs.png", "--format", "coco")
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert document["classes"] == [
        {"name": "cat", "pictures": 0, "boxes": 0},
        {"name": "dog", "pictures": 1, "boxes": 1},
    ]
    assert (document["path"], document["format"], document["task"]) == ("dogs", "coco", "detection")
    assert document["boxes"]["width"]["median"] == 10
    assert document["contact_sheet"] == "dogs.png"
    assert Path("dogs.png").exists()


@pytest.mark.parametrize("command", [("inspect",), ("convert", "--to", "voc", "-o", "out")])
def test_all_broken_labels_are_named_and_nothing_is_written(command: tuple[str, ...], folder: Path) -> None:
    write(folder, annotations=BROKEN)
    result = run(*command, folder, "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        *NAMES,
        f"Error: 2 labels are broken in 'dogs', the first at {NAMES[0]}. Mend them, or go on without them with "
        "--skip-broken.",
    ]
    assert [entry.name for entry in Path().iterdir()] == ["dogs"]
    result = run(*command, folder, "--json", "--skip-broken")
    assert (result.exit_code, json.loads(result.stdout)["skipped"]) == (0, 2)


def test_inspect_names_damaged_and_resized_pictures(folder: Path) -> None:
    damaged = folder / "a.png"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    Image.new("RGB", (20, 15)).save(folder / "b.png")
    result = run("inspect", folder)
    assert (result.exit_code, result.stdout) == (2, "")
    first, second, error = result.stderr.splitlines()
    assert first.startswith("dogs/a.png: cannot be read: ")
    assert second == "dogs/b.png: is 20 wide and 15 high, its label dogs/labels.json:1 says 40 and 30"
    assert error.startswith("Error: 2 labels are broken in 'dogs', the first at dogs/a.png: cannot be read: ")
    assert not Path("contact_sheet.png").exists()
    Image.new("RGB", (40, 30)).save(folder / "b.png")
    result = run("inspect", folder, "--skip-broken", "--json")
    assert (result.exit_code, json.loads(result.stdout)["pictures"]) == (0, 1)
    (folder / "b.png").write_bytes(b"")
    result = run("inspect", folder, "--skip-broken", "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: 'dogs' holds no picture that can be read: dogs/a.png: cannot be read: ")


def test_convert_writes_and_tells_what_is_lost(folder: Path) -> None:
    write(folder, annotations=[annotation(area=90, segmentation=[[1, 2, 11, 2, 6, 22]]), annotation(id=2, iscrowd=1)])
    result = run("convert", folder, "--to", "voc", "-o", "out")
    assert result.exit_code == 0
    assert result.stdout == "out  voc, 2 pictures, 2 boxes\n"
    assert result.stderr == (
        "Warning: voc has no place for these, which are left out: area of 1 box, crowd of 1 box, segmentation of 1 "
        "box.\n"
    )
    result = run("convert", "out", "--to", "coco", "-o", "back", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {
        "source": "out",
        "source_format": "voc",
        "skipped": 0,
        "path": "back",
        "format": "coco",
        "pictures": 2,
        "boxes": 2,
        "parts": {"none": 2},
        "lost": {"boxes": {}, "pictures": {}},
    }


def test_convert_draws_parts_where_it_shall(folder: Path) -> None:
    result = run("convert", folder, "--to", "yolo", "-o", "whole")
    assert result.stderr == (
        "Warning: Ultralytics wants pictures to train and to validate; --split 75/15/10 draws them.\n"
    )
    # Two dogs, one for each part; pictures of the same bytes would stay together.
    write(folder, annotations=[annotation(), annotation(id=2, image_id=1)])
    Image.new("RGB", (40, 30)).save(folder / "a.png")
    result = run("convert", folder, "--to", "yolo", "-o", "parts", "--split", "50/50/0", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["parts"] == {"train": 1, "val": 1}
    assert Path("parts/data.yaml").read_text() == ("train: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n")


def test_convert_tells_which_pictures_no_part_may_have(folder: Path) -> None:
    for name in ("train", "test"):
        draw = write(folder / name, annotations=[annotation(), annotation(id=2, image_id=1)])
        (draw / "labels.json").rename(draw / "_annotations.coco.json")
        for number, picture in enumerate(("a.png", "b.png")):
            Image.new("L", (40, 30), 10 * number + (name == "test")).save(draw / picture)
    (folder / "labels.json").unlink()
    (folder / "train/b.png").write_bytes((folder / "test/a.png").read_bytes())
    result = run("convert", folder, "--format", "coco", "--to", "voc", "-o", "out", "--split", "50/0/50", "--json")
    assert result.stderr == (
        "Warning: 1 picture is left out, such as 'dogs/train/b.png': a copy is in another part of the data's own.\n"
    )
    assert json.loads(result.stdout)["parts"] == {"train": 1, "test": 2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "nowhere"], "There are no data at 'nowhere'. Name a folder, a file of labels, or tfds:NAME."),
        (["inspect", "dogs", "--save", "x.jpg"], "--save 'x.jpg' is no PNG. Name a file that ends in .png."),
        (
            ["inspect", "dogs", "--save", "no/x.png"],
            "Cannot write 'no/x.png': the folder 'no' does not exist. Create it first.",
        ),
        (["inspect"], "Missing argument 'PATH'."),
        (["convert", "dogs", "-o", "x"], "Missing option '--to'."),
        (["convert", "dogs", "--to", "voc"], "Missing option '-o' / '--output'."),
        (
            ["convert", "dogs", "--to", "vocc", "-o", "x"],
            "Unknown format to write 'vocc'. Did you mean 'voc'? Installed: coco, voc, yolo.",
        ),
        (
            ["convert", "dogs", "--to", "voc", "-o", "x", "--pictures", "move"],
            "pictures is 'move'. Give one of: copy, link, none.",
        ),
        (
            ["convert", "dogs", "--to", "voc", "-o", "dogs", "--force"],
            "'dogs' holds the data to be converted, which must not be lost. Name another folder.",
        ),
        (
            ["convert", "dogs", "--to", "voc", "-o", "dogs"],
            "'dogs' is there already. Name another folder with -o, or replace it with --force.",
        ),
        (
            ["convert", "dogs", "--to", "voc", "-o", "no/x"],
            "Cannot write 'no/x': the folder 'no' does not exist. Create it first.",
        ),
        (["nothing"], "No such command 'nothing'."),
    ],
)
def test_what_is_refused_is_one_line(arguments: list[str], message: str, folder: Path) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"Error: {message}\n")
    assert [entry.name for entry in Path().iterdir()] == [folder.name]


def test_data_need_no_framework(folder: Path) -> None:
    code = (
        "import sys; from click.testing import CliRunner; from edgecv.cli import cli; "
        f"print(CliRunner().invoke(cli, ['data', 'inspect', {str(folder)!r}]).exit_code); "
        "print(*{'tensorflow', 'keras', 'matplotlib'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "0\n\n"
