"""Artifacts that are folders: their metadata are the file ``edgecv.json`` at the top.

What a runtime of such a format needs beside its engine; the digest covers every file of the folder.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecv import metadata
from edgecv.runtimes.container import MOST_BYTES, damaged, no_metadata, readable

__all__ = ["METADATA_FILE", "FolderMetadata", "is_artifact_folder", "read_folder_metadata", "write_folder_metadata"]

METADATA_FILE = "edgecv.json"


def is_artifact_folder(path: Path) -> bool:
    """Say whether edgecv wrote a folder as an artifact."""
    return path.is_dir() and (path / METADATA_FILE).is_file()


def read_folder_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of an artifact that is a folder.

    Raises:
        ArtifactError: It has none, or they make no sense.
    """
    if not is_artifact_folder(path):
        raise no_metadata(path)
    with readable(path / METADATA_FILE) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise damaged(path, f"{METADATA_FILE} is too large")
    try:
        return metadata.load(content.decode(), path)
    except UnicodeDecodeError as error:
        raise damaged(path, error) from error


def write_folder_metadata(path: Path, document: Mapping[str, Any]) -> None:
    """Put the metadata into a folder, in place of those that it has."""
    (path / METADATA_FILE).write_text(metadata.dump(document))


class FolderMetadata:
    """The half of a Runtime that is the same for every format whose artifacts are folders."""

    def read_metadata(self, path: Path) -> dict[str, Any]:
        """Read the edgecv metadata without the engine.

        Raises:
            ArtifactError: There are none, or they make no sense.
        """
        return read_folder_metadata(path)

    def write_metadata(self, path: Path, document: Mapping[str, Any]) -> None:
        """Put the edgecv metadata into the folder, at its top, in place of those that it has."""
        write_folder_metadata(path, document)
