"""What the checks of one exporter share: networks, their answers, artifacts of them, and a second process.

Everything is made when a check asks for it, once. What an export raised is kept, too: the check that is about it says
so, the others look at what could be written without verification, or are skipped.
"""

import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv import registry
from edgecv.exporting import (
    default_name,
    make_exporter,
    refuse_unsupported,
    runtime_of_exporter,
    source_exporter,
    unverified_because,
)
from edgecv.quiet import quiet_frameworks
from edgecv.testing.cases import CASES
from edgecv.testing.check import FailedError, SkippedError

if TYPE_CHECKING:
    import numpy as np

    from edgecv.artifact import Artifact
    from edgecv.deployable import Deployable
    from edgecv.exporter import Exporter, Precision
    from edgecv.pipeline import Original
    from edgecv.runtime import Runner, Runtime

__all__ = ["Bench", "Made", "cannot", "environment_of", "start"]

# As many pictures as int8 needs to learn ranges of small networks, and to hold some out.
_CALIBRATION = 60
_SIDE = 48
_TIME_LIMIT = 900
# Seconds for the times of reduced precisions, which no check looks at.
_TIMED = 0.05


@dataclass(frozen=True, kw_only=True)
class Made:
    """What exporting a case gave.

    Attributes:
        artifact: What was written, where anything was.
        error: What `edgecv.export` raised.
    """

    artifact: "Artifact | None"
    error: Exception | None = None


def cannot(exporter: "Exporter", deployable: "Deployable") -> str | None:
    """Return why an exporter says that it cannot write something; None where it can."""
    unsupported = getattr(exporter, "unsupported", None)
    reason: str | None = unsupported(deployable) if unsupported is not None else None
    return reason


