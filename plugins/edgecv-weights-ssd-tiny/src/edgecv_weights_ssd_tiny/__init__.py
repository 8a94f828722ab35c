"""Weights of ``ssd_tiny`` that find handwritten digits; origin and licence stand in ``NOTICE`` and ``LICENSE``."""

from pathlib import Path

from edgecv.weights.packaged import PackagedWeights

__all__ = ["PACKAGED"]

PACKAGED = PackagedWeights(distribution="edgecv-weights-ssd-tiny", source="digits", folder=Path(__file__).parent)
