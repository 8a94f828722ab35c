"""`edgecv train` as a user meets it: its words, what it refuses, and that nothing is lost."""

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from edgecv.cli import cli
from edgecv.training.run_dir import RunDir

# Root may write anywhere; without these two rights (capabilities 1 and 2) the permission bits bind it, too.
_UNPRIVILEGED = """
import ctypes, os, sys
for right in (1, 2):
    ctypes.CDLL(None).prctl(24, right, 0, 0, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def data(shapes: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(shapes.folders(tmp_path_factory.mktemp("data") / "shapes", 10))


@pytest.fixture(scope="module")
def trained(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "run"
    result = run("lenet5", "--data", data, "-o", str(path), "--epochs", "2", "--batch", "8")
    assert result.exit_code == 0, result.output
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["train", *arguments])


def contents(path: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


def refused(*arguments: str, lines: int = 1) -> str:
    """Check that a command fails with exit 2 and changes nothing; return the last line of its stderr."""
    before = contents(Path.cwd())
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == lines, result.stderr
    assert contents(Path.cwd()) == before
    return result.stderr.splitlines()[-1]


def test_a_line_an_epoch_and_the_scores(data: str) -> None:
    result = run("lenet5", "--data", data, "-o", "run", "--epochs", "2", "--batch", "8")
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert first.startswith("run  best: epoch ")
    assert second.startswith("test part: top1 ")
    lines = result.stderr.splitlines()
    assert lines[:2] == ["30 pictures of 3 classes (folders)", "lenet5, 61,111 parameters, from scratch"]
    assert [line.split("  ")[:2] for line in lines[2:]] == [
        ["epoch 1/2 training", "rate 0.0005"],
        ["epoch 2/2 training", "rate 0"],
    ]


def test_json_is_one_document(data: str) -> None:
    result = run("lenet5", "--data", data, "-o", "run", "--epochs", "1", "--json")
    document = json.loads(result.stdout)
    assert document["run"] == "run"
    assert document["data"]["parts"] == {"train": 23, "val": 4, "test": 3}
    assert set(document["evaluation"]) >= {"top1", "top5", "images"}
    assert [row["epoch"] for row in document["history"]] == [1]


def test_resume_needs_the_folder_alone(trained: Path) -> None:
    result = run("--resume", "-o", str(trained))
    assert result.exit_code == 0, result.output
    assert "the run has ended after epoch 2; it is evaluated and drawn again" in result.stderr.splitlines()


def test_a_run_is_a_model_for_the_other_commands(trained: Path, data: str) -> None:
    invoke = CliRunner().invoke
    for arguments in (
        ["export", str(trained), "--to", "onnx", "-o", "run.onnx", "--no-verify"],
        ["fcn", str(trained), "-o", "fcn.keras"],
        ["evaluate", str(trained), "--data", data],
        ["evaluate", "run.onnx", "--data", data],
        ["verify", "run.onnx", "--against", str(trained)],
    ):
        result = invoke(cli, arguments)
        # Two epochs teach little: verification may find the answers too much alike, but must get as far.
        assert result.exit_code in ((0, 1) if arguments[0] == "verify" else (0,)), (arguments, result.output)


def test_augmentation_is_shown_without_a_run(data: str) -> None:
    result = run("lenet5", "--data", data, "--augment", "standard", "--show-augmented", "sheet.png")
    assert (result.exit_code, result.stdout) == (0, "sheet.png\n")
    assert [entry.name for entry in Path.cwd().iterdir()] == ["sheet.png"]


def test_an_empty_folder() -> None:
    Path("empty").mkdir()
    said = refused("lenet5", "--data", "empty", "-o", "run")
    assert said == "Error: Folder 'empty' is empty. Name one with labelled pictures."


def test_one_class_only(data: str) -> None:
    shutil.copytree(Path(data) / "ring", "one/ring")
    assert refused("lenet5", "--data", "one", "-o", "run") == (
        "Error: All 10 pictures of 'one' are of class 'ring': there is nothing to tell apart. "
        "Add pictures of another class, or name the folder above."
    )


def test_a_localiser_may_have_one_class(shapes: Any) -> None:
    shapes.located_csv(Path("boxes"), 12, kinds=("ring",))
    result = run("lenet5", "--data", "boxes", "-o", "run", "--epochs", "1")
    assert result.exit_code == 0, result.output


def test_fewer_pictures_than_the_batch_is_said(data: str) -> None:
    result = run("lenet5", "--data", data, "-o", "run", "--epochs", "1", "--batch", "64")
    assert result.exit_code == 0
    assert "23 training pictures are fewer than a batch of 64: one step" in result.stderr.splitlines()


def test_corrupt_pictures_are_all_named_and_skipped_on_demand(data: str) -> None:
    shutil.copytree(data, "data")
    Path("data/cross/000.png").write_text("no picture")
    cut = Path("data/ring/000.png")
    cut.write_bytes(cut.read_bytes()[:200])
    before = contents(Path.cwd())
    result = run("lenet5", "--data", "data", "-o", "run")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "30 pictures of 3 classes (folders)",
        "data/cross/000.png: is damaged or no picture that edgecv reads. Use JPEG, PNG, WebP, TIFF, BMP or GIF.",
        "data/ring/000.png: cannot be read: image file is truncated. Save it again as PNG or JPEG.",
        "Error: 2 labels are broken in 'data', the first at data/cross/000.png: is damaged or no picture that edgecv "
        "reads. Use JPEG, PNG, WebP, TIFF, BMP or GIF. Mend them, or go on without them with --skip-broken.",
    ]
    assert contents(Path.cwd()) == before
    result = run("lenet5", "--data", "data", "-o", "run", "--epochs", "1", "--skip-broken")
    assert result.exit_code == 0, result.output
    assert "2 broken labels or pictures are left out" in result.stderr.splitlines()
    document = json.loads(Path("run/run.json").read_text())
    assert (document["data"]["pictures"], document["data"]["skipped"]) == (28, 2)


def test_pictures_of_all_kinds_go_together(data: str) -> None:
    shutil.copytree(data, "data")
    Image.new("RGBA", (20, 30), (9, 9, 9, 99)).save("data/ring/rgba.png")
    Image.new("CMYK", (20, 30)).save("data/ring/cmyk.jpg")
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save("data/ring/deep.png")
    Image.new("L", (1, 1)).save("data/ring/dot.png")
    Image.new("P", (300, 2)).save("data/ring/line.gif")
    result = run("lenet5", "--data", "data", "-o", "run", "--epochs", "1", "--augment", "standard")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("35 pictures of 3 classes")


def test_labels_in_none_of_the_formats() -> None:
    Path("text").mkdir()
    Path("text/notes.txt").write_text("cat: a.png")
    said = refused("lenet5", "--data", "text", "-o", "run")
    assert said.startswith("Error: Folder 'text' holds data of none of the formats. Looked for: folders (")
    assert said.endswith("Found: notes.txt. Name another folder, or the file of labels.")


_SCRATCH = ("-o", "run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lenet5", "--data", "nowhere", *_SCRATCH), "There are no data at 'nowhere'. Name a folder, a file of labels, "
         "or tfds:NAME."),
        (("yolo_v3_tiny", "--data", "DATA", *_SCRATCH, "--task", "classification"), "yolo_v3_tiny is a detection "
         "network and cannot learn classification, only detection. Choose another one of 'edgecv list architectures'."),
        (("lenet5", "--data", "DATA", *_SCRATCH, "--task", "tracking"), "Invalid value for '--task': 'tracking' is "
         "not one of 'classification', 'localisation', 'detection', 'segmentation'."),
        (("yolo_v3_tiny", "--data", "DATA", *_SCRATCH, "--multi-scale", "608-320"), "multi-scale must be two multiples "
         "of 32 pixels, the smaller first, got 608-320. Leave the values out for 320-608."),
        (("yolo_v3_tiny", "--data", "DATA", *_SCRATCH, "--multi-scale", "large"), "Invalid value for '--multi-scale': "
         "'large' is no range of sizes such as 320-608."),
        (("lenet5", "--data", "DATA", *_SCRATCH, "--freeze-epochs", "21"), "freeze-epochs must be at most the 20 "
         "epochs of the run, got 21."),
        (("lenet5", "--data", "DATA", *_SCRATCH, "--device", "tpu"), "Unknown device 'tpu'. Choose cpu or cuda."),
        (("lenet5", "--data", "DATA", *_SCRATCH, "--augment", "strong"), "augment must be one of none, light, standard "
         "or a FILE.json, got 'strong'"),
        (("lenet5", "--data", "DATA", *_SCRATCH, "--split", "50/60/70"), "A split is three shares that add up to 100, "
         "such as 75/15/10, got '50/60/70'."),
        (("lenet5", "--data", "DATA", "-o", "no/run"), "Cannot write 'no/run': the folder 'no' does not exist. Create "
         "it first."),
        (("--resume", "-o", "run"), "'run' is no run of edgecv train: run.json cannot be read (No such file or "
         "directory)."),
        (("--resume", "--force", "-o", "run"), "--resume goes on with a run, --force replaces it. Leave one of them "
         "out."),
        (("lenet5", *_SCRATCH), "--data missing: edgecv train ARCHITECTURE --data PATH -o RUN_DIR."),
        (("lenet5", "--data", "DATA"), "-o RUN_DIR missing: edgecv train ARCHITECTURE --data PATH -o RUN_DIR."),
        (("lenet5", "--data", "DATA", *_SCRATCH, "--unfreeze", "0"), "Invalid value for '--unfreeze': '0' is neither "
         "all nor a number of layers from 1."),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line(data: str, arguments: tuple[str, ...], message: str) -> None:
    assert refused(*(data if word == "DATA" else word for word in arguments)) == f"Error: {message}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--weights", "none.keras"), "Weights 'none.keras' do not exist. Give auto, imagenet, random, a model or a "
         "run."),
        (("--input-size", "8x8"), "lenet5 needs an input of at least 32x32 pixels, got 8x8."),
    ],
)  # fmt: skip
def test_wrong_weights_or_sizes_are_one_line_more(data: str, arguments: tuple[str, ...], message: str) -> None:
    assert refused("lenet5", "--data", data, "-o", "run", *arguments, "--batch", "8", lines=2) == f"Error: {message}"


def test_data_of_another_task(data: str, shapes: Any) -> None:
    said = refused("lenet5", "--data", data, "-o", "run", "--task", "localisation", "--batch", "1", lines=2)
    assert said == f"Error: {data!r} (folders) has no boxes: it cannot teach localisation."
    shapes.located_csv(Path("boxes"), 4, empty=1)
    said = refused("lenet5", "--data", "boxes", "-o", "run", "--task", "classification", "--batch", "1", lines=2)
    assert said == "Error: 'boxes' (csv) gives no class to each picture: it cannot teach classification."
    said = refused("yolo_v3_tiny", "--data", data, "-o", "run", "--batch", "1", lines=2)
    assert said == (
        f"Error: {data!r} (folders) holds labels for classification, and a detector needs boxes. Give other data."
    )
    said = refused("fcn8s_mobilenet_v2", "--data", data, "-o", "run", "--batch", "1", lines=2)
    assert said == f"Error: {data!r} (folders) has no masks: it cannot teach segmentation."
    said = refused("lenet5", "--data", "boxes", "-o", "run", "--task", "localisation", "--batch", "1", lines=2)
    assert said.endswith(" has no box. Use --objectness, or leave such pictures out.")


def test_a_gpu_that_is_not_there(data: str) -> None:
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is one")
    said = refused("lenet5", "--data", data, "-o", "run", "--device", "cuda")
    assert said == "Error: TensorFlow finds no GPU for --device cuda. Run: pip install 'edgecv[all-gpu]'"


def test_a_run_that_exists(trained: Path, data: str) -> None:
    before = contents(trained)
    said = refused("lenet5", "--data", data, "-o", str(trained))
    assert said == (
        f"Error: The run {str(trained)!r} exists. Go on with it by --resume, replace it by --force, or choose another "
        "-o."
    )
    assert contents(trained) == before


def test_a_folder_that_is_no_run_is_never_removed(data: str) -> None:
    Path("thesis").mkdir()
    Path("thesis/chapter.tex").write_text("years of work")
    for force in ((), ("--force",)):
        said = refused("lenet5", "--data", data, "-o", "thesis", *force)
        assert said == "Error: 'thesis' exists and is no run of edgecv train. Choose another -o."


def test_resume_with_other_settings(trained: Path) -> None:
    before = contents(trained)
    said = refused("--resume", "-o", str(trained), "--batch", "4", "--augment", "light")
    assert said == (
        f"Error: The run {str(trained)!r} cannot go on with other settings: batch 8 -> 4, augment none -> light. "
        "Leave them out, or train into another -o."
    )
    assert contents(trained) == before


def test_resume_with_other_data(trained: Path, shapes: Any) -> None:
    shapes.folders(Path("other"), 11)
    before = contents(trained)
    result = run("--resume", "-o", str(trained), "--data", "other")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == (
        f"Error: The data 'other' are no longer those of the run {str(trained)!r}: it had 30 labelled pictures, now "
        "there are 33, or they differ. Bring them back, or train into another -o."
    )
    assert contents(trained) == before


def test_a_loss_that_is_no_number_stops_the_run(data: str) -> None:
    """The first stage goes well, the second one's rate throws the weights away."""
    assert run("fashion_cnn", "--data", data, "-o", "base", "--epochs", "1").exit_code == 0
    result = run(
        "fashion_cnn", "--data", data, "-o", "run", "--weights", "base", "--epochs", "3", "--freeze-epochs", "1",
        "--fine-tune-rate", "10", "--optimizer", "sgd", "--batch", "4",
    )  # fmt: skip
    assert (result.exit_code, result.stdout) == (2, "")
    said = result.stderr.splitlines()[-1]
    what = said.removeprefix("Error: ").partition(". ")[0]
    assert what.startswith(("The loss is nan at step ", "The loss is inf at step "))
    assert what.endswith(" of 6 in epoch 2")
    assert said == (
        f"Error: {what}. The checkpoint of epoch 1 is kept. Train into another -o and with --fine-tune-rate below 10."
    )
    record = json.loads(Path("run/run.json").read_text())
    assert (record["state"], record["reason"], record["epochs"]) == ("diverged", what, 1)
    assert len(Path("run/history.csv").read_text().splitlines()) == 2
    assert CliRunner().invoke(cli, ["evaluate", "run", "--data", data]).exit_code == 0
    before = contents(Path("run"))
    assert refused("--resume", "-o", "run") == (
        f"Error: The run 'run' diverged and would again: {what}. Train into another -o from its best network with "
        "--weights run, with a lower rate."
    )
    assert contents(Path("run")) == before


