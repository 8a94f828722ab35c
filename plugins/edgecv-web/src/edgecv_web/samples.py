"""Pictures that a page offers to try."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecv.errors import OptionError

__all__ = ["sample_pictures"]

# Of a sample; a page is to stay small.
_LONGEST_SIDE = 512
_MOST = 8
# Those of edgecv's own that show something of every kind: a person, an animal, a thing, a flower.
_SHIPPED = ("astronaut", "cat", "coffee", "flower")


def sample_pictures(given: Sequence[str], document: Mapping[str, Any]) -> dict[str, tuple[str, bytes]]:
    """Return file name → label and content.

    Args:
        given: Files that the user names; without any, photos of edgecv's, if the network takes colours.
        document: The network's metadata.

    Raises:
        OptionError: There are too many.
        PictureError: One cannot be read.
    """
    from edgecv.photos import shipped_photos
    from edgecv.pictures import read_picture

    if len(given) > _MOST:
        raise OptionError(f"A page offers at most {_MOST} samples, got {len(given)}.")
    if not given:
        if document["input"]["shape"][-1] != 3:
            return {}
        return {f"{name}.png": (name, _png(shipped_photos()[name])) for name in _SHIPPED}
    found = {}
    for place, name in enumerate(given, start=1):
        label = re.sub(r"[\W_]+", " ", Path(name).stem).strip() or f"sample {place}"
        found[f"{place}.png"] = (label, _png(read_picture(name).pixels))
    return found


def _png(pixels: Any) -> bytes:
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()
