"""Detection in one graph beside a bare network with its rest in NumPy: `python benchmarks/detection_speed.py`.

One file takes the uint8 picture and gives boxes. The peer is the same network exported bare (float32 in, raw outputs)
with scaling, decoding and suppression in vectorised NumPy, `host_detection.py`; both must find the same on every
photo. ONNX Runtime (spinning off) and LiteRT, 1 and 2 threads, all in one process and in turn, over the shipped
photos; the peer runs twice a round: its ratio to itself is the control. Wanted: a ratio of at most 1.02 for
ssd_mobilenet_v2 at 300 and of 1.0 for yolo_v3_tiny at 416.

The share of decoding and suppression in the graph's time is measured twice: by difference to the same file without
them (uint8 in, raw outputs), and in ONNX Runtime by its profiler, over the pipeline's operators behind the network.
Wanted for ssd_mobilenet_v2: at most 5 % in ONNX Runtime, 10 % in LiteRT.

ssd_mobilenet_v2 has its published weights. yolo_v3_tiny has none that are at hand: its weights are random, and the
biases of its scores are moved so that a photo has about as many scores above the threshold as with a trained one.
Files are kept in `--folder`, so that an interrupted run goes on where it stopped. `--quick` is a trial without CSV.
"""

import argparse
import functools
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from host_detection import HostDetector
from measuring import ENGINES, Contender, comparison, onnx_session, timed_rounds, write_csv

import edgecv
from edgecv.deployable import InputType
from edgecv.nms import Nms

# Network → most times its peer, most share of decoding and suppression by exporter.
_WANTED: dict[str, tuple[float, dict[str, float]]] = {
    "ssd_mobilenet_v2": (1.02, {"onnx": 0.05, "tflite": 0.10}),
    "yolo_v3_tiny": (1.0, {}),
}
# What is exported: in one graph; with raw outputs; bare.
_KINDS = ("graph", "raw", "bare")
# Scores above the threshold on a photo, as moved biases give them.
_CANDIDATES = 40
_PROFILED = 50
# Of boxes in 0…1 and of scores.
_EQUAL = 1e-3

Array = np.ndarray[Any, np.dtype[Any]]


def _network(name: str) -> Any:
    if name == "ssd_mobilenet_v2":
        return edgecv.build(name, weights="openimages")
    network = edgecv.build(name, weights="random")
    _move_biases(network)
    return network


def _pictures(network: Any) -> list[Array]:
    """Return the shipped photos as uint8 batches of one at the network's size."""
    from edgecv.photos import shipped_photos
    from edgecv.pictures import fit_picture

    fit, size = edgecv.deploy(network).preprocess.fit, network.input_shape[1:3]
    return [fit_picture(photo, fit, size)[None] for photo in shipped_photos().values()]


