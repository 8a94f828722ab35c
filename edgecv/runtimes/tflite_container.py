"""The container of TFLite: metadata and operators of a ``.tflite`` file, without a FlatBuffers library.

The metadata lie in a zip that is appended to the FlatBuffer, as TFLite's own metadata do, so that any
zip reader opens the file: ``labels.txt``, one name a line, and ``edgecv.json``.

A zip holds the CRC-32 of ``edgecv.json``, which holds the digest of the file, which covers the CRC-32. The
circle is broken by making the CRC independent of the digest. CRC-32 is linear over GF(2): the digest's
characters at byte ``i`` from the end add ``D(x) · x^(8i) mod P(x)`` to it, with P the CRC's polynomial. The
digest is written five times, at distances for which ``Σ x^(8i) ≡ 0 mod P``, so that the five contributions
cancel whatever the digest is. The first place is the key ``digest``; the other four are in the text of the
key ``digest_guard``, which serves for nothing else. Five is the least number with places this near:
four need 3007 bytes (found by search over all pairs of places).
"""

import io
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecv import metadata
from edgecv.flatbuffer import FlatbufferError, Table, root, with_integers
from edgecv.runtimes.container import MOST_BYTES, Buffer, mapped, no_metadata, unreadable
from edgecv.tflite_operators import operator_of

__all__ = [
    "DIGEST_PLACES",
    "count_operators",
    "custom_operators",
    "exposing",
    "read_metadata",
    "signature",
    "with_guard",
    "write_metadata",
]

# Byte distances of the five digests from the first one.
DIGEST_PLACES = (0, 118, 205, 340, 724)

_IDENTIFIER = b"TFL3"
_MODEL_CODES, _MODEL_SUBGRAPHS, _MODEL_SIGNATURES = 1, 2, 7
_SUBGRAPH_TENSORS, _SUBGRAPH_OUTPUTS, _SUBGRAPH_OPERATORS = 0, 2, 3
_NAME_OF_TENSOR = 3
_OPERATOR_CODE = 0
_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS, _SIGNATURE_KEY, _SIGNATURE_SUBGRAPH = 0, 1, 2, 4
_TENSOR_NAME, _TENSOR_INDEX = 0, 1

_DOCUMENT, _LABELS = "edgecv.json", "labels.txt"
_GUARD = "digest_guard"
_END = b"PK\x05\x06"
_END_SIZE = 22


def read_metadata(path: Path) -> dict[str, Any]:
    """Read the edgecv metadata.

    Raises:
        ArtifactError: The file cannot be parsed or has no edgecv metadata.
    """
    _model_checked(path)
    if _zip_start(path) is None:
        raise no_metadata(path)
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read(_sound(archive)).decode()
    except KeyError as error:
        raise no_metadata(path) from error
    except Exception as error:  # zipfile raises a dozen types on damaged bytes
        raise unreadable(path, "TFLite", error) from error
    document = metadata.load(text, path)
    document.pop(_GUARD, None)
    return document


def write_metadata(path: Path, document: Mapping[str, Any]) -> None:
    """Append the zip with the edgecv metadata, in place of the one that the file has.

    Raises:
        ArtifactError: The file cannot be parsed.
    """
    _model_checked(path)
    start = _zip_start(path)
    labels = [" ".join(str(label).split()) for label in document.get("labels") or ()]
    with path.open("r+b") as file:
        if start is not None:
            file.truncate(start)
        file.seek(0, io.SEEK_END)
        # Opened behind the FlatBuffer, the zip counts its offsets from the beginning of the file.
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            if labels:
                archive.writestr(_entry(_LABELS), "".join(f"{label}\n" for label in labels).encode(errors="replace"))
            archive.writestr(_entry(_DOCUMENT), with_guard(metadata.dump(document)))


def with_guard(text: str) -> str:
    """Add the key ``digest_guard``: the digest four times more, where its effect on the CRC-32 cancels.

    Args:
        text: A JSON object whose last key is ``digest``; without one it is returned as it is.
    """
    before, found, rest = text.rpartition('"digest": "')
    if not found or len(rest) != len('"}') + 64:
        return text
    digest = rest[:64]
    guarded = f'{digest}", "{_GUARD}": "'
    for place in DIGEST_PLACES[1:]:
        guarded += "." * (place - len(guarded)) + digest
    return f'{before}{found}{guarded}"}}'


def count_operators(path: Path) -> dict[str, int]:
    """Count the operators, those of subgraphs included; a custom one goes by its own name.

    Raises:
        ArtifactError: The file cannot be parsed.
    """
    return dict(sorted(Counter(name for name, _ in _operators(path)).items()))


def custom_operators(path: Path) -> list[str]:
    """Name the operators that are not builtin ones, Flex (TensorFlow's own) included.

    Raises:
        ArtifactError: The file cannot be parsed.
    """
    return sorted({name for name, custom in _operators(path) if custom})


