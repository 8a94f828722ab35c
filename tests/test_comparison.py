"""Numbers by hand: relative differences, softmax and sigmoid taken off, margins, and what proves nothing."""

from typing import Any

import numpy as np
import pytest

from edgecv.comparison import Comparison, compare, compare_top_k, take_off

Array = np.ndarray[Any, Any]

NOTHING = (
    "nothing is proven: the original's output varies by {} between the pictures, "
    "less than 10 x tolerance x {}; give other pictures with --images"
)


def plain(original: Any, artifact: Any, **options: Any) -> Comparison:
    settings = {"activation": "none", "tolerance": 1e-4, "classes": True, **options}
    return compare(np.asarray(original, np.float32), np.asarray(artifact, np.float32), **settings)


def softmax(logits: Any) -> Array:
    values = np.exp(np.asarray(logits, np.float64))
    return np.asarray((values / values.sum(axis=1, keepdims=True)).astype(np.float32))


def sigmoid(logits: Any) -> Array:
    return np.asarray((1 / (1 + np.exp(-np.asarray(logits, np.float64)))).astype(np.float32))


def test_the_difference_is_relative_to_each_picture_s_largest_value() -> None:
    compared = plain([[1, -4], [2, 1]], [[1, -4.002], [2.0008, 1]], tolerance=1e-3)
    # 0.002 / 4 on the first picture, 0.0008 / 2 on the second.
    assert compared.relative_diff == pytest.approx(5e-4, rel=1e-3)
    assert compared.max_abs_diff == pytest.approx(2e-3, rel=1e-3)
    assert compared.worst == 0
    assert compared.problem == ""
    assert compared.top1 == 1.0


def test_a_difference_above_the_tolerance_fails() -> None:
    compared = plain([[1, -4], [2, 1]], [[1, -4.002], [2.0008, 1]])
    assert compared.problem == "relative difference 5.0e-04 is above 1e-04"


def test_cosine_is_the_smallest_of_a_picture() -> None:
    assert plain([[1, 0], [0, 2]], [[1, 1], [0, 2]]).cosine == pytest.approx(0.5**0.5)


def test_softmax_is_compared_without_it() -> None:
    # A logit of 3 becomes 3.01: 0.01 × 2/3 after centring, over the largest centred logit 2.
    before, after = softmax([[0, 0, 3], [3, 0, 0]]), softmax([[0, 0, 3.01], [3, 0, 0]])
    compared = compare(before, after, activation="softmax", tolerance=1e-4, classes=True)
    assert compared.relative_diff == pytest.approx(0.01 * 2 / 3 / 2, rel=1e-3)
    assert compared.worst == 0


def test_small_probabilities_count_like_large_ones() -> None:
    # The class of probability 1e-9 moves to 2e-9: no absolute tolerance would see it.
    before = np.array([[0.6, 0.4, 1e-9], [0.3, 0.7, 1e-9]], np.float32)
    after = np.array([[0.6, 0.4, 2e-9], [0.3, 0.7, 1e-9]], np.float32)
    assert np.allclose(before, after, atol=1e-8)
    compared = compare(before, after, activation="softmax", tolerance=1e-4, classes=True)
    assert compared.problem == "relative difference 3.5e-02 is above 1e-04"


def test_an_underflowed_class_must_stay_small() -> None:
    before, after = softmax([[0, 1, -150], [1, 0, -150]]), softmax([[0, 1, -10], [1, 0, -10]])
    assert before[0, 2] < 1e-30
    assert compare(before, after, activation="softmax", tolerance=1e-4, classes=True).problem.startswith(
        "relative difference "
    )
    lower = softmax([[0, 1, -80], [1, 0, -100]])
    assert compare(before, lower, activation="softmax", tolerance=1e-4, classes=True).problem == ""


def test_sigmoid_is_compared_without_it() -> None:
    compared = compare(
        sigmoid([[1, -4], [2, 1]]), sigmoid([[1, -4.01], [2, 1]]), activation="sigmoid", tolerance=1e-4, classes=True
    )
    assert compared.relative_diff == pytest.approx(0.01 / 4, rel=1e-2)


@pytest.mark.parametrize(("logit", "other"), [(9.0, 11.0), (-9.0, -11.0), (5.0, 15.0), (12.0, 20.0)])
def test_confident_sigmoids_are_compared_too(logit: float, other: float) -> None:
    before, after = sigmoid([[logit, 0], [logit, 1]]), sigmoid([[other, 0], [other, 1]])
    compared = compare(before, after, activation="sigmoid", tolerance=1e-4, classes=False)
    assert compared.relative_diff > 1e-2


