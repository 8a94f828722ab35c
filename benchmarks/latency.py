"""Latency of exported ONNX files beside Keras' own export, over all architectures: `python benchmarks/latency.py`.

All sessions live in one process, ONNX Runtime's spinning is off, and they run in turn. The peer's file is opened
twice: its ratio to itself is the control. A loss is where the 95 % interval of the ratio lies above the larger of
1.03 and the control's spread; below 1 ms, where the difference is also above 20 µs. Files are kept in `--folder`,
so that an interrupted run goes on where it stopped.

Each network is exported in a process of its own, which is stopped above `--memory`: Keras' export of VGG-16 takes
more than 15 GB. Without the peer's file the row has edgecv's times alone. A detector is the network without its
decoder, as the peer exports it.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Contender, comparison, onnx_session, timed_rounds, write_csv

import edgecv
from edgecv.deployable import InputType

_SESSIONS = ("edgecv", "keras", "keras again", "edgecv uint8")


def _paths(name: str, folder: Path) -> dict[str, Path]:
    return {
        "edgecv": folder / f"{name}.float32.onnx",
        "edgecv uint8": folder / f"{name}.uint8.onnx",
        "keras": folder / f"{name}.keras.onnx",
    }


def _files(name: str, folder: Path, memory: float) -> dict[str, Path]:
    """Return the files of the sessions, exported where they are not there; without the peer's where that failed."""
    files = _paths(name, folder)
    failed = files["keras"].with_suffix(".failed")
    wanted = [path for what, path in files.items() if what != "keras" or not failed.exists()]
    if not all(path.exists() for path in wanted):
        problem = _export_apart(name, folder, memory)
        if not files["edgecv uint8"].exists():
            raise SystemExit(f"{name} was not exported: {problem}")
        if problem:
            failed.write_text(problem)
    if not files["keras"].exists():
        del files["keras"]
        return files
    return {**files, "keras again": files["keras"]}


def _export_apart(name: str, folder: Path, memory: float) -> str:
    """Export in a process of its own; return what went wrong, or nothing."""
    command = [sys.executable, __file__, "--export", name, "--folder", str(folder)]
    process = subprocess.Popen(command)
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


def _export(name: str, files: dict[str, Path]) -> None:
    import keras

    from edgecv.files import replace_whole
    from edgecv.quiet import quiet_frameworks

    print(f"exporting {name}", file=sys.stderr)
    built = edgecv.build(name, weights="random")
    scaling = built.edgecv_info.preprocess
    # A new model knows nothing of a decoder.
    network = keras.Model(built.inputs, built.outputs, name=name) if built.edgecv_info.decoder else built
    inputs: dict[str, InputType] = {"edgecv": "float32", "edgecv uint8": "uint8"}
    for what, dtype in inputs.items():
        if not files[what].exists():
            original = edgecv.deploy(network, preprocess=scaling, input_dtype=dtype)
            edgecv.export(original, to="onnx", path=files[what], verify=False)
    if not files["keras"].exists() and not files["keras"].with_suffix(".failed").exists():
        with quiet_frameworks(), replace_whole(files["keras"]) as temporary:
            network(np.zeros((1, *network.input_shape[1:]), np.float32))
            network.export(str(temporary), format="onnx", verbose=False)


def _feed(session: Any) -> dict[str, Any]:
    """Return a picture for the first input, and ones for any other.

    Keras' export of EfficientNet-B0 turns two captured constants into inputs that the caller must give.
    """
    given, *others = session.get_inputs()
    shape = [side if isinstance(side, int) else 1 for side in given.shape]
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    feed = {given.name: pixels if given.type == "tensor(uint8)" else pixels.astype(np.float32)}
    return feed | {other.name: np.ones(other.shape, np.float32) for other in others}


def _rounds(files: dict[str, Path], threads: int, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return the median milliseconds of each session in each round."""
    contenders: dict[str, Contender] = {what: _contender(files[what], threads) for what in _SESSIONS if what in files}
    return timed_rounds(contenders, rounds=rounds, seconds=seconds)


def _contender(path: Path, threads: int) -> Contender:
    session = onnx_session(path, threads)
    feed = _feed(session)
    return lambda _: session.run(None, feed)


def _row(name: str, threads: int, medians: dict[str, list[float]]) -> dict[str, Any]:
    times = {what: statistics.median(values) for what, values in medians.items()}
    row: dict[str, Any] = {
        "network": name,
        "threads": threads,
        "edgecv_ms": round(times["edgecv"], 3),
        "keras_ms": round(times["keras"], 3) if "keras" in times else None,
        "edgecv_uint8_ms": round(times["edgecv uint8"], 3),
        "rounds": len(medians["edgecv"]),
    }
    compared = dict.fromkeys(("ratio", "ratio_low", "ratio_high", "peer_to_itself", "control_spread"))
    if "keras" not in times:
        return {**row, **compared, "loss": None}
    figures = comparison(medians["edgecv"], medians["keras"], medians["keras again"])
    above = figures["ratio_low"] > max(1.03, figures["control_spread"])
    matters = times["keras"] >= 1 or times["edgecv"] - times["keras"] > 0.02
    return {**row, **figures, "loss": above and matters}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="Default: all architectures.")
    parser.add_argument("--folder", type=Path, default=Path("build/latency"))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=10.0, help="Per network and number of threads.")
    parser.add_argument("--memory", type=float, default=16.0, help="GiB that an export may take.")
    parser.add_argument("--export", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.export:
        _export(options.export, _paths(options.export, options.folder))
        return
    rows = []
    for name in options.names or edgecv.architecture_names():
        files = _files(name, options.folder, options.memory)
        for threads in (1, 2):
            rows.append(_row(name, threads, _rounds(files, threads, options.rounds, options.seconds)))
            print(rows[-1], flush=True)
    for threads in (1, 2):
        ratios = [row["ratio"] for row in rows if row["threads"] == threads and row["ratio"] is not None]
        if ratios:
            mean = statistics.geometric_mean(ratios)
            print(f"{threads} threads: geometric mean {mean:.3f} of {len(ratios)} networks")
    if not options.names:
        write_csv(Path(__file__).with_suffix(".csv"), rows)


if __name__ == "__main__":
    main()
