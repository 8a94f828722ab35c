"""Picture files by the names that labels give them."""

import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["PictureFinder"]


class PictureFinder:
    """Looks for pictures in several folders; where the last one was, the next is likely, too."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = list(folders)

    def find(self, name: str) -> Path | None:
        """Return the file of this name, which may have folders in it; None where there is none."""
        for index, folder in enumerate(self._folders):
            path = folder / name.replace("\\", "/")
            if _is_file(path):
                self._folders.insert(0, self._folders.pop(index))
                return path
        return None


def _is_file(path: Path) -> bool:
    try:
        return os.path.isfile(path)  # noqa: PTH113 (a third of the time of Path.is_file, for 100,000 pictures)
    except ValueError:  # a name with a zero byte
        return False
