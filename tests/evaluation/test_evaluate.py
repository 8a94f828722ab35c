"""Labelled pictures through sessions of every kind, with answers that are known."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgecv
from edgecv.data.samples import ArraySource, Box, Dataset, DataTask, FileSource, Sample
from edgecv.errors import ArtifactError, DataError, OptionError, PictureError
from edgecv.evaluation.detection import Detection
from edgecv.evaluation.evaluate import evaluate
from edgecv.evaluation.segmentation import Segmentation
from edgecv.runtime import Arrays, TensorInfo
from edgecv.session import Session, load

Seal = Callable[[Path, dict[str, Any]], Path]
RED, GREEN, BLUE = (200, 10, 0), (10, 200, 0), (0, 10, 200)


def source(colour: Sequence[int], name: str = "x", size: tuple[int, int] = (8, 6)) -> ArraySource:
    return ArraySource(name, np.full((*size, 3), colour, np.uint8))


def dataset(samples: Sequence[Sample], classes: Sequence[str], task: DataTask = "classification") -> Dataset:
    return Dataset(path="data", format="made", task=task, classes=tuple(classes), samples=tuple(samples))


@dataclass
class Scripted:
    """A runner that answers what it is told, picture by picture; a picture's first pixel is its number."""

    answers: Mapping[str, Any]
    sizes: tuple[int, int] = (10, 10)
    batch: int | None = 1
    device: str = "cpu"
    provider: str = "script"
    optional_inputs: tuple[TensorInfo, ...] = ()
    runs: int = 0

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        return (TensorInfo(name="image", shape=(self.batch, *self.sizes, 3), dtype="uint8"),)

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        return tuple(
            TensorInfo(name=name, shape=(self.batch, *values.shape[1:]), dtype=values.dtype.name)
            for name, values in self.answers.items()
        )

    def run(self, feeds: Mapping[str, Any]) -> Arrays:
        self.runs += 1
        numbers = feeds["image"][:, 0, 0, 0]
        return {name: values[numbers] for name, values in self.answers.items()}


def session(task: str, answers: Mapping[str, Any], **extra: Any) -> Session:
    options = {name: extra.pop(name) for name in ("batch",) if name in extra}
    runner = Scripted({name: np.asarray(values) for name, values in answers.items()}, **options)
    document = {
        "model": "scripted",
        "task": task,
        "labels": extra.pop("labels", []),
        "input": runner.inputs[0].to_json(),
        "outputs": [output.to_json() for output in runner.outputs],
        "preprocess": {},
        **extra,
    }
    return Session(Path("scripted"), document, runner, runtime_name="script")


def numbered(count: int, size: tuple[int, int] = (10, 10), **labels: Sequence[Any]) -> list[Sample]:
    return [
        Sample(
            picture=source((number, number, number), f"picture {number}", size),
            **{name: values[number] for name, values in labels.items()},
        )
        for number in range(count)
    ]


def test_a_classifier_is_measured_through_both_runtimes(artifact: Path) -> None:
    # The tiny network answers with the most frequent colour; its labels are red, green, blue.
    samples = [
        Sample(picture=source(RED), category=1),
        Sample(picture=source(GREEN), category=0),
        Sample(picture=source(BLUE), category=1),
    ]
    steps: list[int] = []
    data = dataset(samples, ["green", "red"])
    document = evaluate(load(artifact), data, samples, progress=lambda: steps.append(1)).to_json()
    assert document["top1"] == pytest.approx(2 / 3)
    assert document["top5"] == 1
    assert document["images"] == len(steps) == 3
    assert document["confusion_matrix"] == [[1, 0], [0, 1]]
    assert document["other_classes"] == [0, 1]
    assert [row["class"] for row in document["per_class"]] == ["green", "red"]
    assert document["model"] == "tiny"
    assert document["data"] == {"path": "data", "format": "made"}
    assert document["runtime"]["name"] == ("onnxruntime" if artifact.suffix == ".onnx" else "litert")
    assert document["runtime"]["batch"] == 1
    assert document["pictures_per_second"] > 0
    assert (document["skipped"], document["notes"]) == (0, [])


