"""The plugin keeps the contract, as far as what nothing here can run lets itself be held to it."""

import pytest
from edgecv.testing import CHECKS, conformance

# Each network in int8 takes seconds: the others are held to it in the slow test.
_LONG = (
    "answers-odd-sizes", "answers-one-channel", "answers-top-k", "answers-float-input", "answers-several-outputs",
    "answers-every-anchor", "answers-too-many-detections", "options-honoured", "killed", "full-disk", "same-bytes",
    "no-network", "nothing-beside", "original-unchanged",
)  # fmt: skip

test_conformance = conformance("vela", only=[check.name for check in CHECKS if check.name not in _LONG])
test_conformance_in_full = pytest.mark.slow(conformance("vela", only=_LONG))
