"""Published weights of ``ssd_mobilenet_v2``; origin and licence stand in ``NOTICE`` and ``LICENSE``."""

from pathlib import Path

from edgecv.weights.packaged import PackagedWeights

__all__ = ["PACKAGED"]

PACKAGED = PackagedWeights(distribution="edgecv-weights-ssd", source="openimages", folder=Path(__file__).parent)
