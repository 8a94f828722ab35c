"""Latency of exported float32 files beside what other tools make of the same network: `python benchmarks/latency.py`.

All architectures, random weights, in both formats. The peers of ONNX are Keras' own export, tf2onnx alone, and Keras'
export after onnxslim and after ONNX Runtime's offline optimisation; those of TFLite are Keras' own export and
TensorFlow's plain converter. onnxslim is needed for this script alone: `pip install onnxslim`.

All files of a network live in one process, ONNX Runtime's spinning is off, and they run in turn. A first look finds the
fastest peer; that one is opened twice, so that its ratio to itself is the control. A loss is where the 95 % interval of
the ratio lies above the larger of 1.03 and the control's spread; below 1 ms, where the difference is also above 20 µs.
Each loss is explained by the engines' profiles: the operator that takes the most more time in edgecv's file.

Each file is made in a process of its own, which is stopped above `--memory`: Keras' export of VGG-16 takes more than
15 GB. A peer's file that the engine does not open counts as none: Keras 3.15 and tf2onnx leave AlexNet's grouped
convolutions as calls of TensorFlow's functions. Without any peer's file the row has edgecv's times alone. Detectors
and segmenters are bare networks here, as peers export them. Files and finished rows are kept in `--folder`: an
interrupted run goes on where it stopped, and `--files-only` makes the files beforehand, which needs no quiet machine.
"""

import argparse
import collections
import functools
import importlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Contender, comparison, onnx_session, open_tflite, timed_rounds, update_csv

import edgecv
from edgecv.deployable import InputType
from edgecv.files import replace_whole
from edgecv.timing import time_in_turn

# The first of a format starts from the network, others possibly from its file.
_PEERS = {"onnx": ("keras", "tf2onnx", "onnxslim", "ort"), "tflite": ("keras", "converter")}
_OURS: dict[str, InputType] = {"edgecv": "float32", "edgecv uint8": "uint8"}
_LOOK_SECONDS = 4.0
_NOTHING_COMPARED = ("ratio", "ratio_low", "ratio_high", "peer_to_itself", "control_spread", "loss", "explained")


def _path(name: str, what: str, form: str, folder: Path) -> Path:
    return folder / f"{name}.{what.replace(' ', '_')}.{form}"


def _files(name: str, form: str, folder: Path, memory: float) -> dict[str, Path]:
    """Return the files by maker, made where they are not there; what failed once is not tried again."""
    files = {}
    for what in (*_OURS, *_PEERS[form]):
        path = _path(name, what, form, folder)
        failed = path.with_suffix(".failed")
        if not path.exists() and not failed.exists():
            problem = _make_apart(name, what, form, folder, memory)
            if problem and what in _OURS:
                raise SystemExit(f"{name} was not exported to {form}: {problem}")
            if problem:
                failed.write_text(problem)
        if path.exists():
            files[what] = path
    return files


def _make_apart(name: str, what: str, form: str, folder: Path, memory: float) -> str:
    """Make a file in a process of its own; return what went wrong, or nothing."""
    print(f"making {name}, {what}, {form}", file=sys.stderr)
    command = [sys.executable, __file__, "--make", name, what, form, "--folder", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except OSError:
            continue
        resident = [int(line.split()[1]) / 2**20 for line in status if line.startswith("VmRSS")]
        if resident and resident[0] > memory:
            process.kill()
            process.wait()
            return f"stopped above {memory:g} GiB"
        time.sleep(0.2)
    return f"exit {process.returncode}" if process.returncode else ""


def _make(name: str, what: str, form: str, folder: Path) -> None:
    path = _path(name, what, form, folder)
    if what in ("onnxslim", "ort"):
        source = _path(name, "keras", form, folder)
        with replace_whole(path) as temporary:
            (_slim if what == "onnxslim" else _optimise_offline)(source, temporary)
        return
    network, scaling = _network(name)
    if what in _OURS:
        original = edgecv.deploy(network, preprocess=scaling, input_dtype=_OURS[what])
        edgecv.export(original, to=form, path=path, verify=False)
        return
    # Keras' export wants a network that was called.
    network(np.zeros((1, *network.input_shape[1:]), np.float32))
    with replace_whole(path) as temporary:
        if what == "keras":
            file = temporary.with_suffix(path.suffix)  # by which LiteRT's export goes
            network.export(str(file), format="onnx" if form == "onnx" else "litert", verbose=False)
            file.replace(temporary)
        elif what == "tf2onnx":
            _convert_by_tf2onnx(network, temporary)
        else:
            _convert_plainly(network, temporary)


def _network(name: str) -> tuple[Any, Any]:
    """Return a network of random weights, without what follows it, and the scaling that it takes."""
    import keras

    built = edgecv.build(name, weights="random")
    info = built.edgecv_info
    # A new model knows nothing of what follows it.
    bare = info.decoder or info.task == "segmentation"
    network = keras.Model(built.inputs, built.outputs, name=name) if bare else built
    return network, info.preprocess


def _convert_by_tf2onnx(network: Any, path: Path) -> None:
    import tensorflow as tf
    import tf2onnx

    signature = [tf.TensorSpec((1, *network.input_shape[1:]), tf.float32, name="image")]
    call = tf.function(lambda image: network(image, training=False), input_signature=signature)
    tf2onnx.convert.from_function(call, input_signature=signature, opset=18, output_path=str(path))


def _convert_plainly(network: Any, path: Path) -> None:
    import tensorflow as tf

    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())


