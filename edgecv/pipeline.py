"""The main job: a Deployable becomes an artifact that carries its proof.

convert to a temporary → run it and compare → metadata, proof and digest inside → rename. What fails on
the way leaves nothing under the final name.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import edgecv
from edgecv.artifact import Artifact
from edgecv.budget import Budget, Quantizer, check_max_drop, make_budget, unjudged, write_reduced
from edgecv.calibration_pictures import CalibrationPictures, CalibrationSource, as_calibration, calibration_pictures
from edgecv.deployable import Deployable
from edgecv.errors import BudgetError, ConversionError, OptionError, VerificationError
from edgecv.evaluation.selection import spread
from edgecv.exporter import Exporter
from edgecv.exporting import (
    check_path,
    default_name,
    make_exporter,
    own_tolerance,
    refuse_unsupported,
    runtime_of_exporter,
    source_exporter,
    tolerance_of_exporter,
    unverified_because,
)
from edgecv.files import replace_whole, scratch_folder
from edgecv.judging import LabelledPictures, open_labelled
from edgecv.metadata import seal
from edgecv.observed import Observer
from edgecv.original import Pictures, gather_pictures, original_answers
from edgecv.provenance import settings_of, versions_of
from edgecv.quantized_verification import QuantizedVerification
from edgecv.quiet import quiet_frameworks
from edgecv.recorded import case_pictures, hangs_on_rounding, own_cases, record_cases, verify_recorded
from edgecv.report import Report
from edgecv.runtime import Arrays, Runner, Runtime, TensorInfo
from edgecv.verification import merge, open_quietly, verify_runner
from edgecv.weights import hash_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Original", "default_name", "describe", "export", "make_exporter"]

# Of the pictures that are held out of calibration, so many are verified on, layer for layer and anchor for anchor.
_MOST_HELD_OUT = 24
_NO_PICTURES = "There is nothing to verify with: the original was made without pictures."


class Original:
    """A Deployable with what several exports of it share: its pictures, answers and weights' digest.

    The original runs once, not once a format.
    """

    def __init__(
        self,
        deployable: Deployable,
        images: "Iterable[Path | str | NDArray[Any]] | None" = None,
        *,
        verify: bool = True,
        cases: bool = True,
        held_out: Sequence[Path] = (),
    ) -> None:
        """Run the original, where there is something to verify.

        Args:
            deployable: The original.
            images: Pictures to verify on.
            verify: Whether anything will be verified.
            cases: Whether what is verified records cases; their pictures are answered with the others.
            held_out: More of them: pictures of the kind that calibrates, which do not.
        """
        self.deployable = deployable
        self.pictures: Pictures | None = None
        if verify:
            self.pictures = gather_pictures(deployable, images, more=spread(held_out, _MOST_HELD_OUT))
            # In one go: a run of few pictures takes about as long as one of many.
            asked = self.pictures + self.case_pictures if cases else self.pictures
            with quiet_frameworks():
                answers = original_answers(deployable, asked)
            self.answers = {name: values[: self.count] for name, values in answers.items()}
            if cases:
                self.case_answers = {name: values[self.count :] for name, values in answers.items()}
        # Beside the conversion, which keeps one core busy: hashing leaves Python to others.
        pool = ThreadPoolExecutor(max_workers=1)
        self._hashed = pool.submit(hash_weights, deployable.network)
        pool.shutdown(wait=False)

    @property
    def weights_sha256(self) -> str:
        """The digest of the weights."""
        return self._hashed.result()

    @property
    def count(self) -> int:
        """The number of pictures that it answered."""
        return len(self.pictures.names) if self.pictures is not None else 0

    @functools.cached_property
    def case_pictures(self) -> Pictures:
        """The pictures that recorded cases are made of."""
        return case_pictures(self.deployable)

    @functools.cached_property
    def case_answers(self) -> Arrays:
        """The answers to the pictures of recorded cases; the original runs where it did not before."""
        with quiet_frameworks():
            return original_answers(self.deployable, self.case_pictures)

    @functools.cached_property
    def quantized(self) -> QuantizedVerification:
        """The original's side of verifying int8."""
        if self.pictures is None:
            raise OptionError(_NO_PICTURES)
        return QuantizedVerification(self.deployable, self.pictures, self.answers)

    @functools.cached_property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The artifact's outputs; where nothing else has, this runs the original."""
        deployable = self.deployable
        # Those answers have all classes of a top-k.
        answers = self.answers if self.pictures is not None and deployable.top_k is None else self._answers_to_nothing()
        sides: dict[str, tuple[int | None, ...]] = {name: values.shape[1:] for name, values in answers.items()}
        sides.update(dict.fromkeys(deployable.picture_sized, (None, None)))
        return tuple(
            TensorInfo(name=name, shape=(deployable.batch, *sides[name]), dtype=answers[name].dtype.name)
            for name in deployable.output_names
        )

    def _answers_to_nothing(self) -> Arrays:
        deployable = self.deployable
        with quiet_frameworks():
            return deployable.run(np.zeros((1, *deployable.input_size, deployable.channels), deployable.input_dtype))


