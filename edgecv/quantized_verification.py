"""Verification of int8 artifacts: what `quantized_proof` compares, run and put into a report."""

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np

from edgecv.observed import Observer
from edgecv.original import Pictures, original_answers
from edgecv.quantized_proof import ALTERED, DARKER, QUANTIZED_ERROR, compare_input, compare_quantized, sensitivity
from edgecv.quiet import quiet_frameworks
from edgecv.report import Report
from edgecv.runtime import Arrays, Runner
from edgecv.verification import DYNAMIC_BATCH, Head, make_report, merge, observed, run_batched

if TYPE_CHECKING:
    from edgecv.deployable import Deployable

__all__ = ["QuantizedVerification"]

# Pictures that are looked at altered, too.
_ALTERED_PICTURES = 8


class QuantizedVerification:
    """The original's side, which several artifacts share.

    Attributes:
        pictures: Those that are compared: without noise.
        answers: The original's to them.
    """

    def __init__(self, deployable: "Deployable", pictures: Pictures, answers: Arrays) -> None:
        kept = [index for index, name in enumerate(pictures.names) if not name.startswith("noise:")]
        self._deployable = deployable
        self.pictures = Pictures(names=tuple(pictures.names[i] for i in kept), values=pictures.values[kept])
        self.answers = {name: values[kept] for name, values in answers.items()}

    def verify(self, runner: Runner, name: str, observe: Observer | None = None) -> Report:
        """Compare an opened artifact with the original, at its batch size or at 1 and 3."""
        deployable = self._deployable
        batches = (1, DYNAMIC_BATCH) if deployable.batch is None else (deployable.batch,)
        reports = []
        for batch in batches:
            given = run_batched(runner, deployable.feed(self.pictures.values), batch)
            compared = compare_quantized(self._head, self.answers, given, self._sensitive)
            compared["input"] = compare_input(self._head, self._some(self.answers), self._some(given), self._altered)
            reports.append(make_report(runner, name, compared, self.pictures.names, batch, QUANTIZED_ERROR))
            if observe is not None:
                observe(observed(runner, name, batch, self.pictures, self.answers, given, QUANTIZED_ERROR))
        return merge(reports)

    @functools.cached_property
    def _head(self) -> Head:
        deployable = self._deployable
        return Head.of(deployable.task, deployable.postprocess(), deployable.graph_resize())

    @functools.cached_property
    def _altered(self) -> dict[str, Arrays]:
        """What was done to some of the pictures → the original's answers to them."""
        pictures = self._some({"pictures": self.pictures.values})["pictures"]
        found: dict[str, Arrays] = {}
        with quiet_frameworks():
            for what, alter in ALTERED.items():
                values = np.ascontiguousarray(alter(pictures))
                if not np.array_equal(values, pictures):  # grey pictures have no channels to swap
                    altered = dataclasses.replace(self.pictures, values=values)
                    found[what] = original_answers(self._deployable, altered)
        return found

    @functools.cached_property
    def _sensitive(self) -> dict[str, float]:
        darker = self._altered.get(DARKER)
        return {} if darker is None else sensitivity(self._head, self._some(self.answers), darker)

    def _some(self, values: Arrays) -> Arrays:
        """Return a few pictures' rows, evenly spread."""
        count = len(self.pictures.names)
        few = min(count, _ALTERED_PICTURES)
        places = [place * count // few for place in range(few)]
        return {name: rows[places] for name, rows in values.items()}
