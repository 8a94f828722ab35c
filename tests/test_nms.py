"""Suppression in Keras, ONNX Runtime and LiteRT against an independent greedy reference, box for box."""

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import pytest
from keras import layers

import edgecv
from edgecv.errors import OptionError
from edgecv.greedy import Detections, greedy, iou
from edgecv.nms import Nms
from edgecv.registry import load_exporter, load_runtime

Array = np.ndarray[Any, np.dtype[Any]]
Run = Callable[[Array, Array], dict[str, Array]]

RUNNERS = ["keras", "onnx", "tflite"]
RUNTIMES = {"onnx": "onnxruntime", "tflite": "litert"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plain:
    """Takes a network's outputs as boxes and scores."""

    name: ClassVar[str] = "plain"
    outputs: tuple[str, ...] = ()

    def check(self, shapes: Sequence[tuple[int | None, ...]], input_size: tuple[int, int]) -> int:
        del input_size
        return int(shapes[1][2] or 0)

    def decode(self, outputs: Sequence[Any], input_size: tuple[int, int], ops: Any) -> tuple[Any, Any]:
        del input_size, ops
        return outputs[0], outputs[1]


def deployable(anchors: int, classes: int, nms: Nms) -> Any:
    """A network that takes boxes and scores side by side as a picture of one channel, and gives them back."""
    image = keras.Input((anchors, 4 + classes, 1), name="image")
    x = layers.Reshape((anchors, 4 + classes), name="table")(image)
    network = keras.Model(image, [x[:, :, :4], x[:, :, 4:]], name="plain")
    return edgecv.deploy(network, preprocess="none", input_dtype="float32", batch=None, decoder=Plain(), nms=nms)


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int, int, Nms], Run]:
    """Return what runs suppression in Keras or in an exported file; each is made once."""

    @functools.cache
    def make(where: str, anchors: int, classes: int, nms: Nms) -> Run:
        original = deployable(anchors, classes, nms)
        if where == "keras":
            return lambda boxes, scores: original.run(table(boxes, scores))
        path = tmp_path_factory.mktemp("nms") / f"nms.{where}"
        load_exporter(where)().export(original, path)
        opened = load_runtime(RUNTIMES[where]).open(path)
        return lambda boxes, scores: opened.run({"image": table(boxes, scores)})

    return make


def table(boxes: Array, scores: Array) -> Array:
    return np.concatenate([boxes, scores], axis=2)[..., None].astype(np.float32)


def scenes(seed: int, count: int, anchors: int, classes: int) -> tuple[Array, Array]:
    """Seeded scenes of several kinds: clusters, ties, tiny boxes, few or no candidates."""
    rng = np.random.default_rng(seed)
    centres = rng.random((count, anchors, 2))
    clustered = rng.random(count) < 0.6
    objects = rng.random((count, 5, 2))
    near = objects[np.arange(count)[:, None], rng.integers(0, 5, (count, anchors))] + rng.normal(
        0, 0.02, (count, anchors, 2)
    )
    centres = np.where(clustered[:, None, None], near, centres)
    sizes = rng.uniform(0.01, 0.4, (count, 1, 2)) * rng.uniform(0.8, 1.2, (count, anchors, 2))
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=2)
    scores = rng.random((count, anchors, classes)) ** rng.choice([0.5, 1, 4, 20], (count, 1, 1))
    ties = rng.random(count) < 0.3
    scores = np.where(ties[:, None, None], np.round(scores * 8) / 8, scores)
    return boxes.astype(np.float32), scores.astype(np.float32)


def difference(expected: Detections, given: dict[str, Array], index: int, rtol: float = 0.0) -> str:
    """Say how the rows of a picture differ from the reference, or nothing."""
    count = int(given["count"][index])
    if count != len(expected):
        return f"{count} instead of {len(expected)} boxes"
    if any(np.any(given[name][index, count:]) for name in ("boxes", "scores", "classes")):
        return "rows past count are not zero"
    np.testing.assert_array_equal(given["boxes"][index, :count], expected.boxes)
    np.testing.assert_array_equal(given["classes"][index, :count], expected.classes)
    np.testing.assert_allclose(given["scores"][index, :count], expected.scores, rtol=rtol)
    return ""


