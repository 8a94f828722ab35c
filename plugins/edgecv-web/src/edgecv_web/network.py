"""The ONNX file as a page takes it."""

from pathlib import Path
from typing import Any

__all__ = ["network_of_page"]

# Element types of ONNX that optional inputs have → NumPy's names.
_TYPES = {1: "float32", 6: "int32", 7: "int64"}


def network_of_page(path: Path) -> tuple[bytes, list[dict[str, Any]]]:
    """Return the bytes of an ONNX file for ONNX Runtime Web, and its optional inputs.

    That engine refuses to be fed an input that has a default (1.30): such inputs lose it here, and the page, which is
    told the defaults, always feeds them. The metadata go as well; those of the page are another file's.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    infos = {info.name: info for info in graph.input}
    defaults = [each for each in graph.initializer if each.name in infos]
    optional = [
        {
            "name": each.name,
            "dtype": _TYPES[each.data_type],
            "shape": list(each.dims),
            "default": numpy_helper.to_array(each).reshape(-1).tolist(),
        }
        for each in defaults
    ]
    names = {each.name for each in defaults}
    kept = [each for each in graph.initializer if each.name not in names]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    del model.metadata_props[:]
    return model.SerializeToString(deterministic=True), optional
