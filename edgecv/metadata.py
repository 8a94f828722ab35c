"""The metadata inside an artifact: its JSON text and its digest.

The digest is the sha256 of the whole file with the digest's own 64 characters set to ``0`` wherever they
stand. It detects damage, not an attacker. How the text lies in the file is the runtime's business.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecv.errors import ArtifactError, DigestError
from edgecv.runtime import Runtime
from edgecv.runtimes.container import Buffer, mapped, no_metadata, writable

__all__ = ["check_digest", "compute_digest", "dump", "load", "seal"]

_ORDER = (
    "edgecv_version", "model", "task", "weights", "sha256", "labels", "input", "outputs", "preprocess",
    "postprocess", "format", "precision", "verification", "layers",
)  # fmt: skip
_REQUIRED = ("edgecv_version", "model", "task", "input", "outputs", "preprocess")
_HEX = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 24


def dump(document: Mapping[str, Any]) -> str:
    """Return the JSON text of a metadata document: ASCII, in a fixed order of keys, ``digest`` last.

    Raises:
        ValueError: A number is infinite or not a number.
    """
    rest = sorted(set(document) - {*_ORDER, "digest"})
    ordered = {key: document[key] for key in (*_ORDER, *rest, "digest") if key in document}
    return json.dumps(ordered, allow_nan=False)


def load(text: str, path: Path) -> dict[str, Any]:
    """Parse the JSON text of an artifact's metadata.

    Args:
        text: The text.
        path: The artifact, for the error.

    Raises:
        ArtifactError: It is no JSON object, or lacks a key that every artifact has.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{str(path)!r} has damaged edgecv metadata: {error}. Export it again.") from error
    if not isinstance(document, dict):
        raise no_metadata(path)
    lacking = [key for key in _REQUIRED if key not in document]
    if lacking:
        raise ArtifactError(f"{str(path)!r} has edgecv metadata without {lacking[0]!r}. Export it again.")
    return document


def seal(path: Path, document: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """Put the metadata into an artifact, digest included.

    Args:
        path: The artifact; it is changed in place, so it has to be a temporary file.
        document: The metadata; a ``digest`` in it is replaced.
        runtime: Knows the container.

    Returns:
        The metadata as they stand in the file.
    """
    sealed = {key: value for key, value in document.items() if key != "digest"}
    # No text can contain its own hash: the placeholder stands where the digest goes and nowhere else.
    placeholder = hashlib.sha256(dump(sealed).encode()).hexdigest()
    runtime.write_metadata(path, {**sealed, "digest": placeholder})
    with writable(path) as data:
        places = _places(data, placeholder)
        digest = _hash(data, places)
        for place in places:
            data[place : place + len(digest)] = digest.encode()
    return {**sealed, "digest": digest}


def check_digest(path: Path, document: Mapping[str, Any]) -> None:
    """Check that an artifact's bytes are those that were sealed.

    Args:
        path: The artifact.
        document: Its metadata.

    Raises:
        DigestError: They are not.
        ArtifactError: The file cannot be read.
    """
    digest = document.get("digest")
    if not isinstance(digest, str) or not _HEX.fullmatch(digest) or compute_digest(path, digest) != digest:
        raise DigestError(f"{str(path)!r} is damaged: its digest disagrees. Export it again.")


def compute_digest(path: Path, digest: str) -> str:
    """Return the sha256 of a file with every occurrence of ``digest`` set to zeros.

    Raises:
        ArtifactError: The file cannot be read.
    """
    with mapped(path) as data:
        return _hash(data, _places(data, digest))


def _places(data: Buffer, digest: str) -> list[int]:
    """Return where the characters stand, as ``data.replace`` would find them."""
    wanted = digest.encode()
    places = []
    place = data.find(wanted)
    while place >= 0:
        places.append(place)
        place = data.find(wanted, place + len(wanted))
    return places


def _hash(data: Buffer, places: list[int]) -> str:
    state = hashlib.sha256()
    position = 0
    for place in [*places, len(data)]:
        for begin in range(position, place, _CHUNK):
            state.update(data[begin : min(begin + _CHUNK, place)])
        if place < len(data):
            state.update(b"0" * 64)
            position = place + 64
    return state.hexdigest()
