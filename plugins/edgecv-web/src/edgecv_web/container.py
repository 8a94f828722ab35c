"""A page with its network as a runtime reads it, without a browser: a folder for a host, or one HTML file."""

import base64
import binascii
import contextlib
import gzip
import json
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from edgecv import metadata
from edgecv.runtime import TensorInfo
from edgecv.runtimes.container import MOST_BYTES, damaged, mapped, no_metadata, readable, unreadable
from edgecv.runtimes.folder import METADATA_FILE, is_artifact_folder, read_folder_metadata, write_folder_metadata

__all__ = [
    "EMBEDDED_END",
    "EMBEDDED_METADATA",
    "FORM",
    "INDEX_FILE",
    "PAGE_FILE",
    "embedded_start",
    "html_json",
    "is_page",
    "model_file",
    "optional_inputs",
    "read_page_metadata",
    "write_page_metadata",
]

FORM = "a page of edgecv"
INDEX_FILE, PAGE_FILE = "index.html", "page.json"
EMBEDDED_END = b"</script>"
# Larger than any network that a browser can hold; a made-up page must not fill the memory.
_MOST_UNPACKED = 1 << 31


def embedded_start(name: str, kind: str) -> bytes:
    """Return what stands before a file inside a single page."""
    return f'<script type="{kind}" data-asset="{name}">'.encode()


EMBEDDED_METADATA = embedded_start(METADATA_FILE, "application/json")


def html_json(text: str) -> str:
    """Return JSON text that no HTML parser takes for anything else: what opens a tag stands in strings alone."""
    return text.replace("<", "\\u003c")


def is_page(path: Path) -> bool:
    """Say whether a folder is a page with a network; an HTML file is looked at when it is opened."""
    return path.is_file() or (
        is_artifact_folder(path) and all((path / each).is_file() for each in (INDEX_FILE, PAGE_FILE))
    )


def read_page_metadata(path: Path) -> dict[str, Any]:
    """Return the edgecv metadata.

    Raises:
        ArtifactError: There are none, or they make no sense.
    """
    if path.is_dir():
        return read_folder_metadata(path)
    content = _embedded(path, EMBEDDED_METADATA)
    if not content:
        raise no_metadata(path)
    try:
        return metadata.load(content.decode(), path)
    except UnicodeDecodeError as error:
        raise damaged(path, error) from error


def write_page_metadata(path: Path, document: Mapping[str, Any]) -> None:
    """Put the edgecv metadata into a page, in place of those that it has.

    Raises:
        ArtifactError: The file is no page of edgecv.
    """
    if path.is_dir():
        write_folder_metadata(path, document)
        return
    with readable(path) as file:
        content = file.read()
    begin = content.find(EMBEDDED_METADATA) + len(EMBEDDED_METADATA)
    end = content.find(EMBEDDED_END, begin)
    if begin < len(EMBEDDED_METADATA) or end < 0:
        raise unreadable(path, FORM, "it has no place for metadata")
    path.write_bytes(content[:begin] + html_json(metadata.dump(document)).encode() + content[end:])


def optional_inputs(path: Path) -> tuple[TensorInfo, ...]:
    """Return the inputs of the network that the page itself feeds with their defaults.

    Raises:
        ArtifactError: What the page says of itself makes no sense.
    """
    try:
        return tuple(
            TensorInfo(name=str(each["name"]), shape=tuple(map(int, each["shape"])), dtype=str(each["dtype"]))
            for each in _page(path)["optional"]
        )
    except (LookupError, TypeError, ValueError) as error:
        raise unreadable(path, FORM, f"{PAGE_FILE} makes no sense ({error})") from error


@contextlib.contextmanager
def model_file(path: Path) -> Iterator[Path]:
    """Yield the ONNX file of a page; that of a single file is unpacked for as long as it is looked at.

    Raises:
        ArtifactError: There is none.
    """
    name = _page(path).get("model")
    if not isinstance(name, str) or PurePosixPath(name).name != name:
        raise unreadable(path, FORM, f"{PAGE_FILE} names no network")
    if path.is_dir():
        yield path / name
        return
    content = _embedded(path, embedded_start(name, "text/plain"))
    if content is None:
        raise unreadable(path, FORM, f"it has no {name!r} inside")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(_unpacked(path, content))
        yield file


def _page(path: Path) -> dict[str, Any]:
    """Return what the page is told: its network's file, the optional inputs with their defaults, its pictures."""
    if path.is_dir():
        with readable(path / PAGE_FILE) as file:
            content: bytes | None = file.read(MOST_BYTES)
    else:
        content = _embedded(path, embedded_start(PAGE_FILE, "application/json"))
    try:
        document = json.loads(content or b"")
    except (ValueError, RecursionError) as error:
        raise unreadable(path, FORM, f"{PAGE_FILE} makes no sense ({error})") from error
    if not isinstance(document, dict):
        raise unreadable(path, FORM, f"{PAGE_FILE} is no object")
    return document


def _embedded(path: Path, start: bytes) -> bytes | None:
    """Return a file inside a single page as it stands there; None where there is none."""
    with mapped(path) as data:
        begin = data.find(start)
        if begin < 0:
            return None
        end = data.find(EMBEDDED_END, begin)
        return bytes(data[begin + len(start) : end]) if end >= 0 else None


def _unpacked(path: Path, content: bytes) -> bytes:
    try:
        packed = base64.b64decode(content, validate=True)
        stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
        unpacked = stream.decompress(packed, _MOST_UNPACKED)
        if not stream.eof:
            raise zlib.error("it is cut or too large")
    except (binascii.Error, zlib.error, gzip.BadGzipFile) as error:
        raise unreadable(path, FORM, error) from error
    return unpacked
