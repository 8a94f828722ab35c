"""Pascal VOC: an XML file for each picture.

    PATH/Annotations/a.xml, PATH/JPEGImages/a.jpg                    as VOC itself; also annotations/ and images/
    PATH/ImageSets/Main/{train,val,trainval,test}.txt                the parts, where there are such files
    PATH/a.xml, PATH/a.png                                           each beside its picture
    PATH/train/a.xml, PATH/train/a.jpg, PATH/valid/…                 the same for each part

VOC counts pixels from 1 and includes the last one: xmin … xmax covers x1 = xmin − 1 … x2 = xmax of `Box`, whose borders
lie between pixels; a box of one pixel has xmin = xmax. Files that count from 0 give themselves away by a 0, which is
refused. Fractions are kept. Classes are numbered in the order of their names, unless ``labels.txt`` or ``classes.txt``
in PATH gives an order. What VOC says of an object beyond its box stands in `Box.extra`.

Reference:
    Everingham and Winn, "The PASCAL Visual Object Classes Challenge 2012 Development Kit", 2012,
    http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html, section 4 and "Annotation".
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgecv.data.checking import Checks, box_problem
from edgecv.data.decimals import plus
from edgecv.data.formats.boxes import task_of
from edgecv.data.formats.voc_sets import parts_of_sets
from edgecv.data.layout import class_names, entries, part_of
from edgecv.data.picture_files import is_picture_name, picture_size, visible
from edgecv.data.problems import Problems
from edgecv.data.samples import Box, Dataset, FileSource, Part, Sample
from edgecv.errors import DataError, PictureError
from edgecv.extras import require

if TYPE_CHECKING:
    from lxml.etree import _Element

__all__ = ["EXTRA_KEYS", "Voc"]

EXTRA_KEYS = ("pose", "truncated", "occluded", "difficult")
"""What an object says beyond its name and box: a pose, and three flags."""

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_LABELS = ("annotations",)  # names of folders, lower case
_PICTURES = ("jpegimages", "images", "image", "pictures")
_BEGINNING = 4096


class Voc:
    """Reads Pascal VOC."""

    name: ClassVar[str] = "voc"
    summary: ClassVar[str] = "Pascal VOC, XML beside each picture or in Annotations"

    def recognises(self, path: Path) -> bool:
        """Tell whether the first XML file that there is begins as VOC's do."""
        first = next((files[0] for root in _roots(path) if (files := root.files())), None)
        if first is None:
            return False
        with first.open("rb") as opened:
            return b"<annotation" in opened.read(_BEGINNING)

    def read(self, path: Path, problems: Problems) -> Dataset:
        """Read it; see `Format.read`."""
        require("lxml", extra="eval", purpose="Reading Pascal VOC")
        roots = _roots(path)
        if not any(root.files() for root in roots):
            raise DataError(f"{str(path)!r} holds no XML of Pascal VOC. Name the folder of Annotations and JPEGImages.")
        reader = _Reader(problems)
        pages = [page for root in roots for page in reader.pages(root)]
        if not pages and reader.missing:
            raise DataError(
                f"None of the pictures of {str(path)!r} is there, such as {reader.missing[0]!r}. Put them into "
                "JPEGImages, or beside their XML files."
            )
        names = class_names(path) if path.is_dir() else None
        classes = names or tuple(sorted({each.name for page in pages for each in page.objects}))
        numbers = {name: number for number, name in enumerate(classes)}
        samples = tuple(_sample(page, numbers, problems) for page in pages)
        return Dataset(path=str(path), format=self.name, task=task_of(samples), classes=classes, samples=samples)


@dataclass(frozen=True)
class _Root:
    """Where files of one kind lie.

    Attributes:
        labels: The folder of the XML files, or one XML file.
        pictures: The folders where their pictures may be.
        sets: The folder of the lists of the parts; None where there are none.
        part: The part that all of it is.
    """

    labels: Path
    pictures: Sequence[Path]
    sets: Path | None = None
    part: Part | None = None

    def files(self) -> list[Path]:
        """Return the XML files, sorted by name."""
        if self.labels.is_file():
            return [self.labels]
        return [file for file in entries(self.labels) if file.suffix.lower() == ".xml" and visible(file.name)]


@dataclass(frozen=True)
class _Object:
    """One object of a picture, its class not looked up yet."""

    name: str
    line: int
    corners: tuple[float, float, float, float]
    extra: Mapping[str, Any]


@dataclass(frozen=True)
class _Page:
    """One XML file, parsed."""

    file: Path
    picture: Path
    size: tuple[int, int]
    part: Part | None
    objects: Sequence[_Object]


def _roots(path: Path) -> list[_Root]:
    if path.is_file():
        return [_Root(path, [path.parent])] if path.suffix.lower() == ".xml" else []
    folders = {entry.name.lower(): entry for entry in entries(path) if entry.is_dir()}
    labels = next((folders[name] for name in _LABELS if name in folders), None)
    if labels is not None and _Root(labels, []).files():
        pictures = [folders[name] for name in _PICTURES if name in folders]
        sets = path / "ImageSets" / "Main"
        return [_Root(labels, [*pictures, path, labels], sets if sets.is_dir() else None)]
    flat = _Root(path, [path, *(folders[name] for name in _PICTURES if name in folders)])
    parts = [_Root(folder, [folder], part=part_of(folder.name)) for folder in folders.values() if part_of(folder.name)]
    return [flat] if flat.files() else [part for part in parts if part.files()]


