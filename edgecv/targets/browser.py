"""The browser: ONNX Runtime Web's WebAssembly build, of the release that edgecv-web carries."""

from collections.abc import Sequence

from edgecv.targets.finding import Finder
from edgecv.targets.onnxruntime import check_onnxruntime
from edgecv.targets.tables import load_table

__all__ = ["check_browser"]


def check_browser(finder: Finder) -> Sequence[str]:
    """Look for what the release cannot load, and for inputs and outputs that JavaScript cannot hold."""
    table = load_table("browser")
    check_onnxruntime(finder, table["release"])
    for what, tensors in (("input", finder.graph.inputs), ("output", finder.graph.outputs)):
        for tensor in tensors:
            if tensor.dtype not in (*table["types"], "unknown"):
                finder.file(
                    f"{what} {tensor.name!r} is {tensor.dtype}, which JavaScript cannot hold",
                    "export with --input uint8 or --input float32",
                )
    return ()
