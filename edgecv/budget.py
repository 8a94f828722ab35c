"""The accuracy budget: int8 as far as the task metric allows.

All layers are quantised and the artifact is judged in its runtime. Where it drops more than is allowed, one pass over
its layers says where the error grows, and the layers with the largest growth go back to float: as few of them, from
the top of that list, as bisection finds to be enough.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.artifact import Artifact
from edgecv.calibration import Calibration
from edgecv.calibration_pictures import HELD_OUT, CalibrationPictures
from edgecv.errors import OptionError
from edgecv.exporter import Exporter
from edgecv.files import remove
from edgecv.judging import AgreementJudge, Judge, LabelJudge, LabelledPictures, without_pictures
from edgecv.quantization import FloatLayer, Quantization, Speeds
from edgecv.runtime import Runner, Runtime
from edgecv.session import Session
from edgecv.timing import time_in_turn
from edgecv.verification import open_quietly

if TYPE_CHECKING:
    from edgecv.deployable import Deployable
    from edgecv.layer_errors import LayerError

__all__ = ["Budget", "Quantizer", "check_max_drop", "make_budget", "timed_within", "unjudged", "write_reduced"]

Array = np.ndarray[Any, np.dtype[Any]]
Tell = Callable[[str], None]
Convert = Callable[[Exporter, Path], Artifact]

MOST_REQUANTISATIONS = 8
# Eight halvings tell 255 lengths of the list apart.
_LONGEST = 2**MOST_REQUANTISATIONS - 1
# Pictures on which the errors of layers are measured.
_RANKED_ON = 8
_SECONDS = 5.0
# Where there is nothing to compare with, the time is a figure by the way.
_SECONDS_ALONE = 0.5
# Of what varies in a layer: what int8 loses where nothing is wrong is a thousandth.
_MUCH = 0.05
_GREY = 128
# Of the size of float32: from here on int8 has lost its point.
_HARDLY_SMALLER = 0.9


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What int8 artifacts of one original are judged by.

    Attributes:
        pictures: To calibrate on.
        judge: Measures both sides; None where there is nothing to judge on.
        max_drop: How far the metric may drop; None where it is only measured.
    """

    pictures: CalibrationPictures
    judge: Judge | None = None
    max_drop: float | None = None


def check_max_drop(max_drop: float) -> None:
    """Check a budget before anything is read.

    Raises:
        OptionError: It is not between 0 and 1.
    """
    if not (0 < max_drop < 1 and math.isfinite(2 / max_drop)):  # the smallest numbers need endless pictures
        raise OptionError(f"max-drop must be above 0 and below 1, got {max_drop:g}: 0.02 is two points of 100.")


def make_budget(
    deployable: "Deployable",
    pictures: CalibrationPictures,
    *,
    max_drop: float | None = None,
    data: LabelledPictures | None = None,
) -> Budget:
    """Choose what to judge by: labelled data, or else agreement on the calibration pictures that were held out.

    Raises:
        OptionError: The budget is out of range, the task has no metric, or there are too few pictures for it.
        DataError: The labels do not suit the network's task.
    """
    if max_drop is not None:
        check_max_drop(max_drop)
    judge: Judge | None = None
    notes: tuple[str, ...] = ()
    if data is not None:
        judge = LabelJudge(deployable, data)  # which checks all labels
        data, taken_out = without_pictures(data, pictures.hashes())
        if taken_out:
            notes = (f"{taken_out} pictures of --data calibrate, too, and were left out of what is judged on.",)
        judge = LabelJudge(deployable, data) if data.samples else None
    elif max_drop is not None or (pictures.held_out and deployable.task != "other"):
        judge = AgreementJudge(deployable, pictures.held_out)
    if max_drop is not None:
        _check_count(max_drop, judge.pictures if judge is not None else 0, labelled=data is not None)
    elif judge is not None and not judge.pictures:
        judge = None
    return Budget(
        pictures=dataclasses.replace(pictures, notes=(*pictures.notes, *notes)), judge=judge, max_drop=max_drop
    )


