"""Published weights of ``selfie_segmentation``; origin and licence stand in ``NOTICE`` and ``LICENSE``."""

from pathlib import Path

from edgecv.weights.packaged import PackagedWeights

__all__ = ["PACKAGED"]

PACKAGED = PackagedWeights(distribution="edgecv-weights-selfie", source="mediapipe", folder=Path(__file__).parent)