def test_two_float_steps_of_a_sigmoid_are_no_fault() -> None:
    # ONNX Runtime's sigmoid is off by up to 1.2e-7 everywhere, LiteRT's hardly: both are sound.
    before = sigmoid([[-9.0, 0.0, 9.0], [-12.0, 1.0, 12.0]])
    after = np.clip(before + np.float32(1.2e-7), 0, 1)
    compared = compare(before, after, activation="sigmoid", tolerance=1e-4, classes=True)
    assert compared.problem == ""
    assert compared.relative_diff < 1e-6


def test_taking_off_undoes_what_was_put_on() -> None:
    logits = np.array([[-3.0, 0.5, 2.0]])
    np.testing.assert_allclose(take_off(sigmoid(logits), "sigmoid"), logits, atol=1e-5)
    softened = take_off(softmax(logits), "softmax")
    np.testing.assert_allclose(softened - softened.mean(), logits - logits.mean(), atol=1e-5)
    np.testing.assert_array_equal(take_off(logits, "none"), logits)


def test_another_best_class_within_the_tolerance_is_no_fault() -> None:
    compared = plain([[2.0, 1.9999], [0, 5]], [[1.9999, 2.0], [0, 5]], tolerance=1e-3)
    assert compared.problem == ""
    assert compared.top1 == 0.5


def test_the_margin_is_what_decides_of_another_best_class() -> None:
    # Both values move by less than the tolerance of 0.2 × 2, but the best one led by 0.5.
    compared = plain([[2.0, 1.5], [0, 5]], [[1.7, 1.8], [0, 5]], tolerance=0.2, vacuity=False)
    assert compared.problem == "the best class is 1 instead of 0"


