"""The main job: a Deployable becomes an artifact that carries its proof.

convert to a temporary → run it and compare → metadata, proof and digest inside → rename. What fails on
the way leaves nothing under the final name.
"""

import dataclasses
import functools
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import edgecv
from edgecv.artifact import Artifact
from edgecv.comparison import TOLERANCES
from edgecv.deployable import Deployable
from edgecv.errors import OptionError, VerificationError
from edgecv.exporter import Exporter
from edgecv.files import replace_whole
from edgecv.metadata import seal
from edgecv.observed import Observer
from edgecv.provenance import settings_of, versions_of
from edgecv.quiet import quiet_frameworks
from edgecv.recorded import case_pictures, own_cases, record_cases, verify_recorded
from edgecv.registry import load_exporter, runtime_for
from edgecv.report import Report
from edgecv.runtime import Arrays, Runtime, TensorInfo
from edgecv.verification import Pictures, gather_pictures, merge, open_quietly, original_answers, verify_runner
from edgecv.weights import hash_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Original", "default_name", "describe", "export", "make_exporter"]


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
    ) -> None:
        self.deployable = deployable
        self._outputs: tuple[TensorInfo, ...] = ()
        self.weights_sha256 = hash_weights(deployable.network)
        self.pictures: Pictures | None = None
        if verify:
            self.pictures = gather_pictures(deployable, images)
            with quiet_frameworks():
                self.answers = original_answers(deployable, self.pictures)

    @property
    def count(self) -> int:
        """The number of pictures that it answered."""
        return len(self.pictures.names) if self.pictures is not None else 0

    @functools.cached_property
    def case_answers(self) -> Arrays:
        """The answers to the pictures of recorded cases; the original runs on them when they are first asked for."""
        with quiet_frameworks():
            return original_answers(self.deployable, case_pictures(self.deployable))

    def outputs(self) -> tuple[TensorInfo, ...]:
        """Return the artifact's outputs; the first call runs the original."""
        deployable = self.deployable
        if not self._outputs:
            with quiet_frameworks():
                zeros = np.zeros((1, *deployable.input_size, deployable.channels), deployable.input_dtype)
                answers = deployable.run(zeros)
            sides: dict[str, tuple[int | None, ...]] = {name: values.shape[1:] for name, values in answers.items()}
            sides.update(dict.fromkeys(deployable.picture_sized, (None, None)))
            self._outputs = tuple(
                TensorInfo(name=name, shape=(deployable.batch, *sides[name]), dtype=values.dtype.name)
                for name, values in answers.items()
            )
        return self._outputs


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
        **options: Options of the exporter, where ``to`` is a name.

    Returns:
        The artifact, with its report.

    Raises:
        UnknownNameError: No such exporter.
        OptionError: An option does not fit.
        ConversionError: The converter failed.
        VerificationError: The artifact does not answer like the original.
        OutputError: ``path`` cannot be written.
    """
    if options and not isinstance(to, str):
        raise OptionError(f"{sorted(options)[0]!r} has no use: the exporter given as to= has its options already.")
    if images is not None and isinstance(source, Original):
        raise OptionError("images has no use: the original was made with its pictures already.")
    if verify and not devices:
        raise OptionError("There is no device to verify on. Give at least one, such as cpu.")
    exporter = make_exporter(to, options) if isinstance(to, str) else to
    form = name or (to if isinstance(to, str) else type(to).__name__)
    path = Path(path)
    if path.suffix != exporter.suffix:
        raise OptionError(f"{form} writes {exporter.suffix or 'a folder'}, so the output cannot be {path.name!r}.")
    runtime = runtime_for(exporter.suffix)
    if verify and runtime is None:
        raise OptionError(f"No installed runtime opens {exporter.suffix}: install one, or use --no-verify.")
    started = time.perf_counter()
    with replace_whole(path) as temporary:
        original = source if isinstance(source, Original) else Original(source, images, verify=verify)
        with quiet_frameworks():
            artifact = exporter.export(original.deployable, temporary)
        report = _verified(original, artifact, exporter, runtime, devices, observe) if verify else None
        if runtime is not None:
            proven = devices if report is not None else ()
            document = _metadata(original, artifact, exporter, form, report) | {
                "versions": versions_of(exporter, runtime[1], verified=bool(proven)),
                "settings": settings_of(exporter, devices=proven, pictures=original.count if proven else 0),
            }
            if report is not None and cases:
                document["verification"] |= _recorded(original, artifact, exporter, runtime[1], devices[0])
            document = seal(temporary, document, runtime[1])
            if report is not None and cases:
                _prove_cases(original, temporary, document, runtime, devices)
    seconds = time.perf_counter() - started
    return dataclasses.replace(artifact, path=path, report=report, seconds=seconds, outputs=original.outputs())


def make_exporter(name: str, options: Mapping[str, Any]) -> Exporter:
    """Load an exporter and give it its options.

    Raises:
        UnknownNameError: No such exporter.
        OptionError: It has no such option, or not with this value.
    """
    factory: Any = load_exporter(name)
    known = {field.name for field in dataclasses.fields(factory)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise OptionError(f"{name} has no option {unknown[0]!r}. It has: {', '.join(sorted(known)) or 'none'}.")
    exporter: Exporter = factory(**options)
    return exporter


def default_name(deployable: Deployable, exporter: Exporter) -> str:
    """Return ``MODEL[-precision].suffix``."""
    precision = "" if exporter.precision == "float32" else f"-{exporter.precision}"
    return f"{deployable.name}{precision}{exporter.suffix}"


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
        "outputs": [output.to_json() for output in original.outputs()],
        "preprocess": deployable.preprocess.to_json(),
        "graph_resize": deployable.graph_resize(),
        "postprocess": deployable.postprocess(),
    }


def _verified(
    original: Original,
    artifact: Artifact,
    exporter: Exporter,
    runtime: tuple[str, Runtime] | None,
    devices: Sequence[str],
    observe: Observer | None,
) -> Report:
    if runtime is None or original.pictures is None:
        raise OptionError("There is nothing to verify with: the original was made without pictures.")
    name, engine = runtime
    deployable = original.deployable
    report = merge(
        [
            verify_runner(
                open_quietly(engine, artifact.path, device, artifact.checkpoints),
                name,
                deployable,
                original.pictures,
                original.answers,
                TOLERANCES[exporter.precision],
                observe,
            )
            for device in devices
        ]
    )
    if not report.passed:
        raise VerificationError(
            f"{deployable.name} as {exporter.suffix.lstrip('.')} does not answer like the original: {report.summary()}",
            report,
        )
    return report


def _recorded(
    original: Original, artifact: Artifact, exporter: Exporter, runtime: Runtime, device: str
) -> dict[str, Any]:
    """Return the recorded cases, with what comparing them needs to know."""
    deployable = original.deployable
    if exporter.precision == "int8":
        runner = open_quietly(runtime, artifact.path, device, artifact.checkpoints)
        return own_cases(deployable, runner, original.answers, artifact.nbytes)
    return {"cases": record_cases(case_pictures(deployable), original.case_answers, artifact.nbytes)}


def _prove_cases(
    original: Original,
    path: Path,
    document: Mapping[str, Any],
    runtime: tuple[str, Runtime],
    devices: Sequence[str],
) -> None:
    """Demand the recorded cases of the sealed file: what is shipped passes `edgecv verify` on this machine."""
    if not document["verification"]["cases"]:
        return
    report = verify_recorded(path, document, *runtime, devices)
    if not report.passed:
        raise VerificationError(f"{original.deployable.name} fails its own recorded cases: {report.summary()}", report)


def _metadata(
    original: Original, artifact: Artifact, exporter: Exporter, form: str, report: Report | None
) -> dict[str, Any]:
    return {
        **describe(original),
        "format": form,
        "precision": exporter.precision,
        "verification": report.to_json() if report else {},
        "checkpoints": list(artifact.checkpoints),
        "layers": dict(artifact.layers),
        **artifact.details,
    }