def _check_count(max_drop: float, count: int, *, labelled: bool) -> None:
    # One picture more or less has to be half of the budget at most. Less a rounding error: 2 / 0.1 is 20.
    needed = math.ceil(2 / max_drop - 1e-9)
    if count >= needed:
        return
    held_out = f"Give {needed * HELD_OUT} to --calibration, which holds out every fifth, or labelled ones with --data"
    where = "Give more --data" if labelled else held_out
    raise OptionError(f"max-drop {max_drop:g} needs {needed} pictures to judge on, and there are {count}. {where}.")


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    artifact: Artifact
    layers: "tuple[LayerError, ...]" = ()
    value: float | None = None
    enough: bool = False


class Quantizer:
    """Writes the int8 artifact of one format that a budget allows."""

    def __init__(
        self,
        deployable: "Deployable",
        exporter: Exporter,
        budget: Budget,
        *,
        convert: Convert,
        runtime: tuple[str, Runtime],
        document: dict[str, Any],
        proven: Callable[[Artifact], bool],
        device: str = "cpu",
        tell: Tell | None = None,
    ) -> None:
        """Prepare it.

        Args:
            deployable: The original.
            exporter: With precision int8 and its calibration.
            budget: What its artifacts are judged by.
            convert: Calls an exporter with the original, or with what it starts from.
            runtime: Name and runtime that open them.
            document: Metadata of any artifact of the original, as `pipeline.describe` gives them.
            proven: Tells whether an artifact passes verification; asked where the budget is kept.
            device: Where artifacts run.
            tell: Is told what is going on.
        """
        self._proven = proven
        self._deployable = deployable
        self._exporter = exporter
        self._budget = budget
        self._convert = convert
        self._runtime = runtime
        self._document = document
        self._device = device
        self._tell = tell or _silent

    def write(self, path: Path, folder: Path) -> Artifact:
        """Write the artifact to ``path``; ``folder``, an empty one, holds all that come before it.

        Raises:
            ConversionError: The converter failed.
        """
        self._folder = folder
        self._own: dict[str, float] = {}
        if self._budget.judge is not None:
            self._tell("judging the original")
            self._budget.judge.original()  # first: it may say that the data do not fit
        whole = self._judged(())
        plain = as_float(self._exporter)
        reference = {"float32": self._export("float32", plain)} if plain is not None else {}
        chosen, tries, notes = whole, 0, self._budget.pictures.notes
        if self._budget.max_drop is not None and not whole.enough:
            chosen, tries, notes = self._search(whole, notes)
        made = {**reference, "all_int8": whole.artifact, "written": chosen.artifact}
        speeds = measure_speeds(made, self._open, self._feeds(self._deployable.batch or 1))
        chosen.artifact.path.rename(path)
        if chosen.layers:
            notes = (*notes, *_too_little_left(speeds))
        quantization = self._outcome(chosen, tries, speeds, notes)
        return dataclasses.replace(chosen.artifact, path=path, quantization=quantization, speeds=speeds)

    def _kept(self, value: float | None) -> bool:
        """Tell whether a value of the metric is within the budget."""
        if self._budget.max_drop is None or value is None or self._budget.judge is None:
            return True
        return self._budget.judge.original() - value <= self._budget.max_drop + 1e-9

    def _search(self, whole: _Candidate, notes: tuple[str, ...]) -> tuple[_Candidate, int, tuple[str, ...]]:
        """Return the candidate with the fewest float layers that meets the budget, else the best one that was tried."""
        if "float_layers" not in _options(self._exporter):
            said = "The exporter has no option float_layers: it cannot give layers back to float."
            return whole, 0, (*notes, said)
        self._tell("measuring where int8 loses")
        ranked = self._ranked(whole.artifact)
        best, tries = whole, 0
        enough: _Candidate | None = None
        short, long = 0, len(ranked) + 1  # of the lengths: known to be too short, known to be enough
        while long - short > 1:
            middle = (short + long) // 2
            tries += 1
            self._tell(f"{middle} of {len(ranked)} layers in float32, try {tries} of at most {MOST_REQUANTISATIONS}")
            tried = self._judged(ranked[:middle])
            if tried.enough:
                enough, long = self._better(enough, tried), middle
            else:
                best, short = self._better(best, tried), middle
        if enough is not None:
            self._remove(best, but=whole)
            return enough, tries, notes
        return best, tries, notes

    def _better(self, one: _Candidate | None, other: _Candidate) -> _Candidate:
        """Return the one to keep, and remove the other: of those that meet the budget, the later one is the smaller."""
        if one is None:
            return other
        kept, left = (other, one) if other.enough or (other.value or 0) > (one.value or 0) else (one, other)
        if left.layers:  # the one of all layers is needed for its time and size
            self._remove(left)
        return kept

    def _remove(self, candidate: _Candidate, but: _Candidate | None = None) -> None:
        if candidate is not but:
            remove(candidate.artifact.path)

    def _ranked(self, artifact: Artifact) -> "list[LayerError]":
        """Return the layers that can go back to float, those first in which the error grows most."""
        from edgecv.layer_errors import layer_errors

        errors = layer_errors(self._deployable, artifact, self._feeds(_RANKED_ON))
        self._own = _own_losses(errors)
        return _in_order(errors)[:_LONGEST]

    def _judged(self, layers: "Sequence[LayerError]") -> _Candidate:
        exporter: Any = self._exporter
        if layers:
            paths = tuple(dict.fromkeys(path for each in layers for path in each.group))
            exporter = dataclasses.replace(exporter, float_layers=(*exporter.float_layers, *paths))
        artifact = self._export(f"int8-{len(layers)}", exporter)
        value = None
        if self._budget.judge is not None:
            self._tell(f"judging on {self._budget.judge.pictures} pictures")
            session = Session(artifact.path, self._document, self._open(artifact), runtime_name=self._runtime[0])
            value = self._budget.judge.judge(session)
        enough = self._kept(value) and (self._budget.max_drop is None or self._proven(artifact))
        return _Candidate(artifact=artifact, layers=tuple(layers), value=value, enough=enough)

    def _export(self, name: str, exporter: Exporter) -> Artifact:
        return self._convert(exporter, self._folder / f"{name}{exporter.suffix}")

    def _open(self, artifact: Artifact) -> Runner:
        return open_quietly(self._runtime[1], artifact.path, self._device)

    def _feeds(self, count: int) -> Array:
        """Return what the input takes for some pictures, held-out ones where there are any."""
        pictures = self._budget.pictures
        paths = (pictures.held_out or pictures.calibration.paths)[:count]
        feeds = list(Calibration(paths=paths).feeds(self._deployable))
        real = feeds[2:] or feeds  # in front are black and white ones
        return np.concatenate([real[index % len(real)] for index in range(count)])

    def _outcome(self, chosen: _Candidate, tries: int, speeds: Speeds, notes: tuple[str, ...]) -> Quantization:
        judge, calibration = self._budget.judge, self._budget.pictures.calibration
        return Quantization(
            calibration_pictures=len(calibration.paths),
            calibration_sha256=calibration.sha256,
            metric=judge.metric if judge else None,
            original=judge.original() if judge else None,
            value=chosen.value,
            max_drop=self._budget.max_drop,
            met=None if self._budget.max_drop is None else self._kept(chosen.value),
            judged_on=judge.judged_on if judge else None,
            pictures=judge.pictures if judge else 0,
            requantisations=tries,
            float_layers=tuple(FloatLayer(layer=each.layer, error=self._own[each.layer]) for each in chosen.layers),
            speeds=speeds,
            notes=notes,
        )


