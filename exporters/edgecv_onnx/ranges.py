"""What int8 learns from real pictures: the ranges of a graph's tensors, and the mean inputs of its layers."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecv.artifact import hash_file
from edgecv.calibration import is_blank
from edgecv_onnx.graph import Graph
from edgecv_onnx.write import write

__all__ = ["Observed", "observe"]

_Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What the pictures gave.

    Attributes:
        ranges: Name of a tensor → its least and its largest value; they are NaN or infinite where a value was.
        means: Name of a tensor → its mean, one value a channel; without the blank pictures, which are no real ones.
    """

    ranges: Mapping[str, tuple[float, float]]
    means: Mapping[str, _Array]


# Layers that are given back to float change nothing here, and an accuracy budget exports a network several times.
_KNOWN: dict[str, Observed] = {}


def observe(
    graph: Graph,
    tensors: Sequence[str],
    maps: Mapping[str, str],
    feeds: Iterable[_Array],
    *,
    batch: int | None,
    key: str,
) -> Observed:
    """Run float tensors of a graph over the pictures, which are read one at a time.

    Args:
        graph: A float graph; equal ones, names included, are run once.
        tensors: Whose ranges are wanted.
        maps: Whose means are wanted, and what gives the mean of one picture: ``GlobalAveragePool``, or ``Flatten``
            for a tensor ``(batch, channels)``.
        feeds: What the input takes, one picture at a time.
        batch: How many the graph takes at once; None where any number.
        key: Stands for the pictures: the same one gives the same ``feeds``.

    Raises:
        PictureError: A picture cannot be read.
    """
    if not tensors and not maps:  # ONNX Runtime runs no graph without outputs
        return Observed(ranges={}, means={})
    with tempfile.TemporaryDirectory(prefix="edgecv-") as folder:
        path = Path(folder) / "observing.onnx"
        write(_observing(graph, tensors, maps), path, name="observing")
        whole = f"{hash_file(path)} {key}"
        if whole not in _KNOWN:
            found = _run(path, tensors, maps, _batches(feeds, batch))
            _KNOWN.clear()
            _KNOWN[whole] = found
    return _KNOWN[whole]


def _observing(graph: Graph, tensors: Sequence[str], maps: Mapping[str, str]) -> Graph:
    """Return a graph that gives ranges and means, and computes nothing else."""
    from onnx import TensorProto, helper

    nodes, outputs = list(graph.nodes), []

    def give(kind: str, name: str, output: str, **attributes: Any) -> None:
        nodes.append(helper.make_node(kind, [name], [output], name=output, **attributes))
        outputs.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))

    for place, name in enumerate(tensors):
        give("ReduceMin", name, f"low_{place}", keepdims=0)
        give("ReduceMax", name, f"high_{place}", keepdims=0)
    for place, (name, kind) in enumerate(maps.items()):
        give(kind, name, f"mean_{place}")
    inputs = [info for info in graph.inputs if info.name == "image"]
    observing = Graph(nodes=nodes, constants=dict(graph.constants), inputs=inputs, outputs=outputs, opset=graph.opset)
    observing.prune()
    return observing


def _batches(feeds: Iterable[_Array], size: int | None) -> Iterator[list[_Array]]:
    """Yield as many pictures as the graph takes at once; of the last ones there may be fewer."""
    waiting: list[_Array] = []
    for feed in feeds:
        waiting.append(feed)
        if len(waiting) == (size or 1):
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _run(path: Path, tensors: Sequence[str], maps: Iterable[str], batches: Iterable[list[_Array]]) -> Observed:
    from edgecv.runtimes.onnxruntime import OnnxRuntime

    runner = OnnxRuntime().open(path)
    size = runner.inputs[0].shape[0] or 1
    low, high = np.full(len(tensors), np.inf), np.full(len(tensors), -np.inf)
    sums: dict[str, Any] = dict.fromkeys(maps, 0.0)
    count = 0
    for batch in batches:
        filled = [*batch, *[batch[-1]] * (size - len(batch))]
        values = list(runner.run({"image": np.concatenate(filled)}).values())
        least, largest = values[0 : 2 * len(tensors) : 2], values[1 : 2 * len(tensors) : 2]
        # NaN passes through both, so that it is found.
        low = np.minimum(low, np.array(least, np.float64).reshape(-1))
        high = np.maximum(high, np.array(largest, np.float64).reshape(-1))
        real = [place for place, feed in enumerate(batch) if not is_blank(feed)]
        count += len(real)
        for name, means in zip(sums, values[2 * len(tensors) :], strict=True):
            sums[name] = sums[name] + means.reshape(size, -1)[real].sum(axis=0, dtype=np.float64)
    return Observed(
        ranges={name: (float(a), float(b)) for name, a, b in zip(tensors, low, high, strict=True)},
        means={name: np.asarray(total) / count for name, total in sums.items()} if count else {},
    )