SETTINGS = {
    "default": Nms(max_detections=20),
    "few": Nms(max_detections=3, pre_nms_top_k=25, iou_threshold=0.3, score_threshold=0.1),
    "best class": Nms(multi_label=False, iou_threshold=0.45),
    "agnostic": Nms(class_agnostic=True, pre_nms_top_k=30),
    "soft": Nms(soft_sigma=0.5, max_detections=20),
}


def hold(run: Run, nms: Nms, seed: int, pictures: int, batch: int) -> int:
    """Compare pictures with the reference; return how many hang on an overlap at its threshold."""
    doubtful = 0
    for first in range(0, pictures, batch):
        boxes, scores = scenes(seed + first, batch, 60, 4)
        given = run(boxes, scores)
        for index in range(batch):
            expected = greedy(boxes[index], scores[index], nms)
            # Engines' exp differs in the last digits; soft suppression multiplies dozens of them.
            rtol = 1e-5 if nms.soft_sigma else 0.0
            if expected.doubtful:
                doubtful += 1
            else:
                assert not difference(expected, given, index, rtol)
    return doubtful


@pytest.mark.parametrize("where", RUNNERS)
@pytest.mark.parametrize("settings", SETTINGS)
def test_suppression_equals_the_reference(runner: Any, where: str, settings: str) -> None:
    nms = SETTINGS[settings]
    run = runner(where, 60, 4, nms)
    assert hold(run, nms, 1000, 64, 8) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("where", RUNNERS)
def test_suppression_equals_the_reference_on_ten_thousand_scenes(runner: Any, where: str) -> None:
    doubtful = 0
    for number, nms in enumerate(SETTINGS.values()):
        doubtful += hold(runner(where, 60, 4, nms), nms, 100_000 * number, 2000, 8)
    assert doubtful <= 20


def one(boxes: Any, scores: Any) -> tuple[Array, Array]:
    """A batch of one picture of 8 anchors and 3 classes; what is not given scores nothing."""
    rows = np.zeros((1, 8, 4), np.float32)
    values = np.zeros((1, 8, 3), np.float32)
    rows[0, : len(boxes)] = boxes
    values[0, : len(scores)] = scores
    return rows, values


HARD = Nms(max_detections=5, iou_threshold=0.5)


@pytest.fixture(params=RUNNERS)
def run(request: pytest.FixtureRequest, runner: Any) -> Run:
    """Suppression of 8 anchors and 3 classes, five at most, at IoU 0.5."""
    made: Run = runner(request.param, 8, 3, HARD)
    return made


def found(run: Run, boxes: Any, scores: Any) -> tuple[int, list[list[float]], list[int]]:
    given = run(*one(boxes, scores))
    count = int(given["count"][0])
    return count, given["boxes"][0, :count].tolist(), given["classes"][0, :count].tolist()


UNIT = [0.0, 0.0, 0.5, 0.5]


def test_no_candidate_is_no_detection(run: Run) -> None:
    given = run(*one([UNIT], [[0.25, 0.1, 0.0]]))  # a score at the threshold is not above it
    assert given["count"].tolist() == [0]
    assert not any(np.any(given[name]) for name in ("boxes", "scores", "classes"))
    assert given["boxes"].shape == (1, 5, 4)


def test_identical_boxes_leave_the_first(run: Run) -> None:
    assert found(run, [UNIT, UNIT, UNIT], [[0.5, 0, 0], [0.9, 0, 0], [0.9, 0, 0]]) == (1, [UNIT], [0])


def test_classes_do_not_suppress_each_other(run: Run) -> None:
    assert found(run, [UNIT, UNIT], [[0.5, 0, 0.9], [0, 0.7, 0.8]]) == (3, [UNIT] * 3, [2, 1, 0])


def test_ties_go_to_the_lower_index(run: Run) -> None:
    first, second = [0.0, 0.0, 0.25, 0.25], [0.5, 0.5, 0.75, 0.75]
    count, boxes, _ = found(run, [second, first], [[0.5, 0, 0], [0.5, 0, 0]])
    assert (count, boxes) == (2, [second, first])


