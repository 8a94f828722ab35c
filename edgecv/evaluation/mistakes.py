"""Which pictures a detector gets most wrong: what it misses and what it finds that is not there.

A detection is a hit or not as average precision at an IoU of 0.5 has it. Other than that figure, mistakes need a score
from which on a detection is believed: the one with the largest F1 over all pictures and classes. A network that was
trained for a short while has few scores above 0.5, and all of its pictures would look alike there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecv.evaluation.average_precision import HIT, MISS, best_first, judge_class
from edgecv.evaluation.scenes import Scene, overlap

__all__ = ["WITHOUT_HITS", "Judged", "WorkingScore", "judge", "working_score", "worst_first"]

Array = np.ndarray[Any, np.dtype[Any]]

WITHOUT_HITS = 0.5  # working score where no score is better than any other


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """One picture, object by object and detection by detection.

    Attributes:
        scene: The picture.
        verdicts: int8 ``(found,)`` of its detections: `HIT`, `MISS`, or below them what counts as neither.
        demanded: bool ``(objects,)``: neither crowd nor difficult.
        hit_scores: float64 ``(objects,)``: the score of the detection that hits the object; −infinity without one.
    """

    scene: Scene
    verdicts: Array
    demanded: Array
    hit_scores: Array

    def missed(self, least_score: float) -> Array:
        """Return which objects are missed, bool ``(objects,)``."""
        return np.asarray(self.demanded & (self.hit_scores < least_score))

    def false_alarms(self, least_score: float) -> Array:
        """Return which detections are believed and no hits, bool ``(found,)``."""
        return np.asarray((self.verdicts == MISS) & (self.scene.found.scores >= least_score))

    def hits(self, least_score: float) -> Array:
        """Return which detections are believed and hits, bool ``(found,)``."""
        return np.asarray((self.verdicts == HIT) & (self.scene.found.scores >= least_score))


@dataclass(frozen=True, kw_only=True)
class WorkingScore:
    """From where on detections are believed.

    Attributes:
        score: The least score of a detection that is believed.
        f1: What F1 comes to with it, over all pictures and classes; None where there is no hit at any score.
    """

    score: float
    f1: float | None


def judge(scene: Scene, *, iou: float = 0.5) -> Judged:
    """Judge a picture.

    Args:
        scene: What is there, and what was found of the classes that the data have.
        iou: Least intersection over union of a hit, in (0, 1].
    """
    truth, found = scene.truth, scene.found
    verdicts = np.full(len(found.boxes), MISS, np.int8)
    hit_scores = np.full(len(truth.boxes), -np.inf)
    for category in np.unique(found.categories).tolist():
        there, places = truth.categories == category, best_first(scene, category)
        verdicts[places] = judge_class(truth, there, found.boxes[places], iou)
        hits = places[verdicts[places] == HIT]
        if len(hits):
            single = np.flatnonzero(there & ~truth.crowd)
            nearest = overlap(found.boxes[hits], truth.boxes[single]).argmax(axis=1)
            hit_scores[single[nearest]] = found.scores[hits]
    return Judged(scene=scene, verdicts=verdicts, demanded=~truth.crowd & ~truth.difficult, hit_scores=hit_scores)


def working_score(pictures: Sequence[Judged]) -> WorkingScore:
    """Return the score with the largest F1, 2 · hits / (detections + objects); of equal ones the highest."""
    objects = sum(int(np.count_nonzero(each.demanded)) for each in pictures)
    verdicts = np.concatenate([each.verdicts for each in pictures])
    scores = np.concatenate([each.scene.found.scores for each in pictures])
    counted = (verdicts == HIT) | (verdicts == MISS)
    order = np.argsort(-scores[counted], kind="stable")
    verdicts, scores = verdicts[counted][order], scores[counted][order]
    if not (verdicts == HIT).any():
        return WorkingScore(score=WITHOUT_HITS, f1=None)
    f1 = 2 * np.cumsum(verdicts == HIT) / (np.arange(1, len(verdicts) + 1) + objects)
    # Detections of equal scores are believed together: only the last of them counts.
    f1[:-1][scores[:-1] == scores[1:]] = 0
    best = int(f1.argmax())
    return WorkingScore(score=float(scores[best]), f1=float(f1[best]))


def worst_first(pictures: Sequence[Judged], least_score: float) -> list[int]:
    """Return the places of pictures, most misses and false alarms first.

    Of equally many, the one whose false alarms have the higher scores comes first, then the earlier one.
    """

    def badness(place: int) -> tuple[int, float]:
        each = pictures[place]
        false_alarms = each.false_alarms(least_score)
        mistakes = np.count_nonzero(each.missed(least_score)) + np.count_nonzero(false_alarms)
        return -int(mistakes), -float(each.scene.found.scores[false_alarms].sum())

    return sorted(range(len(pictures)), key=badness)
