"""Suppression alone, of 8400 boxes × 80 classes: `python benchmarks/nms_speed.py`.

150, 3,000 and 140,000 scores lie above the threshold, of boxes in clusters. edgecv's file is the exporter's, cut open
at the tensors `pre_nms/boxes` and `pre_nms/scores`, so that nothing but suppression is timed. In ONNX Runtime the peers
are the same contract written straight in ONNX operators, with TopK over all scores or over those above the threshold
only; in LiteRT the builtin operator once a class, on the best thousand scores or, which is less than the contract, on
all: `nms_peers.py`. All must find the same. One process, in turn, spinning off, 1 and 2 threads; each peer runs twice
a round: its ratio to itself is the control.

Wanted: against the faster peer at most 1.2 times in ONNX Runtime with 150 and 3,000 scores, 10 ms at most with any
number; in LiteRT below 1. Files are kept in `--folder`. `--quick` is a trial and writes no CSV.
"""

import argparse
import dataclasses
import re
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from measuring import ENGINES, Contender, comparison, timed_rounds, write_csv
from nms_peers import write_onnx, write_tflite

import edgecv
from edgecv.detection import CHECKPOINTS
from edgecv.files import replace_whole
from edgecv.nms import Nms
from edgecv.registry import load_exporter

_ANCHORS, _CLASSES = 8400, 80
_NMS = Nms()
# Scores above the threshold → objects that the boxes lie around.
_CANDIDATES = {150: 20, 3_000: 300, 140_000: 300}
_RATIO, _MILLISECONDS = 1.2, 10.0
_PEERS = {"onnx": ("topk of all", "topk of those above"), "tflite": ("topk, operator per class", "operator per class")}

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Plain:
    """Takes a network's outputs as boxes and scores."""

    name: ClassVar[str] = "plain"
    outputs: tuple[str, ...] = ()

    def check(self, shapes: Sequence[tuple[int | None, ...]], input_size: tuple[int, int]) -> int:
        del input_size
        return int(shapes[1][2] or 0)

    def decode(self, outputs: Sequence[Any], input_size: tuple[int, int], ops: Any) -> tuple[Any, Any]:
        del input_size, ops
        return outputs[0], outputs[1]


def _write_ours(path: Path) -> None:
    """Export suppression behind a network that takes boxes and scores as one picture; then cut that off."""
    import keras

    image = keras.Input((_ANCHORS, 4 + _CLASSES, 1), name="image")
    x = keras.layers.Reshape((_ANCHORS, 4 + _CLASSES), name="table")(image)
    # Not just slices: the cut must leave a tensor that suppression reads.
    network = keras.Model(image, [keras.ops.abs(x[:, :, :4]), keras.ops.abs(x[:, :, 4:])], name="plain")
    deployable = edgecv.deploy(network, preprocess="none", input_dtype="float32", decoder=_Plain(), nms=_NMS)
    with replace_whole(path) as temporary:
        load_exporter(path.suffix[1:])().export(deployable, temporary)
        (_cut_onnx if path.suffix == ".onnx" else _cut_tflite)(temporary)


def _cut_onnx(path: Path) -> None:
    import onnx

    model = onnx.load(path)
    defaults = {constant.name for constant in model.graph.initializer}
    kept = [each for each in model.graph.input if each.name in defaults]
    extractor = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(model))
    names = [output.name for output in model.graph.output]
    cut = extractor.extract_model([*CHECKPOINTS, *(each.name for each in kept)], names)
    onnx.save(cut, str(path))


def _cut_tflite(path: Path) -> None:
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    graph = model.subgraphs[0]
    numbers = {tensor.name.decode(): index for index, tensor in enumerate(graph.tensors)}
    inputs = [numbers[name] for name in CHECKPOINTS]
    needed, kept = set(graph.outputs), []
    for operator in reversed(graph.operators):
        if needed & set(operator.outputs) and not set(inputs) & set(operator.outputs):
            kept.append(operator)
            needed |= set(operator.inputs)
    graph.operators, graph.inputs = kept[::-1], inputs
    model.signatureDefs = []
    flatbuffer_utils.write_model(model, str(path))


def _files(folder: Path, form: str) -> dict[str, Path]:
    def peer(name: str) -> Callable[[Path], None]:
        if form == "onnx":
            above = name == "topk of those above"
            return lambda path: write_onnx(path, _ANCHORS, _CLASSES, _NMS, above_first=above)
        best = name == "topk, operator per class"
        return lambda path: write_tflite(path, _ANCHORS, _CLASSES, _NMS, best_first=best)

    writers = {"edgecv": _write_ours} | {name: peer(name) for name in _PEERS[form]}
    files = {name: folder / f"{'_'.join(re.findall('[a-z]+', name))}.{form}" for name in writers}
    for name, write in writers.items():
        if not files[name].exists():
            print(f"writing {files[name].name}", file=sys.stderr)
            write(files[name])
    return files