def test_an_overlap_exactly_at_the_threshold_stays(run: Run) -> None:
    # By hand: areas 1/4 and 1/8, in common 1/8: IoU = 1/8 / 1/4 = 1/2. A little larger is suppressed.
    half = [0.0, 0.0, 0.5, 0.25]
    more = [0.0, 0.0, 0.5, 0.25 + 2.0**-12]
    assert found(run, [UNIT, half], [[0.9, 0, 0], [0.8, 0, 0]])[0] == 2
    assert found(run, [UNIT, more], [[0.9, 0, 0], [0.8, 0, 0]])[0] == 1


@pytest.mark.parametrize("where", RUNNERS)
def test_an_overlap_exactly_at_a_quarter_stays(runner: Any, where: str) -> None:
    run = runner(where, 8, 3, Nms(max_detections=5, iou_threshold=0.25))
    quarter = [0.0, 0.0, 0.25, 0.25]  # area 1/16 of 1/4
    assert found(run, [UNIT, quarter], [[0.9, 0, 0], [0.8, 0, 0]])[0] == 2
    assert found(run, [UNIT, [0.0, 0.0, 0.25, 0.25 + 2.0**-12]], [[0.9, 0, 0], [0.8, 0, 0]])[0] == 1


def test_boxes_without_area_suppress_nothing(run: Run) -> None:
    point, line, reversed_box = [0.25, 0.25, 0.25, 0.25], [0.1, 0.2, 0.4, 0.2], [0.4, 0.4, 0.1, 0.1]
    boxes = [point, point, line, reversed_box, UNIT]
    assert found(run, boxes, [[0.9 - 0.1 * row, 0, 0] for row in range(5)])[0] == 5


@pytest.mark.parametrize("reversed_box", [[0.5, 0.5, 0.0, 0.0], [0.5, 0.0, 0.0, 0.5], [0.0, 0.5, 0.5, 0.0]])
def test_a_reversed_box_has_no_area_and_overlaps_nothing(run: Run, reversed_box: list[float]) -> None:
    for boxes in ([reversed_box, reversed_box], [UNIT, reversed_box], [reversed_box, UNIT]):
        assert found(run, boxes, [[0.9, 0, 0], [0.8, 0, 0]])[:2] == (2, boxes)


def test_boxes_outside_the_picture_are_boxes(run: Run) -> None:
    left, right = [-3.0, -3.0, -2.0, -2.0], [2.0, 2.0, 4.0, 4.0]
    assert found(run, [left, left, right], [[0.9, 0, 0], [0.8, 0, 0], [0.7, 0, 0]])[:2] == (2, [left, right])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_dropped_and_spreads_nowhere(run: Run, bad: float) -> None:
    other = [0.625, 0.625, 0.875, 0.875]
    for place in range(4):
        box: list[float] = list(UNIT)
        box[place] = bad
        assert found(run, [box, other, UNIT], [[0.9, 0, 0], [0.8, 0, 0], [0.7, 0, 0]])[:2] == (2, [other, UNIT])
    assert found(run, [UNIT, other], [[bad, 0.6, bad], [0.8, bad, 0]]) == (2, [other, UNIT], [0, 1])


def test_more_than_the_most_are_cut(run: Run) -> None:
    boxes = [[0.1 * row, 0.0, 0.1 * row + 0.05, 0.05] for row in range(8)]
    count, kept, _ = found(run, boxes, [[0.3 + 0.05 * row, 0, 0] for row in range(8)])
    assert count == 5
    np.testing.assert_array_equal(kept, np.array(boxes[:2:-1], np.float32))


@pytest.mark.parametrize("where", RUNNERS)
def test_more_rows_than_candidates_are_padded(runner: Any, where: str) -> None:
    given = runner(where, 8, 3, Nms(max_detections=40))(*one([UNIT], [[0.9, 0, 0]]))
    assert (given["boxes"].shape, given["count"].tolist()) == ((1, 40, 4), [1])
    assert given["scores"][0, 0] == np.float32(0.9)
    assert not np.any(given["scores"][0, 1:])