def export(
    source: "Deployable | Original",
    *,
    to: "str | Exporter",
    path: Path | str,
    name: str | None = None,
    verify: bool = True,
    images: "Iterable[Path | str | NDArray[Any]] | None" = None,
    devices: Sequence[str] = ("cpu",),
    cases: bool = True,
    observe: Observer | None = None,
    calibration: "CalibrationSource | None" = None,
    max_drop: float | None = None,
    data: "LabelledPictures | Path | str | None" = None,
    budget: Budget | None = None,
    tell: Callable[[str], None] | None = None,
    **options: Any,
) -> Artifact:
    """Write an artifact, and prove that it answers like ``source``.

    Args:
        source: The original.
        to: Name of an exporter, or an exporter.
        path: The file or folder to write; its suffix is the exporter's.
        name: Name of the format in the metadata, where ``to`` is an exporter.
        verify: Run it and compare; a failing artifact is not written.
        images: Pictures to verify on; the default are the photos that ship with edgecv.
        devices: Devices to verify on.
        cases: Where it is verified, record cases in it, by which it can be verified on any device.
        observe: Is called with what each run of the artifact answered.
        calibration: Real pictures for int8: a folder, picture files, or either as `calibration_pictures` or a
            `Calibration` hold them.
        max_drop: How far int8 may drop the task metric, such as 0.02; as few layers as that takes go back to float32.
        data: Labelled pictures to judge that on; by default it is agreement on pictures that are held out of
            ``calibration``.
        budget: These three, made for several exports of one original.
        tell: Is told what is going on.
        **options: Options of the exporter, where ``to`` is a name.

    Returns:
        The artifact, with its report.

    Raises:
        UnknownNameError: No such exporter.
        OptionError: An option does not fit.
        ConversionError: The converter failed.
        ShortfallError: The exporter found what must not be.
        VerificationError: The artifact does not answer like the original.
        BudgetError: Int8 drops more than ``max_drop``; the best that was found is written.
        OutputError: ``path`` cannot be written.
    """
    _check_given(source, to, verify=verify, images=images, devices=devices, options=options)
    pictures: CalibrationPictures | None = None
    if calibration is not None:
        if not isinstance(to, str) or budget is not None:
            raise OptionError("calibration has no use: the exporter given as to=, or the budget, has it already.")
        pictures = as_calibration(calibration)
        options["calibration"] = pictures.calibration
    exporter = make_exporter(to, options) if isinstance(to, str) else to
    _check_budget(exporter, max_drop=max_drop, data=data, verify=verify)
    form = name or (to if isinstance(to, str) else type(to).__name__)
    path = Path(path)
    check_path(path, form, exporter)
    refuse_unsupported(exporter, source.deployable if isinstance(source, Original) else source, form)
    runtime = runtime_of_exporter(exporter)
    if verify and runtime is None and unverified_because(exporter) is None:
        raise OptionError(f"No installed runtime opens {exporter.suffix or form}: install one, or use --no-verify.")
    started = time.perf_counter()
    with replace_whole(path) as temporary:
        if budget is None and exporter.precision == "int8":
            deployable = source.deployable if isinstance(source, Original) else source
            budget = _budget(deployable, exporter, pictures, max_drop, data)
        if isinstance(source, Original):
            original = source
        else:
            held_out = budget.pictures.held_out if budget is not None else ()
            original = Original(source, images, verify=verify, cases=cases, held_out=held_out)
        job = _Job(
            original=original,
            exporter=exporter,
            form=form,
            runtime=runtime,
            budget=budget,
            verify=verify,
            devices=tuple(devices),
            cases=cases,
            observe=observe,
            tell=tell,
        )
        artifact = job.write(temporary, path)
    seconds = time.perf_counter() - started
    artifact = dataclasses.replace(artifact, path=path, seconds=seconds, outputs=original.outputs)
    if artifact.quantization is not None and artifact.quantization.met is False:
        raise BudgetError(f"{original.deployable.name} as {form}: {artifact.quantization.missed()}", artifact)
    return artifact