def write_reduced(
    deployable: "Deployable",
    exporter: Exporter,
    path: Path,
    folder: Path,
    *,
    convert: Convert,
    opened: Callable[[Artifact], Runner],
) -> Artifact:
    """Write an artifact of less precision than float32 to ``path``, with its size and time against that.

    Without these where the exporter cannot write float32.

    Args:
        deployable: The original.
        exporter: With another precision than float32, and without a budget.
        path: Where it becomes whole.
        folder: An empty one, for what is only measured.
        convert: Calls an exporter with the original, or with what it starts from.
        opened: Opens an artifact.
    """
    artifact = convert(exporter, path)
    plain = as_float(exporter)
    if plain is None:
        return artifact
    reference = convert(plain, folder / f"float32{exporter.suffix}")
    shape = (deployable.batch or 1, *deployable.input_size, deployable.channels)
    feed = deployable.feed(np.full(shape, _GREY, np.uint8))
    speeds = measure_speeds({"float32": reference, "written": artifact}, opened, feed)
    return dataclasses.replace(artifact, speeds=speeds)


def unjudged(budget: Budget) -> Quantization:
    """Return what is known of an int8 artifact that was not run."""
    calibration = budget.pictures.calibration
    return Quantization(
        calibration_pictures=len(calibration.paths),
        calibration_sha256=calibration.sha256,
        max_drop=budget.max_drop,
        notes=budget.pictures.notes,
    )


