"""All checks of the conformance kit, in the order in which they run."""

from edgecv.testing.check import Check
from edgecv.testing.checks import answers, device, failures, files, itself, process

__all__ = ["CHECKS"]

CHECKS: tuple[Check, ...] = (
    *itself.CHECKS,
    *answers.CHECKS,
    *files.CHECKS,
    *device.CHECKS,
    *failures.CHECKS,
    *process.CHECKS,
)
