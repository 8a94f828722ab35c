"""The plugin keeps the contract."""

from edgecv.testing import conformance

test_conformance = conformance("vela")