def describe(original: Original) -> dict[str, Any]:
    """Return what metadata say of a Deployable, whatever the format; the first call runs it."""
    deployable = original.deployable
    return {
        "edgecv_version": edgecv.__version__,
        "model": deployable.name,
        "task": deployable.task,
        "weights": {"source": deployable.weights_source, "sha256": original.weights_sha256},
        "sha256": original.weights_sha256,
        "labels": list(deployable.labels),
        "input": deployable.input.to_json(),
        "outputs": [output.to_json() for output in original.outputs],
        "preprocess": deployable.preprocess.to_json(),
        "graph_resize": deployable.graph_resize(),
        "postprocess": deployable.postprocess(),
    }


def _check_given(
    source: Deployable | Original,
    to: str | Exporter,
    *,
    verify: bool,
    images: object,
    devices: Sequence[str],
    options: Mapping[str, Any],
) -> None:
    """Refuse arguments that do not go together."""
    if options and not isinstance(to, str):
        raise OptionError(f"{sorted(options)[0]!r} has no use: the exporter given as to= has its options already.")
    if images is not None and isinstance(source, Original):
        raise OptionError("images has no use: the original was made with its pictures already.")
    if verify and not devices:
        raise OptionError("There is no device to verify on. Give at least one, such as cpu.")


def _check_budget(exporter: Exporter, *, max_drop: float | None, data: object, verify: bool) -> None:
    """Refuse options of int8 where they have no use, before the long work starts."""
    if max_drop is not None:
        check_max_drop(max_drop)
    given = {"max_drop": max_drop, "data": data}
    for name in (name for name, value in given.items() if value is not None):
        if exporter.precision != "int8":
            raise OptionError(f"{name} is for precision int8, got {exporter.precision}. Leave it out.")
        if not verify:
            raise OptionError(f"{name} needs the artifact to run: it has no use without verification. Leave it out.")


