"""Artifacts that are zips: their metadata are the member ``edgecv.json``, which any zip reader shows.

What an exporter and a runtime of such a format need beside their engine. A zip holds a checksum of each member, and the
digest in the metadata covers that of the metadata themselves: `tflite_container` says how this circle is broken.
"""

import shutil
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecv import metadata
from edgecv.errors import ArtifactError
from edgecv.files import replace_whole
from edgecv.runtimes.container import damaged, no_metadata, unreadable
from edgecv.runtimes.tflite_container import with_guard

__all__ = ["METADATA_MEMBER", "read_archive_metadata", "read_member", "write_archive", "write_archive_metadata"]

METADATA_MEMBER = "edgecv.json"
_GUARD = "digest_guard"
_MAX_METADATA = 1 << 26
# Members are unpacked into memory: a zip of some kilobytes may claim to hold terabytes.
_MAX_MEMBER = 1 << 32


def write_archive(path: Path, members: Mapping[str, bytes], *, compress: bool = False) -> None:
    """Write a zip of the same bytes for the same members on every day.

    Args:
        path: The file to write; it appears whole.
        members: Name → content, in the order in which they are written.
        compress: Deflate them.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    with replace_whole(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in members.items():
            archive.writestr(_entry(name, compress=compress), content)


def read_member(path: Path, name: str) -> bytes:
    """Return the content of a member of a zip.

    Raises:
        ArtifactError: The file is no zip, is damaged, or has no such member.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, name, _MAX_MEMBER)
    except Exception as error:  # zipfile raises a dozen types on damaged bytes
        raise unreadable(path, "zip", error) from error


def read_archive_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of an artifact that is a zip.

    Raises:
        ArtifactError: The file is no zip, is damaged, or has none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if METADATA_MEMBER not in archive.namelist():
                raise no_metadata(path)
            content = _read(archive, METADATA_MEMBER, _MAX_METADATA)
    except ArtifactError:
        raise
    except Exception as error:  # zipfile raises a dozen types on damaged bytes
        raise unreadable(path, "zip", error) from error
    try:
        document = metadata.load(content.decode(), path)
    except UnicodeDecodeError as error:
        raise damaged(path, error) from error
    document.pop(_GUARD, None)
    return document


def write_archive_metadata(path: Path, document: Mapping[str, Any]) -> None:
    """Put the metadata behind all other members of a zip, in place of those that it has.

    Raises:
        ArtifactError: The file is no zip, or is damaged.
    """
    try:
        old = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise unreadable(path, "zip", error) from error
    temporary = path.with_name(f"{path.name}.new")
    try:
        with old, zipfile.ZipFile(temporary, "w") as new:
            for info in old.infolist():
                if info.filename != METADATA_MEMBER:
                    _copy(old, info, new)
            new.writestr(_entry(METADATA_MEMBER), with_guard(metadata.dump(document)))
        temporary.replace(path)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise unreadable(path, "zip", error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _copy(old: zipfile.ZipFile, info: zipfile.ZipInfo, new: zipfile.ZipFile) -> None:
    entry = _entry(info.filename, compress=info.compress_type == zipfile.ZIP_DEFLATED)
    entry.file_size = info.file_size
    with old.open(info) as source, new.open(entry, "w") as target:
        shutil.copyfileobj(source, target)


def _read(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    if name not in archive.namelist():
        raise zipfile.BadZipFile(f"there is no {name!r} in it")
    if archive.getinfo(name).file_size > most:
        raise zipfile.BadZipFile(f"{name} is too large")
    return archive.read(name)


def _entry(name: str, *, compress: bool = False) -> zipfile.ZipInfo:
    """Return an entry that is the same on every machine and day."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    return entry