def signature(path: Path, key: str) -> tuple[list[tuple[str, int]], list[tuple[str, int]]] | None:
    """Return inputs and outputs of a signature of the main subgraph, as names and tensor indices, in its order.

    Returns:
        None where there is no such signature.

    Raises:
        ArtifactError: The file cannot be parsed.
    """
    with mapped(path) as data:
        try:
            for table in root(data, _IDENTIFIER).tables(_MODEL_SIGNATURES):
                if table.text(_SIGNATURE_KEY) == key and table.integer(_SIGNATURE_SUBGRAPH, "I") == 0:
                    return _tensors(table, _SIGNATURE_INPUTS), _tensors(table, _SIGNATURE_OUTPUTS)
        except FlatbufferError as error:
            raise unreadable(path, "TFLite", error) from error
    return None


def exposing(path: Path, names: Sequence[str]) -> tuple[bytes, dict[str, int]]:
    """Return the file's bytes with further tensors of the main subgraph as outputs, and their indices by name.

    Raises:
        ArtifactError: The file cannot be parsed or has no such tensor.
    """
    with mapped(path) as data:
        try:
            main = next(root(data, _IDENTIFIER).tables(_MODEL_SUBGRAPHS))
            known = {tensor.text(_NAME_OF_TENSOR): index for index, tensor in enumerate(main.tables(_SUBGRAPH_TENSORS))}
            lacking = [name for name in names if name not in known]
            if lacking:
                raise FlatbufferError(f"there is no tensor {lacking[0]!r}")
            outputs = main.integers(_SUBGRAPH_OUTPUTS)
            added = {name: known[name] for name in names}
            more = [index for index in added.values() if index not in outputs]
            return with_integers(main, _SUBGRAPH_OUTPUTS, [*outputs, *more]), added
        except (FlatbufferError, StopIteration) as error:
            raise unreadable(path, "TFLite", error) from error


def _tensors(table: Table, field: int) -> list[tuple[str, int]]:
    return [(each.text(_TENSOR_NAME), each.integer(_TENSOR_INDEX, "I")) for each in table.tables(field)]


def _sound(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """Return the entry of the metadata, whose size is bounded before it is read.

    Raises:
        KeyError: There is none.
        BadZipFile: There are several, it is too large, or of a method that unpacks as much as it likes.
    """
    found = archive.getinfo(_DOCUMENT)
    if archive.namelist().count(_DOCUMENT) > 1:
        raise zipfile.BadZipFile(f"{_DOCUMENT} is there more than once")
    if found.file_size > MOST_BYTES:
        raise zipfile.BadZipFile(f"{_DOCUMENT} is too large")
    if found.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile(f"{_DOCUMENT} is compressed by the method {found.compress_type}")
    return found


def _entry(name: str) -> zipfile.ZipInfo:
    """Return an entry that is the same on every machine and day."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    return entry


def _model_checked(path: Path) -> None:
    with mapped(path) as data:
        try:
            root(data, _IDENTIFIER).integer(0)
        except FlatbufferError as error:
            raise unreadable(path, "TFLite", error) from error


def _zip_start(path: Path) -> int | None:
    """Return where the appended zip begins; None where the file does not end in one.

    A zip without a comment ends in a record of fixed size. Looking for its mark further inside, as
    `zipfile.is_zipfile` does, could find it among the weights.
    """
    with mapped(path) as data:
        if len(data) < _END_SIZE or data[-_END_SIZE:][:4] != _END:
            return None
    try:
        with zipfile.ZipFile(path) as archive:
            return min((entry.header_offset for entry in archive.infolist()), default=None)
    except Exception as error:  # zipfile raises a dozen types on damaged bytes
        raise unreadable(path, "TFLite", error) from error


def _operators(path: Path) -> list[tuple[str, bool]]:
    """Return every operator's name and whether it is a custom one."""
    with mapped(path) as data:
        try:
            model = root(data, _IDENTIFIER)
            codes = [operator_of(table) for table in model.tables(_MODEL_CODES)]
            return [codes[index] for index in _operator_codes(data, model, len(codes))]
        except FlatbufferError as error:
            raise unreadable(path, "TFLite", error) from error


def _operator_codes(data: Buffer, model: Table, codes: int) -> Iterator[int]:
    count = 0
    for subgraph in model.tables(_MODEL_SUBGRAPHS):
        for operator in subgraph.tables(_SUBGRAPH_OPERATORS):
            index = operator.integer(_OPERATOR_CODE, "I")
            if index >= codes:
                raise FlatbufferError(f"operator {count} has the code {index} of {codes}")
            count += 1
            if count > len(data):  # damaged subgraphs that share one list could multiply without end
                raise FlatbufferError("it has more operators than bytes")
            yield index
