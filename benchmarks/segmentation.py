"""Train FCN-32s and FCN-8s on the same real masks, and measure them in Keras, ONNX and TFLite through the same runner.

    python benchmarks/segmentation.py nuclei --runs FOLDER

Both are light ones, on MobileNetV2, trained from scratch with the same settings; the picture and its masks come with
the package stardist, see nuclei.py. Writes ``segmentation.csv`` and draws the region that was not learnt from into
docs/nuclei.png. A run that was stopped goes on where it was, and one that is there is taken.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from measuring import write_csv
from nuclei import TILE, write_nuclei
from PIL import Image
from training import rows_of, trained

import edgecv
from edgecv.data.samples import Dataset, Sample
from edgecv.drawing import font_of, tinted, with_strip
from edgecv.evaluation.evaluate import evaluate
from edgecv.files import replace_whole
from edgecv.keras_session import keras_session
from edgecv.models import open_model
from edgecv.training.run_data import data_of_run
from edgecv.training.settings import Settings

_CSV = Path(__file__).with_suffix(".csv")
_DRAWN = Path(__file__).parent.parent / "docs" / "nuclei.png"
_FORMATS = {"onnx": ".onnx", "tflite": ".tflite"}
_NETWORKS = {"FCN-32s": "fcn32s_mobilenet_v2", "FCN-8s": "fcn8s_mobilenet_v2"}
_FIGURES = ("miou", "pixel_accuracy")
_ENLARGED = 2
_GAP = 12
_FONT = 20

Row = dict[str, Any]
Array = np.ndarray[Any, Any]


def settings_for(architecture: str, data: Path) -> Settings:
    """Return the settings of a run: the same for every network."""
    return Settings(
        architecture=architecture,
        data=str(data),
        format="masks",
        weights="random",
        input_size=(TILE, TILE),
        epochs=40,
        batch=16,
        learning_rate=1e-3,
        warmup=1.0,
        augment="standard",
    )


def measured(
    architecture: str, run: Mapping[str, Any], network: Any, data: tuple[Dataset, Sequence[Sample]], folder: Path
) -> tuple[list[Row], edgecv.Session]:
    """Export a network and measure it everywhere: a row for each figure, and the session that runs the ONNX file."""
    sessions = {"keras": keras_session(edgecv.deploy(network))}
    for name, suffix in _FORMATS.items():
        path = folder / f"{architecture}{suffix}"
        edgecv.export(edgecv.deploy(network), to=name, path=path)
        sessions[name] = edgecv.load(path)
    found = {name: evaluate(session, *data).to_json() for name, session in sessions.items()}
    click.echo({name: [figures[each] for each in _FIGURES] for name, figures in found.items()}, err=True)
    figures = {name: {figure: document[figure] for figure in _FIGURES} for name, document in found.items()}
    return rows_of("nuclei", run, figures, pictures=len(data[1])), sessions["onnx"]


def draw(samples: Sequence[Sample], answers: Mapping[str, edgecv.Session]) -> None:
    """Draw the tiles of the test part where they lie: the picture, the truth, and what each network says."""
    places = [tuple(map(int, Path(sample.name).stem.split("_"))) for sample in samples]
    pictures = [sample.picture.read() for sample in samples]
    picture = _joined(places, [each.pixels for each in pictures])
    # Half of the pixels are below a tenth of white.
    bright = (255 * np.sqrt(picture / 255)).astype(np.uint8)
    truth = [sample.mask.read().pixels[..., 0] for sample in samples if sample.mask is not None]
    masks = {"truth": _joined(places, truth)}
    for name, session in answers.items():
        found = [each.mask for each in session.predict_pictures(pictures)]
        masks[name] = _joined(places, [mask for mask in found if mask is not None])
    panels = {"picture": bright, **{name: tinted(bright, mask) for name, mask in masks.items()}}
    sheets = [_panel(name, pixels) for name, pixels in panels.items()]
    whole = Image.new("RGB", (sum(sheet.width + _GAP for sheet in sheets) - _GAP, sheets[0].height), "white")
    for number, sheet in enumerate(sheets):
        whole.paste(sheet, (number * (sheet.width + _GAP), 0))
    with replace_whole(_DRAWN) as temporary:
        whole.save(temporary, format="PNG")


def _joined(places: Sequence[tuple[int, ...]], tiles: Sequence[Array]) -> Array:
    """Put tiles together; ``places`` are x and y of their upper left corners."""
    left, top = (min(place[axis] for place in places) for axis in (0, 1))
    right, bottom = (max(place[axis] for place in places) + TILE for axis in (0, 1))
    whole = np.zeros((bottom - top, right - left, *tiles[0].shape[2:]), tiles[0].dtype)
    for (x, y), tile in zip(places, tiles, strict=True):
        whole[y - top : y - top + TILE, x - left : x - left + TILE] = tile
    return whole


def _panel(name: str, pixels: Array) -> Image.Image:
    enlarged = Image.fromarray(pixels.repeat(_ENLARGED, axis=0).repeat(_ENLARGED, axis=1))
    return with_strip(enlarged, [name], font_of(_FONT))


@click.group()
def main() -> None:
    """Train and measure; see the text at the top of the file."""


@main.command()
@click.option("--runs", required=True, type=click.Path(path_type=Path), help="Folder of the runs.")
def nuclei(runs: Path) -> None:
    """Train both on nuclei of cells: the mIoU of FCN-8s is to be above that of FCN-32s."""
    runs.mkdir(parents=True, exist_ok=True)
    data = runs / "nuclei"
    if not data.exists():
        write_nuclei(data)
    rows: list[Row] = []
    sessions = {}
    samples: Sequence[Sample] = ()
    for name, architecture in _NETWORKS.items():
        run = runs / architecture
        document = trained(settings_for(architecture, data), run)
        dataset, parts = data_of_run(run)
        samples = parts["test"]
        more, sessions[name] = measured(architecture, document, open_model(str(run)), (dataset, samples), runs)
        rows += more
    write_csv(_CSV, rows)
    draw(samples, sessions)


if __name__ == "__main__":
    main()