@pytest.mark.parametrize("where", RUNNERS)
def test_small_boxes_of_the_last_class_keep_their_digits(runner: Any, where: str) -> None:
    """Boxes of 4 pixels in 640, class 79: shifted by class × offset, their overlaps would be wrong in float32."""
    nms = Nms(max_detections=20, iou_threshold=0.6)
    rng = np.random.default_rng(3)
    corners = rng.uniform(600, 606, (1, 40, 2))
    boxes = (np.concatenate([corners, corners + 4], axis=2) / 640).astype(np.float32)
    scores = np.zeros((1, 40, 80), np.float32)
    scores[0, :, 79] = rng.uniform(0.3, 0.9, 40)
    expected = greedy(boxes[0], scores[0], nms)
    assert 5 < len(expected) <= 20
    assert not expected.doubtful
    assert not difference(expected, runner(where, 40, 80, nms)(boxes, scores), 0)


@pytest.mark.parametrize("where", RUNNERS)
@pytest.mark.parametrize("batch", [1, 2, 8])
def test_an_empty_picture_of_a_batch_stays_empty(runner: Any, where: str, batch: int) -> None:
    nms = SETTINGS["default"]
    boxes, scores = scenes(7, batch, 60, 4)
    scores[batch // 2] = 0
    given = runner(where, 60, 4, nms)(boxes, scores)
    assert given["count"][batch // 2] == 0
    for index in range(batch):
        assert not difference(greedy(boxes[index], scores[index], nms), given, index)


@pytest.mark.parametrize("where", RUNNERS)
def test_each_of_a_long_chain_is_judged_by_those_that_are_kept(runner: Any, where: str) -> None:
    """Each box overlaps its two neighbours by 1/3, nothing else: best first, every other one stays."""
    nms = Nms(max_detections=150, iou_threshold=0.3)
    boxes = np.zeros((2, 300, 4), np.float32)
    boxes[:, :, 0] = 0.5 * np.arange(300)
    boxes[:, :, 2:] = [1.0, 1.0]
    boxes[:, :, 2] += boxes[:, :, 0]
    scores = np.zeros((2, 300, 2), np.float32)
    scores[0, :, 1] = np.linspace(0.9, 0.3, 300)
    scores[1, ::-1, 0] = scores[0, :, 1]
    given = runner(where, 300, 2, nms)(boxes, scores)
    assert given["count"].tolist() == [150, 150]
    np.testing.assert_array_equal(given["boxes"][0], boxes[0, ::2])
    np.testing.assert_array_equal(given["boxes"][1], boxes[1, ::-2])
    assert given["classes"].tolist() == [[1] * 150, [0] * 150]


@pytest.mark.parametrize("where", RUNNERS)
@pytest.mark.parametrize("kind", ["clusters", "one class", "best class", "apart"])
def test_many_candidates_are_decided_as_by_the_reference(runner: Any, where: str, kind: str) -> None:
    nms = Nms(max_detections=100, pre_nms_top_k=700, score_threshold=0.1, multi_label=kind != "best class")
    rng = np.random.default_rng(17)
    boxes, scores = scenes(17, 3, 900, 3)
    if kind == "apart":  # a picture of few, one of many that suppress nothing, one of clusters
        boxes[1] = np.concatenate([rng.random((900, 2)), np.zeros((900, 2))], axis=1)
        boxes[1, :, 2:] = boxes[1, :, :2] + 1e-3
        scores[0] *= np.arange(900)[:, None] % 90 == 0
    if kind == "one class":
        scores[:, :, 1:] = 0
    given = runner(where, 900, 3, nms)(boxes, scores)
    for index in range(3):
        expected = greedy(boxes[index], scores[index], nms)
        assert not expected.doubtful
        assert not difference(expected, given, index)


@pytest.mark.parametrize("where", RUNNERS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_dropped_among_many(runner: Any, where: str, bad: float) -> None:
    nms = Nms(max_detections=100, pre_nms_top_k=700, score_threshold=0.1)
    rng = np.random.default_rng(23)
    boxes, scores = scenes(23, 2, 900, 3)
    scores[0][rng.random((900, 3)) < 0.3] = bad
    boxes[1][rng.random((900, 4)) < 0.1] = bad
    given = runner(where, 900, 3, nms)(boxes, scores)
    for index in range(2):
        assert not difference(greedy(boxes[index], scores[index], nms), given, index)


@pytest.mark.parametrize("where", RUNNERS)
def test_a_class_suppresses_no_other_where_no_overlap_is_allowed(runner: Any, where: str) -> None:
    nms = Nms(max_detections=5, iou_threshold=0.0)
    given = runner(where, 8, 3, nms)(*one([UNIT, [0.25, 0.0, 0.75, 0.5]], [[0.9, 0.8, 0], [0.7, 0, 0.6]]))
    assert (given["count"].tolist(), given["classes"][0, :3].tolist()) == ([3], [0, 1, 2])


def test_onnx_takes_thresholds_at_run_time(tmp_path: Path) -> None:
    path = tmp_path / "nms.onnx"
    artifact = load_exporter("onnx")().export(deployable(60, 4, Nms()), path)
    assert artifact.optional_inputs == ("score_threshold", "iou_threshold")
    opened = load_runtime("onnxruntime").open(path)
    boxes, scores = scenes(11, 2, 60, 4)
    for nms in (Nms(), Nms(score_threshold=0.6, iou_threshold=0.2), Nms(score_threshold=0.0)):
        thresholds = {"score_threshold": nms.score_threshold, "iou_threshold": nms.iou_threshold}
        feeds = {name: np.array(value, np.float32) for name, value in thresholds.items()} if nms != Nms() else {}
        given = opened.run({"image": table(boxes, scores), **feeds})
        for index in range(2):
            assert not difference(greedy(boxes[index], scores[index], nms), given, index)


def test_soft_suppression_lowers_overlapping_scores() -> None:
    # By hand: IoU of the two is 1/3; exp(-(1/3)² / 0.5) = 0.800737; 0.8 × 0.800737 = 0.640590.
    boxes = np.array([[0, 0, 0.5, 0.5], [0.25, 0, 0.75, 0.5]], np.float32)
    scores = np.array([[0.9], [0.8]], np.float32)
    given = greedy(boxes, scores, Nms(soft_sigma=0.5))
    np.testing.assert_allclose(given.scores, [0.9, 0.640590], rtol=1e-5)


def test_the_reference_computes_overlaps_as_by_hand() -> None:
    # Squares of side 2, moved by 1 in both directions: 1 / (4 + 4 - 1).
    boxes = np.array([[1, 1, 3, 3], [0, 0, 2, 2], [5, 5, 6, 6], [2, 0, 4, 2], [2, 2, 0, 0]], np.float32)
    np.testing.assert_allclose(iou(boxes[1], boxes), [1 / 7, 1, 0, 0, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score_threshold": 1.5}, "score-threshold must be in 0…1, got 1.5."),
        ({"score_threshold": float("nan")}, "score-threshold must be in 0…1, got nan."),
        ({"iou_threshold": -0.1}, "iou-threshold must be in 0…1, got -0.1."),
        ({"iou_threshold": "0.5"}, "iou-threshold must be in 0…1, got '0.5'."),
        ({"max_detections": 0}, "max-detections must be at least 1, got 0."),
        ({"pre_nms_top_k": 0}, "pre-nms-top-k must be at least 1, got 0."),
        ({"max_detections": True}, "max-detections must be at least 1, got True."),
        ({"soft_sigma": 0.0}, "soft-sigma must be above 0, got 0.0."),
        ({"multi_label": "no"}, "multi-label must be true or false, got 'no'."),
        ({"class_agnostic": 1}, "class-agnostic must be true or false, got 1."),
    ],
)
def test_a_setting_out_of_range_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        Nms(**options)


def test_numbers_of_numpy_are_numbers() -> None:
    nms = Nms(score_threshold=np.float32(0.5), max_detections=np.int64(7), class_agnostic=np.True_)  # type: ignore[arg-type]
    assert nms.to_json() == Nms(score_threshold=0.5, max_detections=7, class_agnostic=True).to_json()
    assert [type(value) for value in nms.to_json().values()][:3] == [float, float, int]


def test_settings_survive_json() -> None:
    nms = Nms(score_threshold=0.1, soft_sigma=0.3, class_agnostic=True)
    assert Nms.from_json(nms.to_json()) == nms
    with pytest.raises(OptionError, match=r"^nms has the unknown key 'sigma'\. Known: class_agnostic, "):
        Nms.from_json({"sigma": 1})
    with pytest.raises(OptionError, match=r"^nms must be a JSON object, got str\.$"):
        Nms.from_json("hard")  # type: ignore[arg-type]
