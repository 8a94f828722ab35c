"""The ranges of a graph's tensors over pictures, from which int8 takes its scales."""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgecv.calibration import Calibration
from edgecv.deployable import Deployable
from edgecv_onnx.graph import Graph
from edgecv_onnx.write import write

__all__ = ["Ranges", "observe"]

Ranges = dict[str, tuple[float, float]]

_Array = np.ndarray[Any, np.dtype[Any]]

# Layers that are given back to float change no range: an accuracy budget exports the same network several times.
_KNOWN: dict[str, Ranges] = {}


def observe(graph: Graph, tensors: Sequence[str], deployable: Deployable, calibration: Calibration) -> Ranges:
    """Return the least and the largest value of float tensors over the pictures, which are read one at a time.

    Raises:
        PictureError: A picture cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="edgecv-") as folder:
        path = Path(folder) / "ranges.onnx"
        write(_measuring(graph, tensors), path, name="ranges")
        key = _key(path, calibration)
        if key not in _KNOWN:
            found = _measured(path, tensors, _batches(calibration.feeds(deployable), deployable.batch))
            _KNOWN.clear()
            _KNOWN[key] = {name: (float(low), float(high)) for name, low, high in zip(tensors, *found, strict=True)}
    return dict(_KNOWN[key])


def _measuring(graph: Graph, tensors: Sequence[str]) -> Graph:
    """Return a graph that gives the least and the largest value of each tensor, and computes nothing else."""
    from onnx import TensorProto, helper

    nodes, outputs = list(graph.nodes), []
    for place, name in enumerate(tensors):
        for kind in ("ReduceMin", "ReduceMax"):
            output = f"{kind}_{place}"
            nodes.append(helper.make_node(kind, [name], [output], name=output, keepdims=0))
            outputs.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
    inputs = [info for info in graph.inputs if info.name == "image"]
    measuring = Graph(nodes=nodes, constants=dict(graph.constants), inputs=inputs, outputs=outputs, opset=graph.opset)
    measuring.prune()
    return measuring


def _key(path: Path, calibration: Calibration) -> str:
    with path.open("rb") as file:
        return f"{hashlib.file_digest(file, 'sha256').hexdigest()} {calibration.sha256}"


def _batches(feeds: Iterable[_Array], size: int | None) -> Iterator[_Array]:
    """Yield as many pictures at once as the graph takes; the last ones are repeated where some are missing."""
    if size is None or size == 1:
        yield from feeds
        return
    waiting: list[_Array] = []
    for feed in feeds:
        waiting.append(feed)
        if len(waiting) == size:
            yield np.concatenate(waiting)
            waiting.clear()
    if waiting:
        yield np.concatenate([*waiting, *[waiting[-1]] * (size - len(waiting))])


def _measured(path: Path, tensors: Sequence[str], batches: Iterable[_Array]) -> tuple[_Array, _Array]:
    from edgecv.runtimes.onnxruntime import OnnxRuntime

    runner = OnnxRuntime().open(path)
    low, high = np.full(len(tensors), np.inf), np.full(len(tensors), -np.inf)
    for batch in batches:
        values = np.array(list(runner.run({"image": batch}).values()), np.float64).reshape(-1, 2)
        # NaN passes through both, so that it is found.
        low, high = np.minimum(low, values[:, 0]), np.maximum(high, values[:, 1])
    return low, high
