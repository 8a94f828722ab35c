"""YOLO's ``data.yaml``: where the pictures of each part are, and what the classes are called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv.data.samples import PARTS, Part
from edgecv.errors import DataError

if TYPE_CHECKING:
    from yaml.nodes import Node

__all__ = ["DataYaml", "Place", "read_data_yaml"]


@dataclass(frozen=True)
class Place:
    """Where pictures are.

    Attributes:
        path: A folder, or a text file that lists pictures.
        line: The line that names it, from 1.
    """

    path: Path
    line: int


@dataclass(frozen=True)
class DataYaml:
    """What the file says.

    Attributes:
        file: The file.
        root: The folder that its places start from.
        parts: The places of each part.
        names: Names by class number.
    """

    file: Path
    root: Path
    parts: Mapping[Part, Sequence[Place]]
    names: tuple[str, ...]


def read_data_yaml(file: Path) -> DataYaml:
    """Read it; nothing is executed, and nothing downloaded whatever it says.

    Raises:
        DataError: It is no YAML, names no part, or names no classes or other ones than it counts.
    """
    nodes, values = _parse(file)
    if "validation" in values and "val" not in values:
        nodes["val"], values["val"] = nodes["validation"], values["validation"]
    root = _root(file, values.get("path"))
    parts = {part: places for part in PARTS if (places := _places(file, root, nodes.get(part), values.get(part)))}
    if not parts:
        raise DataError(f"{str(file)!r} names neither train nor val nor test. Give it one, a folder of pictures.")
    return DataYaml(file, root, parts, _names(file, nodes, values))


def _parse(file: Path) -> tuple[dict[str, "Node"], dict[str, Any]]:
    """Return the nodes, which know their lines, and the values of the outermost mapping."""
    import yaml

    try:
        text = file.read_text(encoding="utf-8-sig")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise DataError(f"{str(file)!r} is not UTF-8 text, so no data.yaml of YOLO. Name another file.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # dates that are none raise ValueError
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or type(error).__name__
        raise DataError(f"{file}:{mark.line + 1 if mark else 1}: is no YAML: {problem}. Mend it.") from error
    if not isinstance(values, dict) or not isinstance(tree, yaml.MappingNode):
        raise DataError(f"{str(file)!r} is no data.yaml of YOLO: it has no keys. Name another file.")
    return {key.value: node for key, node in tree.value}, values


def _root(file: Path, path: Any) -> Path:
    """Return the folder of the data: as it says, if there is such a folder, else that of the file."""
    folder = file.parent / str(path) if path else file.parent
    return folder if folder.is_dir() else file.parent


def _places(file: Path, root: Path, node: "Node | None", value: Any) -> list[Place]:
    if node is None or value is None or value == "":
        return []
    values = value if isinstance(value, list) else [value]
    nodes = node.value if isinstance(value, list) else [node]
    places = []
    for one, each in zip(nodes, values, strict=True):
        line = one.start_mark.line + 1
        if not isinstance(each, str):
            raise DataError(f"{file}:{line}: {each!r} is no folder. Give the path of a folder of pictures.")
        path = root / each
        # A widespread exporter writes its paths as seen from one folder below.
        if not path.exists() and each.startswith("../"):
            path = root / each.removeprefix("../")
        places.append(Place(path, line))
    return places


def _names(file: Path, nodes: Mapping[str, "Node"], values: Mapping[str, Any]) -> tuple[str, ...]:
    count = values.get("nc")
    if "names" not in nodes and isinstance(count, int) and count > 0:
        return tuple(f"class_{number}" for number in range(count))
    line = nodes["names"].start_mark.line + 1 if "names" in nodes else 1
    names = _texts(nodes.get("names"))
    if not names:
        raise DataError(
            f"{file}:{line}: names are neither a list of the classes' names nor numbered from 0 without gaps. Write "
            "them so: [cat, dog]."
        )
    twice = next((text for index, text in enumerate(names) if text in names[:index]), None)
    if twice is not None:
        raise DataError(f"{file}:{line}: names have {twice!r} twice. Name each class once.")
    if count is not None and count != len(names):
        place = nodes["nc"].start_mark.line + 1
        raise DataError(f"{file}:{place}: nc is {count!r}, but there are {len(names)} names. Mend one of them.")
    return names


def _texts(node: "Node | None") -> tuple[str, ...]:
    """Return names as they are written: for YAML itself, a class called "no" is false."""
    if node is None or not isinstance(node.value, list):
        return ()
    pairs = [each if isinstance(each, tuple) else (None, each) for each in node.value]
    if any(not isinstance(each.value, str) or not each.value.strip() for _, each in pairs):
        return ()
    if any(key is not None for key, _ in pairs):
        pairs.sort(key=lambda pair: int(pair[0].value) if str(pair[0].value).isdecimal() else -1)
        if [key.value for key, _ in pairs] != [str(number) for number in range(len(pairs))]:
            return ()
    return tuple(each.value.strip() for _, each in pairs)
