"""`edgecv evaluate`, from the shell's side."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import edgecv
from edgecv.cli import cli
from edgecv.cli.evaluate import _pictures

Seal = Callable[[Path, dict[str, Any]], Path]
COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250)}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["evaluate", *map(str, arguments)])


def document_of(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def refused(*arguments: object, lines: int = 1) -> str:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == lines, result.stderr
    return result.stderr.splitlines()[-1]


def write_pictures(folder: Path, names: dict[str, tuple[int, int, int]], count: int = 4) -> Path:
    """Write a folder per class; each picture is a little different, also from those of other folders."""
    dice = np.random.default_rng(len(folder.name))
    for name, colour in names.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.full((6, 5, 3), colour, np.uint8)
            pixels[0, :3] = dice.integers(0, 9, (3, 3))
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """Twelve pictures of three classes, all of which the tiny artifact knows; blue is wrong in a quarter."""
    folder = write_pictures(tmp_path / "colours", COLOURS)
    Image.new("RGB", (6, 5), COLOURS["red"]).save(folder / "blue" / "0.png")
    return folder


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A data set with parts of its own."""
    for part, count in (("train", 3), ("val", 2), ("test", 1)):
        write_pictures(tmp_path / "parts" / part, COLOURS, count)
    return tmp_path / "parts"


def test_json_has_the_contracts_keys(artifact: Path, colours: Path) -> None:
    document = document_of(artifact, "--data", colours)
    assert (document["top1"], document["top5"], document["images"]) == (11 / 12, 1, 12)
    assert document["task"] == "classification"
    assert document["data"] == {"path": str(colours), "format": "folders", "part": "all"}
    # Classes of the data come by name: blue, green, red; the network's are red, green, blue.
    assert [row["class"] for row in document["per_class"]] == ["blue", "green", "red"]
    assert document["confusion_matrix"] == [[3, 0, 1], [0, 4, 0], [0, 0, 4]]


def test_people_read_figures_and_a_table(artifact: Path, colours: Path) -> None:
    result = run(artifact, "--data", colours)
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    runtime = "onnxruntime" if artifact.suffix == ".onnx" else "litert"
    assert lines[0].startswith(
        f"tiny (classification): 12 pictures of {colours} (folders, all) with {runtime} on cpu, "
    )
    assert lines[1].split() == ["top1", "0.9167"]
    at = lines.index("")
    assert lines[at + 1].split() == ["class", "precision", "recall", "f1", "support"]
    assert lines[at + 2].split() == ["blue", "1.0000", "0.7500", "0.8571", "4"]


def test_names_that_look_like_markup_are_shown_as_they_are(
    bare: Path, document: dict[str, Any], seal: Seal, tmp_path: Path
) -> None:
    names = ["[bold]red", "[green]", "a name that is longer than eighty columns " * 3]
    document["labels"] = names
    folder = write_pictures(tmp_path / "x", dict(zip(names, COLOURS.values(), strict=True)))
    shown = run(seal(bare, document), "--data", folder).stdout
    assert all(name.strip() in shown for name in names)


def test_the_datas_own_test_part_is_the_default(artifact: Path, parts: Path) -> None:
    for arguments, images, part in (
        ([], 3, "test"),
        (["--part", "all"], 18, "all"),
        (["--part", "val"], 6, "val"),
        (["--part", "train"], 9, "train"),
        (["--split", "50/25/25", "--part", "train"], 9, "train"),
    ):
        document = document_of(artifact, "--data", parts, *arguments)
        assert (document["images"], document["data"]["part"]) == (images, part)


def test_a_split_is_seeded_and_a_limit_spreads_over_the_classes(artifact: Path, colours: Path) -> None:
    document = document_of(artifact, "--data", colours, "--split", "50/25/25")
    assert (document["images"], document["data"]["part"]) == (3, "test")
    limited = document_of(artifact, "--data", colours, "--limit", 3)
    assert [row["support"] for row in limited["per_class"]] == [1, 1, 1]
    assert document_of(artifact, "--data", colours, "--limit", 99)["images"] == 12


def test_plots_and_the_document_are_written(artifact: Path, colours: Path, tmp_path: Path) -> None:
    saved, plot = tmp_path / "evaluation.json", tmp_path / "plots"
    result = run(artifact, "--data", colours, "--save", saved, "--plot", plot, "--json")
    document = json.loads(result.stdout)
    assert json.loads(saved.read_text()) == document
    assert document["plots"] == [str(plot / "confusion_matrix.png"), str(plot / "per_class.png")]
    assert all(Path(file).is_file() for file in document["plots"])
    assert result.stderr.splitlines() == [f"drawn: {', '.join(document['plots'])}", f"written: {saved}"]


