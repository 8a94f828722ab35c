"""Bias correction: what rounding adds on average goes into the biases, in whole steps, as far as they hold it."""

import numpy as np

from edgecv.bias_correction import correct_biases


def test_what_rounding_adds_on_average_goes_into_the_biases() -> None:
    lost = np.array([[[1.0, 0.0], [0.5, -2.0]], [[0.0, 3.0], [0.0, 0.0]]])  # two groups of two filters, two inputs each
    means = np.array([2.0, 1.0, 5.0, 0.1])
    corrected = correct_biases(np.array([10, 20, 30, 40], np.int32), np.array([0.5, 0.5, 0.1, 0.1]), lost, means)
    assert corrected.tolist() == [14, 18, 33, 40]
    assert corrected.dtype == np.int32


def test_one_scale_serves_all_biases() -> None:
    corrected = correct_biases(np.zeros(2, np.int32), np.array([0.25]), np.array([[[1.0], [-2.0]]]), np.array([1.0]))
    assert corrected.tolist() == [4, -8]


def test_biases_stay_within_what_they_hold() -> None:
    biases, lost, means = np.array([2**31 - 5, -100], np.int32), np.array([[[9.0], [-9.0]]]), np.array([100.0])
    assert correct_biases(biases, np.ones(2), lost, means).tolist() == [2**31 - 1, -1000]
    assert correct_biases(biases, np.ones(2), lost, means, most=500).tolist() == [500, -500]