def test_a_dynamic_batch_is_used_and_changes_nothing(dynamic: Path) -> None:
    dice = np.random.default_rng(0)
    samples = [
        Sample(picture=source(dice.integers(0, 255, 3).tolist(), str(number)), category=number % 3)
        for number in range(35)
    ]
    data = dataset(samples, ["red", "green", "blue"])
    one = evaluate(load(dynamic), data, samples, batch=1).to_json()
    many = evaluate(load(dynamic), data, samples).to_json()
    assert (one["runtime"]["batch"], many["runtime"]["batch"]) == (1, 32)
    assert one["confusion_matrix"] == many["confusion_matrix"]
    assert one["per_class"] == many["per_class"]


def test_batches_are_full_and_the_last_one_is_filled_up() -> None:
    scripted = session("classification", {"probabilities": np.eye(9, dtype=np.float32)}, batch=None)
    samples = numbered(9, category=list(range(9)))
    data = dataset(samples, list("abcdefghi"))
    assert evaluate(scripted, data, samples, batch=4).to_json()["top1"] == 1
    assert scripted.runner.runs == 3  # type: ignore[attr-defined]


def test_top_5_of_artifacts_that_give_the_best_ones_only() -> None:
    for count, expected in ((2, None), (5, 1.0)):
        classes = np.arange(8, dtype=np.int32)[:, None] - np.arange(count, dtype=np.int32) % 8
        answers = {"scores": np.linspace(1, 0.5, count, dtype=np.float32)[None].repeat(8, 0), "classes": classes}
        scripted = session("classification", answers, labels=list("abcdefgh"))
        samples = numbered(8, category=list(range(8)))
        document = evaluate(scripted, dataset(samples, list("abcdefgh")), samples).to_json()
        assert (document["top1"], document["top5"]) == (1, expected)


def test_a_localiser_is_measured_in_pixels_of_the_picture() -> None:
    # Pictures are 40 wide and 20 high, stretched to 10 × 10: the box 0.25 … 0.75 is 10 … 30 by 5 … 15.
    answers = {
        "probabilities": np.array([[0.9, 0.1], [0.8, 0.2]], np.float32),
        "box": np.array([[0.25, 0.25, 0.75, 0.75]] * 2, np.float32),
    }
    boxes = [(Box(10, 5, 30, 15, category=0),), (Box(10, 5, 20, 15, category=1),)]
    samples = numbered(2, (20, 40), boxes=boxes)
    data = dataset(samples, ["cat", "dog"], "localisation")
    document = evaluate(session("localisation", answers), data, samples).to_json()
    assert document["mean_iou"] == pytest.approx((1 + 0.5) / 2)
    assert (document["iou50"], document["class_accuracy"], document["both_right"]) == (1, 0.5, 0.5)


def test_objectness_is_measured_on_pictures_without_an_object_too() -> None:
    answers = {
        "probabilities": np.array([[1.0, 0]] * 4, np.float32),
        "box": np.array([[0, 0, 1, 1]] * 4, np.float32),
        "objectness": np.array([[0.9], [0.2], [0.1], [0.7]], np.float32),
    }
    whole = (Box(0, 0, 10, 10, category=0),)
    samples = numbered(4, boxes=[whole, whole, (), ()])
    data = dataset(samples, ["cat", "dog"], "localisation")
    document = evaluate(session("localisation", answers), data, samples).to_json()
    assert (document["images"], document["objectness_accuracy"], document["mean_iou"]) == (4, 0.5, 1)
    assert document["per_class"][0]["support"] == 2


def detector(**extra: Any) -> Session:
    # Picture 0: its object, and one of class 2, which the data do not have; picture 1: nothing near.
    answers = {
        "boxes": np.array([[[0, 0, 0.5, 0.5], [0, 0, 1, 1]], [[0.5, 0.5, 1, 1], [0, 0, 0, 0]]], np.float32),
        "scores": np.array([[0.9, 0.8], [0.7, 0]], np.float32),
        "classes": np.array([[1, 2], [0, 0]], np.int32),
        "count": np.array([2, 1], np.int32),
    }
    return session("detection", answers, labels=["cat", "dog", "cow"], **extra)