def limited(path: str, size: int) -> "subprocess.CompletedProcess[str]":
    """Go on with a run in a process that can write no file larger than so many bytes."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    command = [sys.executable, "-m", "edgecv.cli", "train", "--resume", "-o", path]
    return subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def begun(data: str, folder: Path) -> Path:
    """A run of which two epochs are done."""
    from edgecv.training.listener import Listener
    from edgecv.training.running import train
    from edgecv.training.settings import Settings

    class Stop(Listener):
        def epoch(self, row: Any, *, best: bool) -> None:  # noqa: ARG002
            if row["epoch"] == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(
            Settings(architecture="lenet5", data=data, epochs=400, batch=8, learning_rate=3e-3),
            folder / "run",
            listener=Stop(),
        )
    return folder / "run"


def test_a_checkpoint_or_model_too_large_for_the_disk_keeps_the_old_one(begun: Path) -> None:
    checkpoint = begun / "checkpoints" / "last.npz"
    model = begun / "model.keras"
    kept = model.stat().st_size
    assert kept < checkpoint.stat().st_size
    # Between the two: the model fits, the checkpoint with its optimizer does not.
    before = checkpoint.read_bytes()
    done = limited(str(begun), (kept + checkpoint.stat().st_size) // 2)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == f"Error: Cannot write {str(checkpoint)!r}: File too large."
    assert checkpoint.read_bytes() == before
    # Below both: whichever comes first.
    both = model.read_bytes(), checkpoint.read_bytes()
    done = limited(str(begun), kept // 2)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith(f"Error: Cannot write '{begun}/")
    assert (model.read_bytes(), checkpoint.read_bytes()) == both
    assert not list(begun.rglob(".edgecv-tmp-*"))
    record = json.loads((begun / "run.json").read_text())
    assert (record["state"], record["epochs"]) == ("failed", 2)


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A real disk of 1 MiB: enough for a network and its checkpoint, not for another beside."""
    disk = folder / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("there is no mount command")
    command = [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_one_line_and_the_run_goes_on_later(small_disk: Path, data: str) -> None:
    path = small_disk / "run"
    result = run("lenet5", "--data", data, "-o", str(path), "--epochs", "3", "--batch", "8")
    assert (result.exit_code, result.stdout) == (2, "")
    said = result.stderr.splitlines()[-1]
    assert said.startswith(f"Error: Cannot write '{path}/")
    assert said.endswith(": the disk is full. Free some space and try again.")
    assert not list(path.rglob(".edgecv-tmp-*"))
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    result = run("--resume", "-o", str(path))
    assert result.exit_code == 0, result.output
    assert len((path / "history.csv").read_text().splitlines()) == 4


def test_a_folder_that_is_read_only(data: str, folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o555)
    command = [sys.executable, "-c", _UNPRIVILEGED, "-m", "edgecv.cli", "train", "lenet5", "--data", data]
    done = subprocess.run([*command, "-o", "closed/run"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: Cannot write 'closed/run': the folder 'closed' is read-only.\n"


def test_options_of_another_task_are_refused(data: str) -> None:
    said = refused("lenet5", "--data", data, "-o", "run", "--objectness", "--batch", "1", lines=2)
    assert said == (
        f"Error: objectness is for localisation, and lenet5 learns classification from {data!r}. "
        "Leave it out, or choose --task localisation."
    )
    said = refused("yolo_v3_tiny", "--data", data, "-o", "run", "--objectness", "--batch", "1", lines=2)
    assert said == (
        f"Error: objectness is for localisation, and yolo_v3_tiny learns detection from {data!r}. Leave it out."
    )
    said = refused("lenet5", "--data", data, "--show-augmented", "sheet.jpg")
    assert said == "Error: show-augmented 'sheet.jpg' is no PNG. Name a file that ends in .png."


def test_a_run_that_began_meanwhile_is_not_replaced(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = RunDir(Path("run"))
    checked = RunDir.check_free

    def begun(self: RunDir, *, force: bool) -> None:
        checked(self, force=force)
        if not self.path.exists():  # as another process would, after the first look
            other.create({"settings": {}})

    monkeypatch.setattr(RunDir, "check_free", begun)
    result = run("lenet5", "--data", data, "-o", "run", "--batch", "1")
    assert result.exit_code == 2
    assert "Error: The run 'run' exists. Go on with it by --resume" in result.stderr
    (record,) = (path for path in Path("run").rglob("*") if path.is_file())
    assert record.name == "run.json"
    with other.held():
        result = run("lenet5", "--data", data, "-o", "run", "--batch", "1", "--force")
    said = result.stderr.splitlines()[-1]
    assert result.exit_code == 2
    assert said == "Error: The run 'run' is being trained by another process. Wait for it, or choose another -o."


def test_without_a_test_part_the_validation_part_is_drawn_and_not_scored(data: str) -> None:
    result = run("lenet5", "--data", data, "-o", "run", "--epochs", "1", "--batch", "8", "--split", "80/20/0")
    assert result.exit_code == 0, result.output
    assert "there is no test part: the plots show the validation part" in result.stderr
    assert {path.name for path in Path("run/plots").iterdir()} >= {"confusion_matrix.png", "predictions.png"}
    assert not Path("run/evaluation.json").exists()
