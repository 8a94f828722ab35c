"""Pascal VOC, written: ``Annotations``, ``JPEGImages``, ``ImageSets/Main``, and the classes in ``labels.txt``.

The numbers have all their digits: xmin = x1 + 1 reads back as the very x1.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgecv.data.decimals import plus_text
from edgecv.data.samples import Box, Part
from edgecv.data.writers.base import Page
from edgecv.errors import DataError
from edgecv.extras import require

if TYPE_CHECKING:
    from lxml.etree import _Element

__all__ = ["VocWriter"]

# In the order of VOC's own files; ``occluded`` came with VOC2008 and is written where it is told.
_ALWAYS = {"pose": "Unspecified", "truncated": 0, "difficult": 0}
_SOMETIMES = ("occluded",)


class VocWriter:
    """Writes Pascal VOC."""

    name: ClassVar[str] = "voc"

    def folder(self, part: Part | None) -> str:  # noqa: ARG002
        """Return ``JPEGImages``, whatever the part."""
        return "JPEGImages"

    def carries(self, key: str, pages: Sequence[Page]) -> bool:  # noqa: ARG002
        """VOC has a place for its own keys alone."""
        return key in _ALWAYS or key in _SOMETIMES

    def write(self, root: Path, classes: Sequence[str], pages: Sequence[Page]) -> None:
        """Write an XML file for each picture, and lists of the parts."""
        require("lxml", extra="eval", purpose="Writing Pascal VOC")
        (root / "Annotations").mkdir()
        for page in pages:
            (root / "Annotations" / f"{Path(page.name).stem}.xml").write_bytes(_xml(page, classes))
        (root / "labels.txt").write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")
        _write_sets(root / "ImageSets" / "Main", pages)


def _write_sets(folder: Path, pages: Sequence[Page]) -> None:
    stems: dict[str, list[str]] = {}
    for page in pages:
        stems.setdefault(page.part or "default", []).append(Path(page.name).stem)
    if set(stems) == {"default"}:
        return
    folder.mkdir(parents=True)
    if "train" in stems and "val" in stems:
        stems["trainval"] = stems["train"] + stems["val"]
    for name, listed in stems.items():
        (folder / f"{name}.txt").write_text("".join(f"{stem}\n" for stem in listed), encoding="utf-8")


def _xml(page: Page, classes: Sequence[str]) -> bytes:
    from lxml import etree

    height, width = page.size
    tree = etree.Element("annotation")
    _add(tree, "folder", "JPEGImages")
    _add(tree, "filename", page.name)
    size = etree.SubElement(tree, "size")
    for side, value in (("width", width), ("height", height), ("depth", 3)):
        _add(size, side, value)
    _add(tree, "segmented", 0)
    for box in page.boxes:
        _add_object(etree.SubElement(tree, "object"), box, classes[box.category])
    return etree.tostring(tree, pretty_print=True, encoding="utf-8")


def _add_object(node: "_Element", box: Box, name: str) -> None:
    from lxml import etree

    _add(node, "name", name)
    for key, default in _ALWAYS.items():
        _add(node, key, box.extra.get(key, default))
    for key in _SOMETIMES:
        if key in box.extra:
            _add(node, key, box.extra[key])
    bounds = etree.SubElement(node, "bndbox")
    corners = {
        "xmin": plus_text(box.x1, 1),
        "ymin": plus_text(box.y1, 1),
        "xmax": plus_text(box.x2, 0),
        "ymax": plus_text(box.y2, 0),
    }
    for corner, text in corners.items():
        _add(bounds, corner, text)


def _add(parent: "_Element", tag: str, value: object) -> None:
    from lxml import etree

    try:
        etree.SubElement(parent, tag).text = str(value)
    except ValueError as error:  # XML has no place for control characters
        raise DataError(f"XML cannot hold the {tag} {str(value)!r}: it has control characters. Rename it.") from error