def _slim(source: Path, path: Path) -> None:
    import onnx

    onnxslim = importlib.import_module("onnxslim")  # of no extra: type checkers do not have it
    onnx.save(onnxslim.slim(str(source)), str(path))


def _optimise_offline(source: Path, path: Path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def _opened(files: Mapping[str, Path], threads: int) -> dict[str, Contender]:
    """Open the files by maker; a peer's that its engine does not open is left out, and said."""
    opened = {}
    for what, path in files.items():
        try:
            opened[what] = _contender(path, threads)
        except Exception as error:  # whatever an engine raises
            if what in _OURS:
                raise
            print(f"{path.name} is left out: {' '.join(str(error).split())[:300]}", file=sys.stderr)
    return opened


def _contender(path: Path, threads: int) -> Contender:
    """Open a file; what is returned runs it on a picture, and on ones for any other input.

    Keras' export of EfficientNet-B0 to ONNX turns two captured constants into inputs that the caller must give.
    """
    if path.suffix == ".tflite":
        run, arrays = open_tflite(path, threads), _tflite_arrays(path)
        return lambda _: run(*arrays)
    session = onnx_session(path, threads)
    given, *others = session.get_inputs()
    shape = [side if isinstance(side, int) else 1 for side in given.shape]
    feed = {given.name: _picture(shape, np.uint8 if given.type == "tensor(uint8)" else np.float32)}
    feed |= {other.name: np.ones(other.shape, np.float32) for other in others}
    return lambda _: session.run(None, feed)


def _tflite_arrays(path: Path) -> list[Any]:
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(str(path)).get_input_details()
    return [_picture(each["shape"], each["dtype"]) for each in details]


def _picture(shape: Any, dtype: Any) -> Any:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8).astype(dtype)