def _scene(candidates: int) -> tuple[Array, Array]:
    """Return boxes and scores, exactly so many of which exceed the threshold.

    Each box lies around one of some objects, at an offset of its own; those at the smallest offset score first,
    for the class of their object and then for others.
    """
    rng = np.random.default_rng(candidates)
    count = _CANDIDATES[candidates]
    own = rng.integers(0, count, _ANCHORS)
    centres, sizes = rng.random((count, 2)), rng.uniform(0.02, 0.3, (count, 2))
    offsets = rng.normal(0, 0.15, (_ANCHORS, 2))
    middles = centres[own] + offsets * sizes[own]
    sides = sizes[own] * np.exp(rng.normal(0, 0.15, (_ANCHORS, 2)))
    boxes = np.concatenate([middles - sides / 2, middles + sides / 2], axis=1).clip(0, 1)
    distance = np.linalg.norm(offsets, axis=1)[:, None] + rng.random((_ANCHORS, _CLASSES))
    distance[np.arange(_ANCHORS), rng.integers(0, _CLASSES, count)[own]] -= 1
    scores = rng.uniform(0, 0.24, _ANCHORS * _CLASSES)
    chosen = np.argsort(distance.ravel())[:candidates]
    scores[chosen] = 0.26 + 0.7 * rng.permutation(candidates) / candidates
    assert np.count_nonzero(scores > _NMS.score_threshold) == candidates
    return boxes[None].astype(np.float32), scores.reshape(1, _ANCHORS, _CLASSES).astype(np.float32)


def _sorted(outputs: Sequence[Array]) -> list[Array]:
    """Bring a file's outputs to one order: boxes, scores, classes, count."""
    return sorted(outputs, key=lambda output: (-output.ndim, output.dtype.kind))


def _check(found: dict[str, list[Array]], where: str) -> int:
    """Hold all to the same detections; return how many there are."""
    ours = found.pop("edgecv")
    for name, theirs in found.items():
        if not all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True)):
            raise SystemExit(f"{where}: edgecv and {name!r} find different things.")
    return int(ours[-1][0])


def _rows(form: str, threads: int, candidates: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    engine, opened = ENGINES[form]
    runs = {name: opened(path, threads) for name, path in _files(options.folder, form).items()}
    scene = _scene(candidates)
    detections = _check({name: _sorted(run(*scene)) for name, run in runs.items()}, f"{engine}, {candidates}")

    def contender(run: Callable[..., Any]) -> Contender:
        return lambda _: run(*scene)

    contenders = {name: contender(run) for name, run in runs.items()}
    contenders |= {f"{peer} again": contenders[peer] for peer in _PEERS[form]}
    times = timed_rounds(contenders, rounds=options.rounds, seconds=options.seconds)
    ours = statistics.median(times["edgecv"])
    fastest = min(_PEERS[form], key=lambda peer: statistics.median(times[peer]))
    rows = []
    for peer in _PEERS[form]:
        compared = comparison(times["edgecv"], times[peer], times[f"{peer} again"])
        wanted = 1.0 if form == "tflite" else (_RATIO if candidates <= 3_000 else None)
        judged = peer == fastest and wanted is not None
        rows.append(
            {
                "engine": engine,
                "threads": threads,
                "candidates": candidates,
                "peer": peer,
                "edgecv_ms": round(ours, 3),
                "peer_ms": round(statistics.median(times[peer]), 3),
                **compared,
                "wanted_ratio": wanted if judged else "",
                "ratio_met": compared["ratio"] <= (wanted or 0) if judged else "",
                "wanted_ms": _MILLISECONDS if form == "onnx" else "",
                "ms_met": ours <= _MILLISECONDS if form == "onnx" else "",
                "detections": detections,
                "rounds": options.rounds,
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/nms_speed"))
    parser.add_argument("--formats", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=15.0, help="Per engine, number of threads and of candidates.")
    parser.add_argument("--quick", action="store_true", help="Three short rounds, no CSV.")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 3, 1.0
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for form in options.formats:
        for threads in options.threads:
            for candidates in _CANDIDATES:
                rows += _rows(form, threads, candidates, options)
    if not options.quick:
        write_csv(Path(__file__).with_suffix(".csv"), rows)


if __name__ == "__main__":
    main()
