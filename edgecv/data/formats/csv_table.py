"""The table below a CSV of pictures: encoding, delimiter, header and columns, and its rows as text with their lines."""

import codecs
import contextlib
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from edgecv.data.layout import part_of
from edgecv.data.picture_files import is_picture_name
from edgecv.data.problems import Problems
from edgecv.data.samples import Part
from edgecv.errors import DataError

__all__ = ["Row", "Table", "looks_like_labels", "read_table"]

_DELIMITERS = ",;\t|"
_CORNERS = ("x1", "y1", "x2", "y2")
# How headers call the columns, in lower case and without what is no letter or digit; the first that is there counts.
_SPELLINGS = {
    "picture": "picture filename filepath file path image imagepath imagename imagefile imagefilename imageid img "
    "imgpath imgname pic photo",
    "label": "class classname label labelname category categoryname name target classid labelid",
    "x1": "x1 xmin left xminimum bboxx1 xtl",
    "y1": "y1 ymin top yminimum bboxy1 ytl",
    "x2": "x2 xmax right xmaximum bboxx2 xbr",
    "y2": "y2 ymax bottom ymaximum bboxy2 ybr",
    "split": "split part subset partition set dataset usage",
    "height": "height imageheight imgheight",
    "width": "width imagewidth imgwidth",
}
_HEADER_REMEDY = "Give a header such as picture,class,x1,y1,x2,y2."


class Row(NamedTuple):
    """One line of a table, as text.

    Attributes:
        line: Where it begins, from 1; a quoted cell may go on over the next lines.
        picture: The picture as it is written there.
        label: The class; empty where there is none.
        corners: x1, y1, x2, y2; None where the table has no boxes.
        size: Height and width of the picture; None where the table does not tell.
        part: The part that the column ``split`` says.
    """

    line: int
    picture: str
    label: str
    corners: tuple[str, str, str, str] | None
    size: tuple[str, str] | None
    part: Part | None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A CSV.

    Attributes:
        file: Where it stands.
        folder: The folder that holds it.
        rows: All rows that have as many cells as there are columns.
        has_boxes: Whether there are columns of boxes.
    """

    file: Path
    folder: str
    rows: Sequence[Row]
    has_boxes: bool


def looks_like_labels(file: Path) -> bool:
    """Tell from its first lines whether a file is a CSV of pictures and classes."""
    with contextlib.suppress(DataError, OSError):
        _columns(file, _first(file))
        return True
    return False


def read_table(file: Path, problems: Problems) -> Table:
    """Read a CSV.

    Raises:
        DataError: It is no text, no CSV, or has no columns of pictures and classes.
    """
    columns, header = _columns(file, _first(file))
    rows = []
    for line, cells in islice(_lines(file), int(header), None):
        if len(cells) <= max(columns.values()):
            problems.add(file, line, f"has {len(cells)} columns, needs {max(columns.values()) + 1}")
            continue
        row = _row(line, cells, columns)
        if row.part is None and "split" in columns and cells[columns["split"]].strip():
            problems.add(file, line, f"unknown part {cells[columns['split']].strip()!r}; known are train, val and test")
            continue
        rows.append(row)
    return Table(file=file, folder=str(file.parent), rows=rows, has_boxes="x1" in columns)


def _row(line: int, cells: Sequence[str], columns: dict[str, int]) -> Row:
    def cell(name: str) -> str:
        return cells[columns[name]].strip()

    return Row(
        line=line,
        picture=cell("picture"),
        label=cell("label"),
        corners=(cell("x1"), cell("y1"), cell("x2"), cell("y2")) if "x1" in columns else None,
        size=(cell("height"), cell("width")) if "height" in columns and "width" in columns else None,
        part=part_of(cell("split")) if "split" in columns else None,
    )


def _columns(file: Path, first: Sequence[tuple[int, list[str]]]) -> tuple[dict[str, int], bool]:
    """Return where the columns are, and whether a header says so."""
    if not first:
        raise DataError(f"{str(file)!r} is empty. Give a CSV with a line for each picture or box.")
    line, cells = first[0]
    named = _named(cells)
    if "picture" in named and not is_picture_name(cells[named["picture"]].strip()):
        lacking = [name for name in ("label", *_CORNERS) if name not in named]
        if "label" in lacking or 0 < len(lacking) < len(_CORNERS):
            wanted = ", ".join("class" if name == "label" else name for name in lacking)
            raise DataError(f"{file}:{line}: of its columns, {', '.join(cells)}, none is {wanted}. {_HEADER_REMEDY}")
        return named, True
    return _positions(file, first), False


def _named(cells: Sequence[str]) -> dict[str, int]:
    plain = [re.sub(r"[^a-z0-9]", "", cell.lower()) for cell in cells]
    found = {}
    for name, spellings in _SPELLINGS.items():
        place = next((plain.index(spelling) for spelling in spellings.split() if spelling in plain), None)
        if place is not None:
            found[name] = place
    return found


def _positions(file: Path, first: Sequence[tuple[int, list[str]]]) -> dict[str, int]:
    """Say which column is which without a header: picture, class, box, or picture, box, class."""
    line, cells = first[0]
    if not is_picture_name(cells[0].strip()):
        raise DataError(f"{file}:{line}: {', '.join(cells)!r} is no header, nor a picture's line. {_HEADER_REMEDY}")
    if len(cells) == 2:
        return {"picture": 0, "label": 1}
    if len(cells) != 6:
        raise DataError(f"{file}:{line}: there are {len(cells)} columns and no header. {_HEADER_REMEDY}")
    # Lines of pictures that show nothing have neither class nor box.
    told = next((cells for _, cells in first if len(cells) == 6 and cells[1].strip() and cells[5].strip()), cells)
    if _is_number(told[1]) and not _is_number(told[5]):
        return {"picture": 0, "x1": 1, "y1": 2, "x2": 3, "y2": 4, "label": 5}
    return {"picture": 0, "label": 1, "x1": 2, "y1": 3, "x2": 4, "y2": 5}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _first(file: Path) -> list[tuple[int, list[str]]]:
    return list(islice(_lines(file), 100))


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, with the lines where they begin."""
    encoding = _encoding(file)
    reader = None
    try:
        with file.open(encoding=encoding, newline="") as text:
            delimiter = _delimiter(text.read(4096))
            text.seek(0)
            reader = csv.reader(text, delimiter=delimiter, skipinitialspace=True, strict=True)
            line = 1
            for cells in reader:
                if any(map(str.strip, cells)):
                    yield line, cells
                line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise DataError(
            f"{str(file)!r} is no {encoding.removesuffix('-sig').upper()} text. Save it as CSV in UTF-8."
        ) from error
    except csv.Error as error:
        line = reader.line_num if reader else 1
        raise DataError(f"{file}:{line}: the CSV cannot be read: {error}. Mend its quotes.") from error


def _encoding(file: Path) -> str:
    with file.open("rb") as content:
        start = content.read(2)
    return "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def _delimiter(text: str) -> str:
    # Of whole lines: a cut one has fewer delimiters than the others.
    lines = text.splitlines(keepends=True)[:20]
    sample = "".join(lines[:-1]) if len(lines) > 1 and len(text) == 4096 else "".join(lines)
    try:
        found = csv.Sniffer().sniff(sample, delimiters=_DELIMITERS).delimiter
    except csv.Error:  # one column, or too little to tell
        return ","
    return found if found in _DELIMITERS else ","
