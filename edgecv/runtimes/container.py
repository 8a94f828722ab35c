"""Reading and writing the bytes of an artifact's files, with errors of one line."""

import contextlib
import io
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edgecv.errors import ArtifactError, NoMetadataError, OptionError

__all__ = [
    "MOST_BYTES",
    "Buffer",
    "artifact_files",
    "damaged",
    "is_unicode",
    "making_sense",
    "mapped",
    "no_metadata",
    "one_line",
    "readable",
    "size_of",
    "unreadable",
]

Buffer = bytes | mmap.mmap

# Of metadata; a damaged or made-up file must not fill the memory.
MOST_BYTES = 1 << 26


def unreadable(path: Path, form: str, problem: object) -> ArtifactError:
    """Return the error of a file that cannot be parsed as ``form``."""
    return ArtifactError(f"{str(path)!r} cannot be opened as {form}: {one_line(problem)}. Export it again.")


def no_metadata(path: Path) -> NoMetadataError:
    """Return the error of a file without edgecv metadata."""
    return NoMetadataError(
        f"{str(path)!r} has no edgecv metadata: it is cut or edgecv did not write it. Export it again."
    )


def damaged(path: Path, problem: object) -> ArtifactError:
    """Return the error of a file whose edgecv metadata make no sense."""
    return ArtifactError(f"{str(path)!r} has damaged edgecv metadata: {one_line(problem)}. Export it again.")


@contextlib.contextmanager
def making_sense(path: Path, what: str) -> Iterator[None]:
    """Turn what reading metadata of any form may raise into the error of damaged metadata.

    Args:
        path: The artifact.
        what: What is read of them.

    Raises:
        ArtifactError: They make no sense.
    """
    try:
        yield
    except OptionError as error:
        raise damaged(path, error) from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise damaged(path, f"{what} make no sense ({type(error).__name__}: {str(error)[:200]})") from error


def is_unicode(path: Path) -> bool:
    """Say whether a path is UTF-8 text; a file system takes any bytes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def one_line(problem: object) -> str:
    """Return a message on one line, without its final full stop."""
    return " ".join(str(problem).split()).rstrip(".") or type(problem).__name__


def artifact_files(path: Path) -> dict[str, Path]:
    """Return an artifact's files by name, sorted: itself, or where it is a folder all below it, as ``sub/name``.

    Raises:
        ArtifactError: There is a link in the folder, which may lead anywhere, or it cannot be listed.
    """
    if not path.is_dir():
        return {path.name: path}

    def fail(error: OSError) -> None:
        raise _cannot_read(path, error) from error

    found: dict[str, Path] = {}
    for folder, below, files in os.walk(path, onerror=fail):
        for name in (*below, *files):
            entry = Path(folder, name)
            if entry.is_symlink() or not (entry.is_dir() or entry.is_file()):
                inside = entry.relative_to(path).as_posix()
                raise ArtifactError(f"Artifact {str(path)!r} has {inside!r} in it, which is no file. Export it again.")
            if name in files:
                found[entry.relative_to(path).as_posix()] = entry
    return dict(sorted(found.items()))


def size_of(path: Path) -> int:
    """Return the bytes of an artifact, of all its files where it is a folder."""
    return sum(file.stat().st_size for file in artifact_files(path).values())


@contextlib.contextmanager
def mapped(path: Path) -> Iterator[Buffer]:
    """Yield a file's bytes, read as they are touched: artifacts may have hundreds of megabytes.

    Raises:
        ArtifactError: The file is missing, is a folder, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            if file.seek(0, io.SEEK_END) == 0:  # an empty file cannot be mapped
                yield b""
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                yield data
    except OSError as error:
        raise _cannot_read(path, error) from error


@contextlib.contextmanager
def readable(path: Path) -> Iterator[BinaryIO]:
    """Yield a file opened for reading.

    Raises:
        ArtifactError: The file is missing, is a folder, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise _cannot_read(path, error) from error


def _cannot_read(path: Path, error: OSError) -> ArtifactError:
    problem = error.strerror or error
    return ArtifactError(
        f"Artifact {str(path)!r} cannot be read: {one_line(problem)}. Name a file that edgecv exported."
    )
