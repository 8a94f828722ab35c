"""Record the original's answers: ``python tests/make_golden.py PACKED_ASSETS.data`` (see make_weights.py).

Writes ``golden/original.npz``: for each of two shipped photos the raw outputs at 96 anchors, float32 as the
original gave them on LiteRT's own kernels.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from edgecv.photos import shipped_photos
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from make_weights import original

__all__ = ["GOLDEN", "PHOTOS", "answers", "network_input", "runner"]

GOLDEN = Path(__file__).parent / "golden" / "original.npz"
PHOTOS = ("cat", "coffee")
_ANCHORS = 96


def network_input(photo: Any) -> Any:
    """Return float32 ``(1, 300, 300, 3)`` in [-1, 1] of a uint8 picture: stretched, ``x / 127.5 − 1``."""
    picture = Image.fromarray(photo).resize((300, 300), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.float32)[None] / np.float32(127.5) - 1


def runner(network: bytes) -> Any:
    """Open the original in LiteRT, without delegates."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=network, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    return interpreter


def answers(interpreter: Any, image: Any) -> tuple[Any, Any]:
    """Return the original's box encodings ``(1917, 4)`` and class logits ``(1917, 24)``."""
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    outputs = sorted(interpreter.get_output_details(), key=lambda detail: int(detail["shape"][-1]))
    boxes, logits = (interpreter.get_tensor(detail["index"])[0] for detail in outputs)
    return boxes, logits


def _main(packed: Path) -> None:
    interpreter = runner(original(packed))
    arrays: dict[str, Any] = {}
    for name in PHOTOS:
        boxes, logits = answers(interpreter, network_input(shipped_photos()[name]))
        # Half of the anchors are the surest ones, the others lie evenly over all maps.
        surest = logits[:, 1:].max(axis=1).argsort()[::-1][: _ANCHORS // 2]
        even = np.linspace(0, len(boxes) - 1, _ANCHORS // 2).round().astype(int)
        anchors = np.unique(np.concatenate([surest, even])).astype("int32")
        arrays |= {f"{name}_anchors": anchors, f"{name}_boxes": boxes[anchors], f"{name}_logits": logits[anchors]}
    np.savez_compressed(GOLDEN, **arrays)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