def as_float(exporter: Exporter) -> Exporter | None:
    """Return the same exporter for float32; None where it has no such option: a plugin may have one precision alone."""
    plain = {"precision": "float32", "calibration": None, "float_layers": ()}
    known = _options(exporter)
    if "precision" not in known or "float32" not in exporter.precisions:
        return None
    changed: Exporter = dataclasses.replace(
        exporter,  # type: ignore[type-var]
        **{name: value for name, value in plain.items() if name in known},
    )
    return changed


@contextlib.contextmanager
def timed_within(seconds: float) -> Iterator[None]:
    """Time artifacts for so many seconds at most within the block: in tests nobody reads what comes of it."""
    global _SECONDS, _SECONDS_ALONE
    before = _SECONDS, _SECONDS_ALONE
    _SECONDS, _SECONDS_ALONE = (min(seconds, each) for each in before)
    try:
        yield
    finally:
        _SECONDS, _SECONDS_ALONE = before


def measure_speeds(made: Mapping[str, Artifact], opened: Callable[[Artifact], Runner], feed: Array) -> Speeds:
    """Time artifacts of one original in turn on this machine; one is ``written``, one may be ``float32``."""
    # One artifact may have two names.
    names = {id(artifact): label for label, artifact in made.items()}
    calls = {label: _call(opened(made[label]), feed) for label in names.values()}
    timings = time_in_turn(calls, seconds=_SECONDS if len(calls) > 1 else _SECONDS_ALONE)
    by_label = {label: timings[names[id(artifact)]] for label, artifact in made.items()}
    return Speeds(
        sizes={label: artifact.nbytes for label, artifact in made.items()},
        p50_ms={label: timing.p50_ms for label, timing in by_label.items()},
        slower_than_float="float32" in by_label and by_label["written"].low_ms > by_label["float32"].high_ms,
    )


def _too_little_left(speeds: Speeds) -> tuple[str, ...]:
    """Say where so many layers went back to float32 that the file is hardly an int8 one."""
    share = speeds.sizes["written"] / speeds.sizes.get("float32", math.inf)
    if share < _HARDLY_SMALLER:
        return ()
    return (
        f"So many layers are in float32 that the file has {share:.2f} of the size of float32. "
        "Export that, or allow a larger --max-drop.",
    )


def _options(exporter: Exporter) -> set[str]:
    """Return the names of its options; one that was given as an object need not be a dataclass."""
    return {field.name for field in dataclasses.fields(exporter)} if dataclasses.is_dataclass(exporter) else set()


def _call(runner: Runner, feed: Array) -> Callable[[], object]:
    feeds = {runner.inputs[0].name: feed}
    return lambda: runner.run(feeds)


def _in_order(errors: "Sequence[LayerError]") -> "list[LayerError]":
    """Return layers in the order in which they go back to float: those first that lose most of their own.

    Behind one that loses much come those that read from it: in int8 they would round the same tensor again.
    """
    own = _own_losses(errors)
    order: dict[str, LayerError] = {}
    for error in sorted(errors, key=lambda each: own[each.layer], reverse=True):
        order.setdefault(error.layer, error)
        if own[error.layer] >= _MUCH:
            order.update({each.layer: each for each in errors if error.layer in each.reads and each.layer not in order})
    return list(order.values())


def _own_losses(errors: "Sequence[LayerError]") -> dict[str, float]:
    """Return what each layer loses of its own: by rounding its values, or more than what reached it had lost."""
    lost = {each.layer: each.lost for each in errors}
    return {
        each.layer: max(each.rounding, each.lost - max((lost[source] for source in each.reads), default=0.0))
        for each in errors
    }


def _silent(_: str) -> None:
    """Tell nothing."""