def test_broken_pictures_are_named_or_skipped(artifact: Path, colours: Path) -> None:
    bad = colours / "green" / "9.png"
    bad.write_bytes((colours / "green" / "0.png").read_bytes()[:60])
    assert str(bad) in refused(artifact, "--data", colours)
    document = document_of(artifact, "--data", colours, "--skip-broken")
    assert (document["images"], document["skipped"]) == (12, 1)


def test_broken_labels_come_one_a_line_before_the_error(artifact: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "x", COLOURS)
    rows = ["image,class", "red/0.png,red", "none.png,red", "green/0.png,green", "missing.png,blue"]
    (tmp_path / "x" / "labels.csv").write_text("\n".join(rows) + "\n")
    result = run(artifact, "--data", tmp_path / "x" / "labels.csv")
    assert (result.exit_code, result.stdout) == (2, "")
    *problems, error = result.stderr.splitlines()
    assert len(problems) == 2
    assert error.startswith("Error: 2 labels are broken in ")
    document = document_of(artifact, "--data", tmp_path / "x" / "labels.csv", "--skip-broken")
    assert (document["images"], document["skipped"]) == (2, 2)


def test_a_class_that_the_network_does_not_know_is_named(artifact: Path, colours: Path) -> None:
    (colours / "blue").rename(colours / "blu")
    assert refused(artifact, "--data", colours) == (
        "Error: The network does not know class 'blu' of the data. Did you mean 'blue'? It knows red, green, blue. "
        "Rename the class, or leave it out."
    )


def test_wrong_input_is_one_line(artifact: Path, colours: Path, tmp_path: Path) -> None:
    assert refused() == ("Error: Name a model or an artifact with --data, or --predictions with --ground-truth.")
    assert refused(artifact) == "Error: --data is missing: name the labelled pictures."
    assert refused(artifact, "--data", tmp_path / "none").startswith(f"Error: There are no data at '{tmp_path}/none'.")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert refused(artifact, "--data", empty).startswith(f"Error: Folder {str(empty)!r} is empty.")
    assert refused(tmp_path / "none.onnx", "--data", colours).startswith("Error: Artifact ")
    assert refused("resnet5O", "--data", colours).startswith("Error: Unknown architecture 'resnet5O'. Did you mean ")
    assert refused(artifact, "--data", colours, "--split", "50/50") == (
        "Error: A split is three shares that add up to 100, such as 75/15/10, got '50/50'."
    )
    assert refused(artifact, "--data", colours, "--device", "gpu").startswith("Error: ")
    assert refused(artifact, "--data", colours, "--plot", "x.jpg").startswith("Error: --plot must be a FILE.png or ")
    missing = tmp_path / "none" / "x.json"
    assert refused(artifact, "--data", colours, "--save", missing).startswith(f"Error: Cannot write {str(missing)!r}: ")
    assert refused(artifact, "--data", colours, "--weights", "random") == (
        "Error: --weights is for networks; what an artifact does was decided at its export."
    )
    assert refused(artifact, "--data", colours, "--seed", 1) == (
        "Error: --seed is for --split and --part: an artifact has no random weights. Leave it out."
    )
    assert refused(artifact, "--data", colours, "--score-threshold", 0.1) == (
        f"Error: {str(artifact)!r} is no detector: it has no score-threshold."
    )
    assert refused(artifact, "--data", colours, "--part", "test", "--split", "90/10/0") == (
        f"Error: {str(colours)!r} gives no pictures to evaluate on. Choose another --part, or other data."
    )


def test_a_damaged_artifact_is_refused(artifact: Path, colours: Path) -> None:
    whole = artifact.read_bytes()
    damaged = whole.replace(b"MLIR Converted.", b"MLIR converted.", 1) if artifact.suffix == ".tflite" else whole
    artifact.write_bytes(damaged.replace(b'"blue"', b'"bluE"', 1) if artifact.suffix == ".onnx" else damaged)
    assert refused(artifact, "--data", colours) == (
        f"Error: {str(artifact)!r} is damaged: its digest disagrees. Export it again."
    )


