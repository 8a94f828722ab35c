"""Make the weights file again from the original: ``python make_weights.py PACKED_ASSETS.data``.

The argument is ``objectron_solution_packed_assets.data`` of the npm package ``@mediapipe/objectron``,
version 0.4.1675468480 (``npm pack @mediapipe/objectron@0.4.1675468480``, then unpack the archive).
It needs ``edgecv[tflite]``, which reads the original's tensors. The same input gives the same bytes.
"""

import argparse
import hashlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from edgecv.weights.packaged import write_arrays

__all__ = ["original", "read_original"]

# The packed file begins with the label map; the rest is the network.
_START = 184
_SHA256 = "d0a5255bf8c4f5a0bc4240741a76c41d5e939f7655078f945f50ab53a9375da6"
_FOLDER = Path(__file__).parent / "src" / "edgecv_weights_ssd"
# What the original calls a layer → what edgecv's network calls it.
_BACKBONE = "FeatureExtractor/MobilenetV2/"
_NAMES = (
    (re.compile(rf"{_BACKBONE}Conv/"), "stem"),
    (re.compile(rf"{_BACKBONE}Conv_1/"), "head"),
    (re.compile(rf"{_BACKBONE}expanded_conv/(?P<part>\w+)/"), "block0_{part}"),
    (re.compile(rf"{_BACKBONE}expanded_conv_(?P<index>\d+)/(?P<part>\w+)/"), "block{index}_{part}"),
    (re.compile(rf"{_BACKBONE}layer_19_1_Conv2d_(?P<extra>\d)_"), "extra{extra}_narrow"),
    (re.compile(rf"{_BACKBONE}layer_19_2_Conv2d_(?P<extra>\d)_"), "extra{extra}_wide"),
    (re.compile(r"BoxPredictor_(?P<index>\d)/BoxEncodingPredictor/"), "map{index}_box"),
    (re.compile(r"BoxPredictor_(?P<index>\d)/ClassPredictor/"), "map{index}_class"),
)
_FIRST_EXTRA = 2  # the original counts its extra maps from 2


def original(packed: Path) -> bytes:
    """Return the original network, a TFLite file, out of the packed assets.

    Raises:
        SystemExit: It is another file.
    """
    network = packed.read_bytes()[_START:]
    if hashlib.sha256(network).hexdigest() != _SHA256:
        sys.exit(f"{packed} does not hold the network that these weights are of (sha256 {_SHA256}).")
    return network


def read_original(network: bytes) -> dict[str, Any]:
    """Read the network's constants: path of edgecv's variable → float16 array in Keras' layout."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=network)
    interpreter.allocate_tensors()
    arrays: dict[str, Any] = {}
    for detail in interpreter.get_tensor_details():
        if detail["dtype"] is not np.float16:
            continue
        values = interpreter.get_tensor(detail["index"])
        path = f"{_layer(detail['name'])}_conv/{'kernel' if values.ndim == 4 else 'bias'}"
        if path in arrays:
            sys.exit(f"Two tensors are called {path}.")
        # A convolution has (out, height, width, in), a depthwise one (1, height, width, channels).
        arrays[path] = np.ascontiguousarray(values.transpose(1, 2, 3, 0) if values.ndim == 4 else values)
    return arrays


def main(arguments: Sequence[str] | None = None) -> None:
    """Write ``ssd_mobilenet_v2-SHA.npz``; SHA is the start of its sha256."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("packed", type=Path, help="objectron_solution_packed_assets.data")
    parser.add_argument("-o", "--output", type=Path, default=_FOLDER, help="Folder. Default: the package's.")
    options = parser.parse_args(arguments)
    arrays = read_original(original(options.packed))
    path = write_arrays(arrays, options.output, "ssd_mobilenet_v2")
    print(f"{path}  {len(arrays)} arrays, {sum(array.size for array in arrays.values()):,} numbers")


def _layer(name: str) -> str:
    """Return edgecv's layer of a tensor's name, whose further parts (after ``;``) tell of fused operations."""
    for pattern, template in _NAMES:
        found = pattern.match(name.partition(";")[0])
        if found:
            parts = found.groupdict()
            if "extra" in parts:
                parts["extra"] = str(int(parts["extra"]) - _FIRST_EXTRA)
            return template.format(**parts)
    sys.exit(f"The original's tensor {name!r} is unknown.")


if __name__ == "__main__":
    main()