def _measure(name: str, form: str, threads: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return a row, measured where an earlier run has not."""
    kept: Path = options.folder / f"{name}-{form}-{threads}.json"
    if not kept.exists():
        files = _files(name, form, options.folder, options.memory)
        kept.write_text(json.dumps(_row(name, files, form, threads, options)))
    row: dict[str, Any] = json.loads(kept.read_text())
    return row


def _row(name: str, files: Mapping[str, Path], form: str, threads: int, options: argparse.Namespace) -> dict[str, Any]:
    opened = _opened(files, threads)
    look = time_in_turn({what: functools.partial(run, 0) for what, run in opened.items()}, seconds=_LOOK_SECONDS)
    times = {what: timing.p50_ms for what, timing in look.items()}
    best = min((what for what in _PEERS[form] if what in times), key=times.__getitem__, default=None)
    timed = {what: opened[what] for what in _OURS}
    if best is not None:
        timed |= {best: opened[best], "again": _contender(files[best], threads)}
    medians = timed_rounds(timed, rounds=options.rounds, seconds=options.seconds)
    times |= {what: statistics.median(values) for what, values in medians.items()}
    row: dict[str, Any] = {"network": name, "threads": threads, "edgecv_ms": round(times["edgecv"], 3)}
    row |= {f"{what}_ms": round(times[what], 3) if what in times else None for what in _PEERS[form]}
    row |= {"edgecv_uint8_ms": round(times["edgecv uint8"], 3), "best_peer": best, "rounds": options.rounds}
    if best is None:
        return {**row, **dict.fromkeys(_NOTHING_COMPARED)}
    figures = comparison(medians["edgecv"], medians[best], medians["again"])
    above = figures["ratio_low"] > max(1.03, figures["control_spread"])
    loss = above and (times[best] >= 1 or times["edgecv"] - times[best] > 0.02)
    explained = _explain(files["edgecv"], files[best], threads) if loss else ""
    return {**row, **figures, "loss": loss, "explained": explained}


def _explain(ours: Path, peer: Path, threads: int) -> str:
    """Name the operator that takes the most more time in edgecv's file than in the peer's."""
    sums = [_profile_apart(path, threads) for path in (ours, peer)]
    if not all(sums):
        return "no profile"
    more = {op: sums[0].get(op, 0.0) - sums[1].get(op, 0.0) for op in {**sums[0], **sums[1]}}
    op = max(more, key=more.__getitem__)
    return f"{op}: {sums[0].get(op, 0.0):.3f} ms against {sums[1].get(op, 0.0):.3f}"


def _profile_apart(path: Path, threads: int) -> dict[str, float]:
    """Return the milliseconds of a run by operator; the engine's profiler may end its process."""
    command = [sys.executable, __file__, "--profile", str(path), "--threads", str(threads)]
    result = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(result.stdout.splitlines()[-1]) if result.returncode == 0 and result.stdout else {}


def _profile(path: Path, threads: int) -> None:
    from edgecv.session import runtime_of

    runtime: Any = runtime_of(path)[1]
    if path.suffix == ".tflite":
        path = _of_one_picture(path)
        names = {each.name: None for each in runtime.open(path).inputs}
        feeds = dict(zip(names, _tflite_arrays(path), strict=True))
    else:
        given, *others = onnx_session(path, 1).get_inputs()
        shape = [side if isinstance(side, int) else 1 for side in given.shape]
        feeds = {
            given.name: _picture(shape, np.float32),
            **{each.name: np.ones(each.shape, np.float32) for each in others},
        }
    sums: dict[str, float] = collections.defaultdict(float)
    for node in runtime.profile(path, feeds, device="cpu", threads=threads, seconds=4.0) or ():
        sums[node.op] += node.milliseconds
    print(json.dumps(sums))


def _of_one_picture(path: Path) -> Path:
    """Return a file without the dynamic batch of Keras' exports, for which LiteRT has no profile."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.shapeSignature = None
    static = path.with_suffix(".static.tflite")
    with replace_whole(static) as temporary:
        flatbuffer_utils.write_model(model, str(temporary))
    return static


def _summary(rows: list[dict[str, Any]], form: str) -> None:
    for threads in (1, 2):
        ratios = [row["ratio"] for row in rows if row["threads"] == threads and row["ratio"] is not None]
        losses = [row["network"] for row in rows if row["threads"] == threads and row["loss"]]
        if ratios:
            mean = statistics.geometric_mean(ratios)
            print(f"{form}, {threads} threads: geometric mean {mean:.3f} of {len(ratios)}, losses: {losses or 'none'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", metavar="NETWORK", help="Repeatable. Default: all architectures.")
    parser.add_argument("--formats", nargs="+", choices=_PEERS, default=list(_PEERS))
    parser.add_argument("--folder", type=Path, default=Path("build/latency"))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=10.0, help="Per network, format and number of threads.")
    parser.add_argument("--memory", type=float, default=16.0, help="GiB that making a file may take.")
    parser.add_argument("--files-only", action="store_true", help="Make the files and measure nothing.")
    parser.add_argument("--make", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--profile", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.make:
        name, what, form = options.make
        _make(name, what, form, options.folder)
        return
    if options.profile:
        _profile(options.profile, options.threads)
        return
    for form in options.formats:
        rows = []
        for name in options.only or edgecv.architecture_names():
            if options.files_only:
                _files(name, form, options.folder, options.memory)
                continue
            for threads in (1, 2):
                rows.append(_measure(name, form, threads, options))
                print(rows[-1], flush=True)
            update_csv(Path(__file__).with_name(f"latency_{form}.csv"), rows[-2:], ("network", "threads"))
        _summary(rows, form)


if __name__ == "__main__":
    main()
