"""Record the original's answers: ``python tests/make_golden.py SELFIE_SEGMENTATION.tflite`` (see make_weights.py).

Writes ``golden/original.npz``: for each of three pictures the probabilities of a person at every eighth pixel of every
eighth row, and how many pixels of the whole mask are a person's, as the original gave them on LiteRT.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from edgecv.photos import shipped_photos
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from make_weights import original

__all__ = ["GOLDEN", "STEP", "answer", "network_input", "pictures", "runner"]

GOLDEN = Path(__file__).parent / "golden" / "original.npz"
STEP = 8
_RECORDED = ("whole_astronaut", "astronaut", "cat")


def pictures() -> Mapping[str, Any]:
    """Return uint8 pictures ``(height, width, 3)``: the shipped photos, the whole astronaut, and noise."""
    noise = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    return {**shipped_photos(), "whole_astronaut": skimage.data.astronaut(), "noise": noise}


def network_input(photo: Any) -> Any:
    """Return float32 ``(1, 256, 256, 3)`` in [0, 1] of a uint8 picture: stretched, ``x / 255``."""
    picture = Image.fromarray(photo).resize((256, 256), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.float32)[None] / np.float32(255)


def runner(network: bytes) -> Any:
    """Open the original in LiteRT with its XNNPACK kernels: the plain ones lack its last operation."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=network)
    interpreter.allocate_tensors()
    return interpreter


def answer(interpreter: Any, image: Any) -> Any:
    """Return the original's probabilities of a person, ``(256, 256)``."""
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0, :, :, 0]


def _main(path: Path) -> None:
    interpreter = runner(original(path))
    arrays: dict[str, Any] = {}
    for name in _RECORDED:
        probabilities = answer(interpreter, network_input(pictures()[name]))
        arrays[name] = probabilities[::STEP, ::STEP]
        arrays[f"{name}_pixels"] = np.int32((probabilities > 0.5).sum())
    np.savez_compressed(GOLDEN, **arrays)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