class Bench:
    """An exporter under test.

    Attributes:
        name: Its name.
        folder: Where all of it is written; it is the caller's to remove.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder.resolve()
        self._originals: dict[str, Original] = {}
        self._made: dict[tuple[str, str], Made] = {}
        self._runners: dict[tuple[str, str], Runner] = {}
        self._second: subprocess.Popen[str] | None = None

    @functools.cached_property
    def factory(self) -> "type[Exporter]":
        """The exporter's class.

        Raises:
            PluginError: It cannot be loaded.
        """
        return registry.load_exporter(self.name)

    @property
    def base(self) -> str:
        """The precision that most checks use: float32 where the exporter has it."""
        return "float32" if "float32" in self.factory.precisions else self.factory.precisions[0]

    @functools.cached_property
    def calibration(self) -> Path:
        """A folder of real pictures: crops of the photos that ship with edgecv."""
        import numpy as np
        from PIL import Image

        from edgecv.photos import shipped_photos

        folder = self.folder / "calibration"
        folder.mkdir()
        random = np.random.default_rng(0)
        photos = list(shipped_photos().values())
        for index in range(_CALIBRATION):
            photo = photos[index % len(photos)]
            side = int(random.integers(min(photo.shape[:2]) // 2, min(photo.shape[:2])))
            top, left = (int(random.integers(0, length - side + 1)) for length in photo.shape[:2])
            crop = Image.fromarray(photo[top : top + side, left : left + side])
            crop.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR).save(folder / f"{index:03d}.png")
        return folder

    def options(self, precision: str) -> dict[str, Any]:
        """Return the options for a precision, as `edgecv.export` takes them."""
        options: dict[str, Any] = {} if precision == "float32" else {"precision": precision}
        if precision == "int8" and "calibration" in getattr(self.factory, "__dataclass_fields__", {}):
            options["calibration"] = self.calibration
        return options

    def exporter(self, precision: "Precision | str | None" = None, **options: Any) -> "Exporter":
        """Make an exporter, as `edgecv.export` does."""
        given = self.options(precision or self.base) | options
        if isinstance(given.get("calibration"), Path):
            from edgecv.calibration_pictures import calibration_pictures

            given["calibration"] = calibration_pictures(given["calibration"]).calibration
        return make_exporter(self.name, given)

    @functools.cached_property
    def runtime(self) -> "tuple[str, Runtime]":
        """Name and runtime of what the exporter writes.

        Raises:
            SkippedError: There is none.
        """
        found = runtime_of_exporter(self.exporter())
        if found is None:
            raise SkippedError("no installed runtime opens it: see the check 'runtime'")
        return found

    def must_run(self) -> None:
        """Leave a check that runs artifacts, where the exporter says that nothing here can.

        Raises:
            SkippedError: Nothing can.
        """
        reason = unverified_because(self.exporter())
        if reason is not None:
            raise SkippedError(f"nothing here can run it: {reason}")

    def original(self, case: str) -> "Original":
        """Return a case with its answers."""
        from edgecv.pipeline import Original

        if case not in self._originals:
            with quiet_frameworks():
                self._originals[case] = Original(CASES[case].deploy())
        return self._originals[case]

    def made(self, case: str, precision: str | None = None) -> Made:
        """Export a case, verified; where that fails, without verification.

        Raises:
            SkippedError: The exporter says that it cannot write it.
        """
        precision = precision or self.base
        if (case, precision) not in self._made:
            original = self.original(case)
            exporter = self.exporter(precision)
            reason = cannot(exporter, original.deployable)
            if reason is not None:
                raise SkippedError(f"{self.name} says that it cannot write it: {reason}")
            folder = self.folder / f"{case} {precision}"
            folder.mkdir()
            path = folder / default_name(original.deployable, exporter)
            self._made[case, precision] = self._export(case, path, precision)
        return self._made[case, precision]

    def artifact(self, case: str = "classifier", precision: str | None = None) -> "Artifact":
        """Return the artifact of a case, verified or not.

        Raises:
            SkippedError: There is none.
        """
        made = self.made(case, precision)
        if made.artifact is None:
            raise SkippedError(f"there is no artifact to look at: see the checks 'answers-…' ({_line(made.error)})")
        return made.artifact

    def first(self, *cases: str) -> str:
        """Return the first of some cases that the exporter can write.

        Raises:
            SkippedError: It can write none of them.
        """
        reasons = []
        for case in cases:
            try:
                self.artifact(case)
            except SkippedError as error:
                reasons.append(str(error))
            else:
                return case
        raise SkippedError(reasons[0])

    @property
    def simplest(self) -> str:
        """The simplest case that the exporter can write."""
        return self.first("classifier", *CASES)

    def runner(self, case: str, precision: str | None = None) -> "Runner":
        """Open the artifact of a case in its runtime, checkpoints exposed.

        Raises:
            SkippedError: There is none, or nothing here can run it.
        """
        self.must_run()
        key = (case, precision or self.base)
        if key not in self._runners:
            artifact = self.artifact(case, precision)
            with quiet_frameworks():
                self._runners[key] = self.runtime[1].open(artifact.path, expose=artifact.checkpoints)
        return self._runners[key]

    def document(self, case: str, precision: str | None = None) -> dict[str, Any]:
        """Read the metadata of a case's artifact through its runtime."""
        return self.runtime[1].read_metadata(self.artifact(case, precision).path)

    def direct(self, case: str, path: Path, exporter: "Exporter | None" = None) -> "Artifact":
        """Call the exporter itself, without all that `edgecv.export` does around it."""
        exporter = exporter or self.exporter()
        original = self.original(case)
        refuse_unsupported(exporter, original.deployable, self.name)
        source = self.source(case, exporter)
        with quiet_frameworks():
            return exporter.export(source, path)

    def source(self, case: str, exporter: "Exporter") -> "Deployable | Artifact":
        """Return what an exporter starts from: the Deployable, or another one's artifact of it."""
        original = self.original(case)
        if exporter.source == "deployable":
            return original.deployable
        from edgecv.pipeline import export

        inner = source_exporter(exporter)
        folder = self.new_folder("source")
        path = folder / default_name(original.deployable, inner)
        with quiet_frameworks():
            start = export(original, to=inner, name=exporter.source, path=path, verify=False)
        return dataclasses.replace(start, deployable=original.deployable)

    def new_folder(self, name: str) -> Path:
        """Make a new folder."""
        number = 0
        while (folder := self.folder / f"{name} {number}").exists():
            number += 1
        folder.mkdir()
        return folder

    def copy(self, path: Path) -> Path:
        """Copy an artifact into a new folder."""
        copy = self.new_folder("copy") / path.name
        if path.is_dir():
            shutil.copytree(path, copy)
        else:
            shutil.copyfile(path, copy)
        return copy

    def pictures(self, case: str) -> "np.ndarray[Any, Any]":
        """Return uint8 pictures of a case's size: two photos, noise, all black, all white."""
        import numpy as np

        pictures = self.original(case).pictures
        if pictures is None:
            raise SkippedError("its original has no pictures")
        shape = (1, *pictures.values.shape[1:])
        extremes = [np.full(shape, value, np.uint8) for value in (0, 255)]
        return np.concatenate([pictures.values[:2], pictures.values[-1:], *extremes])

    @functools.cached_property
    def second(self) -> dict[str, Any]:
        """What a second process reports: see `edgecv.testing.second`.

        Raises:
            FailedError: It died on the way.
        """
        process = self.start_second()
        try:
            _, errors = process.communicate(timeout=_TIME_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            raise FailedError(f"a second process that exports took more than {_TIME_LIMIT} s") from None
        report = self.folder / "second" / "report.json"
        document: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {}
        document["exit"] = process.returncode
        if "finished" not in document:
            last = " ".join(errors.split())[-300:] or f"exit {process.returncode}"
            raise FailedError(f"a second process that exports died: {last}")
        return document

    def start_second(self) -> "subprocess.Popen[str]":
        """Start the second process, if it does not run yet; it works beside this one."""
        if self._second is None:
            folder = self.folder / "second"
            for each in (folder, folder / "temporary", folder / "current"):
                each.mkdir()
            needs = [str(self.calibration)] if "int8" in self.factory.precisions else []
            # What must not show in an artifact is different there: order of hashes, clock, folders.
            environment = {
                "PYTHONHASHSEED": "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2",
                "TZ": "Pacific/Kiritimati",
                "TMPDIR": str(folder / "temporary"),
            }
            self._second = start("second", self.name, str(folder), *needs, environment=environment, folder="current")
        return self._second

    def close(self) -> None:
        """End what still runs."""
        if self._second is not None and self._second.poll() is None:
            self._second.kill()
            self._second.communicate()

    def _export(self, case: str, path: Path, precision: str) -> Made:
        from edgecv.budget import timed_within

        with timed_within(_TIMED):
            return self._export_timed(case, path, precision)

    def _export_timed(self, case: str, path: Path, precision: str) -> Made:
        from edgecv.pipeline import export

        original = self.original(case)
        options = self.options(precision)
        unproven = precision == "int8" and CASES[case].unproven_in_int8
        try:
            with quiet_frameworks():
                if unproven:
                    return Made(artifact=export(original, to=self.name, path=path, verify=False, **options))
                # Int8 holds pictures out of its calibration to verify on, which the shared answers do not have.
                source = original.deployable if precision == "int8" else original
                return Made(artifact=export(source, to=self.name, path=path, **options))
        except Exception as error:  # the code of others may raise anything
            problem = error
        try:
            with quiet_frameworks():
                return Made(artifact=export(original, to=self.name, path=path, verify=False, **options), error=problem)
        except Exception:  # the first one said why
            return Made(artifact=None, error=problem)


def environment_of() -> dict[str, str]:
    """Return the environment of a process that finds the plugins that this one finds."""
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": paths}


def start(
    module: str, *arguments: str, environment: Mapping[str, str] | None = None, folder: str | None = None
) -> "subprocess.Popen[str]":
    """Start a module of the kit in a process that finds the plugins that this one finds.

    Args:
        module: Its name, such as ``second``.
        arguments: What it is given; the second one is the folder for what it writes.
        environment: What is other in its environment.
        folder: Its current folder, within that one; by default this process's.
    """
    return subprocess.Popen(
        [sys.executable, "-m", f"edgecv.testing.{module}", *arguments],
        env={**environment_of(), **(environment or {})},
        cwd=Path(arguments[1]) / folder if folder else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def _line(error: Exception | None) -> str:
    from edgecv.errors import one_line

    return one_line(error) if error is not None else "unknown"
