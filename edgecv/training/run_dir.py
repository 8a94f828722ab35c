"""RUN_DIR: the folder of a training run, all that `edgecv export` and `--resume` need.

model.keras          the best network so far, with preprocessing, labels and decoder; appears after the first epoch
run.json             settings, data, versions, state: running, finished, stopped early, interrupted, diverged, failed
history.csv          a row an epoch
evaluation.json      scores on the test part, once the run has ended
checkpoints/         last.npz: all that going on needs
log/                 for TensorBoard
pictures/            a few of the data, on which exports are verified beside the shipped photos
plots/               losses, metrics, confusion matrix, predictions beside truth
"""

import contextlib
import csv
import fcntl
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from edgecv.errors import OutputError, TrainingError
from edgecv.files import replace_whole, writable_folder
from edgecv.pictures import Picture

__all__ = ["DIVERGED", "RunDir", "is_run_dir", "read_run"]

DIVERGED = "diverged"  # the state of a run whose loss is no number any more

_RECORD = "run.json"
_PICTURES = "pictures"
_LOCK = ".lock"
_MODEL = "model.keras"

Row = Mapping[str, Any]


def is_run_dir(path: Path) -> bool:
    """Tell whether a folder is that of a training run."""
    try:
        return (path / _RECORD).is_file()
    except OSError:  # behind a folder that may not be entered, or a name that is too long
        return False


def read_run(path: Path) -> dict[str, Any]:
    """Read run.json.

    Raises:
        TrainingError: It is missing or damaged.
    """
    record = path / _RECORD
    try:
        document = json.loads(record.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or not isinstance(document.get("settings"), dict):
            raise ValueError("it has no settings")
    except OSError as error:
        raise TrainingError(
            f"{str(path)!r} is no run of edgecv train: {_RECORD} cannot be read ({error.strerror})."
        ) from error
    except ValueError as error:
        raise TrainingError(f"{str(record)!r} is damaged: {error}. Train again with --force.") from error
    return document


class RunDir:
    """The folder of a run; every file in it appears whole.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def model(self) -> Path:
        """The best network so far."""
        return self.path / _MODEL

    @property
    def checkpoint(self) -> Path:
        """All that going on needs."""
        return self.path / "checkpoints" / "last.npz"

    @property
    def pictures(self) -> tuple[Path, ...]:
        """A few pictures of its data."""
        return tuple(sorted((self.path / _PICTURES).glob("*.png")))

    @property
    def plots(self) -> Path:
        """Folder of the plots."""
        return self.path / "plots"

    @property
    def log(self) -> Path:
        """Folder for TensorBoard."""
        return self.path / "log"

    def check_free(self, *, force: bool) -> None:
        """Refuse a folder that is there, or that cannot be made.

        Raises:
            OutputError: It exists and ``force`` is false, it exists and is no run (that is never removed), or its
                parent is missing or read-only.
        """
        writable_folder(self.path)
        if not self.path.exists() or self._is_empty():
            return
        if not is_run_dir(self.path):
            raise OutputError(f"{str(self.path)!r} exists and is no run of edgecv train. Choose another -o.")
        if not force:
            raise OutputError(
                f"The run {str(self.path)!r} exists. Go on with it by --resume, replace it by --force, or choose "
                "another -o."
            )

    def check_writable(self) -> None:
        """Refuse a run that cannot go on in its folder.

        Raises:
            OutputError: It is read-only.
        """
        for file in (self.path / _RECORD, self.checkpoint):
            writable_folder(file)

    def _is_empty(self) -> bool:
        return self.path.is_dir() and not any(self.path.iterdir())

    def create(self, document: Mapping[str, Any], pictures: Sequence[Picture] = ()) -> None:
        """Make the folder with its run.json, in place of an old run.

        Args:
            document: What run.json says.
            pictures: A few of the data.

        Raises:
            OutputError: It cannot be made.
        """
        with replace_whole(self.path) as temporary:
            temporary.mkdir()
            for folder in ("checkpoints", "log", "plots", _PICTURES):
                (temporary / folder).mkdir()
            for number, picture in enumerate(pictures):
                Image.fromarray(picture.pixels).save(temporary / _PICTURES / f"{number}.png")
            (temporary / _RECORD).write_text(_json(document), encoding="utf-8")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run within the block: two processes would write one history.

        The system lets go of it when the process ends, in whatever way.

        Raises:
            TrainingError: Another process holds it.
        """
        with (self.path / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise TrainingError(
                    f"The run {str(self.path)!r} is being trained by another process. Wait for it, or choose "
                    "another -o."
                ) from error
            yield

    def write_record(self, document: Mapping[str, Any]) -> None:
        """Write run.json."""
        self.write_json(_RECORD, document)

    def write_json(self, name: str, document: Mapping[str, Any]) -> None:
        """Write a JSON file."""
        with replace_whole(self.path / name) as temporary:
            temporary.write_text(_json(document), encoding="utf-8")

    def write_history(self, rows: Sequence[Row]) -> None:
        """Write history.csv; columns that appear later are empty in the rows before."""
        columns = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with replace_whole(self.path / "history.csv") as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8")


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, allow_nan=False) + "\n"
