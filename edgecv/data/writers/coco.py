"""COCO's instances, written: ``annotations/instances_PART.json`` and ``images/PART``."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from edgecv.data.decimals import plus
from edgecv.data.samples import Box, Part
from edgecv.data.writers.base import Page, shortest

__all__ = ["CocoWriter"]


class CocoWriter:
    """Writes COCO's instances; ids stay where all have one, and count from 1 otherwise."""

    name: ClassVar[str] = "coco"

    def folder(self, part: Part | None) -> str:
        """Return ``images``, or the part's folder in it."""
        return f"images/{part}" if part else "images"

    def carries(self, key: str, pages: Sequence[Page]) -> bool:  # noqa: ARG002
        """Everything: objects may have keys of any name."""
        return True

    def write(self, root: Path, classes: Sequence[str], pages: Sequence[Page]) -> None:
        """Write a file for each part."""
        (root / "annotations").mkdir()
        categories = _categories(classes, pages)
        image_ids = _ids([page.sample.extra.get("id") for page in pages])
        box_ids = iter(_ids([box.extra.get("id") for page in pages for box in page.boxes]))
        images = [(page.part, _image(page, number)) for page, number in zip(pages, image_ids, strict=True)]
        annotations = [
            (page.part, _annotation(box, next(box_ids), number, categories))
            for page, number in zip(pages, image_ids, strict=True)
            for box in page.boxes
        ]
        for part in {page.part: None for page in pages}:  # in their order
            beyond = next(page.sample.extra.get("dataset", {}) for page in pages if page.part == part)
            document = {
                **{key: value for key, value in beyond.items() if key != "categories"},
                "images": [image for of, image in images if of == part],
                "annotations": [annotation for of, annotation in annotations if of == part],
                "categories": categories,
            }
            file = root / "annotations" / (f"instances_{part}.json" if part else "instances.json")
            file.write_text(_text(document), encoding="utf-8")


def _categories(classes: Sequence[str], pages: Sequence[Page]) -> list[Mapping[str, Any]]:
    """Return the records that the classes were read from; new ones where they come from elsewhere."""
    shared = [page.sample.extra["dataset"] for page in pages if "dataset" in page.sample.extra]
    known: Sequence[Mapping[str, Any]] = shared[0]["categories"] if shared else []
    if [record["name"] for record in known] == list(classes):
        return list(known)
    return [{"id": number, "name": name} for number, name in enumerate(classes, 1)]


def _ids(given: Sequence[Any]) -> list[Any]:
    whole = all(number is not None for number in given) and len(set(given)) == len(given)
    return list(given) if whole else list(range(1, len(given) + 1))


def _image(page: Page, number: Any) -> dict[str, Any]:
    height, width = page.size
    extra = {key: value for key, value in page.sample.extra.items() if key != "dataset"}
    return {**extra, "id": number, "file_name": page.name, "width": width, "height": height}


def _annotation(box: Box, number: Any, image: Any, categories: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    width, height = plus(box.x2, -box.x1), plus(box.y2, -box.y1)
    return {
        # Tools expect the key, but a box has no outline of its own.
        "segmentation": [],
        **box.extra,
        "id": number,
        "image_id": image,
        "category_id": categories[box.category]["id"],
        "bbox": [shortest(side) for side in (box.x1, box.y1, width, height)],
        "area": shortest(width * height if box.area is None else box.area),
        "iscrowd": int(box.crowd),
    }


def _text(document: Mapping[str, Any]) -> str:
    """Return JSON with each item on a line of its own, so that messages about a line tell which one."""
    pairs = [f"{json.dumps(key)}: {_value(value)}" for key, value in document.items()]
    return "{" + ",\n".join(pairs) + "}\n"


def _value(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return json.dumps(value)
    return "[\n" + ",\n".join(json.dumps(item) for item in value) + "\n]"
