"""A model repository with one model, as a runtime reads it; without protobuf."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecv.runtimes.container import readable, unreadable

from edgecv_triton.config import CONFIG_FILE, MODEL_FILE

__all__ = ["FORM", "Repository", "is_repository", "read_repository"]

FORM = "a Triton model repository"
_TOKEN = re.compile(r'\s+|#[^\n]*|(?P<text>"(?:[^"\\]|\\.)*")|(?P<word>[\w.+-]+)|(?P<mark>[{}\[\]:,;])')
_DEEPEST = 20

Message = dict[str, list[Any]]


@dataclass(frozen=True, kw_only=True)
class Repository:
    """What is in the folder.

    Attributes:
        model: The ONNX file of the newest version.
        max_batch_size: Largest batch that the server makes; 0 where it makes none.
        inputs: Names of inputs → whether they may be left out.
    """

    model: Path
    max_batch_size: int
    inputs: dict[str, bool]


def is_repository(path: Path) -> bool:
    """Say whether a folder is a model repository with one model of ONNX."""
    return path.is_dir() and len(_models(path)) == 1


def read_repository(path: Path) -> Repository:
    """Read the configuration, and find the newest version.

    Raises:
        ArtifactError: There is no model, there are several, or the configuration makes no sense.
    """
    models = _models(path) if path.is_dir() else []
    if len(models) != 1:
        raise unreadable(path, FORM, f"it has {len(models)} folders with {CONFIG_FILE} and NUMBER/{MODEL_FILE}")
    with readable(models[0] / CONFIG_FILE) as file:
        content = file.read()
    try:
        config = _message(_tokens(content.decode()), 0)
        inputs = {str(each["name"][0]): each.get("optional", ["false"])[0] == "true" for each in config["input"]}
        largest = int(config.get("max_batch_size", ["0"])[0])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise unreadable(path, FORM, f"{CONFIG_FILE} makes no sense ({error})") from error
    return Repository(model=_versions(models[0])[-1] / MODEL_FILE, max_batch_size=largest, inputs=inputs)


def _models(path: Path) -> list[Path]:
    folders = [folder for folder in path.iterdir() if (folder / CONFIG_FILE).is_file()]
    return [folder for folder in folders if _versions(folder)]


def _versions(model: Path) -> list[Path]:
    """Return the folders of versions, the newest last."""
    found = [folder for folder in model.iterdir() if folder.name.isdecimal() and (folder / MODEL_FILE).is_file()]
    return sorted(found, key=lambda folder: int(folder.name))


def _tokens(text: str) -> Iterator[str]:
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise ValueError(f"at character {place}")
        place = match.end()
        if match.lastgroup is not None and match[0] not in (",", ";"):
            yield match[0]


def _message(tokens: Iterator[str], depth: int) -> Message:
    """Read fields until the end, or the brace that closes the message: name → its values, in their order."""
    if depth > _DEEPEST:
        raise ValueError("it is nested too deep")
    found: Message = {}
    for name in tokens:
        if name == "}":
            if depth == 0:
                raise ValueError("a brace too many")
            return found
        token = next(tokens, "")
        if token == ":":
            token = next(tokens, "")
        found.setdefault(name, []).extend(_values(token, tokens, depth))
    if depth:
        raise ValueError("a brace is missing")
    return found


def _values(token: str, tokens: Iterator[str], depth: int) -> list[Any]:
    if token == "{":
        return [_message(tokens, depth + 1)]
    if token == "[":
        values: list[Any] = []
        for inner in tokens:
            if inner == "]":
                return values
            values += _values(inner, tokens, depth + 1)
        raise ValueError("a bracket is missing")
    if token in ("", "}", "]", ":"):
        raise ValueError("a value is missing")
    return [json.loads(token) if token.startswith('"') else token]
