"""RUN_DIR/log: the history once more, for TensorBoard."""

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecv.errors import OutputError
from edgecv.quiet import quiet_frameworks

__all__ = ["TensorBoardLog"]

_VALIDATION = "val_"


class TensorBoardLog:
    """Writes epochs under the names that Keras' own callback uses: ``train`` and ``validation``, ``epoch_loss`` ….

    What is in the folder is written anew: a run that goes on has each epoch once.
    """

    def __init__(self, folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
        """Open it.

        Args:
            folder: Where it goes.
            history: Rows of the epochs that are done.

        Raises:
            OutputError: It cannot be written.
        """
        self._folder = folder
        with self._telling():
            shutil.rmtree(folder, ignore_errors=True)
        self._writers: dict[str, Any] = {}
        for row in history:
            self.write(row)

    def write(self, row: Mapping[str, Any]) -> None:
        """Write an epoch.

        Raises:
            OutputError: It cannot be written.
        """
        import tensorflow as tf

        with self._telling():
            for name, value in row.items():
                if not isinstance(value, float) or name == "seconds":
                    continue
                part = "validation" if name.startswith(_VALIDATION) else "train"
                if part not in self._writers:
                    self._writers[part] = tf.summary.create_file_writer(str(self._folder / part))
                with self._writers[part].as_default(step=row["epoch"]):
                    tf.summary.scalar(f"epoch_{name.removeprefix(_VALIDATION)}", value)
            for writer in self._writers.values():
                writer.flush()

    def close(self) -> None:
        """Close its files."""
        with self._telling():
            for writer in self._writers.values():
                writer.close()

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        import tensorflow as tf

        try:
            with quiet_frameworks():
                yield
        except (OSError, tf.errors.OpError) as error:
            raise OutputError(
                f"Cannot write the log {str(self._folder)!r}: {getattr(error, 'message', None) or error}. "
                "Free some space, or allow writing there."
            ) from error