def test_a_detector_is_measured() -> None:
    boxes = [(Box(0, 0, 50, 50, category=0),), (Box(0, 0, 50, 50, category=1),)]
    samples = numbered(2, (100, 100), boxes=boxes)
    data = dataset(samples, ["dog", "cat"], "detection")
    evaluation = evaluate(detector(), data, samples)
    document = evaluation.to_json()
    assert {"AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"} <= set(document)
    assert [document[name] for name in ("AP", "AP50", "AP50_voc11", "AP50_area")] == pytest.approx([0.5] * 4)
    assert (document["APs"], document["APm"]) == (None, pytest.approx(0.5))  # 2,500 square pixels are medium
    dog, cat = evaluation.rows
    assert (dog["class"], dog["hits"], dog["found"]) == ("dog", 1, 1)
    assert (cat["class"], cat["hits"], cat["found"], cat["objects"]) == ("cat", 0, 1, 1)
    assert document["notes"] == []


def test_difficult_and_crowds_of_the_data_are_left_aside() -> None:
    for extra in ({"extra": {"difficult": True}}, {"extra": {"difficult": "1"}}, {"crowd": True}):
        ignored = replace(Box(50, 50, 100, 100, category=1), **extra)
        boxes = [(Box(0, 0, 50, 50, category=0),), (ignored,)]
        samples = numbered(2, (100, 100), boxes=boxes)
        document = evaluate(detector(), dataset(samples, ["dog", "cat"], "detection"), samples).to_json()
        assert document["AP50_voc11"] == pytest.approx(1)
        assert document["AP50"] == pytest.approx(1)
        assert [row["objects"] for row in document["per_class"]] == [1, 0]


def test_a_class_without_a_box_is_counted_and_has_no_figure() -> None:
    # Something of class cow is found on picture 0, and nothing of it is there.
    boxes = [(Box(0, 0, 50, 50, category=0),), (Box(0, 0, 50, 50, category=1),)]
    samples = numbered(2, (100, 100), boxes=boxes)
    evaluation = evaluate(detector(), dataset(samples, ["dog", "cat", "cow"], "detection"), samples)
    document = evaluation.to_json()
    assert document["per_class"][2] == {
        "class": "cow",
        "AP": None,
        "AP50": None,
        "AP50_voc11": None,
        "AR100": None,
        "objects": 0,
        "found": 1,
        "hits": 0,
    }
    # The mean is that of the other two.
    assert [document[name] for name in ("AP", "AP50", "AP50_voc11", "AP50_area")] == pytest.approx([0.5] * 4)


def test_a_class_that_is_listed_only_may_be_unknown_to_the_network() -> None:
    boxes = [(Box(0, 0, 50, 50, category=0),), (Box(0, 0, 50, 50, category=1),)]
    samples = numbered(2, (100, 100), boxes=boxes)
    data = dataset(samples, ["dog", "cat", "unicorn"], "detection")
    document = evaluate(detector(), data, samples).to_json()
    assert document["AP50"] == pytest.approx(0.5)
    assert [(row["class"], row["AP50"], row["objects"], row["found"]) for row in document["per_class"]] == [
        ("dog", pytest.approx(1), 1, 1),
        ("cat", 0, 1, 1),
        ("unicorn", None, 0, 0),
    ]
    shown = [replace(samples[0], boxes=(Box(0, 0, 50, 50, category=2),))]
    with pytest.raises(DataError, match="unicorn"):
        evaluate(detector(), dataset(shown, ["dog", "cat", "unicorn"], "detection"), shown)


def test_pictures_without_any_box_have_no_figure() -> None:
    samples = numbered(2, (100, 100), boxes=[(), ()])
    document = evaluate(detector(), dataset(samples, ["dog", "cat"], "detection"), samples).to_json()
    assert [document[name] for name in ("AP", "AP50", "AP50_voc11", "AR100")] == [None] * 4
    assert [(row["objects"], row["found"]) for row in document["per_class"]] == [(0, 1), (0, 1)]


def test_pictures_and_what_was_found_on_them_are_kept_for_plots() -> None:
    samples = numbered(2, (100, 100), boxes=[(Box(0, 0, 50, 50, category=0),), ()])
    measured = evaluate(detector(), dataset(samples, ["dog", "cat"], "detection"), samples).measured
    assert isinstance(measured, Detection)
    assert [sample for sample, _ in measured.pictures] == samples
    assert [scene.found.boxes.tolist() for _, scene in measured.pictures] == [[[0, 0, 50, 50]], [[50, 50, 50, 50]]]


