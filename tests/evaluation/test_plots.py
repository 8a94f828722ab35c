"""Plots are written whole, for every task and any name of a class."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from edgecv.errors import MissingExtraError, OptionError, OutputError
from edgecv.evaluation.average_precision import ClassPrecision, eleven_points
from edgecv.evaluation.classification import classification
from edgecv.evaluation.coco import CocoFigures
from edgecv.evaluation.detection import Detection, detection
from edgecv.evaluation.evaluate import Evaluation
from edgecv.evaluation.localisation import localisation
from edgecv.evaluation.plots import _curves, check_plot_path, draw_evaluation
from edgecv.evaluation.scenes import Scene
from edgecv.evaluation.segmentation import PixelCounts

# Mathematics, letters that no font of matplotlib has, and more than fits.
NAMES = ("costs $5 or $6", "長靴", "a name that is longer than any axis would like it to be", "plain")


def of_classes(names: tuple[str, ...] = NAMES) -> Evaluation:
    dice = np.random.default_rng(0)
    truth = dice.integers(0, len(names), 200).tolist()
    answers = [[number if dice.random() < 0.7 else -1] for number in truth]
    return Evaluation(task="classification", measured=classification(truth, answers, names))


def of_boxes(*, empty: bool = False) -> Evaluation:
    count = 0 if empty else 30
    boxes = np.tile([0, 0, 10, 10.0], (count, 1))
    measured = localisation([0] * count, [0] * count, boxes, 0.8 * boxes, NAMES)
    return Evaluation(task="localisation", measured=measured)


def of_pixels() -> Evaluation:
    counts = PixelCounts(NAMES)
    counts.add(np.arange(16).reshape(4, 4) % 4, np.arange(16).reshape(4, 4) % 3)
    return Evaluation(task="segmentation", measured=counts.result())


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (of_classes, ["confusion_matrix", "per_class"]),
        (of_boxes, ["iou", "per_class"]),
        (lambda: of_boxes(empty=True), ["iou", "per_class"]),
        (of_pixels, ["confusion_matrix", "per_class"]),
        (lambda: of_classes(tuple(f"class {number}" for number in range(70))), ["confusion_matrix", "per_class"]),
    ],
    ids=["classes", "boxes", "no boxes", "pixels", "many classes"],
)
def test_a_folder_gets_a_file_a_panel(make: Callable[[], Evaluation], names: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "plots"
    files = draw_evaluation(make(), folder)
    assert files == [folder / f"{name}.png" for name in names]
    assert sorted(folder.iterdir()) == sorted(files)  # no temporaries
    for file in files:
        with Image.open(file) as image:
            assert image.size == (840, 720)
            assert len(np.unique(np.asarray(image.convert("L")))) > 10


@pytest.mark.parametrize("classes", [3, 12])
def test_a_file_gets_all_panels(classes: int, make_scenes: Callable[..., list[Scene]], tmp_path: Path) -> None:
    # Class 99 has no object, and is left aside.
    names = {number: f"class {number}" for number in [*range(classes), 99]}
    measured = detection(make_scenes(0, classes=classes), names)
    path = tmp_path / "plot.png"
    assert draw_evaluation(Evaluation(task="detection", measured=measured), path) == [path]
    with Image.open(path) as image:
        assert image.size == (1680, 720)


def test_curves_are_named_whatever_their_class_is_called_and_however_it_was_found() -> None:
    # One of two cats is found after a false alarm, no dog, and nothing of the last class is there.
    names = {0: "_cat", 1: "$dog$", 2: "nothing"}
    axes = curves([(0, 1, [False, True]), (1, 1, []), (2, 0, [False])], names)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["_cat 0.500", "$dog$ 0.000"]
    assert not any(text.get_parse_math() for text in axes.get_legend().get_texts())
    cat, dog = axes.lines
    assert (cat.get_xdata().tolist(), cat.get_ydata().tolist()) == ([0, 0, 1], [0, 0, 0.5])
    assert (dog.get_xdata().tolist(), dog.get_ydata().tolist()) == ([0], [0])


def test_of_many_classes_the_mean_is_drawn_too() -> None:
    # Of 11 classes with 2 objects each, 10 are found wholly without a false alarm; of the last one, half.
    kinds = [(number, 2, [True, True]) for number in range(10)] + [(10, 2, [True])]
    axes = curves(kinds, {number: f"class {number}" for number in range(11)})
    *each, mean = axes.lines
    assert len(each) == 11
    expected = np.where(np.linspace(0, 1, 101) <= 0.5, 1, 10 / 11)
    np.testing.assert_allclose(mean.get_ydata(), expected)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "mean of all classes, of the largest from there on"
    ]


def curves(classes: Sequence[tuple[int, int, Sequence[bool]]], names: dict[int, str]) -> Any:
    """Draw curves of classes by number, objects, and whether each detection is a hit, best first."""
    precisions = []
    for category, objects, verdicts in classes:
        hits, found = np.cumsum(verdicts, dtype=int), np.arange(1, len(verdicts) + 1)
        precisions.append(
            ClassPrecision(
                category=category,
                objects=objects,
                found=len(verdicts),
                hits=sum(verdicts),
                recall=hits / objects if objects else np.zeros(0),
                precision=hits / found if objects else np.zeros(0),
                at_11_points=eleven_points(hits, found, objects) if objects else None,
                area=None,
            )
        )
    coco = CocoFigures(overall={}, classes={})
    axes = Figure().subplots()
    _curves(axes, Detection(classes=names, coco=coco, precisions=tuple(precisions), images=1))
    return axes


def test_a_confusion_matrix_is_dark_where_answers_are(tmp_path: Path) -> None:
    # All cats are taken for dogs and the other way: the diagonal is white, the rest dark.
    measured = classification([0, 0, 1], [[1], [1], [0]], ["cat", "dog"])
    draw_evaluation(Evaluation(task="classification", measured=measured), tmp_path)
    with Image.open(tmp_path / "confusion_matrix.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    dark = (pixels == (0x08, 0x30, 0x6B)).all(axis=-1)  # the end of matplotlib's Blues
    dark &= dark.sum(axis=0) > 100  # not the bar of colours, which is dark at its end only
    rows, columns = np.nonzero(dark)
    middle = (rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2
    assert dark[: middle[0], middle[1] :].sum() > 10_000
    assert dark[middle[0] :, : middle[1]].sum() > 10_000
    assert dark[: middle[0], : middle[1]].sum() + dark[middle[0] :, middle[1] :].sum() < 2_000


def test_wrong_paths_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(OptionError) as suffix:
        check_plot_path(tmp_path / "x.jpg")
    assert str(suffix.value) == f"--plot must be a FILE.png or a folder, got {str(tmp_path / 'x.jpg')!r}."
    with pytest.raises(OutputError) as folder:
        check_plot_path(tmp_path / "none" / "x.png")
    assert str(folder.value) == (
        f"Cannot write {str(tmp_path / 'none' / 'x.png')!r}: the folder {str(tmp_path / 'none')!r} does not exist. "
        "Create it first."
    )
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(OutputError, match=r"^Cannot write to '.*file': File exists\. Name another folder\.$"):
        draw_evaluation(of_classes(), file)


def test_without_matplotlib_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError) as raised:
        check_plot_path(Path("x.png"))
    assert str(raised.value) == (
        "Drawing plots needs matplotlib, which is not installed. Run: pip install 'edgecv[eval]'"
    )


def test_what_has_no_plot_is_one_line(tmp_path: Path) -> None:
    class Nothing:
        images = 0

        def figures(self) -> dict[str, Any]:
            return {}

        def rows(self) -> list[dict[str, Any]]:
            return []

    with pytest.raises(OptionError) as raised:
        draw_evaluation(Evaluation(task="other", measured=Nothing()), tmp_path)
    assert str(raised.value) == "There is no plot for the task 'other'."


def test_matplotlib_is_imported_late_and_without_a_display() -> None:
    code = "import sys, edgecv.evaluation.plots; print('matplotlib' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_a_folder_in_which_nothing_could_be_drawn_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object, path: Path) -> None:
        raise OutputError(f"Cannot write {str(path)!r}: the disk is full.")

    monkeypatch.setattr("edgecv.evaluation.plots._draw", full)
    with pytest.raises(OutputError, match="the disk is full"):
        draw_evaluation(of_classes(), tmp_path / "plots")
    assert not (tmp_path / "plots").exists()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "note.txt").write_text("mine")
    with pytest.raises(OutputError, match="the disk is full"):
        draw_evaluation(of_classes(), tmp_path / "kept")
    assert (tmp_path / "kept" / "note.txt").read_text() == "mine"
