"""What an int8 artifact is held to: sound ones pass, and faults that quantising can bring fail, whatever they break."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecv.deployable import Deployable
from edgecv.original import gather_pictures, original_answers
from edgecv.quantized_proof import compare_quantized
from edgecv.quantized_verification import QuantizedVerification
from edgecv.report import Report
from edgecv.runtime import Arrays, TensorInfo
from edgecv.verification import Head

Array = np.ndarray[Any, np.dtype[Any]]
Change = Callable[[Arrays], None]


@dataclasses.dataclass
class Runner:
    """A network with weights of 7 bits behind the face of an artifact, with a fault where one is planted."""

    deployable: Deployable
    see: Callable[[Array], Array] = lambda pictures: pictures
    answer: Change = lambda _: None
    device: str = "cpu"
    provider: str = "test"
    outputs: tuple[TensorInfo, ...] = ()
    optional_inputs: tuple[TensorInfo, ...] = ()

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        return (self.deployable.input,)

    def run(self, feeds: Mapping[str, Any]) -> Arrays:
        found = self.deployable.run(np.ascontiguousarray(self.see(feeds["image"])), checkpoints=True)
        self.answer(found)
        return found


class Case:
    """An original, and how a faulty int8 artifact of it is judged."""

    def __init__(self, deployable: Deployable, pictures: Path) -> None:
        self.pictures = gather_pictures(deployable, sorted(pictures.iterdir())[:10])
        self.answers = original_answers(deployable, self.pictures)
        self.proof = QuantizedVerification(deployable, self.pictures, self.answers)
        # Known before the weights change: both are of one network.
        assert self.proof._sensitive
        assert self.proof._altered
        weights = deployable.network.get_weights()
        deployable.network.set_weights([rounded(each) for each in weights])
        self.deployable = deployable

    def report(self, **fault: Any) -> Report:
        return self.proof.verify(Runner(self.deployable, **fault), "test")

    def failed(self, **fault: Any) -> set[str]:
        return {check.output for check in self.report(**fault).checks if not check.passed}


def rounded(weights: Array) -> Array:
    """Round to 7 bits, one scale a channel."""
    if weights.ndim < 2:
        return weights
    scale = np.maximum(np.max(np.abs(weights), axis=tuple(range(weights.ndim - 1))), 1e-12) / 63
    return np.asarray(np.rint(weights / scale) * scale, np.float32)


@pytest.fixture(scope="module")
def classifier(networks: Any, photo_folder: Path) -> Case:
    return Case(networks.deployable("separable"), photo_folder)


@pytest.fixture(scope="module")
def detector(networks: Any, photo_folder: Path) -> Case:
    return Case(networks.deployable("detector"), photo_folder)


@pytest.fixture(scope="module")
def segmenter(networks: Any, photo_folder: Path) -> Case:
    return Case(networks.deployable("segmenter"), photo_folder)


def swapped(pictures: Array) -> Array:
    return pictures[..., ::-1]


def scaled(share: float) -> Callable[[Array], Array]:
    return lambda pictures: np.rint(pictures * share).astype(np.uint8)


def set_to(value: float, *names: str) -> Change:
    def change(found: Arrays) -> None:
        for name in names:
            found[name] = np.full_like(found[name], value)

    return change


def rolled(*names: str) -> Change:
    def change(found: Arrays) -> None:
        for name in names:
            found[name] = np.roll(found[name], 1, axis=-1)

    return change


def test_a_sound_classifier_passes_and_noise_is_left_out(classifier: Case) -> None:
    report = classifier.report()
    assert report.passed, report.summary()
    assert {check.output for check in report.checks} == {"probabilities", "input"}
    assert all(check.images == 10 for check in report.checks)
    assert report.task["top1_agreement"] >= 0.8


@pytest.mark.parametrize(
    ("fault", "output"),
    [
        ({"answer": set_to(0.0, "probabilities")}, "probabilities"),
        ({"answer": set_to(0.2, "probabilities")}, "probabilities"),
        ({"answer": set_to(np.nan, "probabilities")}, "probabilities"),
        ({"answer": rolled("probabilities")}, "probabilities"),
        ({"see": lambda pictures: np.full_like(pictures, 128)}, "probabilities"),
        ({"see": swapped}, "input"),
        ({"see": scaled(0.5)}, "input"),
        ({"see": lambda pictures: 255 - pictures}, "probabilities"),
    ],
    ids=["zeros", "constant", "nan", "other-classes", "blind", "swapped-channels", "half-the-scale", "negative"],
)
def test_faults_of_a_classifier_fail(classifier: Case, fault: dict[str, Any], output: str) -> None:
    assert output in classifier.failed(**fault)


def test_a_constant_fails_even_where_it_is_the_mean_answer(classifier: Case) -> None:
    mean = classifier.answers["probabilities"].mean(axis=0, keepdims=True)

    def change(found: Arrays) -> None:
        found["probabilities"] = mean.astype(np.float32)

    (check,) = [check for check in classifier.report(answer=change).checks if check.output == "probabilities"]
    assert not check.passed
    assert check.relative_diff > 0.9


def test_a_sound_detector_passes(detector: Case) -> None:
    report = detector.report()
    assert report.passed, report.summary()
    assert {check.output for check in report.checks} == {
        "pre_nms/boxes", "pre_nms/scores", "nms", "detections", "input",
    }  # fmt: skip


def drop_a_box(found: Arrays) -> None:
    last = int(found["count"][0]) - 1
    if last >= 0:
        found["count"][0] = last
        for name in ("boxes", "scores", "classes"):
            found[name][0, last] = 0


@pytest.mark.parametrize(
    ("fault", "output"),
    [
        ({"answer": set_to(0.0, "pre_nms/scores")}, "pre_nms/scores"),
        ({"answer": set_to(0.5, "pre_nms/boxes")}, "pre_nms/boxes"),
        ({"answer": rolled("pre_nms/scores")}, "pre_nms/scores"),
        ({"answer": drop_a_box}, "nms"),
        ({"see": swapped}, "input"),
    ],
    ids=["zero-scores", "one-box", "other-classes", "suppression", "swapped-channels"],
)
def test_faults_of_a_detector_fail(detector: Case, fault: dict[str, Any], output: str) -> None:
    assert output in detector.failed(**fault)


def test_a_sound_segmenter_passes(segmenter: Case) -> None:
    report = segmenter.report()
    assert report.passed, report.summary()
    assert report.task["pixel_agreement"] > 0.9


def other_classes(found: Arrays) -> None:
    found["pre_argmax/logits"] = np.roll(found["pre_argmax/logits"], 1, axis=-1)
    found["mask"] = np.argmax(found["pre_argmax/logits"], axis=-1).astype(np.int32)


def one_class(found: Arrays) -> None:
    found["mask"] = np.zeros_like(found["mask"])


@pytest.mark.parametrize(
    ("fault", "output"),
    [
        ({"answer": set_to(0.0, "pre_argmax/logits", "mask")}, "pre_argmax/logits"),
        ({"answer": other_classes}, "mask"),
        ({"answer": one_class}, "argmax"),
        ({"see": swapped}, "input"),
        ({"see": scaled(0.5)}, "input"),
    ],
    ids=["zeros", "other-classes", "one-class", "swapped-channels", "half-the-scale"],
)
def test_faults_of_a_segmenter_fail(segmenter: Case, fault: dict[str, Any], output: str) -> None:
    assert output in segmenter.failed(**fault)


# Two classes and four pictures, worked by hand. The logits without their mean are ±(1, 2, 3, 4) / 2: about their mean,
# 1.25 up and down, they vary by sqrt((0.75² + 0.25² + 0.25² + 0.75²) / 4) = 0.559.
LOGITS = np.array([[1, 0], [2, 0], [3, 0], [4, 0]], np.float32)
HEAD = Head(task="classification", activation="none", top_k=None)


def problem_of(artifact: Array, **sensitive: float) -> str:
    return compare_quantized(HEAD, {"logits": LOGITS}, {"logits": artifact}, sensitive)["logits"].problem


def test_errors_are_held_to_half_of_what_varies_between_pictures() -> None:
    variation = float(np.sqrt(np.mean((LOGITS - LOGITS.mean(axis=0)) ** 2)))
    off = np.float32(variation)
    assert problem_of(LOGITS + 0.49 * off) == ""
    assert problem_of(LOGITS + 0.51 * off) == "int8 errors are 0.51 of what varies between pictures, above 0.50"
    assert problem_of(LOGITS + 0.8 * off, logits=0.85) == ""
    assert (
        problem_of(LOGITS + 0.95 * off, logits=3.0)
        == "int8 errors are 0.95 of what varies between pictures, above 0.90"
    )


def test_a_sensitive_original_is_said() -> None:
    compared = compare_quantized(HEAD, {"logits": LOGITS}, {"logits": LOGITS}, {"logits": 0.7})["logits"]
    assert compared.note == (
        "the original's own answers move as far when pictures become a tenth darker, as with random weights: "
        "int8 errors up to 0.70 of what varies between pictures were allowed"
    )


def test_an_original_without_variation_proves_nothing() -> None:
    same = np.repeat(LOGITS[:1], 4, axis=0)
    compared = compare_quantized(HEAD, {"logits": same}, {"logits": same})["logits"]
    assert compared.problem == (
        "nothing is proven: the original's output is the same for all pictures; give others with --images"
    )


def test_flips_of_the_best_class_are_excused_within_the_margin_alone() -> None:
    # The third class, which is never the best, keeps the cosines near 1.
    rows = np.repeat(np.array([[6, 0, -20], [0, 6, -20]], np.float32), 10, axis=0)
    rows[0] = (1, 0, -20)
    near = rows.copy()
    near[0] = (0, 0.5, -20)
    compared = compare_quantized(HEAD, {"logits": rows}, {"logits": near})["logits"]
    assert (compared.problem, compared.top1) == ("", 0.95)
    assert compared.note == "the best class differs on 1 of 20 pictures, 1 within the margin of int8"
    far = rows.copy()
    far[1:3] = (3, 4, -20)
    compared = compare_quantized(HEAD, {"logits": rows}, {"logits": far})["logits"]
    assert compared.problem == "the best class is another one on 2 of 20 pictures, beyond the margin of int8"


def test_half_of_the_pictures_must_agree_even_where_each_difference_is_excused() -> None:
    rows = np.array([[0.2, 0, -9], [0, 0.2, -9]] * 9 + [[9, 0, -9], [0, 9, -9]], np.float32)
    other = rows.copy()
    other[:11, :2] = other[:11, 1::-1]
    compared = compare_quantized(HEAD, {"logits": rows}, {"logits": other})["logits"]
    assert compared.problem == "the best class is another one on 11 of 20 pictures"
    assert compare_quantized(HEAD, {"logits": rows}, {"logits": other}, {"logits": 0.6})["logits"].problem == ""


def test_one_picture_with_another_answer_fails_however_small_its_logits_are() -> None:
    rows = np.repeat(np.array([[6, 0, 1], [0, 6, 1]], np.float32), 10, axis=0)
    rows[5] = (0.5, 0, 0)
    other = rows.copy()
    other[5] = (-0.5, 0, 0)
    compared = compare_quantized(HEAD, {"logits": rows}, {"logits": other})["logits"]
    assert compared.problem == "cosine -1.00 is below 0.1"


def test_the_best_classes_are_compared_where_only_they_are_given() -> None:
    head = dataclasses.replace(HEAD, top_k=1)
    given = {"scores": LOGITS[:, :1], "classes": np.zeros((4, 1), np.int32)}
    assert compare_quantized(head, {"logits": LOGITS}, given)["scores"].problem == ""
    wrong = {**given, "classes": np.ones((4, 1), np.int32)}
    assert compare_quantized(head, {"logits": LOGITS}, wrong)["scores"].problem != ""
    outside = {**given, "classes": np.full((4, 1), 2, np.int32)}
    assert compare_quantized(head, {"logits": LOGITS}, outside)["scores"].problem == "a class is outside 0…1"