def test_a_threshold_that_limits_the_ap_is_said_in_one_line() -> None:
    samples = numbered(1, (100, 100), boxes=[(Box(0, 0, 50, 50, category=0),)])
    data = dataset(samples, ["dog", "cat"], "detection")
    remedy = (
        "limits the AP: boxes that score less are never seen. "
        "Published figures are measured with --score-threshold 0.001 or less."
    )
    baked = {"postprocess": {"nms": {"score_threshold": 0.25}}}
    assert evaluate(detector(**baked), data, samples).notes == (f"The score threshold 0.25, baked in, {remedy}",)
    asked = evaluate(detector(**baked), data, samples, score_threshold=0.85)
    assert asked.notes == (f"The score threshold 0.85, asked for, {remedy}",)
    low = {"postprocess": {"nms": {"score_threshold": 0.01}}}
    assert evaluate(detector(**low), data, samples).notes == ()
    with pytest.raises(OptionError, match=r"^'scripted' has score-threshold 0\.25 baked in: it cannot become 0\.001\."):
        evaluate(detector(**baked), data, samples, score_threshold=0.001)


def test_a_segmenter_is_measured_at_the_pictures_size() -> None:
    # Left half class 1, right half class 0, at 10 × 10; the picture is 20 × 40, and its data number classes otherwise.
    mask = np.zeros((1, 10, 10), np.int32)
    mask[0, :, :5] = 1
    truth = np.zeros((20, 40), np.uint8)
    truth[:, 20:] = 1  # class 1 of the data is class 0 of the network
    truth[:, :4] = 255
    truth[0, 39] = 0
    samples = numbered(1, (20, 40), mask=[ArraySource("mask", truth)])
    data = dataset(samples, ["sky", "ground"], "segmentation")
    evaluation = evaluate(session("segmentation", {"mask": mask}, labels=["ground", "sky"]), data, samples)
    document = evaluation.to_json()
    judged = 20 * 36
    assert document["pixel_accuracy"] == pytest.approx((judged - 1) / judged)
    # ground: 399 right, 400 answered; sky: 320 right, 321 there.
    assert document["miou"] == pytest.approx((320 / 321 + 399 / 400) / 2)
    # Kept for plots, in the data's numbers.
    assert isinstance(evaluation.measured, Segmentation)
    (worst,) = evaluation.measured.worst
    assert worst.miou == pytest.approx(document["miou"])
    assert (worst.answer == np.repeat([[0] * 20 + [1] * 20], 20, axis=0)).all()


@pytest.mark.parametrize(
    ("truth", "said"),
    [
        (
            np.full((10, 10), 2, np.uint8),
            "Mask 'mask' has pixels of class 2, and the data have 2 classes, counted from 0. Mend it; 255 stands for "
            "pixels of no class.",
        ),
        (
            np.zeros((10, 9), np.uint8),
            "Mask 'mask' is 9 wide and 10 high, its picture 10 and 10. Give each picture a mask of its size.",
        ),
    ],
)
def test_masks_that_cannot_be_compared_are_named(truth: np.ndarray[Any, Any], said: str) -> None:
    samples = numbered(1, (10, 10), mask=[ArraySource("mask", truth)])
    scripted = session("segmentation", {"mask": np.zeros((1, 10, 10), np.int32)})
    with pytest.raises(DataError) as raised:
        evaluate(scripted, dataset(samples, ["sky", "ground"], "segmentation"), samples)
    assert str(raised.value) == said


