"""The folder of OpenVINO IR: one ``NAME.xml`` with the graph, ``NAME.bin`` with its weights; without the engine."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from edgecv.errors import ArtifactError
from edgecv.runtimes.container import readable, unreadable

__all__ = ["FORM", "count_operators", "custom_operators", "graph_file", "is_ir"]

FORM = "OpenVINO IR"
_OPSET = re.compile(r"opset\d+")
# What a graph has beside operators.
_BORDERS = ("Const", "Parameter", "Result")


def is_ir(path: Path) -> bool:
    """Say whether a folder holds the graph and the weights of one network."""
    return path.is_dir() and len(_graphs(path)) == 1


def graph_file(path: Path) -> Path:
    """Return the ``.xml`` file in the folder.

    Raises:
        ArtifactError: It is missing, or there are several.
    """
    found = _graphs(path) if path.is_dir() else []
    if len(found) != 1:
        raise ArtifactError(
            f"{str(path)!r} cannot be opened as {FORM}: it has {len(found)} pairs of .xml and .bin. Export it again."
        )
    return found[0]


def count_operators(path: Path) -> dict[str, int]:
    """Count the operators, those of subgraphs included; foreign ones as ``opset.Name``.

    Raises:
        ArtifactError: The file cannot be parsed.
    """
    return dict(sorted(Counter(_qualified(*each) for each in _operators(path)).items()))


def custom_operators(path: Path) -> list[str]:
    """Name the operators outside OpenVINO's own operation sets.

    Raises:
        ArtifactError: The file cannot be parsed.
    """
    return sorted({_qualified(*each) for each in _operators(path) if not _OPSET.fullmatch(each[0])})


def _graphs(path: Path) -> list[Path]:
    return sorted(each for each in path.glob("*.xml") if each.is_file() and each.with_suffix(".bin").is_file())


def _qualified(opset: str, name: str) -> str:
    return name if _OPSET.fullmatch(opset) else f"{opset}.{name}"


def _operators(path: Path) -> Iterator[tuple[str, str]]:
    """Yield operation set and type of every operator."""
    graph = graph_file(path)
    root = ""
    with readable(graph) as file:
        try:
            for event, element in ElementTree.iterparse(file, events=("start", "end")):
                root = root or element.tag
                if event == "end" and element.tag == "layer":
                    kind = element.get("type", "")
                    if kind not in _BORDERS:
                        yield element.get("version", ""), kind
                    element.clear()
        except ElementTree.ParseError as error:
            raise unreadable(path, FORM, error) from error
    if root != "net":
        raise unreadable(path, FORM, f"{graph.name} holds {root!r}, not 'net'")