class _Reader:
    """Parses XML files.

    Attributes:
        missing: The pictures that are not there.
    """

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._checks = Checks(problems)
        self.missing: list[str] = []

    def pages(self, root: _Root) -> Iterator[_Page]:
        """Yield the files of a root that can be read, in the order of their names."""
        files = root.files()
        parts = parts_of_sets(root.sets, [file.stem for file in files], self._problems) if root.sets else None
        pictures = _Pictures(root.pictures)
        for file in files:
            if parts is not None and file.stem not in parts:
                continue  # VOC's folders hold pictures of other tasks, too
            page = self._page(file, pictures, parts[file.stem] if parts is not None else root.part)
            if page is not None:
                yield page

    def _page(self, file: Path, pictures: "_Pictures", part: Part | None) -> _Page | None:
        tree = _parse(file, self._problems)
        if tree is None:
            return None
        name = (tree.findtext("filename") or "").strip()
        picture = pictures.find(file.stem, name)
        if picture is None:
            self.missing.append(name or file.stem)
            line = _line(tree.find("filename"))
            self._problems.add(file, line, f"picture {name or file.stem!r} does not exist")
            return None
        if not self._checks.unique(f"picture {str(picture)!r}", file=file, line=None):
            return None
        size = self._size(file, tree, picture)
        if size is None:
            return None
        objects = [each for node in tree.findall("object") if (each := self._object(file, node, size))]
        return _Page(file, picture, size, part, objects)

    def _size(self, file: Path, tree: "_Element", picture: Path) -> tuple[int, int] | None:
        texts = [(tree.findtext(f"size/{side}") or "0").strip() for side in ("height", "width")]
        if texts == ["0", "0"]:  # some tools leave it so
            try:
                return picture_size(picture)
            except PictureError as error:
                self._problems.add(file, None, str(error).rstrip("."))
                return None
        if all(text.isdecimal() and int(text) > 0 for text in texts):
            return int(texts[0]), int(texts[1])
        line = _line(tree.find("size"))
        self._problems.add(file, line, f"size: width {texts[1]!r} and height {texts[0]!r} are no size")
        return None

    def _object(self, file: Path, node: "_Element", size: tuple[int, int]) -> _Object | None:
        name, bounds = (node.findtext("name") or "").strip(), node.find("bndbox")
        if not name or bounds is None:
            lacks = "bndbox" if name else "name"
            self._problems.add(file, _line(node), f"object has no {lacks}")
            return None
        line = _line(bounds)
        texts = [(bounds.findtext(corner) or "").strip() for corner in _CORNERS]
        for corner, text in zip(_CORNERS, texts, strict=True):
            if self._checks.number(text, corner, file=file, line=line) is None:
                return None
        corners = (plus(texts[0], -1), plus(texts[1], -1), float(texts[2]), float(texts[3]))
        problem = box_problem(corners, size=size)
        if problem:
            hint = "; VOC counts pixels from 1, not from 0" if -1 in corners[:2] else ""
            self._problems.add(file, line, problem + hint)
            return None
        return _Object(name, _line(node.find("name")), corners, _extra(node))


class _Pictures:
    """The pictures of some folders, by name without suffix."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._by_stem: dict[str, list[Path]] = {}
        for folder in folders:
            for entry in entries(folder):
                if is_picture_name(entry.name) and visible(entry.name):
                    self._by_stem.setdefault(entry.stem, []).append(entry)

    def find(self, stem: str, name: str) -> Path | None:
        """Return the picture called as its XML file is; the name within is often of another time or place.

        Args:
            stem: Name of the XML file.
            name: What it calls its picture; it chooses between several suffixes.
        """
        found = self._by_stem.get(stem)
        if found:
            return next((path for path in found if path.name == name), found[0])
        paths = self._by_stem.get(Path(name).stem, []) if name else []
        return next((path for path in paths if path.name == Path(name).name), None)


def _parse(file: Path, problems: Problems) -> "_Element | None":
    from lxml import etree

    # Labels come from anywhere: they may fetch nothing, and entities may blow up nothing.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False)
    try:
        with file.open("rb") as opened:
            tree = etree.parse(opened, parser)
    except etree.XMLSyntaxError as error:
        problems.add(file, error.lineno or 1, f"is no XML: {error.msg}")
        return None
    if getattr(tree.docinfo, "doctype", ""):
        problems.add(file, 1, "declares a document type, which labels need not and edgecv does not read")
        return None
    root = tree.getroot()
    if root.tag != "annotation":
        problems.add(file, _line(root), f"begins with <{root.tag}>, not with <annotation> of Pascal VOC")
        return None
    return root


def _sample(page: _Page, numbers: Mapping[str, int], problems: Problems) -> Sample:
    checks = Checks(problems)
    boxes = []
    for each in page.objects:
        category = checks.category(each.name, numbers, file=page.file, line=each.line)
        if category is not None:
            boxes.append(Box(*each.corners, category, extra=each.extra))
    return Sample(
        picture=FileSource(page.picture),
        boxes=tuple(boxes),
        size=page.size,
        part=page.part,
        origin=f"{page.file}:1",
        extra={"file_name": page.picture.name},
    )


def _extra(node: "_Element") -> dict[str, Any]:
    """Return what an object says beyond; what is as usual is left out, as other formats do."""
    texts = {key: (node.findtext(key) or "").strip() for key in EXTRA_KEYS}
    said = {key: text for key, text in texts.items() if text.lower() not in ("", "0", "unspecified")}
    return {key: 1 if text == "1" else text for key, text in said.items()}


def _line(node: "_Element | None") -> int:
    line = node.sourceline if node is not None else None
    return line if isinstance(line, int) else 1
