"""The worst pictures come first, and what is drawn lies where it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from edgecv.data.samples import ArraySource, Sample
from edgecv.drawing import class_colour
from edgecv.errors import PictureError
from edgecv.evaluation.detection import Detection, detection
from edgecv.evaluation.evaluate import Evaluation
from edgecv.evaluation.plots import draw_evaluation
from edgecv.evaluation.prediction_plot import prediction_plot
from edgecv.evaluation.scenes import Found, Scene, Truth
from edgecv.evaluation.segmentation import AnsweredMask, PixelCounts, Segmentation, worst_masks

FOUND, MISSED, FALSE = "#3df04f", "#ffb000", "#ff1f4b"
# Mathematics, what legends leave out, and more than fits.
NAMES = (r"$\frac{$", "_hidden", "a name that is longer than any axis would like it to be")


def detected(
    pictures: Sequence[tuple[Sequence[Any], Sequence[Any]]], *, size: tuple[int, int] = (60, 80), classes: int = 1
) -> Detection:
    """Measure pictures of true boxes, and of found boxes with scores; left, top, width, height, class."""
    scenes, samples = [], []
    for number, (truth, found) in enumerate(pictures):
        there, seen = np.array(truth, np.float64).reshape(-1, 5), np.array(found, np.float64).reshape(-1, 6)
        plain = np.zeros(len(there), bool)
        ids = np.arange(len(there)) + 100 * number + 1
        areas = there[:, 2] * there[:, 3]
        categories = there[:, 4].astype(int)
        objects = Truth(boxes=there[:, :4], categories=categories, crowd=plain, difficult=plain, areas=areas, ids=ids)
        answers = Found(boxes=seen[:, :4], categories=seen[:, 4].astype(int), scores=seen[:, 5])
        scenes.append(Scene(image=number, truth=objects, found=answers))
        samples.append(Sample(picture=ArraySource(f"folder/{number}.png", np.zeros((*size, 3), np.uint8))))
    return detection(scenes, dict(enumerate(NAMES[:classes])), samples=samples)


def drawn(measured: object) -> Any:
    plot = prediction_plot(measured)
    assert plot is not None
    figure = Figure(figsize=(15, plot.height), layout="constrained")
    plot.draw(figure)
    return figure


def titles(measured: object) -> list[str]:
    plot = prediction_plot(measured)
    assert plot is not None
    return [case.title for case in plot.cases]


def boxes_of(axes: Any) -> list[tuple[str, tuple[float, ...]]]:
    """Return colour and x1, y1, width, height of the boxes on an axis."""
    return [
        (to_hex(patch.get_edgecolor()), (*patch.get_xy(), patch.get_width(), patch.get_height()))
        for patch in axes.patches
        if isinstance(patch, Rectangle)
    ]


A, B, C = (10, 20, 20, 10), (40, 5, 10, 30), (5, 40, 10, 10)
PICTURES = [
    ([(*A, 0)], [(*A, 0, 0.9)]),
    ([(*A, 0), (*B, 0)], [(*A, 0, 0.8), (*C, 0, 0.7), (*C, 0, 0.1)]),
    ([(*A, 0)], []),
    ([(*A, 0), (*B, 0)], [(*A, 0, 0.85), (*B, 0, 0.75)]),
]


def test_pictures_come_with_their_counts_the_worst_first() -> None:
    # F1 is largest from 0.75 on: four hits of six objects, 2·4/(4+6); at 0.7 there is a false alarm, too.
    measured = detected(PICTURES)
    plot = prediction_plot(measured)
    assert plot is not None
    assert plot.heading == (
        "Truth (left) and answers (right): 4 of 4 pictures, most misses and false alarms first\n"
        "at IoU 0.5 and scores from 0.75 on (where F1 over all classes is largest, 0.800)"
    )
    assert titles(measured) == [
        "1.png: 1 missed, 0 false, 1 right",
        "2.png: 1 missed, 0 false, 0 right",
        "0.png: 0 missed, 0 false, 1 right",
        "3.png: 0 missed, 0 false, 2 right",
    ]


def test_misses_false_alarms_and_hits_have_their_colours_and_places() -> None:
    # A hit of the same score makes the false alarm count: 2·4/(5+6) from 0.7 on exceeds 2·3/(3+6) above it.
    pictures = [*PICTURES[1:3], ([(*A, 0), (*B, 0), (*C, 0)], [(*A, 0, 0.9), (*B, 0, 0.9), (*C, 0, 0.7)])]
    truth, answers = _axes_of(detected(pictures))[:2]
    assert sorted(boxes_of(truth)) == sorted([(FOUND, A), (MISSED, B)])
    assert sorted(boxes_of(answers)) == sorted([(FOUND, A), (FALSE, C)])
    assert sorted(text.get_text() for text in answers.texts) == ["0.70", "0.80"]
    assert [text.get_text() for text in truth.texts] == []  # one class needs no name


def test_several_classes_are_named_as_they_are() -> None:
    pictures = [([(*A, 0), (*B, 1)], [(*A, 0, 0.9), (*B, 2, 0.8), (*C, 1, 0.95)])]
    truth, answers = _axes_of(detected(pictures, classes=3))[:2]
    assert sorted(text.get_text() for text in truth.texts) == [r"$\frac{$", "_hidden"]
    assert sorted(text.get_text() for text in answers.texts) == [r"0.90 $\frac{$", "0.95 _hidden"]
    assert not any(text.get_parse_math() for text in [*truth.texts, *answers.texts])


def test_without_a_hit_scores_from_one_half_on_are_shown() -> None:
    plot = prediction_plot(detected([([(*A, 0)], [(*B, 0, 0.6), (*B, 0, 0.4)])]))
    assert plot is not None
    assert plot.heading.endswith("at IoU 0.5 and scores from 0.5 on (no hit at any score)")
    assert [case.title for case in plot.cases] == ["0.png: 1 missed, 1 false, 0 right"]


def test_a_large_picture_is_reduced_and_its_boxes_stay_in_place() -> None:
    truth = _axes_of(detected([([(1000, 500, 200, 100, 0)], [])], size=(1300, 2000)))[0]
    (image,) = truth.images
    assert image.get_array().shape[:2] == (325, 500)
    assert tuple(image.get_extent()) == (0, 2000, 1300, 0)
    assert boxes_of(truth) == [(MISSED, (1000, 500, 200, 100))]


def test_twelve_pictures_are_enough() -> None:
    assert len(titles(detected(PICTURES * 10))) == 12


def test_boxes_from_files_alone_have_no_pictures() -> None:
    measured = detected(PICTURES)
    without = detection([scene for _, scene in measured.pictures], measured.classes)
    assert prediction_plot(without) is None


def test_a_picture_that_is_gone_is_one_line(tmp_path: Path) -> None:
    class Gone:
        name = "gone.png"

        def read(self) -> Any:
            raise PictureError("Cannot read 'gone.png'.")

    measured = detected(PICTURES[:1])
    scene = measured.pictures[0][1]
    gone = detection([scene], {0: "cat"}, samples=[Sample(picture=Gone())])
    with pytest.raises(PictureError, match=r"^Cannot read 'gone\.png'\.$"):
        draw_evaluation(Evaluation(task="detection", measured=gone), tmp_path / "plots")
    assert not (tmp_path / "plots").exists()


def segmented(count: int = 3) -> Segmentation:
    """Measure masks of 8 × 8 pixels, upper half class 1; of picture k, k of the 4 rows are answered right."""
    truth = np.zeros((8, 8), np.uint8)
    truth[:4] = 1
    truth[4] = 255
    counts = PixelCounts(NAMES)
    worst: list[AnsweredMask] = []
    for number in range(count):
        answer = np.zeros((8, 8), np.int32)
        answer[: number % 5] = 1
        answer[7, 7] = -1
        name = f"{number}.png"
        sample = Sample(
            picture=ArraySource(name, np.full((8, 8, 3), 100, np.uint8)), mask=ArraySource(f"mask of {name}", truth)
        )
        worst = worst_masks([*worst, AnsweredMask(sample=sample, answer=answer, miou=counts.add(truth, answer))])
    return counts.result(worst)


def test_masks_come_with_their_iou_the_worst_first() -> None:
    # 32 pixels of class 1, 24 of class 0, of which one is answered with no class: for k right rows of class 1
    # IoU = k / 4 and 23 / (24 + 8 (4 − k)).
    measured = segmented(3)
    assert titles(measured) == [f"{k}.png: mean IoU {(k / 4 + 23 / (24 + 8 * (4 - k))) / 2:.3f}" for k in (0, 1, 2)]
    assert [each.sample.name for each in measured.worst] == ["0.png", "1.png", "2.png"]


def test_a_few_masks_are_kept_of_many() -> None:
    measured = segmented(23)
    assert [each.sample.name for each in measured.worst] == [f"{k}.png" for k in (0, 5, 10, 15, 20, 1, 6, 11)]


def test_a_mask_without_a_judged_pixel_is_not_shown() -> None:
    sample = Sample(picture=ArraySource("x", np.zeros((2, 2), np.uint8)))
    nothing = AnsweredMask(sample=sample, answer=np.zeros((2, 2), np.int32), miou=None)
    assert PixelCounts(NAMES).add(np.full((2, 2), 255), np.zeros((2, 2))) is None
    assert worst_masks([nothing]) == []


def test_masks_are_coloured_and_what_is_not_judged_is_striped() -> None:
    picture, truth, answer = (axes.images[0].get_array() for axes in _axes_of(segmented(3))[6:9])
    assert (picture == 100).all()
    mixed = [50 + colour // 2 for colour in class_colour(1)]
    assert np.abs(truth[:4].astype(int) - mixed).max() <= 1
    assert (truth[5:] == 100).all()
    assert set(np.unique(truth[4])) == {90, 170}
    # The picture in the third place has two right rows.
    assert np.abs(answer[:2].astype(int) - mixed).max() <= 1
    assert (answer[2:7] == 100).all()
    assert answer[7, 7, 0] in (90, 170)


def test_the_key_of_masks_names_every_class_as_it_is() -> None:
    figure = drawn(segmented())
    (legend,) = [legend for part in _parts(figure) for legend in part.legends]
    assert [text.get_text() for text in legend.get_texts()] == [
        r"not coloured: $\frac{$",
        "_hidden",
        "striped: not judged, or no class",
    ]
    assert not any(text.get_parse_math() for text in legend.get_texts())


@pytest.mark.parametrize("measured", [detected(PICTURES, classes=3), segmented()], ids=["boxes", "masks"])
def test_predictions_are_drawn_into_the_folder_and_below_the_figures(measured: Any, tmp_path: Path) -> None:
    evaluation = Evaluation(task="detection", measured=measured)
    files = draw_evaluation(evaluation, tmp_path / "plots")
    assert files[-1] == tmp_path / "plots" / "predictions.png"
    assert draw_evaluation(evaluation, tmp_path / "all.png") == [tmp_path / "all.png"]
    with Image.open(files[-1]) as alone, Image.open(tmp_path / "all.png") as whole:
        assert alone.width == whole.width == 1800
        assert whole.height == pytest.approx(alone.height + 720, abs=1)


def _parts(figure: Any) -> list[Any]:
    return [figure, *(part for child in figure.subfigs for part in _parts(child))]


def _axes_of(measured: object) -> list[Any]:
    return [axes for part in _parts(drawn(measured)) if not part.subfigs for axes in part.axes]