def _move_biases(network: Any) -> None:
    """Move the biases of objectness and class scores of a YOLOv3, by one number for all."""
    scaling = edgecv.deploy(network).preprocess
    photos = np.concatenate(_pictures(network)).astype(np.float32)
    anchors = len(network.edgecv_info.decoder.anchors[0])
    grids = [np.asarray(grid) for grid in network(scaling.apply(photos, np))]
    numbers = np.concatenate([grid.reshape(len(photos), -1, grid.shape[-1] // anchors) for grid in grids], axis=1)
    low, high = -30.0, 30.0
    for _ in range(40):
        moved = (low + high) / 2
        odds = 1 + np.exp(-(numbers[..., 4:] + moved))
        candidates = np.count_nonzero(1 / (odds[..., :1] * odds[..., 1:]) > Nms().score_threshold) / len(photos)
        low, high = (low, moved) if candidates > _CANDIDATES else (moved, high)
    for output in network.outputs:
        bias = output._keras_history.operation.bias
        values = bias.numpy().reshape(anchors, -1)
        values[:, 4:] += moved
        bias.assign(values.reshape(-1))


def _files(name: str, folder: Path, form: str, made: Callable[[], Any]) -> dict[str, Path]:
    import keras

    files = {kind: folder / f"{name}.{kind}.{form}" for kind in _KINDS}
    for kind in _KINDS:
        if files[kind].exists():
            continue
        print(f"exporting {files[kind].name}", file=sys.stderr)
        network = made()
        if kind == "graph":
            deployable = edgecv.deploy(network)
        else:  # without edgecv_info, it is any network
            bare = keras.Model(network.inputs, network.outputs, name=network.name)
            scaling = network.edgecv_info.preprocess
            dtype: InputType = "uint8" if kind == "raw" else "float32"
            deployable = edgecv.deploy(bare, preprocess=scaling, input_dtype=dtype)
        edgecv.export(deployable, to=form, path=files[kind], verify=False)
    return files


def _named(outputs: Sequence[Array]) -> dict[str, Array]:
    """Name a detector's outputs, which engines give in any order."""
    names = {("f", 3): "boxes", ("f", 2): "scores", ("i", 2): "classes", ("i", 1): "count"}
    return {names[output.dtype.kind, output.ndim]: output for output in outputs}


def _lacking(given: dict[str, Array], expected: dict[str, Array]) -> int:
    """Return how many detections of one have no equal in the other."""
    count = int(expected["count"][0])
    gaps = np.abs(given["boxes"][0, :, None] - expected["boxes"][0, :count]).max(axis=-1)
    gaps = np.maximum(gaps, np.abs(given["scores"][0, :, None] - expected["scores"][0, :count]))
    other = given["classes"][0, :, None] != expected["classes"][0, :count]
    equal = (gaps < _EQUAL) & ~other
    found = int(given["count"][0])
    return found - int(np.count_nonzero(equal[:found].any(axis=1)))


def _check(pairs: Sequence[tuple[dict[str, Array], dict[str, Array]]], where: str) -> int:
    """Hold the graph's detections to the peer's on all photos; return how many there are.

    A score or an overlap at its threshold may fall on either side of it: 2 in 100 may differ.
    """
    total = sum(int(given["count"][0]) for given, _ in pairs)
    lacking = sum(max(_lacking(given, expected), _lacking(expected, given)) for given, expected in pairs)
    if lacking > 0.02 * total or total == 0:
        raise SystemExit(f"{where}: {lacking} of {total} detections differ between the graph and its peer.")
    return total


def _profiled_share(path: Path, threads: int, pictures: Sequence[Array], folder: Path) -> float:
    """Return the share of the pipeline's operators behind the network in the time of all operators."""
    session = onnx_session(path, threads, profile=folder / "profile")
    name = session.get_inputs()[0].name
    for turn in range(_PROFILED):
        session.run(None, {name: pictures[turn % len(pictures)]})
    written = Path(session.end_profiling())
    events = json.loads(written.read_text())
    written.unlink()
    behind = _behind(path)
    total = inside = 0
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            total += event["dur"]
            inside += event["dur"] * (event["name"].removesuffix("_kernel_time") in behind)
    return inside / total


def _behind(path: Path) -> set[str]:
    """Return the names of the pipeline's operators that come after the first of the network's."""
    import onnx

    names = [node.name for node in onnx.load(path).graph.node]
    first = next(index for index, name in enumerate(names) if not name.startswith("pipeline/"))
    return {name for name in names[first:] if name.startswith("pipeline/")}


def _measure(
    name: str, form: str, threads: int, made: Callable[[], Any], options: argparse.Namespace
) -> dict[str, Any]:
    engine, opened = ENGINES[form]
    files = _files(name, options.folder, form, made)
    network = made()
    pictures = _pictures(network)
    runs = {kind: opened(files[kind], threads) for kind in _KINDS}
    info = network.edgecv_info
    size = network.input_shape[1:3]
    host = HostDetector(decoder=info.decoder, preprocess=info.preprocess, nms=Nms(), input_size=size)

    def beside(turn: int) -> dict[str, Array]:
        return host.after(runs["bare"](host.before(pictures[turn % len(pictures)])))

    def one_graph(turn: int) -> list[Array]:
        return runs["graph"](pictures[turn % len(pictures)])

    detections = _check([(_named(one_graph(i)), beside(i)) for i in range(len(pictures))], f"{name}, {engine}")
    contenders: dict[str, Contender] = {
        "graph": one_graph,
        "host": beside,
        "host again": beside,
        "raw": lambda turn: runs["raw"](pictures[turn % len(pictures)]),
    }
    times = timed_rounds(contenders, rounds=options.rounds, seconds=options.seconds, fewest=2 * len(pictures))
    compared = comparison(times["graph"], times["host"], times["host again"])
    ratio, shares = _WANTED[name]
    share = statistics.median(1 - raw / graph for raw, graph in zip(times["raw"], times["graph"], strict=True))
    profiled = _profiled_share(files["graph"], threads, pictures, options.folder) if form == "onnx" else None
    return {
        "network": name,
        "engine": engine,
        "threads": threads,
        "graph_ms": round(statistics.median(times["graph"]), 3),
        "host_ms": round(statistics.median(times["host"]), 3),
        **compared,
        "wanted_ratio": ratio,
        "ratio_met": compared["ratio"] <= ratio,
        "raw_ms": round(statistics.median(times["raw"]), 3),
        "share": round(share, 4),
        "share_profiled": "" if profiled is None else round(profiled, 4),
        "wanted_share": shares.get(form, ""),
        "share_met": share <= shares[form] if form in shares else "",
        "detections": detections,
        "photos": len(pictures),
        "rounds": options.rounds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(_WANTED))
    parser.add_argument("--folder", type=Path, default=Path("build/detection_speed"))
    parser.add_argument("--formats", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=40.0, help="Per network, engine and number of threads.")
    parser.add_argument("--quick", action="store_true", help="Three short rounds, no CSV.")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 3, 3.0
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in options.names:
        made = functools.cache(functools.partial(_network, name))
        for form in options.formats:
            for threads in options.threads:
                rows.append(_measure(name, form, threads, made, options))
                print(rows[-1], flush=True)
    if not options.quick:
        write_csv(Path(__file__).with_suffix(".csv"), rows)


if __name__ == "__main__":
    main()