def test_a_failure_leaves_no_file(artifact: Path, colours: Path, tmp_path: Path) -> None:
    (colours / "green" / "9.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    out.mkdir()
    assert run(artifact, "--data", colours, "--save", out / "x.json", "--plot", out / "x.png").exit_code == 2
    assert list(out.iterdir()) == []


INSTANCES = {
    "images": [{"id": 1}],
    "categories": [{"id": 3, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 50], "area": 2500, "iscrowd": 0}],
}
RESULTS = [{"image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 50], "score": 0.9}]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    (tmp_path / "instances.json").write_text(json.dumps(INSTANCES))
    return ["--predictions", str(tmp_path / "results.json"), "--ground-truth", str(tmp_path / "instances.json")]


def test_files_of_detections_are_measured(files: list[str], tmp_path: Path) -> None:
    document = document_of(*files, "--plot", tmp_path / "curve.png")
    assert [document["AP"], document["AP50_voc11"]] == pytest.approx([1, 1])
    assert document["APs"] is None
    assert (tmp_path / "curve.png").is_file()
    lines = run(*files).stdout.splitlines()
    assert lines[0] == f"{files[1]}: 1 pictures of {files[3]}"
    assert ["APs", "–"] in [line.split() for line in lines]
    assert lines[-1].split()[:2] == ["cat", "1.0000"]


def test_wrong_use_of_files_is_one_line(files: list[str], artifact: Path) -> None:
    assert refused(*files[:2]) == "Error: --ground-truth is missing: both files are needed."
    assert refused(*files[2:]) == "Error: --predictions is missing: both files are needed."
    assert refused(artifact, *files) == (
        "Error: A network has no use with --predictions: only the files are compared. Leave it out."
    )
    assert refused(*files, "--data", "x") == (
        "Error: --data has no use with --predictions: only the files are compared. Leave it out."
    )
    Path(files[1]).write_text(json.dumps([{**RESULTS[0], "image_id": 2}]))
    assert refused(*files) == (f"Error: {files[1]!r}, entry 0: 'image_id' 2 is none of the 1 images of {files[3]!r}.")


@pytest.fixture(scope="module")
def detection_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with boxes, in COCO's form."""
    folder = tmp_path_factory.mktemp("boxes")
    dice = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(3):
        Image.fromarray(dice.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        images.append({"id": number + 1, "file_name": f"{number}.png", "width": 64, "height": 48})
        for category in (1, 2):
            box = [float(side) for side in dice.integers(1, 20, 4)]
            entry = {"id": len(annotations) + 1, "image_id": number + 1, "category_id": category, "bbox": box}
            annotations.append({**entry, "area": box[2] * box[3], "iscrowd": 0})
    categories = [{"id": number, "name": f"thing {number}"} for number in (1, 2)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder / "instances.json"


def test_a_threshold_that_limits_the_ap_is_said_and_can_be_lowered(
    networks: Any, detection_data: Path, tmp_path: Path
) -> None:
    labels = [f"thing {number}" for number in (1, 2, 3)]
    path = tmp_path / "detector.onnx"
    edgecv.export(networks.deployable("detector", labels=labels), to="onnx", path=path)
    result = run(path, "--data", detection_data, "--json")
    assert result.exit_code == 0
    assert result.stderr == (
        "Warning: The score threshold 0.25, baked in, limits the AP: boxes that score less are never seen. "
        "Published figures are measured with --score-threshold 0.001 or less.\n"
    )
    document = json.loads(result.stdout)
    assert {"AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"} <= set(document)
    assert "AP50_voc11" in document
    low = run(path, "--data", detection_data, "--json", "--score-threshold", 0.001)
    assert (low.exit_code, low.stderr) == (0, "")
    found = [sum(row["found"] for row in each["per_class"]) for each in (document, json.loads(low.stdout))]
    assert found[1] > found[0]
    edgecv.export(networks.deployable("detector", labels=labels), to="tflite", path=tmp_path / "x.tflite")
    assert refused(tmp_path / "x.tflite", "--data", detection_data, "--score-threshold", 0.001) == (
        f"Error: {str(tmp_path / 'x.tflite')!r} has score-threshold 0.25 baked in: it cannot become 0.001. "
        "Export it with that, or to a format with optional inputs."
    )


def test_the_worst_pictures_of_a_detector_are_drawn(networks: Any, detection_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "detector.onnx"
    edgecv.export(networks.deployable("detector", labels=["thing 1", "thing 2", "thing 3"]), to="onnx", path=path)
    document = document_of(path, "--data", detection_data, "--plot", tmp_path / "plots")
    names = ("precision_recall", "per_class", "predictions")
    assert document["plots"] == [str(tmp_path / "plots" / f"{name}.png") for name in names]
    assert all(Path(file).is_file() for file in document["plots"])


def test_a_network_and_its_artifacts_are_measured_alike(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    for number in range(4):
        (tmp_path / "data" / str(number)).mkdir(parents=True)
        for place in range(5):
            pixels = dice.integers(0, 256, (30, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / str(number) / f"{place}.png")
    data = tmp_path / "data"
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"{number}\n" for number in range(10)))
    network = edgecv.build("lenet5", weights="random", seed=3)
    deployable = edgecv.deploy(network, labels=labels.read_text().split(), batch=None)
    edgecv.save_model(network, tmp_path / "lenet.keras")
    paths = [str(tmp_path / f"lenet.{form}") for form in ("onnx", "tflite")]
    for path in paths:
        edgecv.export(deployable, to=path.rpartition(".")[2], path=path)
    by_name = document_of("lenet5", "--weights", "random", "--seed", 3, "--labels", labels, "--data", data)
    assert by_name["runtime"]["name"] == "keras"
    assert by_name["images"] == 20
    for other in (
        document_of(tmp_path / "lenet.keras", "--labels", labels, "--data", data),
        *(document_of(path, "--data", data) for path in paths),
    ):
        assert other["confusion_matrix"] == by_name["confusion_matrix"]
        assert other.get("other_classes") == by_name.get("other_classes")
        assert (other["top1"], other["top5"]) == (by_name["top1"], by_name["top5"])


def make_run(folder: Path, data: str, **settings: Any) -> Path:
    """Write a RUN_DIR as `edgecv train` leaves it."""
    from edgecv.training.run_dir import RunDir
    from edgecv.training.settings import Settings

    run_dir = RunDir(folder)
    run_dir.create({"settings": Settings(architecture="lenet5", data=data, **settings).to_json()})
    network = edgecv.build("lenet5", weights="random", classes=3)
    network.edgecv_info = dataclasses.replace(network.edgecv_info, labels=("blue", "green", "red"))
    edgecv.save_model(network, run_dir.model)
    return folder


def test_a_run_is_measured_on_the_test_part_of_its_own_split(tmp_path: Path) -> None:
    from edgecv.data.reading import open_data
    from edgecv.data.splitting import split

    data = write_pictures(tmp_path / "data", COLOURS, 8)
    path = make_run(tmp_path / "run", str(data), split=(0.5, 0.25, 0.25), seed=7)
    document = document_of(path)
    assert (document["images"], document["model"]) == (6, "run")
    assert document["data"] == {"path": str(data), "format": "folders", "part": "test"}
    assert document_of(path, "--part", "val")["images"] == 6
    assert document_of(path, "--part", "train")["images"] == 12
    assert document_of(path, "--part", "all")["images"] == 24
    few = make_run(tmp_path / "few", str(data), split=(0.5, 0.25, 0.25), per_class=1)
    assert [document_of(few, "--part", part)["images"] for part in ("train", "val", "test")] == [3, 3, 6]
    # The seed is the run's: other pictures than those of seed 0.
    dataset = open_data(str(data))
    drawn = [{each.name for each in split(dataset, ratios=(0.5, 0.25, 0.25), seed=seed)["test"]} for seed in (7, 0)]
    assert drawn[0] != drawn[1]
    others = write_pictures(tmp_path / "others", COLOURS, 2)
    assert document_of(path, "--data", others)["data"] == {"path": str(others), "format": "folders", "part": "all"}
    same = document_of(path, "--data", tmp_path / "others" / ".." / "data", "--split", "50/0/50")
    assert same["images"] == 12


def test_the_data_of_a_run_are_known_again_where_they_were_moved(tmp_path: Path) -> None:
    from edgecv.training.listener import Listener
    from edgecv.training.run_data import read_data
    from edgecv.training.settings import Settings

    data = write_pictures(tmp_path / "data", COLOURS, 8)
    path = make_run(tmp_path / "run", str(data), split=(0.5, 0.25, 0.25), seed=7)
    record = json.loads((path / "run.json").read_text())
    known = read_data(Settings.from_json(record["settings"]), Listener())
    record["data"] = {"pictures": 24, "fingerprint": known.fingerprint()}
    (path / "run.json").write_text(json.dumps(record))
    moved = tmp_path / "moved"
    data.rename(moved)
    assert document_of(path, "--data", moved)["data"] == {"path": str(moved), "format": "folders", "part": "test"}
    # A picture more is another data set, of which the run says nothing.
    Image.new("RGB", (6, 5), (1, 2, 3)).save(moved / "red" / "new.png")
    assert document_of(path, "--data", moved)["data"]["part"] == "all"
    assert refused(path).startswith(f"Error: There are no data at {str(data)!r}.")


def test_a_run_that_left_broken_pictures_out_divides_what_it_divided(tmp_path: Path) -> None:
    from edgecv.data.reading import open_data
    from edgecv.data.splitting import split

    data = write_pictures(tmp_path / "data", COLOURS, 8)
    whole = {each.name for each in split(open_data(str(data)), ratios=(0.5, 0.25, 0.25))["test"]}
    for name in ("blue", "red"):
        # Whole at its head, so that only decoding shows it.
        broken = data / name / "00.png"
        broken.write_bytes((data / name / "0.png").read_bytes()[:60])
    path = make_run(tmp_path / "run", str(data), split=(0.5, 0.25, 0.25), skip_broken=True)
    document = document_of(path)
    assert (document["images"], document["skipped"]) == (len(whole), 2)
    options = {"model": str(path), **dict.fromkeys(("data", "data_format", "part", "ratios", "limit", "skip_broken"))}
    _, part, samples = _pictures(options, set())
    assert part == "test"
    assert {each.name for each in samples} == whole


def test_artifacts_are_evaluated_without_a_framework(artifact: Path, colours: Path, files: list[str]) -> None:
    code = (
        "import sys\nfrom edgecv.cli import cli\n"
        "try:\n    cli.main(sys.argv[1:], prog_name='edgecv')\n"
        "except SystemExit as end:\n    assert end.code == 0, end.code\n"
        "sys.stderr.write(' '.join(sys.modules))"
    )
    heavy = {"tensorflow", "keras", "onnx", "tf2onnx", "h5py"}
    for arguments in (
        ["evaluate", str(artifact), "--data", str(colours), "--json"],
        ["evaluate", str(artifact), "--data", str(colours), "--split", "50/25/25", "--part", "train"],
        ["evaluate", *files],
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, timeout=120
        )
        assert not heavy & set(done.stderr.split()), arguments
        assert done.stdout


@pytest.mark.parametrize(
    ("source", "arguments", "warned"),
    [
        ("trained (seed 0)", [], True),
        ("trained from imagenet", [], True),
        ("trained (seed 0)", ["--part", "all"], False),
        ("trained (seed 0)", ["--part", "test"], False),
        ("random", [], False),
    ],
)
def test_the_artifact_of_a_trained_network_may_have_learned_from_what_it_is_measured_on(
    source: str, arguments: list[str], warned: bool, bare: Path, document: dict[str, Any], seal: Seal, colours: Path
) -> None:
    document["weights"]["source"] = source
    said = run(seal(bare, document), "--data", colours, *arguments).stderr
    assert said == (
        "Warning: All pictures are measured: if the network learned from some of them, --part test takes those that "
        "`edgecv train` set aside (with its --split and --seed, where given); if not, say --part all.\n"
        if warned
        else ""
    )


def test_data_with_a_training_part_of_their_own_need_no_warning(
    bare: Path, document: dict[str, Any], seal: Seal, parts: Path
) -> None:
    document["weights"]["source"] = "trained (seed 0)"
    assert run(seal(bare, document), "--data", parts).stderr == ""


def test_a_folder_to_save_in_is_refused_before_anything_is_measured(artifact: Path, tmp_path: Path) -> None:
    assert refused(artifact, "--data", tmp_path / "nowhere", "--save", tmp_path) == (
        f"Error: --save {str(tmp_path)!r} is a folder. Name a file that ends in .json."
    )


def test_names_are_printed_where_the_terminal_is_said_to_take_ascii_alone(
    bare: Path, document: dict[str, Any], seal: Seal, tmp_path: Path
) -> None:
    document["labels"] = ["Kätzchen", "green", "blue"]
    data = write_pictures(tmp_path / "x", {"Kätzchen": (250, 0, 0), "green": (0, 250, 0)})
    done = subprocess.run(
        [sys.executable, "-m", "edgecv.cli", "evaluate", str(seal(bare, document)), "--data", str(data)],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert "Kätzchen     1.0000  1.0000  1.0000        4" in done.stdout.decode()
