"""Make the weights file again from the original: ``python make_weights.py SELFIE_SEGMENTATION.tflite``.

The argument is ``selfie_segmentation.tflite`` of the npm package ``@mediapipe/selfie_segmentation``, version
0.1.1675465747 (``npm pack @mediapipe/selfie_segmentation@0.1.1675465747``, then unpack the archive).
It needs ``edgecv[tflite]``, which reads the original's tensors. The same input gives the same bytes.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from edgecv.weights.packaged import write_arrays

__all__ = ["original", "read_original"]

_SHA256 = "8d13b7fae74af625c641226813616a2117bd6bca19eb3b75574621fc08557f27"
_FOLDER = Path(__file__).parent / "src" / "edgecv_weights_selfie"
_DECODERS = ("decode8", "decode4", "decode2")
_PLAIN_BLOCKS = (1, 2)  # without squeeze-and-excitation


def original(path: Path) -> bytes:
    """Return the original network, a TFLite file.

    Raises:
        SystemExit: It is another file.
    """
    network = path.read_bytes()
    if hashlib.sha256(network).hexdigest() != _SHA256:
        sys.exit(f"{path} is not the network that these weights are of (sha256 {_SHA256}).")
    return network


def read_original(network: bytes) -> dict[str, Any]:
    """Read the network's constants: path of edgecv's variable → float16 array in Keras' layout."""
    from ai_edge_litert.interpreter import Interpreter

    layers = _layers()
    arrays: dict[str, Any] = {}
    # Not allocated: what LiteRT would make of an operation that is none of its own is not needed.
    interpreter = Interpreter(model_content=network)
    for detail in interpreter.get_tensor_details():
        if detail["dtype"] is not np.float16:
            continue
        name, _, part = detail["name"].partition("/")
        path = f"{layers[name]}/{part.lower()}"
        if path in arrays:
            sys.exit(f"Two tensors are called {path}.")
        arrays[path] = _in_keras_layout(interpreter.get_tensor(detail["index"]), layers[name])
    return arrays


def main(arguments: Sequence[str] | None = None) -> None:
    """Write ``selfie_segmentation-SHA.npz``; SHA is the start of its sha256."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("original", type=Path, help="selfie_segmentation.tflite")
    parser.add_argument("-o", "--output", type=Path, default=_FOLDER, help="Folder. Default: the package's.")
    options = parser.parse_args(arguments)
    arrays = read_original(original(options.original))
    path = write_arrays(arrays, options.output, "selfie_segmentation")
    print(f"{path}  {len(arrays)} arrays, {sum(array.size for array in arrays.values()):,} numbers")


def _layers() -> dict[str, str]:
    """Return the original's layer → edgecv's; the original counts its layers of each kind from the input on."""
    plain, depthwise = ["stem_conv"], []
    for index in range(8):
        inner = () if index in _PLAIN_BLOCKS else ("se_reduce", "se_excite")
        plain += [f"block{index}_{part}" for part in ("expand_conv", *inner, "project_conv")]
        depthwise.append(f"block{index}_depthwise_conv")
    plain += ["context_conv", "context_gate_conv"]
    for name in _DECODERS:
        plain += [f"{name}_{part}_conv" for part in ("narrow", "reduce", "excite", "merge")]
        depthwise.append(f"{name}_refine_conv")
    return {"segment": "logits", **_numbered("conv2d", plain), **_numbered("depthwise_conv2d", depthwise)}


def _numbered(kind: str, layers: Sequence[str]) -> dict[str, str]:
    return {f"{kind}_{index}" if index else kind: layer for index, layer in enumerate(layers)}


def _in_keras_layout(values: Any, layer: str) -> Any:
    """Turn (out, height, width, in), for a depthwise convolution (1, height, width, channels), to Keras' axes."""
    if values.ndim != 4:
        return values
    # A transposed convolution has (height, width, out, in) in Keras, the others (height, width, in, out).
    axes = (1, 2, 0, 3) if layer == "logits" else (1, 2, 3, 0)
    return np.ascontiguousarray(values.transpose(axes))


if __name__ == "__main__":
    main()