def test_pictures_that_cannot_be_read_stop_it_or_are_skipped(artifact: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    samples = [
        Sample(picture=FileSource(bad), category=0),
        Sample(picture=source(RED), category=0),
        Sample(picture=source(GREEN), category=1),
    ]
    data = dataset(samples, ["red", "green", "blue"])
    with pytest.raises(PictureError, match=r"^Picture '.*bad\.png' is damaged or no picture that edgecv reads\."):
        evaluate(load(artifact), data, samples)
    document = evaluate(load(artifact), replace(data, skipped=2), samples, skip_broken=True).to_json()
    assert (document["images"], document["skipped"], document["top1"]) == (2, 3, 1)
    with pytest.raises(DataError) as raised:
        evaluate(load(artifact), data, samples[:1], skip_broken=True)
    assert str(raised.value) == "None of the 1 pictures can be read. Give data with some that can."


@pytest.mark.parametrize(
    ("task", "answers", "labels", "said"),
    [
        (
            "localisation",
            {"probabilities": np.zeros((1, 2), np.float32), "box": np.zeros((1, 4), np.float32)},
            {"category": [0]},
            "'data' holds labels for classification, and a localiser needs one box a picture: 'picture 0' is without. "
            "Give other data.",
        ),
        (
            "detection",
            {"boxes": np.zeros((1, 3, 4), np.float32), "scores": np.zeros((1, 3, 2), np.float32)},
            {"category": [0]},
            "'data' holds labels for classification, and a detector needs boxes. Give other data.",
        ),
        (
            "segmentation",
            {"mask": np.zeros((1, 10, 10), np.int32)},
            {"category": [0]},
            "'data' holds labels for classification, and a segmenter needs a mask for each picture: 'picture 0' is "
            "without. Give other data.",
        ),
        (
            "classification",
            {"probabilities": np.zeros((1, 2), np.float32)},
            {},
            "'data' holds labels for classification, and a classifier needs one class a picture: 'picture 0' is "
            "without. Give other data.",
        ),
    ],
)
def test_labels_that_do_not_suit_the_network_are_refused(
    task: str, answers: dict[str, Any], labels: dict[str, Any], said: str
) -> None:
    samples = numbered(1, **labels)
    with pytest.raises(DataError) as raised:
        evaluate(session(task, answers), dataset(samples, ["cat", "dog"]), samples)
    assert str(raised.value) == said


def test_a_classifier_takes_the_class_of_the_only_box() -> None:
    samples = numbered(2, boxes=[(Box(0, 0, 5, 5, category=1),), (Box(0, 0, 5, 5, category=0),)])
    answers = {"probabilities": np.array([[0, 1], [0, 1]], np.float32)}
    data = dataset(samples, ["cat", "dog"], "detection")
    assert evaluate(session("classification", answers), data, samples).to_json()["top1"] == 0.5


def test_what_cannot_be_evaluated_is_one_line() -> None:
    samples = numbered(1, category=[0])
    data = dataset(samples, ["cat", "dog"])
    other = session("other", {"embedding": np.zeros((1, 2), np.float32)})
    with pytest.raises(OptionError) as raised:
        evaluate(other, data, samples)
    assert str(raised.value) == (
        "'scripted' has the task 'other', which cannot be evaluated. "
        "Known: classification, localisation, detection, segmentation."
    )
    scripted = session("classification", {"probabilities": np.full((1, 2), np.nan, np.float32)})
    with pytest.raises(DataError) as empty:
        evaluate(scripted, data, [])
    assert str(empty.value) == "'data' gives no pictures to evaluate on. Choose another --part, or other data."
    with pytest.raises(ArtifactError, match=r"^The artifact answers with nan where a number is due\."):
        evaluate(scripted, data, samples)


def test_keras_and_both_formats_are_measured_alike(networks: Any, tmp_path: Path) -> None:
    from edgecv.keras_session import keras_session

    deployable = networks.deployable("separable", batch=None)
    dice = np.random.default_rng(0)
    samples = [
        Sample(
            picture=ArraySource(f"picture {number}", dice.integers(0, 256, (24, 24, 3), dtype=np.uint8)),
            category=int(dice.integers(0, 5)),
        )
        for number in range(40)
    ]
    data = dataset(samples, [f"class {number}" for number in range(5)])
    documents = [evaluate(keras_session(deployable), data, samples).to_json()]
    for form in ("onnx", "tflite"):
        path = tmp_path / f"separable.{form}"
        edgecv.export(deployable, to=form, path=path)
        documents.append(evaluate(load(path), data, samples).to_json())
    assert [each["runtime"]["name"] for each in documents] == ["keras", "onnxruntime", "litert"]
    assert {each["runtime"]["batch"] for each in documents} == {32}
    for each in documents[1:]:
        assert each["confusion_matrix"] == documents[0]["confusion_matrix"]
        assert each["top1"] == documents[0]["top1"]
    # Not one class for everything: the comparison means something.
    assert np.count_nonzero(np.sum(documents[0]["confusion_matrix"], axis=0)) > 1
