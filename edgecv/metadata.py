"""The metadata inside an artifact: its JSON text and its digest.

The digest is the sha256 of the whole file with the digest's own 64 characters set to ``0`` wherever they
stand; of a folder's files one after the other in the order of their names, each behind its name and size. It
detects damage, not an attacker. How the text lies in the file is the runtime's business.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecv.errors import ArtifactError, DigestError
from edgecv.runtime import Runtime
from edgecv.runtimes.container import artifact_files, damaged, no_metadata, readable

__all__ = ["check_digest", "compute_digest", "dump", "is_intact", "load", "seal"]

_ORDER = (
    "edgecv_version", "model", "task", "weights", "sha256", "labels", "input", "outputs", "preprocess",
    "graph_resize", "postprocess", "format", "precision", "settings", "versions", "quantization", "verification",
    "checkpoints", "layers",
)  # fmt: skip
_REQUIRED = ("edgecv_version", "model", "task", "input", "outputs", "preprocess")
_OBJECTS = (
    "weights", "input", "preprocess", "postprocess", "graph_resize", "settings", "versions", "quantization",
    "verification", "layers",
)  # fmt: skip
_KINDS: Mapping[str, tuple[type, str]] = {
    **dict.fromkeys(("edgecv_version", "model", "task", "precision"), (str, "a text")),
    **dict.fromkeys(("labels", "outputs", "checkpoints"), (list, "a list")),
    **dict.fromkeys(_OBJECTS, (dict, "an object")),
}
_HEX = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 22
# Of an input: pictures are made of this shape, and a made-up one must not fill the memory.
_MOST_VALUES = 1 << 28


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
        ArtifactError: It is no JSON object, lacks a key that every artifact has, or a key holds what it cannot.
    """
    try:
        document = json.loads(text, parse_constant=_refused, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    if not isinstance(document, dict):
        raise no_metadata(path)
    lacking = [key for key in _REQUIRED if key not in document]
    if lacking:
        raise ArtifactError(f"{str(path)!r} has edgecv metadata without {lacking[0]!r}. Export it again.")
    problem = _problem(document)
    if problem:
        raise damaged(path, problem)
    return document


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refused(digits[:20])


def _problem(document: Mapping[str, Any]) -> str:
    """Say which key holds what it cannot, or nothing."""
    for key, (kind, words) in _KINDS.items():
        value = document.get(key)
        if not isinstance(value, kind) and (value is not None or key in _REQUIRED):
            return f"{key!r} must be {words}, got {type(value).__name__}"
    for key in ("input", "outputs"):
        tensors = document[key] if isinstance(document[key], list) else [document[key]]
        if not all(map(_is_tensor, tensors)):
            return f"{key!r} must have name, shape and dtype"
    if math.prod(side or 1 for side in document["input"]["shape"]) > _MOST_VALUES:
        return "'input' is too large"
    if not all(isinstance(name, str) for name in document.get("checkpoints") or ()):
        return "'checkpoints' must be texts"
    resize = document.get("graph_resize")
    if resize and not all(_is_side(resize.get(side)) for side in ("height", "width")):
        return "'graph_resize' must have height and width"
    return ""


def _is_tensor(document: Any) -> bool:
    return (
        isinstance(document, dict)
        and isinstance(document.get("name"), str)
        and isinstance(document.get("dtype"), str)
        and isinstance(document.get("shape"), list)
        and all(side is None or _is_side(side) for side in document["shape"])
    )


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_VALUES


def seal(path: Path, document: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """Put the metadata into an artifact, digest included.

    Args:
        path: The artifact; it is changed in place, so it has to be a temporary file or folder.
        document: The metadata; a ``digest`` in it is replaced.
        runtime: Knows the container.

    Returns:
        The metadata as they stand in the file.
    """
    sealed = {key: value for key, value in document.items() if key != "digest"}
    # No text can contain its own hash: the placeholder stands where the digest goes and nowhere else.
    placeholder = hashlib.sha256(dump(sealed).encode()).hexdigest()
    runtime.write_metadata(path, {**sealed, "digest": placeholder})
    digest, places = _hash(path, placeholder)
    for file, place in places:
        with file.open("r+b") as stream:
            stream.seek(place)
            stream.write(digest.encode())
    return {**sealed, "digest": digest}


def check_digest(path: Path, document: Mapping[str, Any]) -> None:
    """Check that an artifact's bytes are those that were sealed.

    Args:
        path: The artifact.
        document: Its metadata.

    Raises:
        DigestError: They are not.
        ArtifactError: A file cannot be read.
    """
    if not is_intact(path, document):
        raise DigestError(f"{str(path)!r} is damaged: its digest disagrees. Export it again.")


def is_intact(path: Path, document: Mapping[str, Any]) -> bool:
    """Say whether an artifact's bytes are those that were sealed.

    Raises:
        ArtifactError: A file cannot be read.
    """
    digest = document.get("digest")
    return isinstance(digest, str) and bool(_HEX.fullmatch(digest)) and compute_digest(path, digest) == digest


def compute_digest(path: Path, digest: str) -> str:
    """Return the sha256 of an artifact with every occurrence of ``digest`` set to zeros.

    Raises:
        ArtifactError: A file cannot be read.
    """
    return _hash(path, digest)[0]


def _hash(path: Path, digest: str) -> tuple[str, list[tuple[Path, int]]]:
    """Return the sha256 with zeros for the digest, and where the digest stands: files and places in them."""
    state = hashlib.sha256()
    places = []
    for name, file in artifact_files(path).items():
        if path.is_dir():
            state.update(f"{name}\0{file.stat().st_size}\0".encode())
        places += [(file, place) for place in _hash_file(state, file, digest)]
    return state.hexdigest(), places


def _hash_file(state: Any, path: Path, digest: str) -> list[int]:
    """Bring a file into a hash with zeros for the digest, and return where the digest stands.

    The file is read in pieces: mapped, hundreds of megabytes would count as this process's memory.
    """
    wanted, zeros = digest.encode(), b"0" * 64
    places = []
    with readable(path) as file:
        offset, rest = 0, b""
        while piece := file.read(_CHUNK):
            data = rest + piece
            done = 0
            while (place := data.find(wanted, done)) >= 0:
                places.append(offset + place)
                done = place + len(wanted)
            # The last characters may be the beginning of a digest that ends in the next piece.
            done = max(done, len(data) - len(wanted) + 1, 0)
            state.update(data[:done].replace(wanted, zeros))
            offset, rest = offset + done, data[done:]
        state.update(rest)
    return places