def _budget(
    deployable: Deployable,
    exporter: Exporter,
    pictures: CalibrationPictures | None,
    max_drop: float | None,
    data: "LabelledPictures | Path | str | None",
) -> Budget | None:
    """Return the budget of one export; None where the exporter needs no calibration."""
    own = getattr(exporter, "calibration", None)
    if pictures is None and own is not None:
        pictures = calibration_pictures(own)
    if pictures is None:
        for name in (name for name, value in {"max_drop": max_drop, "data": data}.items() if value is not None):
            raise OptionError(f"{name} needs pictures to calibrate on, and there are none. Give calibration.")
        return None
    labelled = open_labelled(str(data)) if isinstance(data, str | Path) else data
    return make_budget(deployable, pictures, max_drop=max_drop, data=labelled)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One artifact on its way: converted, proven, sealed.

    Attributes:
        original: What it is made of.
        exporter: What makes it.
        form: Name of the format.
        runtime: Name and runtime that open it; None where none does.
        budget: What int8 is judged by.
        verify: It is run and compared; where nothing can run it, what it starts from is.
        devices: Where.
        cases: Cases are recorded in what is verified.
        observe: Is called with what each run answered.
        tell: Is told what is going on.
    """

    original: Original
    exporter: Exporter
    form: str
    runtime: tuple[str, Runtime] | None
    budget: Budget | None
    verify: bool
    devices: tuple[str, ...]
    cases: bool
    observe: Observer | None
    tell: Callable[[str], None] | None

    @property
    def proven(self) -> bool:
        """It is run itself."""
        return self.verify and unverified_because(self.exporter) is None

    def write(self, temporary: Path, path: Path) -> Artifact:
        """Write it to ``temporary``, with its proof; ``path`` is where it will stay."""
        artifact = self._converted(temporary, path)
        if self.proven:
            artifact = dataclasses.replace(artifact, report=self._verified(artifact))
        if self.runtime is not None:
            self._seal(artifact, self.runtime[1])
        return artifact

    def _converted(self, temporary: Path, path: Path) -> Artifact:
        """Convert, int8 within its budget; where it can run, size and time against float32 are measured."""
        exporter, budget = self.exporter, self.budget
        if not self.proven or self.runtime is None or exporter.precision == "float32":
            return self._convert_unmeasured(temporary)
        if exporter.precision == "int8" and budget is None:
            return self._convert(exporter, temporary)
        deployable = self.original.deployable
        with scratch_folder(path) as folder:
            if budget is None or exporter.precision != "int8":
                opened = functools.partial(_opened, self.runtime[1], self.devices[0])
                return write_reduced(deployable, exporter, temporary, folder, convert=self._convert, opened=opened)
            work = Quantizer(
                deployable,
                exporter,
                budget,
                convert=self._convert,
                runtime=self.runtime,
                document={**describe(self.original), "precision": exporter.precision},
                proven=lambda made: self._compared(made, self.devices[0], None).passed,
                device=self.devices[0],
                tell=self.tell,
            )
            return work.write(temporary, folder)

    def _convert_unmeasured(self, path: Path) -> Artifact:
        artifact = self._convert(self.exporter, path)
        if artifact.quantization is None and self.budget is not None and self.exporter.precision == "int8":
            return dataclasses.replace(artifact, quantization=unjudged(self.budget))
        return artifact

    def _convert(self, exporter: Exporter, path: Path) -> Artifact:
        """Call an exporter with the Deployable, or with another exporter's artifact of it, which is made for that."""
        original = self.original
        if exporter.source == "deployable":
            return self._call(exporter, original.deployable, path)
        inner = source_exporter(exporter)
        with scratch_folder(path) as folder:
            start = self._start(exporter, inner, folder / default_name(original.deployable, inner))
            artifact = self._call(exporter, dataclasses.replace(start, deployable=original.deployable), path)
            # The budget of what it starts from is its own; size and time here say nothing of where it runs.
            return dataclasses.replace(artifact, source_report=start.report, quantization=start.quantization)

    def _call(self, exporter: Exporter, source: Deployable | Artifact, path: Path) -> Artifact:
        try:
            with quiet_frameworks():
                return exporter.export(source, path)
        except SystemExit as error:  # a converter that was made for the command line
            problem = f"its converter would have ended the program: exit {error.code!r}"
            raise ConversionError(f"{self.form} cannot be written: {problem}. Report it to who made it.") from error

    def _start(self, exporter: Exporter, inner: Exporter, path: Path) -> Artifact:
        """Write what an exporter starts from. What is proven is what ships; only where that cannot run, it is this."""
        settings: dict[str, Any] = {"verify": False}
        if self.verify and unverified_because(exporter) is not None:
            settings = {name: getattr(self, name) for name in ("devices", "cases", "observe", "tell", "budget")}
        try:
            return export(self.original, to=inner, name=exporter.source, path=path, **settings)
        except BudgetError as error:  # the best that was found goes on, and the error is raised behind it
            return error.artifact

    def _verified(self, artifact: Artifact) -> Report:
        report = merge([self._compared(artifact, device, self.observe) for device in self.devices])
        if report.passed:
            return report
        exporter = self.exporter
        what = f"{self.original.deployable.name} as {exporter.suffix.lstrip('.') or 'a folder'}"
        judged = artifact.quantization is not None and artifact.quantization.max_drop is not None
        remedy = (
            "; --max-drop gives the worst layers back to float32" if exporter.precision == "int8" and not judged else ""
        )
        raise VerificationError(f"{what} does not answer like the original: {report.summary()}{remedy}", report)

    def _compared(self, artifact: Artifact, device: str, observe: Observer | None) -> Report:
        """Compare an artifact with the original on one device."""
        original = self.original
        if self.runtime is None or original.pictures is None:
            raise OptionError(_NO_PICTURES)
        name, engine = self.runtime
        runner = open_quietly(engine, artifact.path, device, artifact.checkpoints)
        if self.exporter.precision == "int8":
            return original.quantized.verify(runner, name, observe)
        tolerance = tolerance_of_exporter(self.exporter)
        return verify_runner(runner, name, original.deployable, original.pictures, original.answers, tolerance, observe)

    def _seal(self, artifact: Artifact, runtime: Runtime) -> None:
        """Put metadata, proof and digest into the file; where cases are recorded, demand them of what is shipped."""
        proven = self.devices if artifact.report is not None else ()
        document = self._metadata(artifact) | {
            "versions": versions_of(self.exporter, runtime, verified=bool(proven)),
            "settings": settings_of(self.exporter, devices=proven, pictures=self.original.count if proven else 0),
        }
        if not self.cases or artifact.report is None:
            seal(artifact.path, document, runtime)
            return
        every, nbytes = range(len(self.original.case_pictures.names)), artifact.nbytes
        report = self._seal_with_cases(artifact, nbytes, document, every)
        if report is not None and hangs_on_rounding(report):
            # Such a picture would fail on the next device: a case is one whose answer is sure.
            alone = [self._seal_with_cases(artifact, nbytes, document, (row,)) for row in every]
            sure = [row for row, of in enumerate(alone) if of is not None and of.passed]
            report = self._seal_with_cases(artifact, nbytes, document, sure) if sure else report
        if report is not None and not report.passed:
            name = self.original.deployable.name
            raise VerificationError(f"{name} fails its own recorded cases: {report.summary()}", report)

    def _seal_with_cases(
        self, artifact: Artifact, nbytes: int, document: Mapping[str, Any], rows: Sequence[int]
    ) -> Report | None:
        """Seal with cases, and demand them: what is shipped passes `edgecv verify` here. None where none fits in."""
        if self.runtime is None:
            return None
        recorded = self._recorded(artifact, nbytes, self.runtime[1], rows)
        proof = {**document["verification"], **recorded}
        sealed = seal(artifact.path, {**document, "verification": proof}, self.runtime[1])
        return verify_recorded(artifact.path, sealed, *self.runtime, self.devices) if recorded["cases"] else None

    def _recorded(self, artifact: Artifact, nbytes: int, runtime: Runtime, rows: Sequence[int]) -> dict[str, Any]:
        """Return the recorded cases, with what comparing them needs to know."""
        original, pictures = self.original, self.original.case_pictures.chosen(rows)
        if self.exporter.precision == "int8":
            runner = open_quietly(runtime, artifact.path, self.devices[0], artifact.checkpoints)
            return own_cases(original.deployable, runner, pictures, original.answers, nbytes)
        answers = {name: values[list(rows)] for name, values in original.case_answers.items()}
        return {"cases": record_cases(pictures, answers, nbytes)}

    def _metadata(self, artifact: Artifact) -> dict[str, Any]:
        proofs = {"verification": artifact.report, "source_verification": artifact.source_report}
        return {
            **describe(self.original),
            "format": self.form,
            "precision": self.exporter.precision,
            **({"quantization": artifact.quantization.recorded()} if artifact.quantization is not None else {}),
            **{name: report.to_json() for name, report in proofs.items() if report is not None},
            **({} if artifact.report is not None else {"verification": {}}),
            **({"findings": dict(artifact.findings)} if artifact.findings else {}),
            "checkpoints": list(artifact.checkpoints),
            "layers": dict(artifact.layers),
            **own_tolerance(self.exporter),
            **artifact.details,
        }


def _opened(runtime: Runtime, device: str, artifact: Artifact) -> Runner:
    return open_quietly(runtime, artifact.path, device)