@pytest.mark.parametrize("who", ["original", "artifact"])
@pytest.mark.parametrize("activation", ["none", "softmax", "sigmoid"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_fails(who: str, activation: str, value: float) -> None:
    sound = np.array([[0.2, 0.8], [0.7, 0.3]], np.float32)
    broken = sound.copy()
    broken[0] = value
    pair = (broken, sound) if who == "original" else (sound, broken)
    for vacuity in (True, False):
        compared = compare(*pair, activation=activation, tolerance=1e-4, classes=True, vacuity=vacuity)
        assert compared.problem == f"the {who} gives NaN or infinity"


def test_another_shape_fails() -> None:
    assert plain([[1, 2]], [[1, 2, 3]]).problem == "the shape is (3,) instead of (2,)"


def test_integers_must_be_equal() -> None:
    original = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.int32)
    settings: dict[str, Any] = {"activation": "none", "tolerance": 1e-4, "classes": False}
    assert compare(original, original.copy(), **settings).problem == ""
    other = original.copy()
    other[1, 2] = 0
    compared = compare(original, other, **settings)
    assert (compared.problem, compared.max_abs_diff, compared.worst) == ("25.00% of the values differ", 7.0, 1)


@pytest.mark.parametrize(
    ("logits", "activation", "problem"),
    [
        ([[1, 2], [1, 2]], "none", NOTHING.format("0.0e+00", "2.0e+00")),
        ([[1, 2], [1, 2.003]], "none", NOTHING.format("1.5e-03", "2.0e+00")),
        ([[0, 0], [0, 0]], "none", NOTHING.format("0.0e+00", "0.0e+00")),
        ([[0, 0, 0], [0, 0, 0]], "softmax", NOTHING.format("0.0e+00", "0.0e+00")),
        ([[0, 900], [0, 900]], "softmax", NOTHING.format("0.0e+00", "0.0e+00")),
        ([[0, 900], [900, 0]], "softmax", NOTHING.format("0.0e+00", "0.0e+00")),
        ([[0, 0], [0, 0]], "sigmoid", NOTHING.format("0.0e+00", "0.0e+00")),
        ([[90, -90], [-90, 90]], "sigmoid", NOTHING.format("0.0e+00", "0.0e+00")),
    ],
    ids=[
        "constant", "hardly varying", "zeros", "even softmax", "saturated softmax", "saturated both ways",
        "even sigmoid", "saturated sigmoid",
    ],
)  # fmt: skip
def test_outputs_that_do_not_vary_prove_nothing(logits: Any, activation: str, problem: str) -> None:
    put_on = {"none": lambda values: np.asarray(values, np.float32), "softmax": stable_softmax, "sigmoid": stable}
    values = put_on[activation](logits)
    compared = compare(values, values.copy(), activation=activation, tolerance=1e-4, classes=True)
    assert (compared.relative_diff, compared.problem) == (0.0, problem)
    assert compare(values, values, activation=activation, tolerance=1e-4, classes=True, vacuity=False).problem == ""


def stable_softmax(logits: Any) -> Array:
    values = np.asarray(logits, np.float64)
    return softmax(values - values.max(axis=1, keepdims=True))


def stable(logits: Any) -> Array:
    return sigmoid(np.asarray(logits, np.float64))


def test_one_picture_proves_nothing() -> None:
    assert plain([[1, 2]], [[1, 2]]).problem == NOTHING.format("0.0e+00", "2.0e+00")


def test_equal_best_classes_on_all_pictures_are_no_fault() -> None:
    compared = plain([[1, 2], [1, 3], [0, 4]], [[1, 2], [1, 3], [0, 4]])
    assert (compared.top1, compared.problem) == (1.0, "")


def test_one_class_is_compared_without_a_best_one() -> None:
    compared = compare(sigmoid([[1], [2]]), sigmoid([[1], [2]]), activation="sigmoid", tolerance=1e-4, classes=True)
    assert (compared.top1, compared.problem) == (None, "")


# Top-k: logits by hand, K = 2 of 4.
LOGITS = [[4.0, 3.0, 1.0, 0.0], [0.0, 1.0, 5.0, 2.0]]
BEST = [[0, 1], [2, 3]]


def top_k(scores: Any, classes: Any, **options: Any) -> Comparison:
    settings = {"activation": "none", "tolerance": 1e-3, **options}
    return compare_top_k(
        np.asarray(LOGITS, np.float32), np.asarray(scores, np.float32), np.asarray(classes, np.int32), **settings
    )


def test_top_k_agrees() -> None:
    compared = top_k([[4, 3], [5, 2]], BEST)
    assert (compared.relative_diff, compared.top1, compared.problem) == (0.0, 1.0, "")


def test_top_k_agrees_through_softmax() -> None:
    values = softmax(LOGITS)
    scores = np.take_along_axis(values, np.asarray(BEST), axis=1)
    compared = compare_top_k(values, scores, np.asarray(BEST, np.int32), activation="softmax", tolerance=1e-4)
    assert (compared.top1, compared.problem) == (1.0, "")


@pytest.mark.parametrize(
    ("scores", "classes", "problem"),
    [
        ([[4, 3], [5, 2.1]], BEST, "relative difference 2.0e-02 is above 1e-03"),
        ([[4, 1], [5, 2]], [[0, 2], [2, 3]], "the K best classes are others than the original's"),
        ([[3, 4], [5, 2]], [[1, 0], [2, 3]], "the K best classes are others than the original's"),
        ([[4, 3], [5, 2]], [[0, 4], [2, 3]], "class 4 is outside 0…3"),
        ([[4, 3], [5, 2]], [[0, -1], [2, 3]], "class -1 is outside 0…3"),
        ([[4, 3, 1], [5, 2, 1]], BEST, "scores have the shape (3,) and classes (2,)"),
        ([[4, np.nan], [5, 2]], BEST, "the artifact gives NaN or infinity"),
    ],
    ids=["score", "class", "order", "too large", "negative", "shape", "nan"],
)
def test_top_k_differs(scores: Any, classes: Any, problem: str) -> None:
    assert top_k(scores, classes).problem == problem


def test_top_k_with_a_class_twice_fails() -> None:
    original = np.array([[2.0, 2.0, 0.0], [1.0, 0.0, 3.0]], np.float32)
    scores = np.array([[2.0, 2.0], [3.0, 1.0]], np.float32)
    twice = np.array([[0, 0], [2, 0]], np.int32)
    compared = compare_top_k(original, scores, twice, activation="none", tolerance=1e-4)
    assert compared.problem == "a class is given twice"


def test_top_k_of_outputs_that_do_not_vary_proves_nothing() -> None:
    values = np.array([[2.0, 1.0], [2.0, 1.0]], np.float32)
    classes = np.array([[0], [0]], np.int32)
    compared = compare_top_k(values, values[:, :1], classes, activation="none", tolerance=1e-4)
    assert compared.problem == NOTHING.format("0.0e+00", "2.0e+00")
    saturated = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    classes = np.array([[0], [1]], np.int32)
    compared = compare_top_k(saturated, np.ones((2, 1), np.float32), classes, activation="softmax", tolerance=1e-4)
    assert compared.problem == NOTHING.format("0.0e+00", "0.0e+00")
