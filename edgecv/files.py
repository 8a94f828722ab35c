"""Files that appear whole or not at all.

A result is written under a temporary name beside its final one and renamed. The temporary's name
carries the writer's process id, so that the next run can remove what a killed one left behind.
"""

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from edgecv.errors import OutputError

__all__ = ["remove", "replace_whole", "scratch_folder", "writable_folder"]

_TEMPORARY = re.compile(r"^\.edgecv-tmp-(?P<pid>\d{1,9})-[0-9a-f]{8}-")
# Names that this process is writing under. Others with its process id are of a dead one: containers give the same ids.
_WRITING: set[str] = set()


@contextlib.contextmanager
def replace_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block ends without error.

    The block may create a file or a folder under the yielded path. On any error, also a keyboard
    interrupt, it is removed and ``path`` stays as it was. Within the block of another `replace_whole`
    its temporary path is yielded as it is: one renaming is enough.

    Raises:
        OutputError: The folder is missing or cannot be written, or the disk is full.
    """
    if _TEMPORARY.match(path.name):
        yield path
        return
    writable_folder(path)
    with _temporary(path) as temporary:
        try:
            yield temporary
            _rename(temporary, path)
        except OSError as error:
            raise _output_error(path, error) from error


@contextlib.contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside ``path`` for what becomes it, or not; it is removed at the end, whatever happens.

    Raises:
        OutputError: The folder of ``path`` is missing or cannot be written, or the disk is full.
    """
    writable_folder(path)
    with _temporary(path) as folder:
        try:
            folder.mkdir()
            yield folder
        except OSError as error:
            raise _output_error(path, error) from error


def writable_folder(path: Path) -> Path:
    """Return the folder of ``path``, cleaned of temporaries whose writer is gone.

    Raises:
        OutputError: It is missing, not a folder, or takes no file, or ``path`` is a device, pipe or socket.
    """
    folder = path.parent
    try:
        is_folder = folder.is_dir()
        special = path.exists() and not (path.is_file() or path.is_dir())
    except OSError as error:  # behind a folder that may not be entered, or a name that is too long
        raise _output_error(path, error) from error
    if not is_folder:
        what = "is not a folder" if folder.exists() else "does not exist"
        raise OutputError(f"Cannot write {str(path)!r}: the folder {str(folder)!r} {what}. Create it first.")
    if special:  # renaming would put a file in the place of the device
        raise OutputError(f"Cannot write {str(path)!r}: it is a device, pipe or socket. Name a file.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"Cannot write {str(path)!r}: the folder {str(folder)!r} is read-only.")
    _try(path)
    with contextlib.suppress(PermissionError):  # a folder that can be written but not listed
        for entry in folder.iterdir():
            match = _TEMPORARY.match(entry.name)
            if match and not _in_use(entry.name, int(match["pid"])):
                remove(entry)
    return folder


def _try(path: Path) -> None:
    """Create a file beside ``path`` and remove it: rights alone do not say that a system's own folder takes one.

    Raises:
        OutputError: None can be created.
    """
    with _temporary(path) as probe:
        try:
            probe.touch()
        except OSError as error:
            if error.errno == errno.ENOENT:  # the answer of /proc
                what = f"the folder {str(path.parent)!r} takes no files. Name another one."
                raise OutputError(f"Cannot write {str(path)!r}: {what}") from error
            raise _output_error(path, error) from error


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """Yield a free name beside ``path``; what is there at the end is removed."""
    name = f".edgecv-tmp-{os.getpid()}-{secrets.token_hex(4)}-{path.name}"
    _WRITING.add(name)
    try:
        yield path.parent / name
    finally:
        remove(path.parent / name)
        _WRITING.discard(name)


def _rename(temporary: Path, path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        if not temporary.is_dir():
            raise OutputError(f"Cannot write {str(path)!r}: it is a folder. Name a file with -o.")
        # A folder cannot be replaced in one step; the old one leaves under a name that clean-up knows.
        with _temporary(path) as old:
            path.rename(old)
            try:
                temporary.rename(path)
            except OSError:
                old.rename(path)
                raise
        return
    if temporary.is_file():
        # Without this, a power cut after the rename could leave an empty file under the final name.
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
    temporary.replace(path)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there and can be removed."""
    if os.path.isdir(path) and not path.is_symlink():  # noqa: PTH112 - Path.is_dir raises where the name is too long
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _in_use(name: str, pid: int) -> bool:
    if pid == os.getpid():
        return name in _WRITING
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it runs as another user
        return True
    return True


def _output_error(path: Path, error: OSError) -> OutputError:
    path = _wanted(path)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"Cannot write {str(path)!r}: the disk is full. Free some space and try again.")
    return OutputError(f"Cannot write {str(path)!r}: {error.strerror or error}.")


def _wanted(path: Path) -> Path:
    """Return what the user asked for: a file in a folder for what becomes it, or not, stands for that."""
    for folder in path.parents:
        if _TEMPORARY.match(folder.name):
            return folder.with_name(_TEMPORARY.sub("", folder.name))
    return path
