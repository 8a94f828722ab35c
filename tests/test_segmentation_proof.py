"""How segmenters are compared: what fails, and what rounding excuses. Scores and masks are worked by hand."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgecv
from edgecv import registry
from edgecv.comparison import Comparison
from edgecv.errors import ArtifactError
from edgecv.metadata import seal
from edgecv.original import gather_pictures, original_answers
from edgecv.resize import GraphResize
from edgecv.segmentation import CHECKPOINT, SegmentationHead
from edgecv.segmentation_proof import compare_segmentation
from edgecv.verification import verify_runner

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = dict[str, Array]

TOLERANCE = 1e-4
FORMATS = ("onnx", "tflite")
HEAD = SegmentationHead(channels=3, activation="none", output_size=(10, 20))


def answers(seed: int = 0, *, scores: Array | None = None) -> Arrays:
    """Scores of three classes for two pictures of 10 × 20 pixels, and their masks."""
    if scores is None:
        scores = np.random.default_rng(seed).normal(size=(2, 10, 20, 3)).astype(np.float32)
    return {"mask": np.argmax(scores, axis=-1).astype(np.int32), CHECKPOINT: scores}


def problems(a: Arrays, b: Arrays, head: SegmentationHead = HEAD, **options: Any) -> dict[str, str]:
    result: dict[str, Comparison] = compare_segmentation(a, b, head, TOLERANCE, **{"vacuity": False, **options})
    return {name: each.problem for name, each in result.items() if each.problem}


def test_equal_answers_pass_and_all_pixels_agree() -> None:
    given = answers()
    result = compare_segmentation(given, given, HEAD, TOLERANCE)
    assert list(result) == ["pre_argmax/logits", "argmax", "mask"]
    assert [each.problem for each in result.values()] == ["", "", ""]
    assert result["mask"].pixels == 1.0


def test_scores_that_differ_fail() -> None:
    a, b = answers(), answers()
    b[CHECKPOINT] = b[CHECKPOINT] * np.float32(1.001)
    assert problems(a, b) == {"pre_argmax/logits": "relative difference 1.0e-03 is above 1e-04"}
    assert problems(a, answers(scores=b[CHECKPOINT][..., ::-1])).keys() == {"pre_argmax/logits", "mask"}


def test_a_mask_that_is_not_the_best_class_of_its_own_scores_fails() -> None:
    a, b = answers(), answers()
    b["mask"] = b["mask"].copy()
    b["mask"][1, 4, 7] = (b["mask"][1, 4, 7] + 1) % 3
    assert problems(a, b) == {
        "argmax": "0.50% of the pixels are not of the class that scores best",  # 1 of 200
        "mask": "1 of 400 pixels have another class",
    }


def test_of_equal_scores_the_lowest_class_counts() -> None:
    scores = np.zeros((1, 10, 20, 3), np.float32)
    scores[0, 0, 0] = (-1, 2, 2)
    a = answers(scores=scores)
    assert a["mask"][0, 0, :2].tolist() == [1, 0]
    highest = {**a, "mask": a["mask"].copy()}
    highest["mask"][0, 0, 0] = 2
    assert problems(a, highest) == {"argmax": "0.50% of the pixels are not of the class that scores best"}


def close(gap: float, pixels: int) -> tuple[Arrays, Arrays]:
    """An original, and an artifact whose scores of so many pixels have the other sign of a gap between two classes."""
    scores = answers()[CHECKPOINT].copy()
    scores[:, 0, 0] = (4, 0, 0)  # the largest of each picture: differences up to 4e-4 are within tolerance
    flat = scores.reshape(-1, 3)
    chosen = np.arange(1, 1 + pixels)
    flat[chosen] = (1.0, 1.0 + gap, -1.0)
    other = scores.copy()
    other.reshape(-1, 3)[chosen] = (1.0 + gap, 1.0, -1.0)
    return answers(scores=scores), answers(scores=other)


def test_a_pixel_between_two_classes_is_excused_and_counted() -> None:
    a, b = close(3e-4, 4)
    result = compare_segmentation(a, b, HEAD, TOLERANCE, vacuity=False)
    assert [each.problem for each in result.values()] == ["", "", ""]
    assert result["mask"].pixels == 0.99
    assert result["mask"].note == "4 of 400 pixels differ where rounding decides"
    assert result["mask"].relative_diff == 0.02  # all four in the first picture of 200


def test_more_than_two_percent_of_excused_pixels_fail() -> None:
    assert problems(*close(3e-4, 9)) == {"mask": "9 of 400 pixels differ at a limit, more than 2%"}


def test_a_pixel_that_no_rounding_moves_fails() -> None:
    assert problems(*close(5e-4, 1)) == {
        "pre_argmax/logits": "relative difference 1.2e-04 is above 1e-04",
        "mask": "1 of 400 pixels have another class",
    }


@pytest.mark.parametrize(("activation", "threshold"), [("none", 0.0), ("sigmoid", 0.5)])
def test_one_channel_means_class_1_above_its_threshold(activation: str, threshold: float) -> None:
    head = SegmentationHead(channels=1, activation=activation, output_size=(1, 3))
    scores = np.array([[[threshold - 0.25, threshold, threshold + 0.25]]], np.float32)[..., None]
    right: Arrays = {"mask": np.array([[[0, 0, 1]]], np.int32), CHECKPOINT: scores}
    assert problems(right, right, head) == {}
    wrong = {**right, "mask": np.array([[[0, 1, 1]]], np.int32)}
    assert problems(right, wrong, head)["argmax"] == "33.33% of the pixels are not of the class that scores best"


def test_a_softmax_is_taken_off() -> None:
    head = dataclasses.replace(HEAD, activation="softmax")

    def activated(logits: Array) -> Arrays:
        powers = np.exp(logits.astype(np.float64))
        return answers(scores=(powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32))

    logits = 20 * answers()[CHECKPOINT]
    moved = logits.copy()
    # The probability of the least class is about 1e-20: as a probability, no tolerance would see this.
    moved[0, 3, 3, np.argmin(logits[0, 3, 3])] += 0.5
    assert problems(activated(logits), activated(logits), head) == {}
    assert problems(activated(logits), activated(moved), head).keys() == {"pre_argmax/logits"}


def test_masks_that_never_vary_prove_nothing() -> None:
    scores = answers()[CHECKPOINT].copy()
    scores[..., 2] = 9 + scores[..., 2] / 9
    same = answers(scores=scores)
    assert problems(same, same, vacuity=True) == {
        "mask": "nothing is proven: the original gives the same mask for all pictures; give other pictures with "
        "--images"
    }
    flat = answers(scores=np.repeat(answers()[CHECKPOINT][:1], 2, axis=0))
    assert problems(flat, flat, vacuity=True)["pre_argmax/logits"].startswith(
        "nothing is proven: the original's output"
    )


def test_an_artifact_that_hides_its_scores_proves_nothing() -> None:
    given = answers()
    assert problems(given, {"mask": given["mask"]}) == {"mask": "the artifact does not show the scores of its pixels"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda given: {**given, "mask": given["mask"][:, :9]}, "it is int32 (9, 20) of scores (10, 20, 3)"),
        (lambda given: {**given, "mask": given["mask"].astype(np.int64)}, "it is int64 (10, 20) of scores (10, 20, 3)"),
    ],
)
def test_masks_of_another_form_fail(change: Callable[[Arrays], Arrays], said: str) -> None:
    assert problems(answers(), change(answers())) == {"mask": said}


def test_scores_that_are_no_numbers_fail() -> None:
    broken = answers()
    broken[CHECKPOINT] = broken[CHECKPOINT].copy()
    broken[CHECKPOINT][0, 0, 0, 0] = np.nan
    assert problems(answers(), broken) == {"pre_argmax/logits": "the artifact gives NaN or infinity"}


def test_sampled_answers_are_compared_with_what_was_sampled() -> None:
    whole, steps = answers(), {"mask": 7, CHECKPOINT: 11}
    sampled = {name: values.reshape(2, -1)[:, :: steps[name]] for name, values in whole.items()}
    assert problems(sampled, whole, steps=steps) == {}
    shifted = {**whole, "mask": np.roll(whole["mask"], 1, axis=2)}
    assert problems(sampled, shifted, steps=steps).keys() == {"argmax", "mask"}


def test_masks_of_the_picture_s_size_show_the_pixel_of_the_input_below_each_centre() -> None:
    # A picture of 2 × 4 in an input of 4 × 4: its rows are the input's second and third.
    scores = np.random.default_rng(3).normal(size=(1, 4, 4, 3)).astype(np.float32)
    inner = np.argmax(scores, axis=-1).astype(np.int32)[:, 1:3]
    head = SegmentationHead(channels=3, activation="none", output_size=(4, 4))
    given: Arrays = {"mask": inner, CHECKPOINT: scores}
    assert problems(given, given, head, resize=GraphResize(mode="letterbox")) == {}
    assert "argmax" in problems(given, given, head, resize=GraphResize(mode="stretch"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class OtherHead(SegmentationHead):
    """A head that changes scores or mask, and tells nobody."""

    before: Callable[[Any, Any], Any] = lambda scores, _: scores
    after: Callable[[Any, Any], Any] = lambda mask, _: mask

    def apply(self, scores: Any, input_size: tuple[int, int], ops: Any, **options: Any) -> Any:
        outputs, checkpoints = super().apply(self.before(scores, ops), input_size, ops, **options)
        return {"mask": self.after(outputs["mask"], ops)}, checkpoints


def shrunk(scores: Any, ops: Any) -> Any:
    """Enlarge by nearest neighbour in place of the bilinear resize."""
    return ops.repeat(ops.repeat(scores, 2, axis=1), 2, axis=2)


# What is wrong → the change, and the checks that must fail.
HEAD_FAULTS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "classes reversed": ({"before": lambda scores, ops: ops.flip(scores, axis=-1)}, {"pre_argmax/logits", "mask"}),
    "enlarged by nearest neighbour": ({"before": shrunk}, {"pre_argmax/logits", "mask"}),
    "rows from below": ({"before": lambda scores, ops: ops.flip(scores, axis=1)}, {"pre_argmax/logits", "mask"}),
    "mask shifted by a column": ({"after": lambda mask, ops: ops.roll(mask, 1, axis=2)}, {"argmax", "mask"}),
    "mask shifted by a row": ({"after": lambda mask, ops: ops.roll(mask, -1, axis=1)}, {"argmax", "mask"}),
    "classes counted from 1": ({"after": lambda mask, _: mask + 1}, {"argmax", "mask"}),
    "last class lost": ({"after": lambda mask, ops: ops.minimum(mask, 3)}, {"argmax", "mask"}),
    "always the background": ({"after": lambda mask, _: mask * 0}, {"argmax", "mask"}),
}


@pytest.mark.parametrize("form", FORMATS)
def test_a_fault_in_the_head_fails(form: str, networks: Any, tmp_path: Path) -> None:
    sound = networks.deployable("segmenter")
    artifact = edgecv.export(sound, to=form, path=tmp_path / f"sound.{form}")
    assert artifact.report is not None
    assert artifact.report.task == {"pixel_agreement": pytest.approx(1.0, abs=1e-3)}
    name, runtime = registry.runtime_for(artifact.path.suffix) or pytest.fail("no runtime")
    document = runtime.read_metadata(artifact.path)
    pictures = gather_pictures(sound, None)
    expected = original_answers(sound, pictures)
    fields = {field.name: getattr(sound.segmentation, field.name) for field in dataclasses.fields(SegmentationHead)}
    for wrong, (change, failing) in HEAD_FAULTS.items():
        size = {"output_size": sound.input_size} if change.get("before") is shrunk else {}
        faulty = dataclasses.replace(sound, segmentation=OtherHead(**{**fields, **size}, **change))
        path = edgecv.export(faulty, to=form, path=tmp_path / f"faulty.{form}", verify=False).path
        runner = runtime.open(path, expose=[CHECKPOINT])
        report = verify_runner(runner, name, sound, pictures, expected, TOLERANCE)
        assert {check.output for check in report.checks if not check.passed} == failing, wrong
        # What is recorded in the sound one must refute it, too.
        seal(path, document, runtime)
        report = edgecv.verify(path)
        assert {check.output for check in report.checks if not check.passed} == failing, wrong


@pytest.mark.parametrize("form", FORMATS)
def test_a_fault_in_bringing_the_mask_back_fails(
    form: str, networks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = networks.deployable("segmenter", resize="letterbox")
    pictures = gather_pictures(sound, None)
    expected = original_answers(sound, pictures)
    name, runtime = registry.runtime_for(f".{form}") or pytest.fail("no runtime")

    def failing(deployable: Any) -> set[str]:
        path = edgecv.export(deployable, to=form, path=tmp_path / f"faulty.{form}", verify=False).path
        report = verify_runner(runtime.open(path, expose=[CHECKPOINT]), name, sound, pictures, expected, TOLERANCE)
        return {check.output for check in report.checks if not check.passed}

    assert failing(sound) == set()
    stretched = dataclasses.replace(sound, resize=GraphResize(mode="stretch"))
    assert failing(stretched) == {"pre_argmax/logits", "argmax", "mask"}
    with monkeypatch.context() as patch:  # by corners, not by centres: half a pixel off
        patch.setattr(
            "edgecv.resize._nearest",
            lambda place, ops: (
                ops.floor_divide(ops.arange(place.picture, dtype="int32") * place.filled, place.picture) + place.before
            ),
        )
        path = edgecv.export(sound, to=form, path=tmp_path / f"faulty.{form}", verify=False).path
    report = verify_runner(runtime.open(path, expose=[CHECKPOINT]), name, sound, pictures, expected, TOLERANCE)
    assert {check.output for check in report.checks if not check.passed} == {"argmax", "mask"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"values": "AAAA"}, "values are damaged: Error -3 while decompressing data: unknown compression method"),
        ({"values": "eJxjYGBg"}, "values are cut, or too many"),
        ({"step": 0}, "step 0"),
    ],
)
def test_damaged_recorded_masks_are_one_line(change: dict[str, Any], said: str, networks: Any, tmp_path: Path) -> None:
    artifact = edgecv.export(networks.deployable("segmenter"), to="tflite", path=tmp_path / "segmenter.tflite")
    _, runtime = registry.runtime_for(".tflite") or pytest.fail("no runtime")
    document = runtime.read_metadata(artifact.path)
    document["verification"]["cases"][0]["outputs"]["mask"].update(change)
    seal(artifact.path, document, runtime)
    with pytest.raises(ArtifactError) as caught:
        edgecv.verify(artifact.path)
    assert f"its recorded cases make no sense (ValueError: {said})" in str(caught.value)
