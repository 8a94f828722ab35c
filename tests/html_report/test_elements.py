"""Errors of elements: the worst one is what verification measured."""

from collections.abc import Callable

import numpy as np
import pytest

from edgecv.html_report.elements import BINS_A_DECADE, FIRST, element_errors
from edgecv.html_report.gather import Proof
from edgecv.verification import Head

_JUDGED = {
    "classification": ("probabilities",),
    "top_k": ("scores",),
    "detection": ("pre_nms/boxes", "pre_nms/scores"),
    "segmentation": ("pre_argmax/logits",),
    "localisation": ("probabilities", "box"),
    "features": ("features",),
}


def _head(proof: Proof) -> Head:
    return Head.of(proof.metadata["task"], proof.metadata["postprocess"])


@pytest.mark.parametrize("kind", _JUDGED)
@pytest.mark.parametrize("off", [1e-6, 3e-3])
def test_the_worst_element_is_what_verification_measured(
    make_proof: Callable[..., Proof], kind: str, off: float
) -> None:
    proof = make_proof(kind, off=off)
    assert proof.report is not None
    measured = {check.output: check for check in proof.report.checks}
    errors = element_errors(_head(proof), proof.runs[0])
    assert tuple(each.output for each in errors) == _JUDGED[kind]
    for each in errors:
        assert each.largest.max() == pytest.approx(measured[each.output].relative_diff, rel=1e-6)
        assert proof.runs[0].names[int(each.largest.argmax())] == measured[each.output].worst


def test_every_element_is_counted_once(make_proof: Callable[..., Proof]) -> None:
    for kind, per_picture in {"classification": 3, "segmentation": 24 * 32 * 3, "features": 7}.items():
        (errors,) = element_errors(_head(make_proof(kind)), make_proof(kind).runs[0])
        assert errors.total == 4 * per_picture


def test_elements_lie_in_the_bin_of_their_relative_difference(make_proof: Callable[..., Proof]) -> None:
    proof = make_proof("features", off=0.0)
    run = proof.runs[0]
    original = run.answers["features"] = np.full((4, 7), 2.0, np.float32)
    given = run.given["features"] = original.copy()
    given[0, 0] += 0.004  # 2e-3 of the largest value
    given[1, 3] -= 0.5  # 2.5e-1
    (errors,) = element_errors(_head(proof), run)
    (places,) = np.nonzero(errors.counts)
    # log10 of 2e-3 is -2.7, of 2.5e-1 -0.6.
    assert [FIRST + place / BINS_A_DECADE for place in places] == [-2.75, -0.75]
    assert errors.equal == 4 * 7 - 2


def test_what_cannot_be_compared_has_no_histogram(make_proof: Callable[..., Proof]) -> None:
    broken = make_proof(change=lambda given: {name: values * np.nan for name, values in given.items()})
    assert element_errors(_head(broken), broken.runs[0]) == []
    shorter = make_proof("features", change=lambda given: {name: values[:, :3] for name, values in given.items()})
    assert element_errors(_head(shorter), shorter.runs[0]) == []
