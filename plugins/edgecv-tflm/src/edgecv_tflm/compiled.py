"""The C sources of what follows the graph, compiled for this machine and called: what ships is what answers."""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv_tflm.description import Description
from edgecv_tflm.postprocess import candidates_of, header_text, source_text

if TYPE_CHECKING:
    import numpy as np
    from edgecv.runtime import Arrays

    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["CompiledPostprocess", "compile_postprocess", "find_compiler"]

_COMPILERS = ("cc", "gcc", "clang")
# Fused multiply-adds would round otherwise than the definition does.
_FLAGS = ("-std=c99", "-O2", "-ffp-contract=off", "-shared", "-fPIC")
_SECONDS = 60


class CompiledPostprocess:
    """Computes an artifact's outputs from those of its graph, in C.

    Attributes:
        name: What it is, for a runner's ``provider``.
    """

    name = "compiled C"

    def __init__(self, description: Description, library: ctypes.CDLL) -> None:
        self._description = description
        self._library = library

    def outputs(self, heads: "Sequence[Array]") -> "Arrays":
        """Return the outputs that C dequantises, by name."""
        import numpy as np

        found = {}
        for place, output, head in self._description.read:
            numbers = np.ascontiguousarray(heads[place])
            values = np.empty(head.shape, np.float32)
            function = getattr(self._library, f"{self._description.prefix}_read_{output.symbol}")
            function(_pointer(numbers), _pointer(values))
            found[output.name] = values
        return found

    def decode(self, heads: "Sequence[Array]") -> "tuple[Array, Array]":
        """Return boxes ``(1, anchors, 4)`` and scores ``(1, anchors, classes)`` of all anchors."""
        import numpy as np

        detection = self._description.detection
        assert detection is not None
        boxes = np.empty((1, detection.anchors, 4), np.float32)
        scores = np.empty((1, detection.anchors, detection.classes), np.float32)
        given, kept = self._heads(heads)
        self._function("decode")(ctypes.byref(given), _pointer(boxes), _pointer(scores))
        del kept
        return boxes, scores

    def detect(self, heads: "Sequence[Array]") -> "Arrays":
        """Return the detections, in the form of an artifact's outputs."""
        import numpy as np

        detection = self._description.detection
        assert detection is not None
        assert detection.nms is not None
        candidates = candidates_of(detection, detection.nms)
        work = np.empty(candidates, [("score", "f4"), ("pair", "i4"), ("box", "f4", 4)])
        found = np.zeros(detection.nms.max_detections, [("box", "f4", 4), ("score", "f4"), ("class", "i4")])
        given, kept = self._heads(heads)
        count = int(self._function("detect")(ctypes.byref(given), _pointer(work), _pointer(found)))
        del kept
        return {
            "boxes": found["box"][None].copy(),
            "scores": found["score"][None].copy(),
            "classes": found["class"][None].copy(),
            "count": np.array([count], np.int32),
        }

    def _function(self, name: str) -> Any:
        function = getattr(self._library, f"{self._description.prefix}_{name}")
        function.restype = ctypes.c_int32 if name == "detect" else None
        return function

    def _heads(self, heads: "Sequence[Array]") -> "tuple[ctypes.Array[ctypes.c_void_p], list[Array]]":
        """Return the struct of pointers, and what they point to, which must outlive the call."""
        import numpy as np

        kept = [np.ascontiguousarray(head) for head in heads]
        return (ctypes.c_void_p * len(kept))(*(head.ctypes.data for head in kept)), kept


def find_compiler() -> str | None:
    """Return the path of a C compiler; None where there is none."""
    return next((found for name in _COMPILERS if (found := shutil.which(name))), None)


def compile_postprocess(description: Description, folder: Path) -> CompiledPostprocess | None:
    """Compile what follows the graph; None where there is no compiler, or the folder's sources are others.

    Opening a file must run nothing of what is in it: what is compiled is what this description's sources are, written
    here again.
    """
    compiler = find_compiler()
    name = f"{description.prefix}_postprocess"
    texts = {f"{name}.h": header_text(description), f"{name}.c": source_text(description)}
    if compiler is None or not all(_is(folder / file, text) for file, text in texts.items()):
        return None
    library = _library(compiler, name, *texts.values())
    return None if library is None else CompiledPostprocess(description, library)


@functools.lru_cache(maxsize=16)
def _library(compiler: str, name: str, header: str, source: str) -> ctypes.CDLL | None:
    """Compile sources and load what comes of them; once, as a process never unloads it."""
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary, f"{name}.h").write_text(header, encoding="ascii")
        Path(temporary, f"{name}.c").write_text(source, encoding="ascii")
        library = Path(temporary, "postprocess.so")
        command = [compiler, *_FLAGS, f"{name}.c", "-o", library.name, "-lm"]
        try:
            subprocess.run(command, cwd=temporary, check=True, capture_output=True, timeout=_SECONDS)
            return ctypes.CDLL(str(library))
        except (OSError, subprocess.SubprocessError):  # a compiler that cannot make libraries for this Python
            return None


def _is(path: Path, text: str) -> bool:
    content = text.encode()
    return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content


def _pointer(values: "Array") -> ctypes.c_void_p:
    return ctypes.c_void_p(values.ctypes.data)
