"""Write a model object as a flatbuffer."""

from pathlib import Path
from typing import Any

__all__ = ["write"]


def write(model: Any, path: Path) -> None:
    """Serialise ``model`` (a ``ModelT``) to ``path``."""
    from tensorflow.lite.tools import flatbuffer_utils

    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
