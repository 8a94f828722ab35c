"""Ultralytics' YOLO, written: ``data.yaml``, ``images/PART`` and ``labels/PART``.

Shares of the picture have 14 decimals: in a picture 10,000 pixels wide, a corner comes back within 1e-9 pixel.

Polygons are written if every box of the data set has exactly one that it just encloses: Ultralytics takes a data set
as boxes or as polygons, and reads lines of the other kind wrongly.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from edgecv.data.samples import PARTS, Box, Part
from edgecv.data.writers.base import Page
from edgecv.extras import require

__all__ = ["YoloWriter"]

_DECIMALS = 14
_NEAR = 1e-6  # pixel


class YoloWriter:
    """Writes Ultralytics' YOLO."""

    name: ClassVar[str] = "yolo"

    def folder(self, part: Part | None) -> str:
        """Return the part's folder; what is in no part is for training, the one that each data.yaml needs."""
        return f"images/{part or 'train'}"

    def carries(self, key: str, pages: Sequence[Page]) -> bool:
        """YOLO has no place but for polygons."""
        return key == "segmentation" and _all_polygons(pages)

    def write(self, root: Path, classes: Sequence[str], pages: Sequence[Page]) -> None:
        """Write a text file for each picture, and the description."""
        require("yaml", extra="eval", purpose="Writing YOLO's data.yaml")
        import yaml

        polygons = _all_polygons(pages)
        for page in pages:
            label = root / self.folder(page.part).replace("images", "labels", 1) / f"{Path(page.name).stem}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text("".join(f"{line}\n" for line in _lines(page, polygons)))
        used = {page.part or "train" for page in pages}
        # Without "path", Ultralytics starts at the file's own folder, wherever that is moved.
        document: dict[str, Any] = {part: f"images/{part}" for part in PARTS if part in used}
        document["names"] = dict(enumerate(classes))
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        (root / "data.yaml").write_text(text, encoding="utf-8")


def _all_polygons(pages: Sequence[Page]) -> bool:
    boxes = [box for page in pages for box in page.boxes]
    return bool(boxes) and all(_polygon(box) is not None for box in boxes)


def _polygon(box: Box) -> Sequence[float] | None:
    """Return the points of the one polygon that a box just encloses; None where it has another outline or none."""
    outline: Any = box.extra.get("segmentation")
    if box.crowd or not isinstance(outline, list) or len(outline) != 1 or not isinstance(outline[0], list):
        return None
    points = outline[0]
    if len(points) < 6 or len(points) % 2 or not all(isinstance(point, int | float) for point in points):
        return None
    x, y = points[0::2], points[1::2]
    bounds, corners = (min(x), min(y), max(x), max(y)), (box.x1, box.y1, box.x2, box.y2)
    near = all(abs(bound - corner) <= _NEAR for bound, corner in zip(bounds, corners, strict=True))
    return points if near else None


def _lines(page: Page, polygons: bool) -> Iterator[str]:
    height, width = page.size
    for box in page.boxes:
        points = _polygon(box) if polygons else None
        if points is None:
            points = ((box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2, box.x2 - box.x1, box.y2 - box.y1)
        shares = [point / side for point, side in zip(points, (width, height) * len(points), strict=False)]
        yield " ".join([str(box.category), *map(_share, shares)])


def _share(value: float) -> str:
    # A box may reach a rounding error beyond its picture, which Ultralytics would refuse.
    text = f"{min(max(value, 0.0), 1.0):.{_DECIMALS}f}"
    return text.rstrip("0").rstrip(".")
