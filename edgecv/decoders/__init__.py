"""Decoders: what the numbers of a detector's head mean, and their form in JSON.

Importing this package imports neither Keras nor NumPy.
"""

import dataclasses
import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from edgecv.decoders.anchor_free import AnchorFree
from edgecv.decoders.base import Decoder
from edgecv.decoders.sliding_window import SlidingWindow
from edgecv.decoders.ssd import Ssd
from edgecv.decoders.yolo_grid import YoloGrid
from edgecv.decoders.yolo_v3 import YoloV3
from edgecv.errors import OptionError, one_line

__all__ = [
    "DECODERS",
    "AnchorFree",
    "Decoder",
    "SlidingWindow",
    "Ssd",
    "YoloGrid",
    "YoloV3",
    "decoder_from_json",
    "decoder_to_json",
    "read_decoder",
]

DECODERS: Mapping[str, type[Any]] = {
    decoder.name: decoder for decoder in (SlidingWindow, Ssd, YoloGrid, YoloV3, AnchorFree)
}


# Editors find the schema of a file by this key.
_SCHEMA = "$schema"


def decoder_to_json(decoder: Decoder) -> dict[str, Any]:
    """Return the form that metadata, model files and ``--decoder FILE.json`` have, with every key."""
    values = {field.name: getattr(decoder, field.name) for field in dataclasses.fields(cast("Any", decoder))}
    return {"decoder": decoder.name, **{name: _lists(value) for name, value in values.items()}}


def decoder_from_json(document: Mapping[str, Any]) -> Decoder:
    """Read what `decoder_to_json` writes; missing keys take their defaults, lists become tuples.

    The key ``$schema``, by which editors find a file's schema, is ignored.

    Raises:
        OptionError: A key is unknown or missing, or a value has the wrong type or is out of range.
    """
    if not isinstance(document, Mapping):
        raise OptionError(f"decoder must be a JSON object, got {type(document).__name__}.")
    name = document.get("decoder")
    if not isinstance(name, str) or name not in DECODERS:
        problem = f"must be one of {', '.join(DECODERS)}, got {name!r}" if "decoder" in document else "is missing"
        raise OptionError(f"decoder key 'decoder' {problem}. It names the decoder, such as 'ssd'.")
    kind = DECODERS[name]
    values = {key: value for key, value in document.items() if key not in ("decoder", _SCHEMA)}
    known = {field.name for field in dataclasses.fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise OptionError(
            f"decoder {name!r} has the unknown key {unknown[0]!r}. Known: {', '.join(sorted(known | {'decoder'}))}."
        )
    missing = [key for key in _required(kind) if key not in values]
    if missing:
        raise OptionError(f"decoder {name!r} needs the key {missing[0]!r}.")
    return cast("Decoder", kind(**values))


def read_decoder(value: str) -> Decoder:
    """Read ``--decoder NAME|FILE.json``.

    Args:
        value: A name of `DECODERS` whose keys all have defaults, or the path of a JSON file.

    Raises:
        OptionError: The name is unknown or needs a file, or the file cannot be read or holds no decoder.
    """
    if value in DECODERS:
        return _by_name(value)
    path = Path(value)
    if path.suffix.lower() != ".json" and not path.is_file():
        close = difflib.get_close_matches(value, DECODERS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise OptionError(f"Unknown decoder {value!r}.{hint} Known: {', '.join(DECODERS)}, or a FILE.json.")
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or one_line(error)
        raise OptionError(f"Decoder file {value!r} cannot be read: {problem}.") from error
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise OptionError(f"Decoder file {value!r} is no JSON: {one_line(error)}.") from error
    return decoder_from_json(document)


def _by_name(name: str) -> Decoder:
    kind = DECODERS[name]
    required = _required(kind)
    if required:
        raise OptionError(
            f"decoder {name!r} cannot be used by its name alone: give --decoder a FILE.json with the keys "
            f"{', '.join(['decoder', *required])}."
        )
    return cast("Decoder", kind())


def _required(kind: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING]


def _lists(value: Any) -> Any:
    return [_lists(item) for item in value] if isinstance(value, tuple) else value
