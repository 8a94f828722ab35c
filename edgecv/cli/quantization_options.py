"""Options of `export` that say how far int8 may go, and what they find."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgecv.cli.common import status, warn
from edgecv.errors import OptionError

if TYPE_CHECKING:
    from edgecv.artifact import Artifact
    from edgecv.budget import Budget
    from edgecv.calibration_pictures import CalibrationPictures
    from edgecv.deployable import Deployable
    from edgecv.exporter import Exporter
    from edgecv.judging import LabelledPictures

__all__ = ["QuantizationOptions", "describe_quantization", "quantization_lines", "quantization_options"]

Command = TypeVar("Command", bound=Callable[..., Any])

_NAMES = ("calibration", "calibration_noise", "max_drop", "data", "data_format", "part")
_FLAGS = {"data_format": "format"}


def quantization_options(command: Command) -> Command:
    """Add ``--calibration``, ``--max-drop``, ``--data`` and what belongs to them."""
    options = (
        click.option(
            "--calibration",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Real pictures for int8, 100 or more, also in folders of classes; every fifth is held out.",
        ),
        click.option("--calibration-noise", is_flag=True, help="Take pictures of random noise to calibrate on, too."),
        click.option(
            "--max-drop",
            type=float,
            metavar="X",
            help="Accuracy budget of int8, such as 0.02: layers go back to float32 until it is kept.",
        ),
        click.option(
            "--data", metavar="PATH", help="Labelled pictures to judge int8 on. Default: agreement with the original."
        ),
        click.option("--format", "data_format", metavar="NAME", help="Format of --data. Default: recognised."),
        click.option(
            "--part",
            type=click.Choice(["test", "val", "train", "all"]),
            help="Part of --data. Default: its own test part, else all.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


class QuantizationOptions:
    """The options of one call, taken out of all of its options and checked step by step, the quick checks first."""

    def __init__(self, options: dict[str, Any], *, precision: str, verify: bool) -> None:
        """Take the options.

        Args:
            options: All that the command was given; those of this module are removed.
            precision: What is asked for.
            verify: Whether the artifact is run.

        Raises:
            OptionError: One has no use, or is out of range.
        """
        self._given = {name: options.pop(name) for name in _NAMES}
        self._precision = precision
        self._pictures: CalibrationPictures | None = None
        self._data: LabelledPictures | None = None
        self._told: set[str] = set()
        used = [name for name in _NAMES if self._given[name]]
        for name in used if precision != "int8" else ():
            raise OptionError(f"{_flag(name)} is for --precision int8, got {precision}. Leave it out.")
        if self._given["max_drop"] is not None:
            from edgecv.budget import check_max_drop

            check_max_drop(self._given["max_drop"])
        for name in ("max_drop", "data") if not verify else ():
            if self._given[name] is not None:
                raise OptionError(f"{_flag(name)} needs the artifact to run: it cannot go with --no-verify.")
        for name in ("data_format", "part"):
            if self._given[name] is not None and self._given["data"] is None:
                raise OptionError(f"{_flag(name)} is for --data, which is missing. Leave it out.")

    def make_exporters(self, formats: Sequence[str], own: Mapping[str, Mapping[str, Any]]) -> "dict[str, Exporter]":
        """Return the exporters with their options, and look at all that they need of pictures.

        Args:
            formats: Their names.
            own: Name → the options that it has alone.

        Raises:
            UnknownNameError: There is no such exporter.
            OptionError: One cannot write this precision, or there are no pictures.
            PictureError: A picture cannot be read, or is random noise.
            DataError: The labelled pictures cannot be read.
        """
        from edgecv.exporting import make_exporter
        from edgecv.registry import load_exporter

        quantised = self._precision == "int8" and self._given["calibration"] is not None
        if not quantised or any(self._precision not in load_exporter(name).precisions for name in formats):
            return {name: make_exporter(name, {**own[name], "precision": self._precision}) for name in formats}
        from edgecv.calibration_pictures import calibration_pictures
        from edgecv.judging import open_labelled

        with status("looking at the pictures"):
            self._pictures = calibration_pictures(self._given["calibration"], noise=self._given["calibration_noise"])
            if self._given["data"] is not None:
                self._data = open_labelled(
                    self._given["data"], format=self._given["data_format"], part=self._given["part"]
                )
        self.tell(self._pictures.notes)
        options = {"precision": self._precision, "calibration": self._pictures.calibration}
        return {name: make_exporter(name, {**own[name], **options}) for name in formats}

    def budget(self, deployable: "Deployable") -> "Budget | None":
        """Return what int8 is judged by; None for other precisions.

        Raises:
            OptionError: The task has no metric, or there are too few pictures.
            DataError: The labels do not suit the network.
        """
        if self._pictures is None:
            return None
        from edgecv.budget import make_budget

        budget = make_budget(deployable, self._pictures, max_drop=self._given["max_drop"], data=self._data)
        self.tell(budget.pictures.notes)
        return budget

    @property
    def held_out(self) -> tuple[Path, ...]:
        """The pictures that do not calibrate."""
        return self._pictures.held_out if self._pictures is not None else ()

    def tell(self, notes: Collection[str]) -> None:
        """Warn the user of each thing once."""
        for note in notes:
            if note not in self._told:
                self._told.add(note)
                warn(note)

    def tell_of(self, name: str, artifact: "Artifact") -> None:
        """Warn the user of what an artifact's quantisation brought up."""
        if artifact.quantization is not None:
            self.tell(artifact.quantization.notes)
        slower = artifact.speeds.warning(f"{name} in {self._precision}") if artifact.speeds is not None else None
        self.tell([slower] if slower else [])


def describe_quantization(artifact: "Artifact | None") -> Mapping[str, Any] | None:
    """Return what ``export --json`` says of it under ``quantization``; None for float32."""
    if artifact is None:
        return None
    if artifact.quantization is not None:
        return artifact.quantization.to_json()
    return artifact.speeds.to_json() if artifact.speeds is not None else None


def quantization_lines(artifact: "Artifact") -> list[str]:
    """Return what a person should read of it."""
    return artifact.quantization.summary() if artifact.quantization is not None else []


def _flag(name: str) -> str:
    return f"--{_FLAGS.get(name, name).replace('_', '-')}"
